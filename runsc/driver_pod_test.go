package runsc_test

import (
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// member are the annotations of a container that joins a sandbox.
func member(sandbox string) map[string]string {
	return map[string]string{"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": sandbox}
}

// pod makes a sandbox with a root container that sleeps.
func (s *stage) pod(id string) messages.Incarnation {
	s.t.Helper()
	root := s.create(id, messages.Create{Sandbox: messages.SandboxID(id), Bundle: s.bundle(func(p *specs.Spec) {
		p.Annotations = map[string]string{"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": id}
	}, "sleep", "1000")})
	if err := s.Start(s.context(), root); err != nil {
		s.t.Fatal(err)
	}
	return root
}

// join creates a container in a sandbox.
func (s *stage) join(sandbox, id string, args ...string) messages.Incarnation {
	s.t.Helper()
	bundle := s.bundle(func(p *specs.Spec) { p.Annotations = member(sandbox) }, args...)
	return s.create(id, messages.Create{Sandbox: messages.SandboxID(sandbox), Bundle: bundle})
}

func TestMembersOfAPodTellTheirOwnExits(t *testing.T) { eachWay(t, testMembersOfAPodTellTheirOwnExits) }

func testMembersOfAPodTellTheirOwnExits(t *testing.T, s *stage) {
	root := s.pod("pod")
	for want, args := range map[int][]string{0: {"true"}, 7: {"sh", "-c", "exit 7"}, 137: {"sh", "-c", "kill -KILL $$"}} {
		c := s.join("pod", "c", args...)
		if err := s.Start(s.context(), c); err != nil {
			t.Fatal(err)
		}
		s.wantExit(c, want)
		wantKind(t, s.Kill(s.context(), c, 9, false), messages.NotFound)
		s.mustDelete(c)
	}
	if n := s.notices.count(root); n != 0 {
		t.Errorf("the pod's own container was told to be gone")
	}
	s.mustDelete(root)
	if left := s.files(); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

// Equal exec ids in two containers of a pod are two processes (gVisor's own shim
// matches exits by the exec id alone).
func TestEqualExecIDsInTwoContainersOfAPod(t *testing.T) {
	eachWay(t, testEqualExecIDsInTwoContainersOfAPod)
}

func testEqualExecIDsInTwoContainersOfAPod(t *testing.T, s *stage) {
	root := s.pod("pod")
	a, b := s.join("pod", "a", "sleep", "1000"), s.join("pod", "b", "sleep", "1000")
	for _, c := range []messages.Incarnation{a, b} {
		if err := s.Start(s.context(), c); err != nil {
			t.Fatal(err)
		}
	}
	ea, eb := s.launch(a, "same", "sh", "-c", "exit 3"), s.launch(b, "same", "sleep", "1000")
	s.exec(eb)
	s.exec(ea)
	s.wantExit(ea.Process, 3)
	if err := s.Kill(s.context(), eb.Process, 15, false); err != nil {
		t.Fatal(err)
	}
	s.wantExit(eb.Process, 143)
	// The end of the sandbox is the end of all.
	last := s.launch(b, "last", "sleep", "1000")
	s.exec(last)
	begin := time.Now()
	if err := s.KillSandbox(s.context(), a); err != nil {
		t.Fatal(err)
	}
	for _, p := range []messages.Incarnation{root, a, b, last.Process} {
		if e := s.exit(p); e.Status != 137 || e.Reason == "" {
			t.Errorf("%s exited with %+v", p, e)
		}
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("it took %v to tell all", d)
	}
	wantKind(t, s.Kill(s.context(), b, 9, false), messages.NotFound)
	_, err := s.Exec(s.context(), s.launch(b, "late", "true"))
	wantKind(t, err, messages.FailedPrecondition, "b/late")
	for _, p := range []messages.Incarnation{last.Process, a, b, root} {
		s.mustDelete(p)
		if n := s.notices.count(p); n != 1 {
			t.Errorf("%d exits of %s", n, p)
		}
	}
	if left := s.files(); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

func TestMembershipIsChecked(t *testing.T) { eachWay(t, testMembershipIsChecked) }

func testMembershipIsChecked(t *testing.T, s *stage) {
	root := s.pod("pod")
	for name, test := range map[string]struct {
		sandbox     string
		annotations map[string]string
		kind        error
		words       []string
	}{
		"no annotations":  {"pod", nil, messages.InvalidArgument, []string{"add the annotations", "sandbox-id=pod"}},
		"another's":       {"pod", member("other"), messages.InvalidArgument, []string{"other"}},
		"no such sandbox": {"none", member("none"), messages.NotFound, []string{"none"}},
	} {
		bundle := s.bundle(func(p *specs.Spec) { p.Annotations = test.annotations }, "true")
		_, err := s.Create(s.context(), s.incarnation(messages.Init("c")), messages.Create{Container: "c", Sandbox: messages.SandboxID(test.sandbox), Bundle: bundle})
		if err == nil {
			t.Errorf("%s: created", name)
			continue
		}
		wantKind(t, err, test.kind, test.words...)
	}
	// A member that was never started dies of a kill, and with its delete.
	c := s.join("pod", "killed", "sleep", "1000")
	if err := s.Kill(s.context(), c, 9, false); err != nil {
		t.Fatal(err)
	}
	if e := s.exit(c); e.Status != 137 {
		t.Errorf("%+v", e)
	}
	s.mustDelete(c)
	c = s.join("pod", "deleted", "sleep", "1000")
	s.mustDelete(c)
	if e := s.exit(c); e.Status != 137 {
		t.Errorf("%+v", e)
	}
	// A command that is not there: the sandbox lives on.
	bundle := s.bundle(func(p *specs.Spec) {
		p.Annotations = member("pod")
		p.Mounts = append(p.Mounts, specs.Mount{Destination: "/opt", Type: "bind", Source: t.TempDir()})
	}, "nosuch")
	c = s.create("absent", messages.Create{Sandbox: "pod", Bundle: bundle})
	err := s.Start(s.context(), c)
	t.Log(err)
	wantKind(t, err, messages.NotFound, "nosuch")
	if e := s.exit(c); e.Reason == "" {
		t.Errorf("%+v", e)
	}
	s.mustDelete(c)
	if n := s.notices.count(root); n != 0 {
		t.Error("the sandbox is gone")
	}
	// Deleted while it runs.
	c = s.join("pod", "running", "sleep", "1000")
	if err := s.Start(s.context(), c); err != nil {
		t.Fatal(err)
	}
	s.mustDelete(c)
	if e := s.exit(c); e.Status != 137 {
		t.Errorf("%+v", e)
	}
}
