package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A display shows a phase's progress. It is called ten times per second, and once more
// when the phase has ended.
type display func(phase string, s state, ended bool)

// A state is a phase's progress at one moment.
type state struct {
	total, done, failed int
	requests, throttled int           // counted since the job started
	elapsed             time.Duration // since the phase started
}

const (
	barWidth = 30
	between  = 5 * time.Second // the interval between lines within a phase
)

// bar returns a display that redraws one line of a terminal.
func bar(out io.Writer) display {
	return func(phase string, s state, ended bool) {
		drawn := strings.Repeat("#", (s.done+s.failed)*barWidth/max(s.total, 1))
		fmt.Fprintf(out, "\r\x1b[?7l%s [%-*s] %s\x1b[K\x1b[?7h", phase, barWidth, drawn, s)
		if ended {
			fmt.Fprintln(out)
		}
	}
}

// lines returns a display that prints a line every few seconds, and one at the end of
// each phase.
func lines(out io.Writer) display {
	var latest time.Duration
	return func(phase string, s state, ended bool) {
		if s.elapsed < latest { // a new phase has begun
			latest = 0
		}
		if ended || s.elapsed-latest >= between {
			fmt.Fprintf(out, "%s: %s\n", phase, s)
			latest = s.elapsed
		}
	}
}

// String describes the progress in one line.
func (s state) String() string {
	text := fmt.Sprintf("%d/%d in %.1f s, %d requests, %d throttled", s.done, s.total, s.elapsed.Seconds(), s.requests, s.throttled)
	if s.failed > 0 {
		text += fmt.Sprintf("; %d failed", s.failed)
	}
	return text
}

// A progress counts a phase's operations, and displays the counts in a goroutine of its
// own.
type progress struct {
	mu    sync.Mutex
	now   state
	began time.Time
	cloud *counter
	stop  chan struct{}
	shown sync.WaitGroup
}

// begin starts a phase and its display.
func (j *job) begin(phase string, total int) *progress {
	p := &progress{now: state{total: total}, began: time.Now(), cloud: j.cloud, stop: make(chan struct{})}
	p.shown.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				j.show(j.name+", "+phase, p.state(), false)
			case <-p.stop:
				j.show(j.name+", "+phase, p.state(), true)
				return
			}
		}
	})
	return p
}

// done counts an operation that has ended.
func (p *progress) done(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.now.done++
	} else {
		p.now.failed++
	}
}

func (p *progress) state() state {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.now
	s.requests, s.throttled = p.cloud.counts()
	s.elapsed = time.Since(p.began)
	return s
}

// end ends the phase and waits until the result has been displayed.
func (p *progress) end() {
	close(p.stop)
	p.shown.Wait()
}
