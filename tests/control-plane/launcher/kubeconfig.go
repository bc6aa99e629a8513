package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// kubeconfig is a client configuration with everything inside, as JSON, which
// is YAML too.
func kubeconfig(port int, authority []byte, user string, credentials identity) ([]byte, error) {
	type object = map[string]any
	return json.MarshalIndent(object{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []object{{
			"name": "control-plane",
			"cluster": object{
				"server":                     fmt.Sprintf("https://127.0.0.1:%d", port),
				"certificate-authority-data": authority,
			},
		}},
		"users": []object{{
			"name": user,
			"user": object{
				"client-certificate-data": credentials.certificate,
				"client-key-data":         credentials.key,
			},
		}},
		"contexts": []object{{
			"name":    "control-plane",
			"context": object{"cluster": "control-plane", "user": user, "namespace": "default"},
		}},
		"current-context": "control-plane",
	}, "", "  ")
}

// writeAtOnce makes a file appear with all of its content, readable by this
// user alone.
func writeAtOnce(path string, content []byte) error {
	unfinished := path + ".unfinished"
	if err := os.WriteFile(unfinished, content, 0o600); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}
