// Command logger is a logging program as containerd's users write them, with
// containerd's own package for it: the tests build it and name it by binary://.
// It appends each line to the file of its argument "to", after the namespace, the
// process's id and the stream's name.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/containerd/v2/core/runtime/v2/logging"
)

func main() {
	logging.Run(func(_ context.Context, c *logging.Config, ready func() error) error {
		if len(os.Args) != 3 || os.Args[1] != "to" {
			return fmt.Errorf("arguments %q: there must be binary://PATH?to=FILE", os.Args[1:])
		}
		f, err := os.OpenFile(os.Args[2], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := ready(); err != nil {
			return err
		}
		var wait sync.WaitGroup
		for name, r := range map[string]io.Reader{"stdout": c.Stdout, "stderr": c.Stderr} {
			wait.Go(func() {
				lines := bufio.NewScanner(r)
				for lines.Scan() {
					fmt.Fprintf(f, "%s/%s %s: %s\n", c.Namespace, c.ID, name, lines.Text())
				}
			})
		}
		wait.Wait()
		return nil
	})
}
