package daemontest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// podsAtOnce is how many pods exist at a time.
	podsAtOnce = 6
	// fewPods are run with the daemon that is not the newest.
	fewPods = 20
)

// TestHundredPods makes, runs and removes a hundred pods by CRI, each with a
// network and a container that tells its number. Nothing may be left of them.
// What is left of the network is CNI's and containerd's to remove; it is looked
// at because a shim or sandbox that stays holds it.
func TestHundredPods(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		pods := 100
		if d.name != flavours[0].name {
			pods = fewPods
		}
		testPods(t, d, pods)
	})
}

func testPods(t *testing.T, d *daemon, pods int) {
	conn, err := grpc.NewClient("unix://"+d.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close()
	client := cri.NewRuntimeServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()

	must(t, d.runNumberedPod(ctx, client, 0)) // makes the folders that stay
	before := traces(t, d)

	var wait sync.WaitGroup
	numbers := make(chan int)
	for range podsAtOnce {
		wait.Go(func() {
			for i := range numbers {
				if err := d.runNumberedPod(ctx, client, i); err != nil {
					t.Errorf("pod %d: %v", i, err)
				}
			}
		})
	}
	for i := 1; i <= pods; i++ {
		numbers <- i
	}
	close(numbers)
	wait.Wait()

	eventually(t, "nothing is left", func() error {
		after := traces(t, d)
		for what, n := range after {
			if n > before[what] {
				return fmt.Errorf("%s: %d, before %d", what, n, before[what])
			}
		}
		return nil
	})
	// Processes, sockets, mounts and cgroups: checkClean, after the test.
}

// runNumberedPod is one pod's life. The container's status is the pod's number.
func (d *daemon) runNumberedPod(ctx context.Context, c cri.RuntimeServiceClient, number int) (err error) {
	name := fmt.Sprintf("pod%d", number)
	config := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name},
		Hostname:     name,
		LogDirectory: filepath.Join("/var/log/pods", name),
		Linux:        &cri.LinuxPodSandboxConfig{CgroupParent: "/" + filepath.Base(d.Dir) + "/" + name},
	}
	if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
		return err
	}
	run, err := c.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: "troupe"})
	if err != nil {
		return err
	}
	defer func() {
		_, stopErr := c.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: run.PodSandboxId})
		_, removeErr := c.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: run.PodSandboxId})
		err = errors.Join(err, stopErr, removeErr)
	}()
	created, err := c.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: run.PodSandboxId,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "tells"},
			Image:    &cri.ImageSpec{Image: busyboxImage},
			Command:  []string{"/bin/sh", "-c", fmt.Sprintf("exit %d", number)},
			LogPath:  "tells.log",
			Linux:    &cri.LinuxContainerConfig{},
		},
		SandboxConfig: config,
	})
	if err != nil {
		return err
	}
	if _, err := c.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		return err
	}
	for {
		s, err := c.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: created.ContainerId})
		if err != nil {
			return err
		}
		if s.Status.State == cri.ContainerState_CONTAINER_EXITED {
			if s.Status.ExitCode != int32(number) {
				return fmt.Errorf("exited with %d", s.Status.ExitCode)
			}
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// traces counts what a pod makes on the host.
func traces(t *testing.T, d *daemon) map[string]int {
	t.Helper()
	counts := map[string]int{"files below /run/containerd": files("/run/containerd"), "files of containerd's state": files(d.Dir + "/state")}
	for what, pattern := range map[string]string{
		"network namespaces": "/run/netns/*",
		"network interfaces": "/sys/class/net/*",
		"addresses":          "/var/lib/cni/networks/*/10.*",
		"runsc's files":      d.Dir + "/runsc/*/*",
		"sockets":            d.Dir + "/s/*",
	} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		counts[what] = len(found)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for _, b := range mounts {
		if b == '\n' {
			counts["mounts"]++
		}
	}
	counts["processes"] = len(processes(t))
	return counts
}

// files counts what is below a folder.
func files(root string) (n int) {
	filepath.WalkDir(root, func(string, os.DirEntry, error) error { n++; return nil })
	return n
}
