package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// logFIFO is the FIFO in the bundle from which containerd reads the shim's log.
const logFIFO = "log"

// shimLog is where the shim logs: containerd's FIFO, and a file once the
// configuration names one.
type shimLog struct {
	*slog.Logger
	level slog.LevelVar
	fifo  io.Writer
	file  atomic.Pointer[os.File]
}

// openLog opens the log FIFO of a bundle. Without one (CRI-O, or a run by hand)
// the log goes to stderr.
func openLog(bundle string, debug bool) *shimLog {
	l := &shimLog{fifo: os.Stderr}
	if debug {
		l.level.Set(slog.LevelDebug)
	}
	// Without O_NONBLOCK the open would wait for a reader (fifo(7)), and a
	// write for one that does not read.
	if fd, err := unix.Open(filepath.Join(bundle, logFIFO), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
		l.fifo = lossyFIFO(fd)
	}
	l.Logger = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: &l.level}))
	return l
}

// Write implements io.Writer for the handler; it never fails and never waits
// for containerd.
func (l *shimLog) Write(line []byte) (int, error) {
	l.fifo.Write(line)
	if f := l.file.Load(); f != nil {
		f.Write(line)
	}
	return len(line), nil
}

// configure applies log_level and log_path of a container's options. It may be
// called once for each container; the first file stays.
func (l *shimLog) configure(o options, id string, debug bool) {
	if !debug {
		if level, err := parseLevel(o.LogLevel); err == nil {
			l.level.Set(level)
		}
	}
	if o.LogPath == "" || l.file.Load() != nil {
		return
	}
	path := strings.ReplaceAll(o.LogPath, "%ID%", id)
	if strings.HasSuffix(path, "/") {
		path = filepath.Join(path, "containerd-shim-troupe.log")
	}
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err == nil {
			l.file.Store(f)
			return
		}
	}
	l.LogAttrs(context.Background(), slog.LevelWarn, "the log file of log_path can not be opened; logging to containerd only", slog.String("path", path), slog.Any("error", err))
}

// lossyFIFO writes whole lines or nothing. A reader that is away (EPIPE) or
// slow (EAGAIN) costs lines and never time: the log must not stop a process.
type lossyFIFO int

func (fd lossyFIFO) Write(line []byte) (int, error) {
	for len(line) > 0 {
		n, err := unix.Write(int(fd), line)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		line = line[n:]
	}
	return len(line), nil
}
