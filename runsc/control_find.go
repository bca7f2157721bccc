package runsc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// A containerRecord is what runsc wrote about a container into its root folder
// (runsc/container/container.go, Container), as far as it is used.
type containerRecord struct {
	ID     string      `json:"id"`
	Spec   *specs.Spec `json:"spec"`
	Status string      `json:"status"`

	Sandbox *sandboxRecord `json:"sandbox"`
}

// A sandboxRecord is the container's sandbox (runsc/sandbox/sandbox.go, Sandbox).
type sandboxRecord struct {
	ID string `json:"id"`
	// PID is the sandbox's process on the host; 0 once it has been seen dead.
	PID int `json:"pid"`
	// UID and GID are whom the sandbox's process runs as.
	UID               int               `json:"uid"`
	GID               int               `json:"gid"`
	ControlSocketPath string            `json:"controlSocketPath"`
	MetricMetadata    map[string]string `json:"metricMetadata"`
	// Cgroup has one key, named after the kind of cgroup that runsc made for
	// the sandbox; "cgroupunknown" if it made none.
	Cgroup map[string]json.RawMessage `json:"cgroup"`
}

// version is the version that the sandbox's runsc tells of itself. There is
// none in the records of a runsc from before 2024.
func (s *sandboxRecord) version() string { return s.MetricMetadata["version"] }

// ownCgroup tells whether the sandbox has a cgroup to itself.
func (s *sandboxRecord) ownCgroup() bool {
	for _, kind := range []string{"cgroupv1", "cgroupv2", "cgroupsystemd"} {
		if _, ok := s.Cgroup[kind]; ok {
			return true
		}
	}
	return false
}

const (
	// maxRecord bounds a state file. The spec makes up most of it.
	maxRecord = 16 << 20
	// runsc writes the file in place (state_file.go, SaveLocked), so that who
	// reads at that moment sees the beginning of it. Its lock would keep
	// readers out, but runsc also holds it while it starts a container.
	// A writer that has to wait for a processor takes its time.
	tornReads     = 250
	tornReadPause = 2 * time.Millisecond
)

// findRecord is the path of a container's state file in runsc's root folder.
// Its name tells the sandbox too (state_file.go, buildPath).
func findRecord(root, container string) (string, error) {
	// The container that its sandbox is named after is the common case.
	path := filepath.Join(root, fmt.Sprintf("%s_sandbox:%s.state", container, container))
	if _, err := os.Lstat(path); err == nil {
		return path, nil
	}
	dir, err := os.Open(root)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if strings.HasPrefix(name, container+"_sandbox:") && strings.HasSuffix(name, ".state") {
			return filepath.Join(root, name), nil
		}
	}
	return "", &fs.PathError{Op: "find", Path: filepath.Join(root, container+"_sandbox:*.state"), Err: fs.ErrNotExist}
}

// readRecord reads a state file.
func readRecord(path string) (*containerRecord, fs.FileInfo, error) {
	for try := 1; ; try++ {
		record, info, err := readRecordOnce(path)
		var syntax *json.SyntaxError
		torn := errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF)
		if err == nil || !torn || try == tornReads {
			return record, info, err
		}
		time.Sleep(tornReadPause)
	}
}

func readRecordOnce(path string) (*containerRecord, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	// The time is taken before the contents, so that what is written in
	// between makes the file look changed the next time.
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	switch {
	case err != nil:
		return nil, nil, err
	case len(data) > maxRecord:
		return nil, nil, fmt.Errorf("read %s: it has more than %d bytes", path, maxRecord)
	case len(data) == 0:
		return nil, nil, fmt.Errorf("read %s: %w", path, io.ErrUnexpectedEOF)
	}
	record := new(containerRecord)
	if err := json.Unmarshal(data, record); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	switch {
	case record.ID == "":
		return nil, nil, fmt.Errorf("read %s: it names no container", path)
	case record.Spec == nil || record.Spec.Process == nil:
		return nil, nil, fmt.Errorf("read %s: it has no spec of the container's process", path)
	}
	return record, info, nil
}

// openSocket opens the sandbox's control socket, as a file that only names it:
// whatever later happens to the path, it is this sandbox's socket. It is
// connected to as /proc/self/fd/N, which also makes paths fit that are longer
// than the 107 bytes of an address (unix(7)).
func openSocket(root string, s *sandboxRecord) (*os.File, error) {
	if s.ControlSocketPath == "" {
		return nil, fmt.Errorf("%w: the state file names none: this runsc is from before 2024", errNotConnected)
	}
	// The root folder can be mounted elsewhere than when the sandbox was made.
	paths := []string{s.ControlSocketPath, filepath.Join(root, "runsc-"+s.ID+".sock")}
	var errs []error
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			errs = append(errs, &fs.PathError{Op: "open", Path: path, Err: err})
			continue
		}
		f := os.NewFile(uintptr(fd), path)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			return f, nil
		}
		f.Close()
		errs = append(errs, fmt.Errorf("%s is not a socket", path))
	}
	return nil, fmt.Errorf("%w: %w", errNotConnected, errors.Join(errs...))
}

// recordError dresses an error of a state file.
func recordError(op string, container messages.ContainerID, err error) error {
	e := &messages.Error{Op: op, Process: messages.Init(container), Err: err}
	e.Hint, e.Kind = kindOfHost(err)
	if errors.Is(err, fs.ErrNotExist) {
		e.Kind = messages.NotFound
		e.Hint = "check the container's id and runsc's root folder"
	}
	return e
}
