package messages

import (
	"fmt"
	"path/filepath"
)

// invalid is an InvalidArgument error of a command.
func invalid(c AnyCommand, why, hint string) error {
	return &Error{Kind: InvalidArgument, Op: c.Verb(), Process: c.Target(), Err: Text(why), Hint: hint}
}

// containerOnly checks a command that is for a container and not for an exec.
func containerOnly(c AnyCommand) error { return c.Target().Container.Validate() }

// Validate checks ids and that the bundle is an absolute path.
func (c Create) Validate() error {
	if err := containerOnly(c); err != nil {
		return err
	}
	if c.Sandbox != "" {
		if err := c.Sandbox.Validate(); err != nil {
			return err
		}
	}
	if !filepath.IsAbs(c.Bundle) {
		return invalid(c, fmt.Sprintf("bundle %q is not an absolute path", c.Bundle), "name the folder that holds config.json")
	}
	if c.RestoreFrom != "" && !filepath.IsAbs(c.RestoreFrom) {
		return invalid(c, fmt.Sprintf("checkpoint %q is not an absolute path", c.RestoreFrom), "name the folder that Checkpoint wrote")
	}
	if c.UserLog != "" && !filepath.IsAbs(c.UserLog) {
		return invalid(c, fmt.Sprintf("user log %q is not an absolute path", c.UserLog), "name a file to write to")
	}
	return c.Stdio.validate(c)
}

// Validate checks ids, that there is a command to run, and that its working
// directory is absolute (runtime-spec, config.md, process.cwd).
func (c Exec) Validate() error {
	if err := c.Process.Container.Validate(); err != nil {
		return err
	}
	if err := c.Process.Exec.Validate(); err != nil {
		return err
	}
	if len(c.Spec.Args) == 0 || c.Spec.Args[0] == "" {
		return invalid(c, "there is no command", "set args of the process")
	}
	if !filepath.IsAbs(c.Spec.Cwd) {
		return invalid(c, fmt.Sprintf("cwd %q is not an absolute path", c.Spec.Cwd), "use a path of the container, such as /")
	}
	if c.Spec.Terminal != c.Stdio.Terminal {
		return invalid(c, "spec and stdio disagree about the terminal", "set terminal in both or in none")
	}
	return c.Stdio.validate(c)
}

func (s Stdio) validate(c AnyCommand) error {
	if s.Terminal && (s.Stderr != "" || s.Pipes.Stderr != nil) {
		return invalid(c, "a terminal has no stderr of its own", "leave stderr empty")
	}
	return nil
}

// Validate checks ids and the signal: 1 to 64 (signal(7)).
func (c Kill) Validate() error {
	if err := c.Process.Validate(); err != nil {
		return err
	}
	if c.Signal < 1 || c.Signal > 64 {
		return invalid(c, fmt.Sprintf("there is no signal %d", int(c.Signal)), "use 1 to 64")
	}
	if c.All && !c.Process.IsInit() {
		return invalid(c, "only a container's processes can all be killed", "name the container, or leave out all")
	}
	return nil
}

// Validate checks ids and that there are resources.
func (c Update) Validate() error {
	if err := containerOnly(c); err != nil {
		return err
	}
	if c.Resources == nil {
		return invalid(c, "there are no resources", "set at least one limit")
	}
	return nil
}

// Validate checks ids and that the image path is absolute.
func (c Checkpoint) Validate() error {
	if err := containerOnly(c); err != nil {
		return err
	}
	if !filepath.IsAbs(c.ImagePath) {
		return invalid(c, fmt.Sprintf("image path %q is not an absolute path", c.ImagePath), "name a folder to write to")
	}
	return nil
}

func (c Start) Validate() error   { return c.Process.Validate() }
func (c Resize) Validate() error  { return c.Process.Validate() }
func (c CloseIO) Validate() error { return c.Process.Validate() }
func (c State) Validate() error   { return c.Process.Validate() }
func (c Wait) Validate() error    { return c.Process.Validate() }
func (c Delete) Validate() error  { return c.Process.Validate() }
func (c Pause) Validate() error   { return containerOnly(c) }
func (c Resume) Validate() error  { return containerOnly(c) }
func (c Pids) Validate() error    { return containerOnly(c) }
func (c Stats) Validate() error   { return containerOnly(c) }
func (c Connect) Validate() error { return containerOnly(c) }
func (Info) Validate() error      { return nil }
func (Shutdown) Validate() error  { return nil }
