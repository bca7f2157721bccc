package runsc

import (
	"os"

	"github.com/troupe-run/troupe/messages"
)

// adoptStreams are the streams of a process whose program is dead.
//
// Pipes and terminals had their other end in that program. The process sees the
// end of its stdin, and EPIPE and SIGPIPE when it writes; on a terminal, the end
// of its input and EIO, and the signals of a hang-up (isToHangUp). A terminal can not
// be given back, so that Resize does nothing.
//
// FIFOs and files that the process has itself go on. As long as nobody was there
// to hold a stdin FIFO open, its last writer's close was the end of it, which a
// process may have seen; it is held again from here on, unless it was closed by
// CloseIO. Output FIFOs are held as before.
func adoptStreams(p messages.Process, m stdioMemo, o streamOptions) *streams {
	o.Direct = m.Direct
	st := &streams{process: p, options: o.withDefaults()}
	if !m.Direct {
		return st
	}
	places, err := st.places(m.stdio())
	if err != nil {
		st.options.Logger.Warn("read the names of the streams of a process that was left", "process", p.String(), "error", err)
		return st
	}
	for i, at := range places {
		if at.kind != placePath && at.kind != placeFile || i == 0 && m.StdinClosed || i == 2 && at.same(places[1]) {
			continue
		}
		if err := st.holdAgain(at, i == 0); err != nil {
			st.options.Logger.Warn("hold a stream of a process that was left", "process", p.String(), "stream", at.stream, "path", at.path, "error", err)
		}
	}
	return st
}

// holdAgain opens the end of a FIFO that we hold. What is no FIFO, or is gone,
// needs no hold.
func (st *streams) holdAgain(p place, isInput bool) error {
	info, err := os.Stat(p.path)
	if err != nil || info.Mode().Type() != os.ModeNamedPipe {
		return nil
	}
	f, isFIFO, err := openHanded(p, isInput)
	if err != nil || f == nil {
		return err
	}
	switch {
	case !isFIFO:
		return f.Close()
	case !isInput:
		st.handed = append(st.handed, newHandedFIFO(f))
		return nil
	}
	defer f.Close()
	hold, err := reopen(f, os.O_WRONLY)
	if err == nil {
		st.in = &input{hold: hold}
	}
	return err
}
