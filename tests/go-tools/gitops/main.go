// What the GitOps tools say of an object: kstatus as Flux and kubectl-like tools compute it, Flux's health check
// expressions, and Argo CD's Lua. Each request is a line of JSON on standard input, each answer one on standard output.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

type request struct {
	// Asks kstatus where nothing else is given.
	Object object `json:"object"`
	// Flux's healthCheckExprs of the object's kind.
	Expressions *kustomize.HealthCheckExpressions `json:"expressions,omitempty"`
	// A script of Argo CD's resource_customizations, which returns a table or an object.
	Lua string `json:"lua,omitempty"`
}

// As Kubernetes' clients read it: a whole number is no fraction.
type object map[string]any

func (read *object) UnmarshalJSON(text []byte) error {
	return utiljson.Unmarshal(text, (*map[string]any)(read))
}

type answer struct {
	Status  string `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
	// What a script returned.
	Returned any    `json:"returned,omitempty"`
	Error    string `json:"error,omitempty"`
}

func main() {
	requests := bufio.NewScanner(os.Stdin)
	requests.Buffer(nil, 16<<20)
	answers := json.NewEncoder(os.Stdout)
	for requests.Scan() {
		var asked request
		err := json.Unmarshal(requests.Bytes(), &asked)
		var told answer
		if err == nil {
			told, err = ask(asked)
		}
		if err != nil {
			told = answer{Error: err.Error()}
		}
		if err := answers.Encode(told); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func ask(asked request) (answer, error) {
	object := &unstructured.Unstructured{Object: asked.Object}
	switch {
	case asked.Lua != "":
		returned, err := run(asked.Lua, asked.Object)
		return answer{Returned: returned}, err
	case asked.Expressions != nil:
		evaluator, err := cel.NewStatusEvaluator(asked.Expressions)
		if err != nil {
			return answer{}, err
		}
		result, err := evaluator.Evaluate(context.Background(), object)
		return of(result), err
	default:
		result, err := status.Compute(object)
		return of(result), err
	}
}

func of(result *status.Result) answer {
	if result == nil {
		return answer{}
	}
	return answer{Status: result.Status.String(), Message: result.Message}
}
