package runsc

import "sync"

// capture keeps the first maxOutput bytes that are written to it. It never fails:
// a child whose output is too long must not be stopped by SIGPIPE.
type capture struct {
	mu   sync.Mutex
	data []byte
}

func (t *capture) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	room := max(0, maxOutput-len(t.data))
	t.data = append(t.data, b[:min(room, len(b))]...)
	return len(b), nil
}

// bytes may be called while a grandchild still writes.
func (t *capture) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.data
}
