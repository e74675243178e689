package compat

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// difference lists the lines that only one of two texts has. testify would print
// both texts in full.
func difference(is, want string) string {
	var b strings.Builder
	only := func(sign, text, other string) {
		others := strings.Split(other, "\n")
		for line := range strings.SplitSeq(text, "\n") {
			if !slices.Contains(others, line) {
				fmt.Fprintln(&b, sign, line)
			}
		}
	}
	only("-", is, want)
	only("+", want, is)
	return b.String()
}

const (
	rewrite = "(cd adapters/compat && GOWORK=off go test -update)"
	begin   = "<!-- sdk table, written by: " + rewrite + " -->"
	end     = "<!-- end of sdk table -->"
)

// summary returns a table with one row for each SDK: how to use it with a Transport, and
// what that costs.
func summary(reports []report) string {
	var b strings.Builder
	b.WriteString("| SDK | mode | set this | typed error by | you lose | requests at a 429 |\n|---|---|---|---|---|---|\n")
	for _, r := range reports {
		m := r.best()
		fmt.Fprintf(&b, "| %s %s | %s | %s | %s | %s | %s |\n", r.name, r.version, m.name, cmp.Or(r.advice, "nothing"),
			r.typedIn(m), cmp.Or(strings.Join(r.lostIn(m), "; "), "nothing"), r.throttledIn(m))
	}
	return b.String()
}

// best returns the mode in which the SDK loses fewer behaviors. If both modes lose the
// same number, it prefers error mode, but only if errors.As finds the typed error there.
// PassThrough needs a Recorder for that.
func (r report) best() mode {
	lost, lostInErrorMode := len(r.lostIn(passThrough)), len(r.lostIn(errorMode))
	if lostInErrorMode < lost || lostInErrorMode == lost && r.typed[errorMode.name] == typedByAs {
		return errorMode
	}
	return passThrough
}

// lostIn returns the behaviors that no longer work if the advice is followed.
func (r report) lostIn(m mode) (names []string) {
	for _, row := range r.rows {
		if row.advised[m.name].lost != "" {
			names = append(names, row.name)
		}
	}
	return names
}

// typedIn returns what finds the *StatusError, and for which behaviors nothing finds it.
func (r report) typedIn(m mode) string {
	var hidden []string
	for _, row := range r.rows {
		if row.usually[m.name].typed == untyped {
			hidden = append(hidden, row.name)
		}
	}
	by := strings.ReplaceAll(r.typed[m.name], typedBy, "")
	if len(hidden) > 0 {
		by += "; by nothing for: " + strings.Join(hidden, "; ")
	}
	return by
}

// throttledIn returns how many requests one call sends to a service that keeps
// responding 429.
func (r report) throttledIn(m mode) string {
	i := slices.Index(codes[:], http.StatusTooManyRequests)
	usually, advised := r.usually[m.name][i], r.advised[m.name][i]
	if usually == advised {
		return fmt.Sprint(advised)
	}
	return fmt.Sprintf("%d; without the setting %d", advised, usually)
}

// table returns the whole of TABLE.md.
func table(reports []report) string {
	var b strings.Builder
	b.WriteString(preface + summary(reports) + details)
	for _, r := range reports {
		fmt.Fprintf(&b, "\n### %s %s\n\n```go\n%s\n```\n\n", r.name, r.version, r.source)
		b.WriteString("| | 403 | 404 | 429 | 503 | the error |\n|---|---|---|---|---|---|\n")
		for _, m := range modes {
			line := func(setting string, n counts) {
				fmt.Fprintf(&b, "| %s, %s |", m.name, setting)
				for _, n := range n {
					fmt.Fprintf(&b, " %d |", n)
				}
				fmt.Fprintf(&b, " %s |\n", r.typed[m.name])
			}
			line(cmp.Or(r.usual, "defaults"), r.usually[m.name])
			if r.advice != "" {
				line(r.advice, r.advised[m.name])
			}
		}
		b.WriteString("\n| behavior |")
		for _, m := range modes {
			fmt.Fprintf(&b, " %s |", m.name)
			if r.advice != "" && m.name != alone.name {
				fmt.Fprintf(&b, " %s, %s |", m.name, r.advice)
			}
		}
		b.WriteString("\n|---|---|---|---|" + strings.Repeat("---|", 2*min(len(r.advice), 1)) + "\n")
		for _, row := range r.rows {
			fmt.Fprintf(&b, "| %s |", row.name)
			for _, m := range modes {
				fmt.Fprintf(&b, " %s |", row.usually[m.name])
				if r.advice != "" && m.name != alone.name {
					fmt.Fprintf(&b, " %s |", row.advised[m.name])
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// String returns a cell of the table.
func (m measurement) String() string {
	s := "works"
	if m.lost != "" {
		s = "**lost**: " + m.lost
	}
	s += fmt.Sprintf(" (%d)", m.requests)
	if m.typed != "" {
		s += ", " + m.typed
	}
	return s
}

const preface = `# What SDKs do with a Transport

The tests in this folder measure this with unmodified SDKs, and write it. They fail if a cell changes. To rewrite it:

    ` + rewrite + `

## Summary

- **mode**: the mode in which the SDK loses least. "PassThrough" is the field of the Transport; "error mode" is a Transport without it.
- **set this**: the setting that switches the SDK's own retries off, so that they do not multiply with those of the Transport.
- **typed error by**: what finds the ` + "`*iamhttp.StatusError`" + ` in the SDK's error. ` + "`Recorder.Wrap`" + ` needs ` + "`iamhttp.WithRecorder`" + ` around the call.
- **you lose**: what the SDK does without a Transport, and no longer does in this mode with this setting.
- **requests at a 429**: the number of requests that one call sends to a service that keeps answering 429. By itself a Transport sends
  eight. The AWS SDK's bodies have no GetBody, so the Transport cannot retry its POSTs, and the retries are the SDK's own.

`

const details = `
## Details

For each SDK there is first the code that gives it the http.Client, as the tests have it: ` + "`w.client()`" + ` is an http.Client with the
Transport, ` + "`w.advised`" + ` asks for the setting, and ` + "`must`" + ` panics if there is an error.

The first table counts the requests of one call to a service that keeps answering 403, 404, 429 or 503. "Alone" is the SDK without a
Transport. The Transport has its defaults, except that it does not wait before retries. It sends a 429 eight times and the others once;
a higher number means that the SDK retries as well.

The second table lists behaviors of the SDK that work without a Transport. "**Lost**" says that one no longer works with it. The number
in brackets is the requests that it took. "Untyped" means that neither errors.As nor a Recorder finds the ` + "`*iamhttp.StatusError`" + `.
`
