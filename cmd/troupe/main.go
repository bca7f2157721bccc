// Troupe runs commands in gVisor sandboxes.
//
//	troupe run [flags] [--] CMD [ARG...]   a command in a new sandbox
//	troupe play FILE...                    scripts of messages
//	troupe doctor                          what this machine offers
//	troupe version
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
