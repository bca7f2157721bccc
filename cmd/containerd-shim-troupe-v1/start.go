package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Annotations that put containers into one shim, in the order in which they
// are looked for: containerd's runc shim, CRI, CRI-O.
var groupAnnotations = []string{
	"io.containerd.runc.v2.group",
	annotationSandboxID,
	annotationSandboxIDCRIO,
}

// startShim answers with the address of the shim of the container's group, and
// starts that shim if there is none.
//
// containerd reads stdout and stderr as one (exec.Cmd.CombinedOutput), so
// nothing but the answer may be printed; what is worth a word goes to the log.
func startShim(inv invocation, stdin io.Reader, stdout io.Writer) error {
	bundle, err := inv.bundlePath()
	if err != nil {
		return err
	}
	boot, err := readBootstrap(stdin, inv)
	if err != nil {
		return err
	}
	opts, err := readOptions(boot.options)
	if err != nil {
		return err
	}
	group, err := groupOf(bundle, inv.id, opts.grouped())
	if err != nil {
		return err
	}
	dir := boot.socketDir
	if dir == "" {
		dir = defaultSocketDir
	}
	path := socketPath(dir, inv.address, inv.namespace, group)
	l, found, err := listenOrFind(path)
	if err != nil {
		return err
	}
	if !found {
		err := spawn(inv, bundle, opts, boot.debug, l)
		l.Close()
		if err != nil {
			os.Remove(path)
			return err
		}
	}
	if err := keepOptions(bundle, boot.options); err != nil {
		return err
	}
	address := unixScheme + path
	// containerd 1.x reads it when it comes back.
	if err := os.WriteFile(filepath.Join(bundle, "address"), []byte(address), 0o600); err != nil {
		return fmt.Errorf("write the shim's address: %w", err)
	}
	version := 3
	if !opts.grouped() {
		// A daemon puts a pod's containers into one shim of version 3 without
		// asking.
		version = 2
	}
	return boot.writeAnswer(stdout, address, version)
}

// optionsFile keeps the runtime's options in the bundle: only "start" is told
// them where containerd's sandbox API is used.
const optionsFile = "options.pb"

func keepOptions(bundle string, any *anypb.Any) error {
	if any == nil {
		return nil
	}
	data, err := proto.Marshal(any)
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, optionsFile), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the runtime's options: %w", err)
	}
	return nil
}

// bootOptions are the options that "start" was told.
func (s *shim) bootOptions() (options, error) {
	data, err := os.ReadFile(filepath.Join(s.bundle, optionsFile))
	if errors.Is(err, os.ErrNotExist) {
		return readOptions(nil)
	}
	var any anypb.Any
	if err == nil {
		err = proto.Unmarshal(data, &any)
	}
	if err != nil {
		return options{}, invalidOptions("read those that the shim was started with: %w", err)
	}
	return readOptions(&any)
}

// groupOf reads the group from the bundle's spec. A sandbox of containerd's
// sandbox API ("sandboxer = shim") has no spec: it is its own group.
func groupOf(bundle, id string, grouped bool) (string, error) {
	if !grouped {
		return id, nil
	}
	f, err := os.Open(filepath.Join(bundle, "config.json"))
	if errors.Is(err, os.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return "", fmt.Errorf("read the spec of %s: %w", id, err)
	}
	defer f.Close()
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.NewDecoder(f).Decode(&spec); err != nil {
		return "", fmt.Errorf("read the spec of %s: %s: %w", id, f.Name(), err)
	}
	for _, key := range groupAnnotations {
		if group := spec.Annotations[key]; group != "" {
			return group, nil
		}
	}
	return id, nil
}

// spawn starts the shim itself with the listening socket as its descriptor 3.
func spawn(inv invocation, bundle string, opts options, debug bool, l *net.UnixListener) error {
	log := openLog(bundle, debug)
	// OOM score and cgroup are inherited over fork: set here, the shim never
	// runs without them.
	if err := raiseOOMScore(); err != nil {
		// Root may lack CAP_SYS_RESOURCE, as in a container. A shim with the
		// wrong score is better than no container.
		log.Warn("the shim keeps the OOM score of its parent", "error", err)
	}
	if opts.ShimCgroup != "" {
		if err := joinCgroup(opts.ShimCgroup); err != nil {
			return fmt.Errorf("put the shim into cgroup %s (shim_cgroup): %w", opts.ShimCgroup, err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the shim's own program: %w", err)
	}
	socket, err := l.File()
	if err != nil {
		return fmt.Errorf("hand the socket over: %w", err)
	}
	defer socket.Close()
	args := []string{"-namespace", inv.namespace, "-id", inv.id, "-address", inv.address, "-publish-binary", inv.publishBinary}
	if debug {
		args = append(args, "-debug")
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = bundle
	cmd.ExtraFiles = []*os.File{socket}
	// A process group of its own: a signal to containerd's group, Ctrl-C on a
	// terminal say, must not end containers.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the shim: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "shim.pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return fmt.Errorf("write the shim's pid: %w", err)
	}
	return nil
}

// raiseOOMScore makes this process a likelier victim than its parent, the
// daemon: containerd's rule for shims (pkg/shim, AdjustOOMScore).
func raiseOOMScore() error {
	const worst = 1000 // proc_pid_oom_score_adj(5)
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", os.Getppid()))
	if err != nil {
		return fmt.Errorf("read the daemon's OOM score: %w", err)
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return fmt.Errorf("read the daemon's OOM score: %w", err)
	}
	score = min(score+1, worst)
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(score)), 0); err != nil {
		return fmt.Errorf("set the OOM score %d: %w", score, err)
	}
	return nil
}
