package main

import (
	"encoding/json"
	"fmt"
	"io"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxStdin bounds what is read from a daemon: options are a few kilobytes.
const maxStdin = 10 << 20

// bootstrap is what a daemon tells "start", whatever its version.
type bootstrap struct {
	// modern: the daemon speaks the bootstrap protocol (containerd 2.3 and
	// later), and understands an answer in it.
	modern bool
	// socketDir is where the daemon wants sockets; empty if it does not say.
	socketDir string
	debug     bool
	// options are the runtime options, or nil.
	options *anypb.Any
}

// readBootstrap reads the stdin of "start".
//
// The two formats can not be told apart by parsing: an Any of options parses
// as bootstrap parameters, since field 1 of both is a string. Only parameters
// that repeat the id and the namespace of the command line are parameters.
func readBootstrap(r io.Reader, inv invocation) (bootstrap, error) {
	b := bootstrap{debug: inv.debug}
	data, err := io.ReadAll(io.LimitReader(r, maxStdin+1))
	if err != nil {
		return b, fmt.Errorf("read bootstrap parameters from stdin: %w", err)
	}
	if len(data) > maxStdin {
		return b, fmt.Errorf("read bootstrap parameters from stdin: more than %d bytes", maxStdin)
	}
	if len(data) == 0 {
		return b, nil
	}
	var params bootapi.BootstrapParams
	if err := proto.Unmarshal(data, &params); err == nil && params.InstanceID == inv.id && params.Namespace == inv.namespace {
		b.modern = true
		b.socketDir = params.GetSocketDir()
		b.debug = b.debug || params.LogLevel <= bootapi.LogLevel_LOG_LEVEL_DEBUG
		for _, e := range params.Extensions {
			if isOptionsType(e.GetValue().GetTypeUrl()) {
				b.options = e.GetValue()
			}
		}
		return b, nil
	}
	var options anypb.Any
	if err := proto.Unmarshal(data, &options); err != nil {
		return b, fmt.Errorf("stdin holds neither bootstrap parameters of %s nor runtime options: %w", inv.id, err)
	}
	b.options = &options
	return b, nil
}

// writeAnswer tells the daemon where the shim of its container listens.
//
// A daemon that takes part in the bootstrap protocol gets version 3: it
// connects the other containers of a pod to the same shim by itself. An older
// one gets version 2, the newest that containerd 1.7 takes, and runs "start"
// for each container.
func (b bootstrap) writeAnswer(w io.Writer, address string, version int) error {
	var data []byte
	var err error
	if b.modern {
		data, err = proto.Marshal(&bootapi.BootstrapResult{Version: int32(version), Address: address, Protocol: "ttrpc"})
	} else {
		data, err = json.Marshal(struct {
			Version  int    `json:"version"`
			Address  string `json:"address"`
			Protocol string `json:"protocol"`
		}{2, address, "ttrpc"})
	}
	if err != nil {
		return fmt.Errorf("encode the shim's address: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("tell the shim's address: %w", err)
	}
	return nil
}
