package runsc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// A reply is what the control server answers (gVisor, pkg/urpc/urpc.go,
// callResult).
type reply struct {
	// Success is a pointer, since an object without it is no answer at all.
	Success *bool           `json:"success"`
	Err     string          `json:"err"`
	Result  json.RawMessage `json:"result"`
}

// readReply reads one reply from a stream on which values have neither length
// nor delimiter: the end of the JSON object is the end of the reply. It reads
// at most limit bytes, and takes more than one reply, which can only be a
// mistake or an attack, for a bad one.
//
// The error is errBadReply, or that of the stream: io.EOF where it ends at or
// in the reply.
func readReply(stream io.Reader, limit int) (json.RawMessage, *refusal, error) {
	bounded := &boundedReader{stream: stream, left: limit}
	decoder := json.NewDecoder(bounded)
	var r reply
	if err := decoder.Decode(&r); err != nil {
		switch {
		case bounded.err != nil && !errors.Is(bounded.err, io.EOF):
			return nil, nil, bounded.err
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, nil, io.EOF
		}
		return nil, nil, badReply("%v", err)
	}
	if rest, _ := io.ReadAll(decoder.Buffered()); len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, badReply("%d bytes follow it", len(rest))
	}
	switch {
	case r.Success == nil:
		return nil, nil, badReply("it does not say whether it succeeded")
	case !*r.Success:
		return nil, &refusal{text: printable(strings.TrimSpace(r.Err))}, nil
	}
	return r.Result, nil, nil
}

// boundedReader is an io.LimitedReader whose limit is an error and not an end,
// and which remembers the error of its stream.
type boundedReader struct {
	stream io.Reader
	left   int
	err    error
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.err = badReply("it is too long")
		return 0, b.err
	}
	if len(p) > b.left {
		p = p[:b.left]
	}
	n, err := b.stream.Read(p)
	b.left -= n
	if err != nil {
		b.err = err
	}
	return n, err
}

// decodeResult reads a reply's result into a value of the shape that the method
// has. A null is no value.
func decodeResult[T any](raw json.RawMessage) (T, error) {
	var v *T
	if err := json.Unmarshal(raw, &v); err != nil {
		var zero T
		return zero, badReply("result: %v", err)
	}
	if v == nil {
		var zero T
		return zero, badReply("there is no result")
	}
	return *v, nil
}
