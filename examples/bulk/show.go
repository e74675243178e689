package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A display shows a task's progress. It is called ten times per second, and once more
// when the task has ended.
type display func(task string, s state, ended bool)

const (
	barWidth = 30
	between  = 5 * time.Second // the interval between lines unless the task changes between working and waiting
)

// bar returns a display that redraws one line of a terminal, and prints the result when
// the task has ended. A line that is too wide is cut off: if it were wrapped, the next
// drawing would not overwrite it completely.
func bar(out io.Writer) display {
	return func(task string, s state, ended bool) {
		// The widths of the three parts, in columns.
		done := s.done * barWidth / s.total
		flying := (s.done+s.inFlight)*barWidth/s.total - done
		waiting := min((s.done+s.inFlight+s.waiting)*barWidth/s.total, barWidth) - done - flying
		if s.waiting > 0 && waiting == 0 && done+flying < barWidth {
			waiting = 1
		}
		drawn := strings.Repeat("#", done) + strings.Repeat(">", flying) + strings.Repeat("-", waiting)
		fmt.Fprintf(out, "\r\x1b[?7l%s [%-*s] %d/%d %s\x1b[K\x1b[?7h", task, barWidth, drawn, s.done, s.total, activity(s, ended))
		if ended {
			fmt.Fprintf(out, "\n%s\n", result(task, s))
		}
	}
}

// lines returns a display that prints a line whenever the task changes between working
// and waiting, and otherwise every few seconds. When the task has ended, it prints the
// result.
func lines(out io.Writer) display {
	var latest state
	return func(task string, s state, ended bool) {
		if s.elapsed < latest.elapsed { // a new task has begun
			latest = state{}
		}
		switch {
		case ended:
			fmt.Fprintln(out, result(task, s))
		case s.paused != latest.paused || s.elapsed-latest.elapsed >= between:
			fmt.Fprintf(out, "%s %5.1f s: %d of %d, %s\n", task, s.elapsed.Seconds(), s.done, s.total, activity(s, false))
			latest = s
		}
	}
}

// activity describes what the task is doing. If its pace is known, it adds the pace and,
// while the task is working, the time left.
func activity(s state, ended bool) string {
	pace := ""
	if s.pace > 0 {
		pace = fmt.Sprintf(", %.1f/s", s.pace)
	}
	switch {
	case ended:
		return "ended" + pace
	case s.paused && s.pause > 0:
		return fmt.Sprintf("waiting %.1f s%s", s.pause.Seconds(), pace)
	case s.paused:
		return "waiting" + pace
	}
	if s.pace > 0 {
		pace += fmt.Sprintf(", %.0f s left", float64(s.total-s.done)/s.pace)
	}
	return "working" + pace
}

// expected describes what to expect from a run against the service in this process.
func expected(users, callers int) string {
	least := max(float64(users)-burst, 0) / rate
	text := fmt.Sprintf(`%d users, %d at a time. The service accepts %.0f requests per second, and %.0f
at once after a pause, so this takes at least %.1f s. Expect a pause of one
second whenever the gate meets the limit`, users, callers, rate, burst, least)
	if users == defaultUsers && callers == defaultCallers {
		text += ", and usually fewer than 15 429s"
	}
	return text + ".\n"
}

// result describes in two lines how a task ended.
func result(task string, s state) string {
	r := fmt.Sprintf("%s: %d of %d users in %.1f s", task, s.done, s.total, s.elapsed.Seconds())
	if s.failed > 0 {
		r += fmt.Sprintf(", %d failed", s.failed)
	}
	r += fmt.Sprintf("\n  %d requests, %d of them throttled (429)", s.sent, s.throttled)
	if s.pace > 0 {
		r += fmt.Sprintf(", %.1f accepted per second at the end", s.pace)
	}
	return r
}
