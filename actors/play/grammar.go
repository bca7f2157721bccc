package play

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// form is how one directive is written.
type form struct {
	// usage is the directive line as the documentation has it.
	usage string
	// input says what its input is, or is empty where it has none.
	input string
	build func(a *arguments, input string) (step, error)
}

var forms map[string]form

func init() {
	const process = " [terminal] [cwd=DIR] [user=UID:GID] [env=(K=V, ...)]"
	forms = map[string]form{
		"create":   {"create C [sandbox=S] [rootfs=DIR]" + process, "the command to run", buildCreate},
		"exec":     {"exec C/E" + process, "the command to run", buildExec},
		"start":    {"start P", "", onProcess(func(p messages.Process) step { return start{p} })},
		"wait":     {"wait P [timeout=5s]", "", buildWait},
		"kill":     {"kill P SIGNAL [all]", "", buildKill},
		"resize":   {"resize P COLSxROWS", "", buildResize},
		"write":    {"write P", "the lines to write", buildWrite},
		"closeio":  {"closeio P", "", onProcess(func(p messages.Process) step { return closeIO{p} })},
		"state":    {"state P", "", onProcess(func(p messages.Process) step { return state{p} })},
		"pids":     {"pids C", "", onContainer(func(c messages.ContainerID) step { return pids{c} })},
		"stats":    {"stats C", "", onContainer(func(c messages.ContainerID) step { return stats{c} })},
		"pause":    {"pause C", "", onContainer(func(c messages.ContainerID) step { return pause{c} })},
		"resume":   {"resume C", "", onContainer(func(c messages.ContainerID) step { return resume{c} })},
		"update":   {"update C memory=BYTES", "", buildUpdate},
		"delete":   {"delete P", "", onProcess(func(p messages.Process) step { return release{p} })},
		"output":   {"output P [stderr]", "", buildOutput},
		"events":   {"events", "", func(*arguments, string) (step, error) { return events{}, nil }},
		"parallel": {"parallel", "directives, one a line", buildParallel},
		"sleep":    {"sleep DURATION", "", buildSleep},
	}
}

// Usage lists every directive, one a line, as it is written.
func Usage() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		fmt.Fprintln(&b, forms[name].usage)
	}
	return b.String()
}

// compile checks a directive against its form.
func compile(l line, input string) (step, error) {
	f, known := forms[l.name]
	switch {
	case !known:
		return nil, fmt.Errorf("expected a directive (%s), found %q", strings.Join(slices.Sorted(maps.Keys(forms)), ", "), l.name)
	case f.input == "" && input != "":
		return nil, &inputError{err: fmt.Errorf("expected %q after %q, found %q", Separator, l.name, firstLine(input))}
	case f.input != "" && input == "":
		return nil, fmt.Errorf("expected %s after %q", f.input, l.name)
	}
	a := &arguments{left: l.args}
	s, err := f.build(a, input)
	if err == nil {
		err = a.finish()
	}
	var inInput *inputError
	if err != nil && !asInputError(err, &inInput) {
		return nil, fmt.Errorf("expected %s: %w", f.usage, err)
	}
	return s, err
}

// arguments hands out the arguments of a line, each once.
type arguments struct{ left []argument }

func (a *arguments) take(match func(argument) bool) (argument, bool) {
	i := slices.IndexFunc(a.left, match)
	if i < 0 {
		return argument{}, false
	}
	found := a.left[i]
	a.left = slices.Delete(slices.Clone(a.left), i, i+1)
	return found, true
}

// word is the next argument without a value.
func (a *arguments) word(what string) (string, error) {
	w, ok := a.take(func(x argument) bool { return x.values == nil })
	if !ok {
		return "", fmt.Errorf("found no %s", what)
	}
	return w.key, nil
}

// flag tells whether a word is there.
func (a *arguments) flag(name string) bool {
	_, ok := a.take(func(x argument) bool { return x.key == name && x.values == nil })
	return ok
}

// values are those of name=(...), nil if it is not there.
func (a *arguments) values(name string) []string {
	x, _ := a.take(func(x argument) bool { return x.key == name && x.values != nil })
	return x.values
}

// value is that of name=value, empty if it is not there.
func (a *arguments) value(name string) (string, error) {
	switch v := a.values(name); {
	case v == nil:
		return "", nil
	case len(v) > 1 || v[0] == "":
		return "", fmt.Errorf("%s has %d values and needs one", name, len(slices.DeleteFunc(v, func(s string) bool { return s == "" })))
	default:
		return v[0], nil
	}
}

func (a *arguments) finish() error {
	if len(a.left) == 0 {
		return nil
	}
	x := a.left[0]
	if x.values != nil {
		return fmt.Errorf("found %s=%s", x.key, strings.Join(x.values, ", "))
	}
	return fmt.Errorf("found %q", x.key)
}

// process reads P. What a runtime would refuse, such as an id with other
// characters, is left to it: a script can show that.
func (a *arguments) process() (messages.Process, error) {
	w, err := a.word("process")
	if err != nil {
		return messages.Process{}, err
	}
	c, e, isExec := strings.Cut(w, "/")
	if c == "" || (isExec && e == "") {
		return messages.Process{}, fmt.Errorf("found %q for a process", w)
	}
	return messages.Process{Container: messages.ContainerID(c), Exec: messages.ExecID(e)}, nil
}

func (a *arguments) container() (messages.ContainerID, error) {
	w, err := a.word("container")
	return messages.ContainerID(w), err
}

func onProcess(make func(messages.Process) step) func(*arguments, string) (step, error) {
	return func(a *arguments, _ string) (step, error) {
		p, err := a.process()
		return make(p), err
	}
}

func onContainer(make func(messages.ContainerID) step) func(*arguments, string) (step, error) {
	return func(a *arguments, _ string) (step, error) {
		c, err := a.container()
		return make(c), err
	}
}

// readProgram reads what create and exec have in common.
func readProgram(a *arguments, input string) (Program, error) {
	p := Program{Cwd: "/", Terminal: a.flag("terminal"), Env: a.values("env")}
	cwd, err := a.value("cwd")
	if err != nil {
		return p, err
	}
	if cwd != "" {
		p.Cwd = cwd
	}
	for _, e := range p.Env {
		if k, _, ok := strings.Cut(e, "="); !ok || k == "" {
			return p, fmt.Errorf("env has %q and needs NAME=VALUE", e)
		}
	}
	user, err := a.value("user")
	if err != nil {
		return p, err
	}
	if user != "" {
		uid, gid, _ := strings.Cut(user, ":")
		u, errU := strconv.ParseUint(uid, 10, 32)
		g, errG := strconv.ParseUint(gid, 10, 32)
		if errors.Join(errU, errG) != nil {
			return p, fmt.Errorf("user is %q and needs two numbers, UID:GID", user)
		}
		p.UID, p.GID = uint32(u), uint32(g)
	}
	p.Args, err = splitWords(input)
	return p, err
}

func buildCreate(a *arguments, input string) (step, error) {
	c, err := a.container()
	if err != nil {
		return nil, err
	}
	sandbox, err := a.value("sandbox")
	if err != nil {
		return nil, err
	}
	rootfs, err := a.value("rootfs")
	if err != nil {
		return nil, err
	}
	program, err := readProgram(a, input)
	return create{CreateSpec{Container: c, Sandbox: messages.SandboxID(sandbox), Rootfs: rootfs, Program: program}}, err
}

func buildExec(a *arguments, input string) (step, error) {
	p, err := a.process()
	if err != nil {
		return nil, err
	}
	if p.IsInit() {
		return nil, fmt.Errorf("found %q, which names no exec", p)
	}
	program, err := readProgram(a, input)
	return exec{p, program}, err
}

func buildWait(a *arguments, _ string) (step, error) {
	p, err := a.process()
	if err != nil {
		return nil, err
	}
	timeout, err := a.value("timeout")
	if err != nil || timeout == "" {
		return wait{process: p}, err
	}
	d, err := duration(timeout)
	return wait{p, d}, err
}

func buildSleep(a *arguments, _ string) (step, error) {
	w, err := a.word("duration")
	if err != nil {
		return nil, err
	}
	d, err := duration(w)
	return sleep{d}, err
}

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("found %q for a duration such as 100ms", s)
	}
	return d, nil
}

func buildKill(a *arguments, _ string) (step, error) {
	all := a.flag("all")
	p, err := a.process()
	if err != nil {
		return nil, err
	}
	name, err := a.word("signal")
	if err != nil {
		return nil, err
	}
	signal, err := ParseSignal(name)
	return kill{p, signal, all}, err
}

// ParseSignal reads TERM, SIGTERM or 15. A number that no signal has is
// returned: the one who is asked to send it says so.
func ParseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		return syscall.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("there is no signal %q; use TERM, SIGTERM or 15", s)
}

func buildResize(a *arguments, _ string) (step, error) {
	p, err := a.process()
	if err != nil {
		return nil, err
	}
	w, err := a.word("size")
	if err != nil {
		return nil, err
	}
	cols, rows, _ := strings.Cut(w, "x")
	c, errC := strconv.ParseUint(cols, 10, 16)
	r, errR := strconv.ParseUint(rows, 10, 16)
	if errors.Join(errC, errR) != nil {
		return nil, fmt.Errorf("found %q for a size such as 80x24", w)
	}
	return resize{p, messages.WindowSize{Cols: uint16(c), Rows: uint16(r)}}, nil
}

func buildWrite(a *arguments, input string) (step, error) {
	p, err := a.process()
	return write{p, input + "\n"}, err
}

func buildUpdate(a *arguments, _ string) (step, error) {
	c, err := a.container()
	if err != nil {
		return nil, err
	}
	memory, err := a.value("memory")
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(memory, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("memory is %q and needs a number of bytes", memory)
	}
	return update{c, n}, nil
}

func buildOutput(a *arguments, _ string) (step, error) {
	stderr := a.flag("stderr")
	p, err := a.process()
	return output{p, stderr}, err
}

// buildParallel compiles every line of the input. What has no meaning beside
// others is refused: events would say what had happened by chance.
func buildParallel(_ *arguments, input string) (step, error) {
	var all parallel
	for i, text := range strings.Split(input, "\n") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		l, err := parseLine(text, true)
		if err != nil {
			return nil, &inputError{i, err}
		}
		switch l.name {
		case "parallel", "events", "output", "sleep":
			return nil, &inputError{i, fmt.Errorf("expected a directive that is a message, found %q, which can not stand in parallel", l.name)}
		}
		s, err := compile(l, l.rest)
		if err != nil {
			return nil, &inputError{i, err}
		}
		all = append(all, s)
	}
	return all, nil
}
