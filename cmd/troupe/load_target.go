package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/bench/load/containerd"
	"github.com/troupe-run/troupe/bench/load/inprocess"
	"github.com/troupe-run/troupe/cmd/troupe/bundle"
	"github.com/troupe-run/troupe/messages"
)

// loadPath finds true, sleep and head on most systems.
const loadPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// target is what the flags say is loaded, and what ends it.
func (f *loadFlags) target(ctx context.Context, h *host, log *slog.Logger) (load.Target, func() error, error) {
	if f.containerd != "" {
		t, err := containerd.Dial(ctx, containerd.Options{
			Address: f.containerd, Namespace: f.namespace, Runtime: f.runtime, Config: f.config,
			Image: f.image, Snapshotter: f.snapshotter, Prefix: f.options.Prefix,
		})
		if err != nil {
			return nil, nil, err
		}
		return t, t.Close, nil
	}
	network, err := parseNetwork(f.network)
	if err != nil {
		return nil, nil, err
	}
	s, err := h.open(network, log)
	if err != nil {
		return nil, nil, err
	}
	o := inprocess.Options{
		Runtime: s.Runtime,
		Bundle:  func(c load.Container) (string, func(), error) { return f.bundle(c, network) },
		Env:     []string{loadPath},
		Facts: []load.Fact{
			{Name: "troupe", Value: version()},
			{Name: "platform", Value: h.platform},
		},
	}
	if s.dir != "" {
		o.Folders = []string{s.dir}
	}
	t := inprocess.New(o)
	return t, func() error { return errors.Join(t.Close(), s.close()) }, nil
}

// bundle is that of a container whose init sleeps.
func (f *loadFlags) bundle(c load.Container, network bundle.Network) (string, func(), error) {
	dir, err := bundle.Write("", bundle.Config{
		Container: c.ID, Sandbox: messages.SandboxID(c.Sandbox), Rootfs: f.rootfs, Network: network,
		Process: specs.Process{Args: []string{"sleep", "2147483647"}, Cwd: "/", Env: []string{loadPath}},
	})
	return dir, func() { _ = os.RemoveAll(dir) }, err
}
