package runsc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// ptyScreen is the user's side of a pty: it collects what is shown.
type ptyScreen struct {
	master *os.File
	mu     sync.Mutex
	shown  bytes.Buffer
	mark   int
	more   chan struct{}
}

// openTestPty gives a pty of 24 lines of 80, and its slave.
func openTestPty(t *testing.T) (*ptyScreen, *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	master := os.NewFile(uintptr(fd), "master")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	s := &ptyScreen{master: master, more: make(chan struct{}, 1)}
	go s.read()
	t.Cleanup(func() { master.Close() })
	return s, slave
}

func (s *ptyScreen) read() {
	b := make([]byte, 4096)
	for {
		n, err := s.master.Read(b)
		s.mu.Lock()
		s.shown.Write(b[:n])
		s.mu.Unlock()
		select {
		case s.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// expect waits until text is shown, after what was expected before.
func (s *ptyScreen) expect(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(testTimeout)
	for {
		s.mu.Lock()
		rest := s.shown.Bytes()[s.mark:]
		at := bytes.Index(rest, []byte(text))
		if at >= 0 {
			s.mark += at + len(text)
			s.mu.Unlock()
			return
		}
		shown := s.shown.String()
		s.mu.Unlock()
		select {
		case <-s.more:
		case <-deadline:
			t.Fatalf("%q is not shown; there is\n%q", text, shown)
		}
	}
}

// aTerminal is a process with a terminal, started one way or the other.
type aTerminal struct {
	*ptyScreen
	keys   io.Writer
	resize func(messages.WindowSize)
	hangUp func()
	// wait gives the exit status.
	wait func() int
}

// byCommandLineTerminal is `runsc exec` as the leader of the pty's session,
// which is how it is driven by a shim.
func (s *controlSandbox) byCommandLineTerminal(t *testing.T, spec messages.ExecSpec) *aTerminal {
	t.Helper()
	screen, slave := openTestPty(t)
	spec.Terminal = true
	data, err := json.Marshal(spec.Process)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "process.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	// runsc writes its pid when it forwards signals; before, one would kill it.
	pidFile := filepath.Join(t.TempDir(), "pid")
	cmd := s.command("exec", "--process", file, "--pid-file", pidFile, s.id)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	eventually(t, "runsc forwards signals", func() bool {
		_, err := os.Stat(pidFile)
		return err == nil
	})
	return &aTerminal{
		ptyScreen: screen,
		keys:      screen.master,
		resize: func(size messages.WindowSize) {
			err := withFDs([]*os.File{screen.master}, nil, func(fds []int) error {
				return unix.IoctlSetWinsize(fds[0], unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
			})
			if err != nil {
				t.Error(err)
			}
		},
		hangUp: func() { screen.master.Close() },
		wait: func() int {
			select {
			case <-exited:
			case <-time.After(testTimeout):
				t.Fatal("it does not exit")
			}
			return cmd.ProcessState.ExitCode()
		},
	}
}

func (s *controlSandbox) byControlTerminal(t *testing.T, c *controlClient, spec messages.ExecSpec) *aTerminal {
	t.Helper()
	screen, slave := openTestPty(t)
	defer slave.Close()
	spec.Terminal = true
	p := s.process("terminal")
	var terminal *guestTerminal
	err := withFDs([]*os.File{screen.master}, nil, func(fds []int) (err error) {
		terminal, err = c.terminal(p, uintptr(fds[0]), screen.master)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	pid, err := c.Exec(testContext(t), p, spec, [3]*os.File{slave, slave, slave})
	if err != nil {
		t.Fatal(err)
	}
	terminal.Started(pid)
	type ended struct {
		status waitStatus
		err    error
	}
	exited := make(chan ended, 1)
	go func() {
		ws, err := c.WaitPID(context.Background(), p, pid)
		exited <- ended{ws, err}
	}()
	return &aTerminal{
		ptyScreen: screen,
		keys:      terminal,
		resize: func(size messages.WindowSize) {
			if err := terminal.Resize(testContext(t), size); err != nil {
				t.Error(err)
			}
		},
		hangUp: func() {
			if err := c.hangUp(testContext(t), p, pid); err != nil {
				t.Error(err)
			}
			terminal.Close()
			screen.master.Close()
		},
		wait: func() int {
			select {
			case e := <-exited:
				if e.err != nil {
					t.Fatal(e.err)
				}
				return e.status.exit()
			case <-time.After(testTimeout):
				t.Fatal("it does not exit")
				return 0
			}
		},
	}
}

// TestControlTerminal goes through the same sessions at a terminal of `runsc
// exec` and at one of the control socket, and wants the same shown and the same
// exit.
func TestControlTerminal(t *testing.T) {
	s := startControlSandbox(t, nil)
	c := s.client(t)
	shell := []string{"bash", "--norc", "--noprofile", "-i"}
	if _, err := exec.LookPath("bash"); err != nil {
		shell = []string{"sh", "-i"}
	}
	// Each session types and then expects. What is expected differs from what
	// is typed, since that is shown too.
	type step struct {
		keys, shown string
		size        messages.WindowSize
		hangUp      bool
	}
	inShell := func(steps ...step) []step {
		begin := []step{{keys: "PS1='>'; echo rea''dy\n", shown: "ready\r\n"}}
		return append(append(begin, steps...), step{keys: "exit 7\n"})
	}
	// A job is surely in the foreground, and past its exec, when it has answered.
	job := []step{{keys: `sh -c "echo go''es; exec cat -v"` + "\n", shown: "goes\r\n"}, {keys: "here\n", shown: "here\r\nhere\r\n"}}
	inJob := func(steps ...step) []step { return inShell(append(job, steps...)...) }
	for _, session := range []struct {
		name    string
		command []string
		steps   []step
		status  int
		needs   string
		// eof: the shell may see the end of its input before the signal.
		eof bool
	}{
		{name: "exit", command: shell, steps: inShell(), status: 7},
		{name: "interrupt", command: shell, steps: inJob(
			step{keys: "\x03", shown: "^C"}, step{shown: ">"},
			step{keys: "echo rc=$?\n", shown: "rc=130\r\n"},
		), status: 7},
		{name: "quit", command: shell, steps: inJob(
			step{keys: "\x1c", shown: "^\\"}, step{shown: ">"},
			step{keys: "echo rc=$?\n", shown: "rc=131\r\n"},
		), status: 7},
		{name: "stop", command: shell, steps: inJob(
			step{keys: "\x1a", shown: "Stopped"}, step{shown: ">"},
			step{keys: "disown; echo go''ne\n", shown: "gone\r\n"},
		), status: 7},
		{name: "the key is another one", command: shell, steps: inShell(append(append([]step{{keys: "stty intr ^X; echo se''t\n", shown: "set\r\n"}}, job...),
			step{keys: "\x03", shown: "^C"}, step{keys: "\x18", shown: "^X"}, step{shown: ">"},
			step{keys: "echo rc=$?\n", shown: "rc=130\r\n"},
		)...), status: 7},
		{name: "the key is quoted", command: shell, steps: inJob(
			step{keys: "a\x16\x03b\n", shown: "\r\na^Cb\r\n"}, step{keys: "\x03", shown: "^C"}, step{shown: ">"},
			step{keys: "echo rc=$?\n", shown: "rc=130\r\n"},
		), status: 7},
		{name: "no signals", command: []string{"sh", "-c", "stty raw -echo; echo ready; head -c 3 | od -An -tx1"}, steps: []step{
			{shown: "ready"}, {keys: "\x03\x1c\x1a", shown: "03 1c 1a"},
		}},
		{name: "several in one", command: []string{"sh", "-c", "trap 'echo one' INT; trap 'echo two; exit 3' QUIT; echo ready; while :; do sleep 0.01; done"}, steps: []step{
			{shown: "ready"}, {keys: "a\x03", shown: "one"}, {keys: "b\x03\x1c", shown: "two"},
		}, status: 3},
		{name: "resize", command: []string{"sh", "-c", "trap 'stty size; exit 5' WINCH; stty size; while :; do sleep 0.01; done"}, steps: []step{
			{shown: "24 80"}, {size: messages.WindowSize{Cols: 132, Rows: 43}, shown: "43 132"},
		}, status: 5},
		{name: "hang-up", command: []string{"sh", "-c", "trap 'exit 9' HUP; echo ready; while :; do sleep 0.01; done"}, steps: []step{
			{shown: "ready"}, {hangUp: true},
		}, status: 9},
		{name: "hang-up of a shell", command: shell, steps: append(inShell()[:1], step{hangUp: true}), status: 129, eof: true},
		{name: "end of input", command: []string{"sh", "-c", "echo ready; cat; exit 4"}, steps: []step{
			{shown: "ready"}, {keys: "text\n", shown: "text\r\ntext\r\n"}, {keys: "\x04"},
		}, status: 4},
		{name: "vi", needs: "busybox", command: []string{"sh", "-c", "busybox vi /tmp/v; od -An -c /tmp/v; exit 6"}, steps: []step{
			{shown: "- /tmp/v"}, {keys: "i", shown: "I /tmp/v"}, {keys: "hello", shown: "hello"},
			{keys: "\x1b", shown: "- /tmp/v"}, {keys: ":wq\n", shown: "h   e   l   l   o"},
		}, status: 6},
		{name: "top", needs: "busybox", command: []string{"busybox", "top", "-d", "100"}, steps: []step{
			{shown: "COMMAND"}, {keys: "\x03"},
		}},
	} {
		t.Run(session.name, func(t *testing.T) {
			if session.needs != "" {
				if _, err := exec.LookPath(session.needs); err != nil {
					Missing(t, "no %s on this machine", session.needs)
				}
			}
			for name, start := range map[string]func() *aTerminal{
				"command line": func() *aTerminal { return s.byCommandLineTerminal(t, s.execSpec(session.command...)) },
				"control":      func() *aTerminal { return s.byControlTerminal(t, c, s.execSpec(session.command...)) },
			} {
				t.Run(strings.ReplaceAll(name, " ", ""), func(t *testing.T) {
					terminal := start()
					for _, step := range session.steps {
						switch {
						case step.hangUp:
							terminal.hangUp()
						case step.size != messages.WindowSize{}:
							terminal.resize(step.size)
						}
						if step.keys != "" {
							if _, err := io.WriteString(terminal.keys, step.keys); err != nil {
								t.Fatal(err)
							}
						}
						if step.shown != "" {
							terminal.expect(t, step.shown)
						}
					}
					if status := terminal.wait(); status != session.status && !(session.eof && status == 0) {
						t.Errorf("status %d, want %d; shown is\n%q", status, session.status, terminal.shown.String())
					}
				})
			}
		})
	}
}

// TestControlTerminalKeys: what the line discipline takes for a signal.
func TestControlTerminalKeys(t *testing.T) {
	plain := unix.Termios{Iflag: unix.IXON, Lflag: unix.ISIG | unix.ICANON | unix.IEXTEN}
	plain.Cc[unix.VINTR], plain.Cc[unix.VQUIT], plain.Cc[unix.VSUSP], plain.Cc[unix.VLNEXT] = 3, 28, 26, 22
	plain.Cc[unix.VSTART], plain.Cc[unix.VSTOP] = 17, 19
	with := func(change func(*unix.Termios)) unix.Termios {
		s := plain
		change(&s)
		return s
	}
	const none = syscall.Signal(0)
	for _, test := range []struct {
		name     string
		settings unix.Termios
		keys     string
		want     []syscall.Signal
	}{
		{"each", plain, "x\x03\x1c\x1a\x00", []syscall.Signal{none, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTSTP, none}},
		{"quoted", plain, "\x16\x03\x03", []syscall.Signal{none, none, syscall.SIGINT}},
		{"the quote is quoted", plain, "\x16\x16\x03", []syscall.Signal{none, none, syscall.SIGINT}},
		{"no quote without lines", with(func(s *unix.Termios) { s.Lflag &^= unix.ICANON }), "\x16\x03", []syscall.Signal{none, syscall.SIGINT}},
		{"no signals", with(func(s *unix.Termios) { s.Lflag &^= unix.ISIG }), "\x03\x1c\x1a", []syscall.Signal{none, none, none}},
		{"no key", with(func(s *unix.Termios) { s.Cc[unix.VINTR] = 0 }), "\x00\x03", []syscall.Signal{none, none}},
		{"stop is looked for first", with(func(s *unix.Termios) { s.Cc[unix.VINTR] = 19 }), "\x13", []syscall.Signal{none}},
		{"eight bits", plain, "\x83", []syscall.Signal{none}},
		{"seven bits", with(func(s *unix.Termios) { s.Iflag |= unix.ISTRIP }), "\x83", []syscall.Signal{syscall.SIGINT}},
		{"processed elsewhere", with(func(s *unix.Termios) { s.Lflag |= unix.EXTPROC }), "\x03", []syscall.Signal{none}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var g guestTerminal
			for i, key := range []byte(test.keys) {
				if got := g.press(&test.settings, key); got != test.want[i] {
					t.Errorf("key %d (%#x) is %v, want %v", i, key, got, test.want[i])
				}
			}
		})
	}
}
