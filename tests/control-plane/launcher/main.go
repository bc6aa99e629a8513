// Package main starts a real Kubernetes control plane for tests and for the
// demo: etcd, kube-apiserver and kube-controller-manager on free loopback
// ports, with certificates of their own.
//
//	control-plane --directory DIR [--bin DIR] [--until-stdin-closes] [--audit]
//
// DIR/kubeconfig (cluster-admin) is written last, when the control plane can be
// used; DIR/pids names the three processes. SIGHUP kills the API server and
// starts it again on the same port and data. SIGTERM, SIGINT, the death of the
// parent and the death of this process end everything.
//
// Only the standard library is used, so that it builds in seconds.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// parentAtStart is read before anything else, as its change is how the death
// of the parent shows.
var parentAtStart = os.Getppid()

func init() {
	// The kernel ends a child when the *thread* that started it ends. Every
	// child is started by main's own goroutine, which stays on the main thread,
	// and that one lives as long as the process.
	runtime.LockOSThread()
}

func main() {
	var settings settings
	flag.StringVar(&settings.directory, "directory", "", "folder for data, certificates, logs, pids and kubeconfig (required; what an earlier run left there is removed)")
	flag.StringVar(&settings.bin, "bin", "", "folder with etcd, kube-apiserver and kube-controller-manager (default: the launcher's own); KUBEBUILDER_ASSETS wins for those it holds")
	flag.BoolVar(&settings.audit, "audit", false, "log every request (no bodies) to DIR/audit.log, a JSON line each")
	untilStdinCloses := flag.Bool("until-stdin-closes", false, "end when standard input is closed")
	flag.Parse()
	if settings.directory == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}

	if err := run(settings, *untilStdinCloses); err != nil {
		fmt.Fprintln(os.Stderr, "control-plane:", err)
		os.Exit(1)
	}
}

// errEnded says that somebody outside asked for the end.
var errEnded = errors.New("ended")

func run(settings settings, untilStdinCloses bool) error {
	events := outsideEvents{
		end:     make(chan os.Signal, 1),
		restart: make(chan os.Signal, 1),
		gone:    make(chan string, 2),
	}
	signal.Notify(events.end, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(events.restart, syscall.SIGHUP)
	go watchParent(events.gone)
	if untilStdinCloses {
		go watchStdin(events.gone)
	}

	plane, err := newControlPlane(settings)
	if err != nil {
		return err
	}
	defer plane.kill()
	if err := plane.start(&events); err != nil {
		return unlessEnded(err)
	}
	fmt.Println("ready")
	for {
		select {
		case <-events.restart:
			if err := plane.restartAPIServer(&events); err != nil {
				return unlessEnded(err)
			}
			fmt.Println("ready")
		case <-events.end:
			return nil
		case <-events.gone:
			return nil
		case dead := <-plane.exits:
			if err := plane.unexpected(dead); err != nil {
				return err
			}
		}
	}
}

func unlessEnded(err error) error {
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// outsideEvents is what reaches the launcher from outside.
type outsideEvents struct {
	end     chan os.Signal
	restart chan os.Signal
	gone    chan string
}

// pause waits, and returns errEnded when the end is asked for meanwhile.
func (events *outsideEvents) pause(duration time.Duration) error {
	select {
	case <-events.end:
		return errEnded
	case <-events.gone:
		return errEnded
	case <-time.After(duration):
		return nil
	}
}

// watchParent tells when the parent has died. Not PR_SET_PDEATHSIG: that one
// fires when the parent's thread ends, and a test's thread ends long before the
// tests that share a control plane do.
func watchParent(gone chan<- string) {
	for os.Getppid() == parentAtStart {
		time.Sleep(100 * time.Millisecond)
	}
	gone <- "parent"
}

func watchStdin(gone chan<- string) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	gone <- "stdin"
}
