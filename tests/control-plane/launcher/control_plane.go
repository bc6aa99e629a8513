package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// startDeadline is for one component to become usable. It takes seconds; a
	// machine busy with a build takes its time.
	startDeadline = 3 * time.Minute
	// startAttempts is how often other ports are tried.
	startAttempts = 5
	pollInterval  = 50 * time.Millisecond
)

// settings is what the command line asks for.
type settings struct {
	directory string
	bin       string
	audit     bool
}

// controlPlane is one control plane and its processes.
type controlPlane struct {
	settings settings
	lock     *os.File
	pki      *publicKeyInfrastructure
	client   *http.Client

	etcdPort      int
	apiServerPort int

	etcd              *component
	apiServer         *component
	controllerManager *component
	// exits receives every component that ends, wanted or not.
	exits chan *component
}

// newControlPlane takes the directory, empties it of what an earlier run left,
// and writes certificates. Nothing runs yet.
func newControlPlane(settings settings) (*controlPlane, error) {
	directory, err := filepath.Abs(settings.directory)
	if err != nil {
		return nil, err
	}
	settings.directory = directory
	if settings.bin == "" {
		launcher, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the launcher's own folder: %w", err)
		}
		settings.bin = filepath.Dir(launcher)
	}
	if settings.bin, err = filepath.Abs(settings.bin); err != nil {
		return nil, err
	}
	plane := &controlPlane{settings: settings, exits: make(chan *component, 16)}

	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	if plane.lock, err = takeLock(plane.path("lock")); err != nil {
		return nil, err
	}
	for _, left := range []string{
		"kubeconfig", "pids", "etcd", "pki", "audit.log", "kube-controller-manager.kubeconfig",
		"etcd.log", "kube-apiserver.log", "kube-controller-manager.log",
	} {
		if err := os.RemoveAll(plane.path(left)); err != nil {
			return nil, err
		}
	}
	if plane.pki, err = writePublicKeyInfrastructure(plane.path("pki")); err != nil {
		return nil, err
	}
	if settings.audit {
		if err := os.WriteFile(plane.path("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
			return nil, err
		}
	}
	if plane.client, err = plane.pki.adminClient(); err != nil {
		return nil, err
	}
	return plane, nil
}

// takeLock holds for the life of the process, so that two control planes never
// share a directory.
func takeLock(path string) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another control plane runs in %s (%w)", filepath.Dir(path), err)
	}
	return lock, nil
}

func (pki *publicKeyInfrastructure) adminClient() (*http.Client, error) {
	certificate, err := tls.X509KeyPair(pki.admin.certificate, pki.admin.key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(pki.authority.certificate)
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs:      roots,
			Certificates: []tls.Certificate{certificate},
		}},
	}, nil
}

func (plane *controlPlane) path(name string) string {
	return filepath.Join(plane.settings.directory, name)
}

// program is the executable of a component: that of KUBEBUILDER_ASSETS where it
// has one.
func (plane *controlPlane) program(name string) (string, error) {
	for _, folder := range []string{os.Getenv("KUBEBUILDER_ASSETS"), plane.settings.bin} {
		if folder == "" {
			continue
		}
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s in KUBEBUILDER_ASSETS or %s", name, plane.settings.bin)
}

// start brings everything up in order and writes the kubeconfig last.
func (plane *controlPlane) start(events *outsideEvents) error {
	if err := plane.onFreePorts(events, plane.startEtcd); err != nil {
		return err
	}
	if err := plane.onFreePorts(events, func(events *outsideEvents) error {
		port, err := freePort()
		if err != nil {
			return err
		}
		plane.apiServerPort = port
		return plane.startAPIServer(events)
	}); err != nil {
		return err
	}
	if err := plane.startControllerManager(); err != nil {
		return err
	}
	// Programs tell clusters apart by its UID. The API server makes it after it
	// has said that it is ready.
	const system = "/api/v1/namespaces/kube-system"
	if err := plane.until(events, plane.apiServer, plane.answers(system)); err != nil {
		return err
	}
	// Without it no Pod can be made and no token asked for: the first thing
	// that a freshly made control plane still lacks.
	const serviceAccount = "/api/v1/namespaces/default/serviceaccounts/default"
	if err := plane.until(events, plane.controllerManager, plane.answers(serviceAccount)); err != nil {
		return err
	}
	if err := plane.writePids(); err != nil {
		return err
	}
	content, err := kubeconfig(plane.apiServerPort, plane.pki.authority.pem, "admin", plane.pki.admin)
	if err != nil {
		return err
	}
	return writeAtOnce(plane.path("kubeconfig"), content)
}

// errPortTaken says that a port found free was taken by another program.
var errPortTaken = errors.New("the port was taken meanwhile")

func (plane *controlPlane) onFreePorts(events *outsideEvents, start func(*outsideEvents) error) error {
	for attempt := 1; ; attempt++ {
		err := start(events)
		if !errors.Is(err, errPortTaken) || attempt == startAttempts {
			return err
		}
	}
}

func (plane *controlPlane) startEtcd(events *outsideEvents) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	plane.etcdPort = port
	if plane.etcd, err = plane.launch("etcd", plane.etcdArguments()); err != nil {
		return err
	}
	return plane.until(events, plane.etcd, plane.etcdAnswers)
}

func (plane *controlPlane) startAPIServer(events *outsideEvents) error {
	var err error
	if plane.apiServer, err = plane.launch("kube-apiserver", plane.apiServerArguments()); err != nil {
		return err
	}
	return plane.until(events, plane.apiServer, plane.answers("/readyz"))
}

func (plane *controlPlane) startControllerManager() error {
	content, err := kubeconfig(plane.apiServerPort, plane.pki.authority.pem, "kube-controller-manager", plane.pki.manager)
	if err != nil {
		return err
	}
	if err := writeAtOnce(plane.path("kube-controller-manager.kubeconfig"), content); err != nil {
		return err
	}
	plane.controllerManager, err = plane.launch("kube-controller-manager", plane.controllerManagerArguments())
	return err
}

func (plane *controlPlane) launch(name string, arguments []string) (*component, error) {
	program, err := plane.program(name)
	if err != nil {
		return nil, err
	}
	return startComponent(program, name, plane.settings.directory, arguments, plane.exits)
}

// restartAPIServer kills the API server, as a crash would, and starts it again
// on the same port and data. DIR/pids changes once it is ready again.
func (plane *controlPlane) restartAPIServer(events *outsideEvents) error {
	plane.apiServer.kill()
	if err := plane.startAPIServer(events); err != nil {
		return fmt.Errorf("restart of the API server: %w", err)
	}
	return plane.writePids()
}

// unexpected judges the end of a component. One that was replaced or killed on
// purpose is no news; any other takes the control plane down, loudly, as a test
// on half a control plane would only mislead.
func (plane *controlPlane) unexpected(dead *component) error {
	for _, current := range []*component{plane.etcd, plane.apiServer, plane.controllerManager} {
		if dead == current {
			return fmt.Errorf("%s ended by itself (%v); the end of %s:\n%s", dead.name, dead.command.ProcessState, dead.log, dead.tail())
		}
	}
	return nil
}

// until waits for a condition of a component, and fails when the component ends
// first or the deadline passes.
func (plane *controlPlane) until(events *outsideEvents, component *component, holds func() error) error {
	deadline := time.Now().Add(startDeadline)
	for {
		unmet := holds()
		if unmet == nil {
			return nil
		}
		select {
		case dead := <-plane.exits:
			if dead == component && component.lostItsPort() {
				return fmt.Errorf("%s: %w", component.name, errPortTaken)
			}
			if err := plane.unexpected(dead); err != nil {
				return err
			}
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s (%w); the end of %s:\n%s", component.name, startDeadline, unmet, component.log, component.tail())
		}
		if err := events.pause(pollInterval); err != nil {
			return err
		}
	}
}

// answers is the condition that the API server answers a GET with 200.
func (plane *controlPlane) answers(path string) func() error {
	return func() error {
		return plane.get(fmt.Sprintf("https://127.0.0.1:%d%s", plane.apiServerPort, path))
	}
}

func (plane *controlPlane) etcdAnswers() error {
	return plane.get(fmt.Sprintf("https://127.0.0.1:%d/health", plane.etcdPort))
}

func (plane *controlPlane) get(url string) error {
	response, err := plane.client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}

func (plane *controlPlane) writePids() error {
	content, err := json.Marshal(map[string]int{
		"etcd":                    plane.etcd.command.Process.Pid,
		"kube-apiserver":          plane.apiServer.command.Process.Pid,
		"kube-controller-manager": plane.controllerManager.command.Process.Pid,
	})
	if err != nil {
		return err
	}
	return writeAtOnce(plane.path("pids"), append(content, '\n'))
}

// kill ends every process of the control plane. The kubeconfig goes first, so
// that nobody finds one that leads nowhere.
func (plane *controlPlane) kill() {
	_ = os.Remove(plane.path("kubeconfig"))
	_ = os.Remove(plane.path("pids"))
	for _, running := range []*component{plane.controllerManager, plane.apiServer, plane.etcd} {
		if running != nil {
			running.kill()
		}
	}
}

// freePort is a loopback port that was free a moment ago.
func freePort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
