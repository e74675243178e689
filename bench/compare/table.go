package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp/bench/internal/peers"
)

// A column is one figure of one scenario over one network.
type column struct {
	network string
	scenario
	unit   string
	head   string
	format func(v float64) string
}

// A report holds the results, and writes them in several formats.
type report struct {
	fleet     []peers.Peer
	scenarios []scenario
	results   results
	matrix    matrix
}

const ours = "iamhttp"

func (r *report) writeTo(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", peers.Versions(r.fleet...))
	short := func(s scenario) bool { return s.waiting == 0 && s.size < mib }
	for _, network := range networks {
		fmt.Fprintf(w, "\n**%s**\n", map[string]string{
			"memory": "No network: the base responds from memory. The cells contain the time per call and, in parentheses, the allocations.",
			"http1":  "HTTP/1.1 over loopback, through an http.Client. The cells contain the time per call and, in parentheses, the allocations beyond those of the base. The server runs in the same process, so its allocations are included.",
			"http2":  "HTTP/2 over loopback, with the same columns.",
		}[network])
		var columns []column
		for _, s := range r.scenarios {
			if short(s) && slices.Contains(s.over, network) {
				columns = append(columns, column{network, s, "ns/op", s.title, nil})
			}
		}
		r.table(w, columns, func(c column, s *series) string {
			ns := s.median("ns/op")
			allocs := s.median("allocs/op")
			if network == "memory" {
				return fmt.Sprintf("%s (%.0f)", span(ns), allocs)
			}
			if base := r.results.of(network, c.scenario, peers.Base); base != nil && base.fault == nil {
				floor := base.median("allocs/op")
				return fmt.Sprintf("%s (%+.0f)", span(ns), allocs-floor)
			}
			return span(ns)
		})
	}
	var uploads, waits []column
	for _, s := range r.scenarios {
		for _, network := range s.over {
			if s.size >= mib {
				uploads = append(uploads, column{network, s, "B/op", s.title + ", " + network, nil})
			}
		}
		if s.waiting > 0 {
			waits = append(waits,
				column{"memory", s, "heap-B/call", "heap per call", size},
				column{"memory", s, "stack-B/call", "stack per call", size},
				column{"memory", s, "cancel-ms", "all returned after", func(v float64) string { return fmt.Sprintf("%.0f ms", v) }})
		}
	}
	fmt.Fprint(w, "\n**Uploads of 64 MiB: memory allocated, and time, per upload.**\n")
	r.table(w, uploads, func(_ column, s *series) string {
		ns := s.median("ns/op")
		b := s.median("B/op")
		return fmt.Sprintf("%.1f MiB, %s", b/mib, span(ns))
	})
	fmt.Fprint(w, "\n**10,000 calls that are told to wait, and are then canceled: what each call costs while it waits, excluding its goroutine's initial stack.**\n")
	r.table(w, waits, func(c column, s *series) string {
		v := s.median(c.unit)
		return c.format(v)
	})
	r.matrix.write(w)
	r.writeAhead(w)
}

// table writes a table with a row for each peer. Numbered notes follow the table: the
// errors of failed cells, and the remarks on other cells.
func (r *report) table(w io.Writer, columns []column, cell func(column, *series) string) {
	fmt.Fprint(w, "\n| |")
	for _, c := range columns {
		fmt.Fprintf(w, " %s |", c.head)
	}
	fmt.Fprint(w, "\n|---|", strings.Repeat("--:|", len(columns)), "\n")
	var notes []string
	for _, p := range r.fleet {
		fmt.Fprintf(w, "| %s |", p)
		for _, c := range columns {
			s := r.results.of(c.network, c.scenario, p)
			text, why := "", ""
			switch {
			case s == nil:
			case s.fault != nil:
				text, why = "fails", s.fault.Error()
			default:
				text, why = cell(c, s), s.remark
			}
			if why != "" {
				why = fmt.Sprintf("%s: %s.", p, strings.Join(strings.Fields(why), " "))
				i := slices.Index(notes, why)
				if i < 0 {
					i = len(notes)
					notes = append(notes, why)
				}
				text += fmt.Sprintf(" [%d]", i+1)
			}
			fmt.Fprintf(w, " %s |", text)
		}
		fmt.Fprintln(w)
	}
	for i, n := range notes {
		notes[i] = fmt.Sprintf("[%d] %s", i+1, n)
	}
	if len(notes) > 0 {
		fmt.Fprintf(w, "\n%s\n", strings.Join(notes, "\\\n")) // in Markdown, a backslash breaks the line
	}
}

// compared returns the figures that writeAhead compares. Lower figures are better.
func (r *report) compared() []column {
	var all []column
	for _, s := range r.scenarios {
		for _, network := range s.over {
			units := []string{"ns/op", "B/op", "allocs/op"}
			if s.waiting > 0 {
				units = []string{"heap-B/call", "stack-B/call", "cancel-ms"}
			}
			for _, unit := range units {
				all = append(all, column{network: network, scenario: s, unit: unit})
			}
		}
	}
	return all
}

// timed reports whether a figure with this unit is a time. Times depend on the machine.
func timed(unit string) bool { return unit == "ns/op" || unit == "cancel-ms" }

// least returns the fraction by which a peer's median must be better than iamhttp's to be
// listed. That alone is not enough, because the rounds of a call can differ by more: see
// writeAhead.
func least(unit string) float64 {
	if timed(unit) {
		return 0.10
	}
	return 0.03
}

// spread returns the relative difference between a call's best and worst rounds: the
// median over all calls and over the units for which includes returns true.
func (r *report) spread(includes func(unit string) bool) float64 {
	var all []float64
	for _, c := range r.compared() {
		for _, p := range r.fleet {
			s := r.results.of(c.network, c.scenario, p)
			if s == nil || s.fault != nil || !includes(c.unit) {
				continue
			}
			if lowest, highest := s.bounds(c.unit); lowest > 0 {
				all = append(all, highest/lowest-1)
			}
		}
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// writeAhead lists the figures in which a peer is clearly better than iamhttp: in which the
// ranges of the rounds do not overlap, and the medians differ by more than the
// function least returns.
func (r *report) writeAhead(w io.Writer) {
	fmt.Fprintf(w, "\n**Where a peer is ahead of iamhttp**: its worst round is better than iamhttp's best, and its median is better by at least %.0f%% "+
		"(times) or %.0f%% (counts). Between the best and the worst round of a call, times differ by %.0f%% and counts by %.1f%% "+
		"(medians over all calls).\n\n",
		100*least("ns/op"), 100*least("B/op"), 100*r.spread(timed), 100*r.spread(func(unit string) bool { return !timed(unit) }))
	nowhere := true
	for _, c := range r.compared() {
		own := r.results.of(c.network, c.scenario, peers.Peer{Name: ours})
		if own == nil || own.fault != nil {
			continue
		}
		var ahead []string
		m := own.median(c.unit)
		best, _ := own.bounds(c.unit)
		for _, p := range r.fleet {
			s := r.results.of(c.network, c.scenario, p)
			if p.Name == ours || p.Name == peers.Base.Name || s == nil || s.fault != nil {
				continue
			}
			if _, worst := s.bounds(c.unit); worst < best && s.median(c.unit) < (1-least(c.unit))*m {
				ahead = append(ahead, fmt.Sprintf("%s %s", p, exactly(c.unit, s.median(c.unit))))
			}
		}
		if len(ahead) > 0 {
			fmt.Fprintf(w, "- %s, %s, %s: %s; iamhttp %s.\n", c.network, c.title, c.unit, strings.Join(ahead, ", "), exactly(c.unit, m))
			nowhere = false
		}
	}
	if nowhere {
		fmt.Fprintln(w, "Nowhere.")
	}
}

// writeSummary writes the table of SUMMARY.md.
func (r *report) writeSummary(w io.Writer) {
	find := func(name string) scenario {
		return r.scenarios[slices.IndexFunc(r.scenarios, func(s scenario) bool { return s.name == name })]
	}
	columns := []column{
		{"memory", find("1-get"), "ns/op", "GET", nil},
		{"memory", find("3-error"), "ns/op", "404 to a typed error", nil},
		{"memory", find("4-get"), "ns/op", "GET: 429, 429, 200", nil},
		{"memory", find("5-upload"), "B/op", "upload of 64 MiB", nil},
		{"memory", find("7-waiting"), "heap-B/call", "a waiting call", nil},
	}
	fmt.Fprint(w, "| | GET | 404 to a typed error | GET: 429, 429, 200 | memory for an upload of 64 MiB | heap of a waiting call | contract broken |\n|---|--:|--:|--:|--:|--:|--:|\n")
	for _, p := range r.fleet {
		fmt.Fprintf(w, "| %s |", p)
		for _, c := range columns {
			s := r.results.of(c.network, c.scenario, p)
			switch {
			case s == nil || s.fault != nil:
				fmt.Fprint(w, " fails |")
			case c.unit == "ns/op":
				v := s.median("ns/op")
				n := s.median("allocs/op")
				fmt.Fprintf(w, " %s (%.0f) |", span(v), n)
			default:
				v := s.median(c.unit)
				fmt.Fprintf(w, " %s |", value(c.unit, v))
			}
		}
		if n, of := r.matrix.faults(p.Name); of > 0 {
			fmt.Fprintf(w, " %d of %d |\n", n, of)
		} else {
			fmt.Fprintln(w, " |")
		}
	}
}

// exactly is like value, but writes numbers of bytes with enough digits to distinguish two
// that differ by a few percent.
func exactly(unit string, v float64) string {
	if timed(unit) || unit == "allocs/op" {
		return value(unit, v)
	}
	if v < 1*mib {
		return fmt.Sprintf("%.0f B", max(v, 0))
	}
	return fmt.Sprintf("%.2f MiB", v/mib)
}

// value formats a figure with its unit.
func value(unit string, v float64) string {
	switch unit {
	case "ns/op":
		return span(v)
	case "allocs/op":
		return fmt.Sprintf("%.0f allocations", v)
	case "cancel-ms":
		return fmt.Sprintf("%.0f ms", v)
	}
	return size(v)
}

func size(v float64) string {
	switch {
	case v < 10*kib:
		return fmt.Sprintf("%.0f B", max(v, 0))
	case v < 0.1*mib:
		return fmt.Sprintf("%.0f KiB", v/kib)
	}
	return fmt.Sprintf("%.1f MiB", v/mib)
}

// span formats a time with a unit and a number of digits that are easy to read.
func span(ns float64) string {
	d := time.Duration(ns)
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if d >= u.unit {
			v := ns / float64(u.unit)
			digits := 1
			if v >= 10 {
				digits = 0
			}
			return fmt.Sprintf("%.*f %s", digits, v, u.name)
		}
	}
	return fmt.Sprintf("%.0f ns", ns)
}
