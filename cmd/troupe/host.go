package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/cmd/troupe/bundle"
	"github.com/troupe-run/troupe/runsc"
)

// runscEnv names the runsc to use, where no flag does.
const runscEnv = "TROUPE_RUNSC"

// shutdownTimeout bounds the end of a runtime, in which what still lives is
// killed.
const shutdownTimeout = 30 * time.Second

// host is what the commands have in common: how they reach gVisor.
type host struct {
	runsc    string
	platform string
	// execDriver is how execs are started, one of runsc.ExecAuto and its like.
	execDriver string
	root       string
	logLevel   logLevel
}

func (h *host) addFlags(f *pflag.FlagSet) {
	f.StringVar(&h.runsc, "runsc", "", "path of runsc (default: $"+runscEnv+", bin/runsc or runsc next to this program, PATH)")
	f.StringVar(&h.execDriver, "exec-driver", runsc.ExecAuto, "how execs are started: auto, control (the sandbox's socket) or cli (runsc exec)")
	f.StringVar(&h.platform, "platform", "systrap", "how gVisor runs code: systrap, kvm or ptrace")
	f.StringVar(&h.root, "root", "", "folder for runsc's state (default: a new one, removed at the end)")
	f.Var(&h.logLevel, "log-level", "what to log on stderr: debug, info, warn, error or off")
}

// logLevel is a level, or off.
type logLevel struct {
	level slog.Level
	on    bool
	text  string
}

func (l *logLevel) String() string {
	if l.text == "" {
		return "off"
	}
	return l.text
}

func (l *logLevel) Type() string { return "LEVEL" }

func (l *logLevel) Set(s string) error {
	l.text, l.on = s, s != "off"
	if !l.on {
		return nil
	}
	if err := l.level.UnmarshalText([]byte(s)); err != nil {
		return errors.New("use debug, info, warn, error or off")
	}
	return nil
}

func (h *host) logger(stderr io.Writer) *slog.Logger {
	if !h.logLevel.on {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: h.logLevel.level}))
}

// findRunsc returns the path of the runsc to use.
func (h *host) findRunsc() (string, error) {
	for _, named := range []struct{ by, path string }{{"--runsc", h.runsc}, {"$" + runscEnv, os.Getenv(runscEnv)}} {
		if named.path == "" {
			continue
		}
		path, err := exec.LookPath(named.path)
		if err != nil {
			return "", fmt.Errorf("%s names %q: %w", named.by, named.path, err)
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil {
		for _, near := range []string{"bin/runsc", "runsc"} {
			if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), near)); err == nil {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath("runsc")
	if err != nil {
		return "", fmt.Errorf("there is no runsc; build one with \"make bin/runsc\", name it with --runsc or $%s, or put it on the PATH", runscEnv)
	}
	return filepath.Abs(path)
}

// session is a runtime on this host, from open to close.
type session struct {
	*actors.Runtime
	// dir is a folder of its own, or empty where the user named one.
	dir string
}

// open starts a runtime whose sandboxes have the given network.
func (h *host) open(network bundle.Network, log *slog.Logger) (*session, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("gVisor needs root here: run it with sudo")
	}
	path, err := h.findRunsc()
	if err != nil {
		return nil, err
	}
	s := &session{}
	o := runsc.Options{
		Path:       path,
		Platform:   h.platform,
		Network:    string(network),
		ExecDriver: h.execDriver,
		// The sandboxes of this program are its own, so it can wait for them.
		Subreaper: true,
		Logger:    log,
	}
	if !cgroupsWritable() {
		// runsc would refuse to run anything (runsc/container/container.go,
		// cgroupInstall). Without them there are only no limits.
		o.Config = map[string]string{"ignore-cgroups": "true"}
		log.Warn("cgroups can not be written here: limits have no effect")
	}
	if h.root == "" {
		if s.dir, err = privateDir(); err != nil {
			return nil, fmt.Errorf("make a folder for runsc's state: %w; name one with --root", err)
		}
		o.Root, o.StateDir = filepath.Join(s.dir, "runsc"), filepath.Join(s.dir, "state")
	} else if o.Root, err = filepath.Abs(h.root); err != nil {
		return nil, err
	}
	driver, err := runsc.New(o)
	if err != nil {
		s.removeDir()
		return nil, err
	}
	if s.Runtime, err = actors.New(actors.Options{Driver: driver, Logger: log}); err != nil {
		_ = driver.Close()
		s.removeDir()
		return nil, err
	}
	return s, nil
}

// baseDir has the private folders, and is where a driver keeps its state unless it
// is told otherwise.
const baseDir = "/run/troupe"

// privateDir is a new folder with the number of this process in its name, so
// that what a kill left behind can be told. It is short: the paths of runsc's sockets in it have at most 107
// characters (unix(7)).
func privateDir() (string, error) {
	if err := os.MkdirAll(baseDir, 0o711); err == nil {
		if dir, err := os.MkdirTemp(baseDir, fmt.Sprintf("cli-%d-", os.Getpid())); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", "troupe-")
}

// close ends the runtime and removes what it left.
func (s *session) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := s.Shutdown(ctx)
	s.removeDir()
	return err
}

func (s *session) removeDir() {
	if s.dir == "" {
		return
	}
	// runsc mounts an empty network namespace there and leaves it
	// (runsc/specutils/namespace.go, NullNetNS); twice where two sandboxes that
	// are made at once both find none.
	for unix.Unmount(filepath.Join(s.dir, "runsc", "null-netns"), unix.MNT_DETACH) == nil {
	}
	_ = os.RemoveAll(s.dir)
}
