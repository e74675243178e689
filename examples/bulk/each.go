package main

import (
	"context"
	"sync"
	"time"
)

// each calls do for every user and shows the progress. If the context ends, it stops
// and returns the context's cause; otherwise, it returns the first error from do, if any.
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

	var first error
	var failed sync.Once
	next := make(chan *user)
	var callers sync.WaitGroup
	for range min(b.callers, len(users)) {
		callers.Go(func() {
			for u := range next {
				if ctx.Err() != nil { // select may have sent u although ctx had ended
					continue
				}
				b.progress.begin()
				err := do(ctx, u)
				b.progress.end(err)
				if err != nil {
					failed.Do(func() { first = err })
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
		return cause
	}
	return first
}

// watch shows the progress until stop is closed. It then shows the result.
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
