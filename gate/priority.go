package gate

import "context"

// A Priority says which requests of an account leave first while they wait for its
// limit. The zero value is Normal.
type Priority int

// The priorities. A waiting Interactive request leaves before a Normal one, and that
// before a Bulk one. Each priority that waits gets at least a tenth of the turns.
const (
	Bulk        Priority = iota - 1 // nobody waits for it: a nightly batch
	Normal                          // what has no priority
	Interactive                     // a person waits for it
)

type priorityKey struct{}

// WithPriority returns a context whose requests wait with priority p at an
// [Adaptive], and at a redisgate.Gate. Use it with http.NewRequestWithContext, for
// instance so that a person does not wait behind a batch. It changes nothing as long
// as the account is not throttled.
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
