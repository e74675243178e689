package gate

import "time"

// Calls that depend on each other, such as the pages of a list, often share a context and
// therefore have the same deadline. If the first of them has been sent, the others go ahead
// of other first attempts, because otherwise the first would have been in vain.

// operations counts the first attempts that were sent with the same deadline. The zero
// value is ready to use.
type operations struct {
	sentWith map[int64]int
	order    []int64 // the keys of sentWith, oldest first
}

const (
	// mostOperations is the maximum number of deadlines that are remembered.
	mostOperations = 4096
	// mostSteps is the number of requests with the same deadline after which others with
	// this deadline wait in order of arrival. Otherwise, a long job could keep everybody
	// else from being sent.
	mostSteps = 24
)

// begun reports whether a request with this deadline continues an operation.
func (o *operations) begun(deadline int64) bool {
	n := o.sentWith[deadline]
	return n > 0 && n <= mostSteps
}

// sent records that a first attempt with this deadline was sent.
func (o *operations) sent(deadline int64) {
	if o.sentWith == nil {
		o.sentWith = make(map[int64]int)
	}
	if o.sentWith[deadline]++; o.sentWith[deadline] > 1 {
		return
	}
	o.order = append(o.order, deadline)
	for len(o.order) > mostOperations || len(o.order) > 0 && o.order[0] < time.Now().UnixNano() {
		delete(o.sentWith, o.order[0])
		o.order = o.order[1:]
	}
}
