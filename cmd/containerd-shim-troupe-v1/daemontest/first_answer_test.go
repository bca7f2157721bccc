package daemontest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const answerRounds = 5

// firstAnswer is the median time from a shim's "start" to its first answered
// call, made by hand as containerd makes it: a State of a container that does
// not exist, which every shim answers from its own knowledge.
func firstAnswer(ctx context.Context, d *daemon, shim string) (time.Duration, error) {
	var took []time.Duration
	for i := range answerRounds {
		t, err := answerOnce(ctx, d, shim, fmt.Sprintf("probe-%d", i))
		if err != nil {
			return 0, err
		}
		took = append(took, t)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func answerOnce(ctx context.Context, d *daemon, shim, id string) (time.Duration, error) {
	bundle := filepath.Join(d.Dir, "probes", filepath.Base(shim), id)
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		return 0, err
	}
	spec := `{"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri.container-type":"sandbox"}}`
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(spec), 0o600); err != nil {
		return 0, err
	}
	// gVisor's shim is built with a containerd from before the bootstrap
	// protocol, and takes what is on its stdin for options.
	modern := !strings.Contains(shim, "runsc")
	cmd := exec.CommandContext(ctx, shim, "-namespace", namespace, "-id", id, "-address", d.Address,
		"-publish-binary", filepath.Join(d.bin, d.folder, "containerd"), "start")
	cmd.Dir = bundle
	cmd.Env = append(os.Environ(), "TTRPC_ADDRESS="+d.TTRPC, "GRPC_ADDRESS="+d.Address, "GOMAXPROCS=2")
	if modern {
		params, err := proto.Marshal(&bootapi.BootstrapParams{InstanceID: id, Namespace: namespace, ContainerdGrpcAddress: d.Address, ContainerdTtrpcAddress: d.TTRPC})
		if err != nil {
			return 0, err
		}
		cmd.Stdin = bytes.NewReader(params)
	}
	begun := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s start: %w", shim, err)
	}
	socket := strings.TrimPrefix(addressIn(out, modern), "unix://")
	// A shim whose daemon does not run "delete" leaves its socket.
	defer os.Remove(socket)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 0, fmt.Errorf("%s answered %q: %w", shim, out, err)
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	if modern {
		task := taskv3.NewTTRPCTaskClient(client)
		_, err = task.State(ctx, &taskv3.StateRequest{ID: id})
		took := time.Since(begun)
		_, _ = task.Shutdown(ctx, &taskv3.ShutdownRequest{ID: id, Now: true})
		return took, answered(err)
	}
	task := taskv2.NewTTRPCTaskClient(client)
	_, err = task.State(ctx, &taskv2.StateRequest{ID: id})
	took := time.Since(begun)
	_, _ = task.Shutdown(ctx, &taskv2.ShutdownRequest{ID: id, Now: true})
	return took, answered(err)
}

// answered is nil for an error that is the shim's answer.
func answered(err error) error {
	switch grpcstatus.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return err
	}
	return nil
}

// addressIn reads the answer of "start": bootstrap result, JSON, or the address.
func addressIn(out []byte, modern bool) string {
	var result bootapi.BootstrapResult
	if modern && proto.Unmarshal(out, &result) == nil {
		return result.Address
	}
	var params struct{ Address string }
	if json.Unmarshal(out, &params) == nil {
		return params.Address
	}
	return strings.TrimSpace(string(out))
}
