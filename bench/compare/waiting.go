package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// benchWaiting starts many calls, which the service throttles with a long Retry-After. It
// measures the memory that the calls use while they wait, then cancels them, and measures
// how long it takes until all have returned. The callers' goroutines already exist at the
// first measurement, so neither they nor their initial stacks are counted.
func (c *call) benchWaiting(b *testing.B) error {
	const patience = 10 * time.Second
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		start, errs := make(chan struct{}), make(chan error, c.waiting)
		reqs := make([]*http.Request, c.waiting)
		for i := range reqs {
			req, err := c.request()
			if err != nil {
				return err
			}
			reqs[i] = req.WithContext(ctx)
		}
		for _, req := range reqs {
			go func() {
				<-start
				resp, err := c.do(req)
				if err == nil {
					resp.Body.Close()
					err = fmt.Errorf("the call did not wait, but returned a %d", resp.StatusCode)
				}
				errs <- err
			}()
		}
		c.service.begin()
		heap, stack := weigh()
		close(start)
		// Wait until the calls send no more requests. Some peers send only a few requests,
		// because they hold back all calls after the first 429.
		for sent := int64(-1); sent < int64(c.waiting) && sent != c.service.next.Load(); time.Sleep(300 * time.Millisecond) {
			sent = c.service.next.Load()
		}
		heap2, stack2 := weigh()
		if early := len(errs); early > 0 {
			return fmt.Errorf("%d of %d calls did not wait, for example: %w", early, c.waiting, <-errs)
		}
		if sent := c.service.next.Load(); sent == 0 || sent > int64(c.waiting) {
			return fmt.Errorf("%d requests were sent, want at least 1 and at most %d, one for each waiting call", sent, c.waiting)
		}
		canceled := time.Now()
		cancel()
		other := 0
		var odd error
		for range c.waiting {
			select {
			case err := <-errs:
				if !errors.Is(err, context.Canceled) {
					other, odd = other+1, err
				}
			case <-time.After(patience):
				return fmt.Errorf("some calls had not returned %v after they were canceled", patience)
			}
		}
		n := float64(c.waiting)
		b.ReportMetric(float64(time.Since(canceled).Microseconds())/1000, "cancel-ms")
		b.ReportMetric((heap2-heap)/n, "heap-B/call")
		b.ReportMetric((stack2-stack)/n, "stack-B/call")
		if other > 0 {
			c.remark = fmt.Sprintf("%d of the canceled calls returned an error that is not context.Canceled: %v", other, odd)
		}
	}
	return nil
}

// weigh runs the garbage collector, and returns the bytes in use on the heap and on
// stacks.
func weigh() (heap, stack float64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), float64(m.StackInuse)
}
