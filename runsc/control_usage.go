package runsc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/troupe-run/troupe/messages"
)

// Usage tells what a container uses, as `runsc events --stats` does. It is
// NotFound for one that the sandbox does not know.
func (c *controlClient) Usage(ctx context.Context, container messages.ContainerID) (messages.Usage, error) {
	event, err := c.event(ctx, container)
	if err != nil {
		return messages.Usage{}, controlError("measure", messages.Init(container), err)
	}
	var host uint64
	if c.sandbox.ownCgroup() {
		// Without it there is the sentry's own count, which is less exact.
		host, _ = cgroupCPU("/", c.sandbox.PID)
	}
	return usageOf(event, string(container), host), nil
}

func (c *controlClient) event(ctx context.Context, container messages.ContainerID) (eventOut, error) {
	raw, err := c.do(ctx, controlCall{method: methodEvent, arg: string(container), limit: maxStatsReply}, c.deadline(ctx))
	if err != nil {
		return eventOut{}, err
	}
	return decodeResult[eventOut](raw)
}

// usageOf divides the CPU time of the sandbox's cgroup on the host, which has
// the sentry's own work in it, among the containers as the sentry has counted
// them (runsc/container/container.go, populateStats). Where host is zero the
// sentry's count stands as it is.
func usageOf(event eventOut, container string, host uint64) messages.Usage {
	data := event.Event.Data
	own, all := event.ContainerUsage[container], uint64(0)
	for _, usage := range event.ContainerUsage {
		all += usage
	}
	total := own
	switch n := uint64(len(event.ContainerUsage)); {
	case host == 0 || n == 0:
	case all == 0:
		total = host / n
	default:
		// The product does not fit 64 bits after a few seconds.
		total = uint64(float64(own) * (float64(host) / float64(all)))
	}
	return messages.Usage{
		CPU: messages.CPUUsage{Total: total, User: data.CPU.Usage.User, System: data.CPU.Usage.Kernel},
		Memory: messages.MemoryUsage{
			Current: data.Memory.Usage.Usage,
			Max:     data.Memory.Usage.Max,
			Limit:   data.Memory.Usage.Limit,
			Cache:   data.Memory.Cache,
		},
		PIDs: messages.PIDUsage{Current: data.Pids.Current, Limit: data.Pids.Limit},
	}
}

// cgroupCPU is the CPU time of a process's cgroup in nanoseconds, below root
// (cgroups(7), /proc/PID/cgroup).
func cgroupCPU(root string, pid int) (uint64, error) {
	membership, err := os.ReadFile(filepath.Join(root, "proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return 0, err
	}
	var unified string
	for _, line := range strings.Split(strings.TrimSpace(string(membership)), "\n") {
		// hierarchy-ID:controller-list:cgroup-path
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			return 0, fmt.Errorf("process %d: cgroup %q can not be read", pid, line)
		}
		if fields[1] == "" {
			unified = fields[2]
			continue
		}
		for _, controller := range strings.Split(fields[1], ",") {
			if controller == "cpuacct" {
				text, err := os.ReadFile(filepath.Join(root, "sys/fs/cgroup/cpuacct", fields[2], "cpuacct.usage"))
				if err != nil {
					return 0, err
				}
				return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "sys/fs/cgroup", unified, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if usec, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(usec), 10, 64)
			return n * 1000, err
		}
	}
	return 0, fmt.Errorf("process %d: its cgroup counts no CPU time", pid)
}
