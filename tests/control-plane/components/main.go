// Package main is the real Kubernetes control plane in one executable: it acts
// as etcd, kube-apiserver, kube-controller-manager or kubectl, by the name it
// is called by. One executable takes a quarter of the time and of the space of
// four, as nearly all of the code is shared.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // as in both servers' own main packages: time zones without files

	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// components holds the entry point of each program, which returns its exit code.
var components = map[string]func(arguments []string) int{
	"etcd": func(arguments []string) int {
		etcdmain.Main(arguments)
		return 0
	},
	"kube-apiserver": func([]string) int {
		return cli.Run(apiserver.NewAPIServerCommand())
	},
	"kube-controller-manager": func([]string) int {
		return cli.Run(controllermanager.NewControllerManagerCommand())
	},
	"kubectl": func(arguments []string) int {
		// As in kubectl's own main: the level counts while the command is made.
		_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(arguments))
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
		return 0
	},
}

func main() {
	name := filepath.Base(os.Args[0])
	if _, known := components[name]; !known && len(os.Args) > 1 {
		// Called by another name: the first argument tells, and the program
		// sees the command line that it would have had under its own name.
		name = os.Args[1]
		os.Args = os.Args[1:]
	}
	component, known := components[name]
	if !known {
		fmt.Fprintln(os.Stderr, "control-plane components: call as etcd, kube-apiserver, kube-controller-manager or kubectl, by name or first argument")
		os.Exit(2)
	}
	os.Exit(component(os.Args))
}
