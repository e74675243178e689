package gate

import "context"

// A Priority decides which of an account's waiting requests are sent first. The zero
// value is Normal. Higher values than Interactive count as Interactive, and lower ones than
// Bulk as Bulk.
type Priority int

// The priorities. Waiting Interactive requests are sent before Normal ones, and Normal
// requests before Bulk ones, but each priority with waiting requests gets at least a
// tenth of the turns.
const (
	Bulk        Priority = iota - 1 // nobody is waiting for the result, as in a nightly batch job
	Normal                          // the default
	Interactive                     // a person is waiting for the result
)

type priorityKey struct{}

// WithPriority returns a copy of ctx whose requests have priority p when they wait in an
// [Adaptive] or a redisgate.Gate. Use it with http.NewRequestWithContext, for example to
// keep a person from waiting behind a batch job. A priority has no effect while no
// request waits.
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
