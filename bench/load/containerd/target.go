// Package containerd puts load on any runtime of a containerd.
//
// It speaks containerd's API and nothing more, because containerd's own client
// brings two hundred modules that nothing else here needs. What it leaves out:
// images must be there and unpacked, as "ctr images import" or "ctr images
// pull" leaves them.
package containerd

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/services/version/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/messages"
)

// namespaceHeader carries the namespace of a call (containerd, pkg/namespaces).
const namespaceHeader = "containerd-namespace"

// deleteTimeout bounds the removal of what a failed create leaves.
const deleteTimeout = 10 * time.Second

// Options say what is loaded.
type Options struct {
	// Address is the path of containerd's socket.
	Address   string
	Namespace string
	// Runtime is a name as containerd knows it: "io.containerd.runc.v2".
	Runtime string
	// Config is a configuration file for the runtime, as shims of gVisor take
	// one. Empty: none.
	Config string
	// Image has true, sleep and head on its PATH, and is unpacked.
	Image       string
	Snapshotter string
	// Prefix of the ids of containers, by which their events and shims are told
	// from others. Empty: "load".
	Prefix string
}

// Target is a containerd.
type Target struct {
	options    Options
	connection *grpc.ClientConn
	tasks      tasks.TasksClient
	containers containers.ContainersClient
	snapshots  snapshots.SnapshotsClient
	// parent is the image's snapshot, and env its environment.
	parent string
	env    []string
	// folder holds the FIFOs of streams.
	folder string

	mu      sync.Mutex
	streams map[messages.Process]*stream
}

var _ load.Target = (*Target)(nil)

// Dial connects and looks up the image.
func Dial(ctx context.Context, o Options) (*Target, error) {
	if o.Prefix == "" {
		o.Prefix = "load"
	}
	fail := func(err error, hint string) error {
		return &messages.Error{Kind: messages.KindOf(err), Op: "connect to containerd at " + o.Address, Err: err, Hint: hint}
	}
	if _, err := os.Stat(o.Address); err != nil {
		return nil, fail(err, "name the socket of a containerd that runs")
	}
	connection, err := grpc.NewClient("passthrough:///"+o.Address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", address)
		}))
	if err != nil {
		return nil, fail(err, "")
	}
	t := &Target{
		options: o, connection: connection,
		tasks:      tasks.NewTasksClient(connection),
		containers: containers.NewContainersClient(connection),
		snapshots:  snapshots.NewSnapshotsClient(connection),
		streams:    map[messages.Process]*stream{},
	}
	i := imageReader{images: images.NewImagesClient(connection), content: content.NewContentClient(connection)}
	if t.parent, t.env, err = i.unpacked(t.in(ctx), o.Image); err == nil {
		err = t.checkSnapshot(ctx)
	}
	if err == nil {
		t.folder, err = os.MkdirTemp("", "load-fifos-")
	}
	if err != nil {
		_ = connection.Close()
		return nil, fail(err, fmt.Sprintf("\"ctr -n %s images ls\" lists what is there, \"ctr images import\" unpacks one", o.Namespace))
	}
	return t, nil
}

func (t *Target) checkSnapshot(ctx context.Context) error {
	_, err := t.snapshots.Stat(t.in(ctx), &snapshots.StatSnapshotRequest{Snapshotter: t.options.Snapshotter, Key: t.parent})
	if err != nil {
		return fmt.Errorf("image %s is not unpacked in %s: %w", t.options.Image, t.options.Snapshotter, kindOf(err))
	}
	return nil
}

// in is ctx with the namespace.
func (t *Target) in(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, namespaceHeader, t.options.Namespace)
}

// Describe asks containerd for its version.
func (t *Target) Describe(ctx context.Context) (load.Description, error) {
	v, err := version.NewVersionClient(t.connection).Version(ctx, &emptypb.Empty{})
	if err != nil {
		return load.Description{}, kindOf(err)
	}
	return load.Description{Name: t.options.Runtime, Facts: []load.Fact{
		{Name: "containerd", Value: v.Version},
		{Name: "image", Value: t.options.Image},
		{Name: "snapshots", Value: t.options.Snapshotter},
	}}, nil
}

// Create makes the container, its snapshot and its task.
func (t *Target) Create(ctx context.Context, c load.Container) error {
	ctx = t.in(ctx)
	record, err := t.record(c)
	if err != nil {
		return err
	}
	// The record comes first: it keeps the snapshot from containerd's garbage
	// collector.
	if _, err := t.containers.Create(ctx, &containers.CreateContainerRequest{Container: record}); err != nil {
		return about("create container", messages.Init(c.ID), err)
	}
	id := string(c.ID)
	prepared, err := t.snapshots.Prepare(ctx, &snapshots.PrepareSnapshotRequest{Snapshotter: t.options.Snapshotter, Key: id, Parent: t.parent})
	if err == nil {
		_, err = t.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: id, Rootfs: prepared.Mounts})
	}
	if err != nil {
		cleanCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
		defer cancel()
		_ = t.forget(cleanCtx, id)
		return about("create task of", messages.Init(c.ID), err)
	}
	return nil
}

// forget removes a container's snapshot and record.
func (t *Target) forget(ctx context.Context, id string) error {
	_, snapshotErr := t.snapshots.Remove(ctx, &snapshots.RemoveSnapshotRequest{Snapshotter: t.options.Snapshotter, Key: id})
	_, err := t.containers.Delete(ctx, &containers.DeleteContainerRequest{ID: id})
	if err == nil {
		err = snapshotErr
	}
	return err
}

// Add registers an exec.
func (t *Target) Add(ctx context.Context, e load.Exec) error {
	spec, err := t.processSpec(e)
	if err != nil {
		return err
	}
	request := &tasks.ExecProcessRequest{
		ContainerID: string(e.Process.Container), ExecID: string(e.Process.Exec), Terminal: e.Terminal, Spec: spec,
	}
	if e.Stdout != nil {
		s, err := openStream(t.folder, e)
		if err != nil {
			return about("make the FIFO of", e.Process, err)
		}
		request.Stdout = s.path
		t.mu.Lock()
		t.streams[e.Process] = s
		t.mu.Unlock()
	}
	if _, err := t.tasks.Exec(t.in(ctx), request); err != nil {
		t.endStream(e.Process)
		return about("add exec", e.Process, err)
	}
	return nil
}

// endStream reads what is left of a process's output.
func (t *Target) endStream(p messages.Process) {
	t.mu.Lock()
	s := t.streams[p]
	delete(t.streams, p)
	t.mu.Unlock()
	if s != nil {
		s.end()
	}
}

// Start starts a process.
func (t *Target) Start(ctx context.Context, p messages.Process) error {
	_, err := t.tasks.Start(t.in(ctx), &tasks.StartRequest{ContainerID: string(p.Container), ExecID: string(p.Exec)})
	return about("start", p, err)
}

// Wait is answered by a process's exit.
func (t *Target) Wait(ctx context.Context, p messages.Process) (messages.Exit, error) {
	r, err := t.tasks.Wait(t.in(ctx), &tasks.WaitRequest{ContainerID: string(p.Container), ExecID: string(p.Exec)})
	if err != nil {
		return messages.Exit{}, about("wait for", p, err)
	}
	return messages.Exit{Status: int(r.ExitStatus), At: r.ExitedAt.AsTime()}, nil
}

// Kill sends a signal.
func (t *Target) Kill(ctx context.Context, p messages.Process, signal syscall.Signal) error {
	_, err := t.tasks.Kill(t.in(ctx), &tasks.KillRequest{ContainerID: string(p.Container), ExecID: string(p.Exec), Signal: uint32(signal)})
	return about("kill", p, err)
}

// Delete releases a process; of an init, the container with it.
func (t *Target) Delete(ctx context.Context, p messages.Process) error {
	ctx = t.in(ctx)
	if !p.IsInit() {
		_, err := t.tasks.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: string(p.Container), ExecID: string(p.Exec)})
		if err := about("delete", p, err); err != nil {
			if messages.KindOf(err) == messages.NotFound {
				t.endStream(p)
			}
			return err
		}
		t.endStream(p)
		return nil
	}
	if _, err := t.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: string(p.Container)}); err != nil {
		return about("delete", p, err)
	}
	return about("delete", p, t.forget(ctx, string(p.Container)))
}

// Events are those of the load's own containers.
func (t *Target) Events(ctx context.Context) (<-chan messages.Event, error) {
	return subscribe(ctx, events.NewEventsClient(t.connection), t.options.Namespace, t.options.Prefix)
}

// Roots are the shims of the load's containers.
func (t *Target) Roots() []int { return shims(t.options.Namespace, t.options.Prefix) }

// Folders are none: the shims' are containerd's.
func (*Target) Folders() []string { return nil }

// Close ends the connection.
func (t *Target) Close() error {
	err := t.connection.Close()
	if removeErr := os.RemoveAll(t.folder); err == nil {
		err = removeErr
	}
	return err
}

// Prefix of the ids of the load's containers.
func (t *Target) Prefix() string { return t.options.Prefix }
