package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// defaultSocketDir is where containerd's own shims have their sockets
	// (pkg/shim, SocketAddress) where the daemon does not say.
	defaultSocketDir = "/run/containerd/s"
	// maxSocketPath is sun_path of unix(7) without its closing zero byte and
	// the byte that containerd leaves free.
	maxSocketPath = 106
	unixScheme    = "unix://"
)

// socketPath is the path of the socket of a group's shim, by containerd's rule:
// daemon, namespace and group, hashed, since they do not fit into a path.
func socketPath(dir, daemon, namespace, group string) string {
	sum := sha256.Sum256([]byte(filepath.Join(daemon, namespace, group)))
	return filepath.Join(dir, fmt.Sprintf("%x", sum))
}

// listenOrFind listens on path, or tells that a shim already answers there.
// The socket of a shim that is gone is replaced.
//
// The folder is locked meanwhile: two starts of one group at the same time
// must not each take the other's socket, bound and not yet listening, for one
// that is left over.
func listenOrFind(path string) (l *net.UnixListener, found bool, err error) {
	if len(path) > maxSocketPath {
		return nil, false, fmt.Errorf("socket path %s has %d bytes and may have %d: set a shorter socket_dir in containerd's configuration", path, len(path), maxSocketPath)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, fmt.Errorf("make the folder of the shim's socket: %w", err)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, false, err
	}
	defer unlock()

	l, err = listen(path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, false, err
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, true, nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, fmt.Errorf("remove the socket of a shim that is gone: %w", err)
	}
	l, err = listen(path)
	return l, false, err
}

func listen(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on the shim's socket: %w", err)
	}
	// The shim inherits the socket; this process closes its copy.
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		os.Remove(path)
		return nil, fmt.Errorf("make the shim's socket private: %w", err)
	}
	return l, nil
}

// lockDir takes the lock of a folder until unlock.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of the shim's socket: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// pathOfAddress is the path in a daemon's address: "unix:///run/x.sock" or
// "/run/x.sock".
func pathOfAddress(address string) string { return strings.TrimPrefix(address, unixScheme) }
