package runsc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// Annotations by which gVisor knows what a container is in its pod
// (runsc/specutils/cri.go). containerd's CRI sets them.
const (
	annotationType      = "io.kubernetes.cri.container-type"
	annotationSandbox   = "io.kubernetes.cri.sandbox-id"
	annotationSandboxID = "io.kubernetes.cri-o.SandboxID"

	typeSandbox   = "sandbox"
	typeContainer = "container"
)

// maxConfig bounds a config.json, in bytes.
const maxConfig = 16 << 20

// bundle is what the driver must know of one.
type bundle struct {
	dir  string
	root string
	spec *specs.Spec
}

// openBundle reads and checks config.json as far as the driver relies on it.
// The root file system is checked after it was mounted, by checkRoot.
func openBundle(p messages.Process, dir string) (*bundle, error) {
	fail := func(kind error, why error, hint string) (*bundle, error) {
		return nil, &messages.Error{Kind: kind, Op: "read the bundle of", Process: p, Err: why, Hint: hint}
	}
	failHost := func(err error) (*bundle, error) {
		hint, kind := kindOfHost(err)
		return fail(kind, err, hint)
	}
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fail(messages.NotFound, err, "name the folder that holds config.json")
	} else if err != nil {
		return failHost(err)
	} else if !info.IsDir() {
		return fail(messages.InvalidArgument, fmt.Errorf("%s is no folder", dir), "name the folder that holds config.json")
	}
	path := filepath.Join(dir, "config.json")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fail(messages.NotFound, err, "`runsc spec` writes one to start from")
	} else if err != nil {
		return failHost(err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfig {
		return fail(messages.InvalidArgument, fmt.Errorf("%s is no file of at most %d bytes", path, maxConfig), "`runsc spec` writes one to start from")
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return failHost(err)
	}
	b := &bundle{dir: dir, spec: &specs.Spec{}}
	if err := json.Unmarshal(content, b.spec); err != nil {
		return fail(messages.InvalidArgument, fmt.Errorf("%s: %w", path, err), "see the OCI runtime specification, config.md")
	}
	s := b.spec
	switch {
	case s.Process == nil:
		return fail(messages.InvalidArgument, fmt.Errorf("%s has no process", path), "set process.args and process.cwd")
	case len(s.Process.Args) == 0 || s.Process.Args[0] == "":
		return fail(messages.InvalidArgument, fmt.Errorf("%s has no process.args", path), "set the command to run")
	case !filepath.IsAbs(s.Process.Cwd):
		return fail(messages.InvalidArgument, fmt.Errorf("%s: process.cwd %q is not an absolute path", path, s.Process.Cwd), "use a path of the container, such as /")
	case s.Root == nil || s.Root.Path == "":
		return fail(messages.InvalidArgument, fmt.Errorf("%s has no root.path", path), "set the folder of the root file system")
	}
	b.root = s.Root.Path
	if !filepath.IsAbs(b.root) {
		b.root = filepath.Join(dir, b.root)
	}
	return b, nil
}

// checkRoot reports a root file system that is absent or no folder.
func (b *bundle) checkRoot(p messages.Process) error {
	info, err := os.Stat(b.root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &messages.Error{Kind: messages.NotFound, Op: "find the root file system of", Process: p, Err: err, Hint: "check root.path in the bundle's config.json"}
	case err != nil:
		return &messages.Error{Kind: messages.Internal, Op: "find the root file system of", Process: p, Err: err}
	case !info.IsDir():
		return &messages.Error{Kind: messages.InvalidArgument, Op: "use the root file system of", Process: p, Err: fmt.Errorf("%s is no folder", b.root), Hint: "check root.path in the bundle's config.json"}
	}
	return nil
}

// checkMembership reports a bundle whose annotations make it another kind of
// container than Create asks for: runsc goes by the annotations alone.
func (b *bundle) checkMembership(c messages.Create) error {
	kind, sandbox := b.spec.Annotations[annotationType], b.spec.Annotations[annotationSandbox]
	if sandbox == "" {
		sandbox = b.spec.Annotations[annotationSandboxID]
	}
	fail := func(why, hint string) error {
		return &messages.Error{Kind: messages.InvalidArgument, Op: "create", Process: messages.Init(c.Container), Sandbox: sandboxOf(c), Err: messages.Text(why), Hint: hint}
	}
	if isRoot(c) {
		if kind == typeContainer {
			return fail(fmt.Sprintf("the bundle's annotations put it into the sandbox %q", sandbox), "name that sandbox in Create, or remove the annotation "+annotationType)
		}
		return nil
	}
	wanted := fmt.Sprintf("add the annotations %s=%s and %s=%s to the bundle's config.json", annotationType, typeContainer, annotationSandbox, c.Sandbox)
	switch {
	case kind == "" && sandbox == "":
		return fail("the bundle does not say that it belongs to a sandbox", wanted)
	case kind != typeContainer:
		return fail(fmt.Sprintf("the bundle says %s=%q", annotationType, kind), wanted)
	case sandbox != string(c.Sandbox):
		return fail(fmt.Sprintf("the bundle belongs to the sandbox %q", sandbox), wanted)
	}
	return nil
}

// isRoot tells whether a container brings its own sandbox.
func isRoot(c messages.Create) bool {
	return c.Sandbox == "" || string(c.Sandbox) == string(c.Container)
}

func sandboxOf(c messages.Create) messages.SandboxID {
	if c.Sandbox == "" {
		return messages.SandboxID(c.Container)
	}
	return c.Sandbox
}

// hasResources tells whether `runsc update` can work: it takes what is not set
// from here and crashes if there is nothing (runsc/cmd/update.go).
func (b *bundle) hasResources() bool { return b.spec.Linux != nil && b.spec.Linux.Resources != nil }

// cgroupPath is where runsc puts the container (runsc/container/container.go,
// createRoot and setupCgroupForSubcontainer). A member of a pod has none unless
// its spec says so.
func (b *bundle) cgroupPath(c messages.Create) string {
	if b.spec.Linux != nil && b.spec.Linux.CgroupsPath != "" {
		return b.spec.Linux.CgroupsPath
	}
	if !isRoot(c) {
		return "/"
	}
	return "/" + string(c.Container)
}
