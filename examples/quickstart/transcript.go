package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/iamhttp/iamhttp"
)

// A transcript prints what happens, scene by scene.
type transcript struct {
	out    io.Writer
	number int // the number of the current scene
}

const (
	width  = 80 // the maximum width of a line, in columns
	indent = "      "
)

// intro prints text that does not belong to a scene.
func (t *transcript) intro(format string, args ...any) {
	fmt.Fprintf(t.out, format+"\n", args...)
}

func (t *transcript) scene(title string) {
	t.number++
	fmt.Fprintf(t.out, "\n%2d. %s\n", t.number, title)
}

// say prints a line in the current scene, wrapped if it is too long.
func (t *transcript) say(format string, args ...any) {
	rest := fmt.Sprintf(format, args...)
	for lead := indent; ; lead = indent + "     " {
		if len(lead)+len(rest) <= width {
			fmt.Fprintln(t.out, lead+rest)
			return
		}
		end := strings.LastIndexByte(rest[:width-len(lead)+1], ' ')
		if end <= 0 {
			end = width - len(lead)
		}
		fmt.Fprintln(t.out, lead+rest[:end])
		rest = strings.TrimPrefix(rest[end:], " ")
	}
}

// failed is the OnFailure of the Transports. They call it for each Failure, in the call's
// goroutine.
func (t *transcript) failed(_ context.Context, f iamhttp.Failure) {
	what := "no response"
	if e, ok := f.Status(); ok {
		what = e.Code.Error()
	}
	if asked, ok := iamhttp.RetryAfter(f.Err); ok {
		what += fmt.Sprintf(", Retry-After: %.0f", asked.Seconds())
	}
	if f.Retry {
		t.say("%s: retry in %.1fs", what, f.Wait.Seconds())
	} else {
		t.say("%s: no retry, %v", what, f.Stop)
	}
}
