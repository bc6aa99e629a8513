package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// component is one running program of the control plane.
type component struct {
	name    string
	command *exec.Cmd
	log     string
	// exited is closed once the process has been waited for.
	exited chan struct{}
}

// startComponent starts a program whose output goes to DIR/<name>.log. The
// kernel kills it when this process ends, in whatever way. exits receives the
// component when it ends. To be called from main's goroutine alone, see init.
func startComponent(program, name, directory string, arguments []string, exits chan<- *component) (*component, error) {
	path := filepath.Join(directory, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	command := exec.Command(program, arguments...)
	command.Args[0] = name
	command.Dir = directory
	command.Env = componentEnvironment(os.Environ())
	command.Stdout = log
	command.Stderr = log
	command.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		// Control-C in a terminal reaches the launcher, which ends the others.
		Setpgid: true,
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	started := &component{name: name, command: command, log: path, exited: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(started.exited)
		exits <- started
	}()
	return started, nil
}

// componentEnvironment drops what would configure a component behind our back:
// etcd reads ETCD_*, and a proxy is not meant for loopback.
func componentEnvironment(environment []string) []string {
	var kept []string
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		upper := strings.ToUpper(name)
		if strings.HasPrefix(upper, "ETCD_") || strings.HasSuffix(upper, "_PROXY") || upper == "KUBECONFIG" {
			continue
		}
		kept = append(kept, variable)
	}
	return kept
}

// kill ends the component at once and waits until it is gone. Its data are
// thrown away or live in etcd, so there is nothing to hand over.
func (component *component) kill() {
	_ = component.command.Process.Kill()
	<-component.exited
}

// lostItsPort says whether the log shows that another program took the port
// between the moment it was found free and the moment it was bound.
func (component *component) lostItsPort() bool {
	return strings.Contains(component.tail(), "address already in use")
}

// tail is the end of the component's log, for messages.
func (component *component) tail() string {
	content, err := os.ReadFile(component.log)
	if err != nil {
		return err.Error()
	}
	const most = 4000
	if len(content) > most {
		content = content[len(content)-most:]
	}
	return string(content)
}
