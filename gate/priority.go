package gate

import "context"

// A Priority decides which of an account's waiting requests are sent first. The zero
// value is Normal.
type Priority int

// The priorities. A waiting Interactive request is sent before a Normal one, and a
// Normal one before a Bulk one. Each priority with waiting requests gets at least a
// tenth of the turns.
const (
	Bulk        Priority = iota - 1 // nobody is waiting for the result, for example a nightly batch
	Normal                          // the default
	Interactive                     // a person is waiting for the result
)

type priorityKey struct{}

// WithPriority returns a context whose requests wait with priority p at an [Adaptive]
// or a redisgate.Gate. Use it with http.NewRequestWithContext, for example so that a
// person does not have to wait behind a batch. A priority has no effect while the
// account is not throttled.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

func priority(ctx context.Context) Priority {
	p, _ := ctx.Value(priorityKey{}).(Priority)
	return p
}

// lane returns the index of the lane for p.
func (p Priority) lane() int {
	switch {
	case p > Normal:
		return 0
	case p == Normal:
		return 1
	}
	return 2
}
