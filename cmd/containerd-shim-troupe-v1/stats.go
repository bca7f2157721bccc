package main

import (
	"fmt"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/troupe-run/troupe/messages"
)

// metrics is usage as containerd expects it: in the form of the host's cgroup
// version, whichever the sandbox itself uses. Every part is set, since
// containerd's CRI reads parts without looking whether they are there.
func metrics(u messages.Usage, unified bool) (*anypb.Any, error) {
	if unified {
		return asAny(&v2.Metrics{
			Pids: &v2.PidsStat{Current: u.PIDs.Current, Limit: u.PIDs.Limit},
			CPU: &v2.CPUStat{
				// Version 2 counts in microseconds (cgroup-v2.rst, cpu.stat).
				UsageUsec:  u.CPU.Total / 1000,
				UserUsec:   u.CPU.User / 1000,
				SystemUsec: u.CPU.System / 1000,
			},
			Memory: &v2.MemoryStat{
				Usage:      u.Memory.Current,
				UsageLimit: u.Memory.Limit,
				MaxUsage:   u.Memory.Max,
				File:       u.Memory.Cache,
			},
			MemoryEvents: &v2.MemoryEvents{},
			Io:           &v2.IOStat{},
		})
	}
	return asAny(&v1.Metrics{
		Pids: &v1.PidsStat{Current: u.PIDs.Current, Limit: u.PIDs.Limit},
		CPU: &v1.CPUStat{
			Usage:      &v1.CPUUsage{Total: u.CPU.Total, User: u.CPU.User, Kernel: u.CPU.System},
			Throttling: &v1.Throttle{},
		},
		Memory: &v1.MemoryStat{
			Cache:      u.Memory.Cache,
			TotalCache: u.Memory.Cache,
			Usage:      &v1.MemoryEntry{Usage: u.Memory.Current, Max: u.Memory.Max, Limit: u.Memory.Limit},
			Swap:       &v1.MemoryEntry{},
			Kernel:     &v1.MemoryEntry{},
			KernelTCP:  &v1.MemoryEntry{},
		},
		Blkio: &v1.BlkIOStat{},
	})
}

// asAny packs a message as containerd does: its type URL is the bare name,
// where anypb would put a host in front.
func asAny(m proto.Message) (*anypb.Any, error) {
	data, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return &anypb.Any{TypeUrl: string(m.ProtoReflect().Descriptor().FullName()), Value: data}, nil
}
