package actors_test

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

// A program embeds the runtime: it makes one on a driver, and asks. With real
// sandboxes the driver is that of package runsc; here it is one without a host.
func Example_embed() {
	if err := embed(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// created demo
	// started demo
	// hello from the sandbox
	// demo/greet has exited with status 3
	// demo is stopped with status 137
	// ContainerCreated demo
	// ContainerStarted demo
	// ExecAdded demo/greet
	// ExecStarted demo/greet
	// ProcessExited demo/greet
	// ProcessDeleted demo/greet
	// ProcessExited demo
	// ProcessDeleted demo
}

func embed() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	rt, err := actors.New(actors.Options{Driver: fake.New()})
	if err != nil {
		return err
	}
	events := rt.Subscribe(0)

	// A container in a sandbox of its own. Its bundle says what its init runs.
	created, err := actors.Ask(ctx, rt, messages.Create{Container: "demo", Bundle: "/run/bundles/demo"})
	if err != nil {
		return err
	}
	fmt.Println("created", created.Container)
	demo := messages.Init("demo")
	if _, err := actors.Ask(ctx, rt, messages.Start{Process: demo}); err != nil {
		return err
	}
	fmt.Println("started", demo)

	// A process in it, whose output comes to this program.
	greet := messages.Process{Container: "demo", Exec: "greet"}
	exec := messages.Exec{Process: greet}
	exec.Spec.Args = []string{"sh", "-c", "echo hello from the $PLACE; exit 3"}
	exec.Spec.Env = []string{"PLACE=sandbox"}
	exec.Spec.Cwd = "/"
	exec.Stdio.Pipes.Stdout = os.Stdout
	if _, err := actors.Ask(ctx, rt, exec); err != nil {
		return err
	}
	if _, err := actors.Ask(ctx, rt, messages.Start{Process: greet}); err != nil {
		return err
	}
	exited, err := actors.Ask(ctx, rt, messages.Wait{Process: greet})
	if err != nil {
		return err
	}
	fmt.Println(exited.Process, "has exited with status", exited.Exit.Status)
	if _, err := actors.Ask(ctx, rt, messages.Delete{Process: greet}); err != nil {
		return err
	}

	// Its end. Shutdown would do the same to whatever is left.
	if _, err := actors.Ask(ctx, rt, messages.Kill{Process: demo, Signal: syscall.SIGKILL}); err != nil {
		return err
	}
	if _, err := actors.Ask(ctx, rt, messages.Wait{Process: demo}); err != nil {
		return err
	}
	state, err := actors.Ask(ctx, rt, messages.State{Process: demo})
	if err != nil {
		return err
	}
	fmt.Println(state.Process, "is", state.Status, "with status", state.Exit.Status)
	if _, err := actors.Ask(ctx, rt, messages.Delete{Process: demo}); err != nil {
		return err
	}
	if err := rt.Shutdown(ctx); err != nil {
		return err
	}

	// What happened, in order. The channel is closed: the runtime has ended.
	for e := range events.Events() {
		switch e := e.(type) {
		case messages.ContainerCreated:
			fmt.Println("ContainerCreated", e.Container)
		case messages.ContainerStarted:
			fmt.Println("ContainerStarted", e.Container)
		case messages.ExecAdded:
			fmt.Println("ExecAdded", e.Process)
		case messages.ExecStarted:
			fmt.Println("ExecStarted", e.Process)
		case messages.ProcessExited:
			fmt.Println("ProcessExited", e.Process)
		case messages.ProcessDeleted:
			fmt.Println("ProcessDeleted", e.Process)
		}
	}
	return nil
}
