package gate

import "context"

// A Priority says which of an account's waiting requests leave first. The zero value
// is Normal.
type Priority int

// The priorities. A waiting Interactive request leaves before a Normal one, and that
// before a Bulk one. Each waiting priority gets a tenth of the turns or more.
const (
	Bulk        Priority = iota - 1 // nobody waits for the result, as with a nightly batch
	Normal                          // the default
	Interactive                     // a person waits for the result
)

type priorityKey struct{}

// WithPriority returns a context whose requests wait with priority p at an
// [Adaptive], and at a redisgate.Gate. Use it with http.NewRequestWithContext, for
// example so that a person does not wait behind a batch. It has no effect while the
// account is not throttled.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

func priority(ctx context.Context) Priority {
	p, _ := ctx.Value(priorityKey{}).(Priority)
	return p
}

// lane is the number of its lane.
func (p Priority) lane() int {
	switch {
	case p > Normal:
		return 0
	case p == Normal:
		return 1
	}
	return 2
}
