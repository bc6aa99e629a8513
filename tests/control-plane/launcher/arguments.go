package main

import (
	"fmt"
	"strings"
)

// etcdArguments: durability is given up for speed, since the data do not outlive
// the run, but a killed etcd on a running machine still keeps them.
func (plane *controlPlane) etcdArguments() []string {
	url := fmt.Sprintf("https://127.0.0.1:%d", plane.etcdPort)
	return []string{
		"--data-dir=" + plane.path("etcd"),
		"--unsafe-no-fsync",
		"--listen-client-urls=" + url,
		"--advertise-client-urls=" + url,
		"--listen-peer-urls=http://127.0.0.1:0",
		"--client-cert-auth",
		"--trusted-ca-file=" + plane.pki.file("ca.crt"),
		"--cert-file=" + plane.pki.file("etcd.crt"),
		"--key-file=" + plane.pki.file("etcd.key"),
		"--log-level=warn",
	}
}

func (plane *controlPlane) apiServerArguments() []string {
	arguments := []string{
		fmt.Sprintf("--etcd-servers=https://127.0.0.1:%d", plane.etcdPort),
		"--etcd-cafile=" + plane.pki.file("ca.crt"),
		"--etcd-certfile=" + plane.pki.file("etcd-client.crt"),
		"--etcd-keyfile=" + plane.pki.file("etcd-client.key"),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", plane.apiServerPort),
		// Loopback may not stand in an EndpointSlice, so the API server's own
		// Service `kubernetes` stays without one.
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=RBAC",
		"--client-ca-file=" + plane.pki.file("ca.crt"),
		"--tls-cert-file=" + plane.pki.file("kube-apiserver.crt"),
		"--tls-private-key-file=" + plane.pki.file("kube-apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + plane.pki.file("service-account.key"),
		"--service-account-signing-key-file=" + plane.pki.file("service-account.key"),
		"--profiling=false",
	}
	if plane.settings.audit {
		arguments = append(arguments,
			"--audit-policy-file="+plane.path("audit-policy.yaml"),
			"--audit-log-path="+plane.path("audit.log"),
			"--audit-log-mode=blocking",
		)
	}
	return arguments
}

// auditPolicy logs who asked for what, once a request, and no bodies.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata}]
`

// controllers are those that an operator meets: its children are collected,
// namespaces end, service accounts exist, Services with a selector get slices.
var controllers = []string{
	"endpointslice-controller",
	"garbage-collector-controller",
	"namespace-controller",
	"serviceaccount-controller",
	"serviceaccount-token-controller",
}

func (plane *controlPlane) controllerManagerArguments() []string {
	return []string{
		"--kubeconfig=" + plane.path("kube-controller-manager.kubeconfig"),
		"--controllers=" + strings.Join(controllers, ","),
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + plane.pki.file("service-account.key"),
		"--root-ca-file=" + plane.pki.file("ca.crt"),
		"--leader-elect=false",
		// No port of its own: health shows in what the controllers do.
		"--secure-port=0",
		// The defaults spare a large cluster; a test waits for every call.
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
		"--profiling=false",
	}
}
