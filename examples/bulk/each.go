package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// each does what do does for every user, and shows how it goes. The first error
// ends it, and is returned: what one user is refused, the others would be too.
func (b *bulk) each(ctx context.Context, task string, users []*user, do func(context.Context, *user) error) error {
	if len(users) == 0 {
		return nil
	}
	b.progress.start(len(users))
	shown := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(shown)
		b.watch(task, stop)
	}()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan *user)
	var callers sync.WaitGroup
	for range min(b.callers, len(users)) {
		callers.Go(func() {
			for u := range next {
				b.progress.begin()
				err := do(ctx, u)
				b.progress.end(err)
				if err != nil {
					cancel(err) // only the first counts
				}
			}
		})
	}
	for _, u := range users {
		select {
		case next <- u:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	callers.Wait()
	close(stop)
	<-shown
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.Canceled) {
			return errors.New("interrupted")
		}
		return cause
	}
	return nil
}

// watch shows the progress until it is told to stop, and then the result.
func (b *bulk) watch(task string, stop <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.show(task, b.progress.state(), false)
		case <-stop:
			b.show(task, b.progress.state(), true)
			return
		}
	}
}
