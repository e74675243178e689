package main

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/bench/internal/svg"
)

// The layout of a picture: mostColumns is the largest number of panels in a row; all other
// constants are in pixels.
const (
	mostColumns      = 3
	panelH           = 130
	gapX, gapY       = 46, 84
	marginX, marginY = 64, 126
)

// draw draws a scenario's results. For each contestant, a panel shows how many requests
// reached the server over time, and how many were throttled.
func draw(contestants []contestant, results []sim.Result) []byte {
	s := results[0].Scenario
	columns, panelW := mostColumns, 250
	if len(contestants) < columns { // there is room for wider panels
		columns, panelW = len(contestants), 370
	}
	rows := (len(contestants) + columns - 1) / columns
	width := 2*marginX + columns*panelW + (columns-1)*gapX - 20
	height := marginY + rows*(panelH+gapY) - gapY + 26

	var b bytes.Buffer
	svg.Begin(&b, width, height, "Requests per second: "+describe(s))
	fmt.Fprintf(&b, `<text class="title" x="%d" y="22">%s: what reaches the service</text>`+"\n", marginX, svg.Escape(describeCalls(s)))
	fmt.Fprintf(&b, `<text class="quiet" x="%d" y="40">%s</text>`+"\n", marginX, svg.Escape(describeServer(s)))
	x := marginX
	for _, l := range []struct{ class, text string }{{"accepted", "accepted"}, {"refused", "throttled (429)"}} {
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="52" width="11" height="11"/><text x="%d" y="62">%s</text>`+"\n", l.class, x, x+17, l.text)
		x += 44 + 7*len(l.text)
	}
	fmt.Fprintf(&b, `<path class="limit" d="M%d 58h22"/><text x="%d" y="62">the limit</text>`+"\n", x, x+28)
	fmt.Fprintf(&b, `<path class="cut" d="%s"/><text x="%d" y="62">cut off</text>`+"\n", svg.Up(float64(x+115), 61, 8), x+124)

	axes := axesFor(results)
	for i, r := range results {
		p := panel{
			Buffer: &b,
			axes:   axes,
			width:  float64(panelW),
			left:   float64(marginX + i%columns*(panelW+gapX)),
			bottom: float64(marginY + i/columns*(panelH+gapY) + panelH),
		}
		p.frame(shown(contestants[i]), verdict(r), i%columns == 0)
		p.bars(r)
		p.limit(s.Server, r)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// axes are the axes of all panels in a picture.
type axes struct {
	seconds float64
	bin     float64 // width of a bar in seconds
	top     float64 // highest rate that is shown, in requests per second
}

// axesFor fits the axes to the results. The slowest client may take far longer than the
// other clients, so the picture is cut off at three times the ideal makespan or at 20 s,
// whichever is later, rounded up to whole bars.
func axesFor(results []sim.Result) axes {
	longest := time.Duration(0)
	for _, r := range results {
		longest = max(longest, last(r))
	}
	longest = min(longest, max(3*results[0].IdealMakespan, 20*time.Second))
	a := axes{bin: 1}
	for longest.Seconds() > mostBars*a.bin {
		a.bin = round(a.bin * 1.01)
	}
	a.seconds = a.bin * math.Ceil(longest.Seconds()/a.bin)
	for _, r := range results {
		accepted, refused := a.rates(r)
		for i := range accepted {
			a.top = max(a.top, accepted[i]+refused[i])
		}
	}
	// Higher bars are cut off, because a large burst would make the bars below the limit
	// too small to see.
	a.top = round(min(a.top, mostOver*results[0].Scenario.Server.Rate()))
	return a
}

const (
	mostBars = 60
	mostOver = 6 // times the limit; higher bars are cut off and marked
)

// rates returns the requests per second in each bar.
func (a axes) rates(r sim.Result) (accepted, refused []float64) {
	n := int(math.Round(a.seconds / a.bin))
	accepted, refused = make([]float64, n), make([]float64, n)
	for _, d := range r.Decisions {
		switch i := int(d.At.Seconds() / a.bin); {
		case i >= n:
		case d.Accepted:
			accepted[i] += 1 / a.bin
		default:
			refused[i] += 1 / a.bin
		}
	}
	return accepted, refused
}

// round rounds up to a number that is easy to read on an axis.
func round(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(max(v, 1))))
	for _, m := range []float64{1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10} {
		if m*unit >= v {
			return m * unit
		}
	}
	return v
}

func last(r sim.Result) time.Duration {
	if len(r.Decisions) == 0 {
		return 0
	}
	return r.Decisions[len(r.Decisions)-1].At
}

// verdict summarizes a run in one line.
func verdict(r sim.Result) string {
	v := fmt.Sprintf("%.1f requests per success", r.SentPerOK())
	if r.OK == 0 {
		v = "no call succeeded"
	}
	if r.Failed > 0 {
		return v + fmt.Sprintf(", %.0f%% failed", 100*float64(r.Failed)/float64(r.OK+r.Failed))
	}
	return v + fmt.Sprintf(", %.1f × the ideal time", r.MakespanRatio())
}

type panel struct {
	*bytes.Buffer
	axes
	width        float64
	left, bottom float64
}

// shown returns a contestant's name for readers who do not know the names that -client
// accepts.
func shown(c contestant) string {
	name := map[string]string{
		"gate":    "iamhttp with a gate",
		"iamhttp": "iamhttp without a gate",
		"loop-1s": "a loop that retries each second",
		"loop-0s": "a loop that retries at once",
	}[c.Name]
	if name == "" {
		return c.String()
	}
	c.Name = name
	return c.String()
}

func (p panel) x(second float64) float64 { return p.left + second/p.seconds*p.width }
func (p panel) y(rate float64) float64   { return p.bottom - rate/p.top*panelH }

func (p panel) frame(name, verdict string, labels bool) {
	fmt.Fprintf(p, `<text class="name" x="%.0f" y="%.0f">%s</text><text class="quiet" x="%.0f" y="%.0f">%s</text>`+"\n",
		p.left, p.bottom-panelH-40, svg.Escape(name), p.left, p.bottom-panelH-26, svg.Escape(verdict))
	if labels {
		fmt.Fprintf(p, `<text class="quiet" text-anchor="middle" transform="translate(%.0f %.0f) rotate(-90)">requests per second</text>`+"\n", p.left-42, p.bottom-panelH/2)
	}
	for _, rate := range []float64{0, p.top / 2, p.top} {
		fmt.Fprintf(p, `<path class="grid" d="M%.0f %.1fh%.0f"/>`, p.left, p.y(rate), p.width)
		if labels {
			fmt.Fprintf(p, `<text class="quiet" text-anchor="end" x="%.0f" y="%.1f">%.4g</text>`, p.left-6, p.y(rate)+4, rate)
		}
	}
	for _, at := range []float64{0, p.seconds / 2, p.seconds} {
		fmt.Fprintf(p, `<text class="quiet" text-anchor="middle" x="%.1f" y="%.0f">%.4g s</text>`, p.x(at), p.bottom+15, at)
	}
	p.WriteByte('\n')
}

func (p panel) bars(r sim.Result) {
	accepted, refused := p.rates(r)
	var a, f, cut strings.Builder
	bar := func(to *strings.Builder, i int, from, upTo float64) {
		from, upTo = min(from, p.top), min(upTo, p.top)
		if from < upTo {
			const gap = 0.05
			fmt.Fprintf(to, "M%.1f %.1fV%.1fH%.1fV%.1fz", p.x((float64(i)+gap)*p.bin), p.y(from), p.y(upTo), p.x((float64(i)+1-gap)*p.bin), p.y(from))
		}
	}
	peak := 0.0
	for i := range accepted {
		bar(&a, i, 0, accepted[i])
		bar(&f, i, accepted[i], accepted[i]+refused[i])
		peak = max(peak, accepted[i]+refused[i])
		if accepted[i]+refused[i] > p.top {
			cut.WriteString(svg.Up(p.x((float64(i)+0.5)*p.bin), p.bottom-panelH-2, min(p.x(p.bin)-p.left, 8)))
		}
	}
	fmt.Fprintf(p, `<path class="accepted" d="%s"/><path class="refused" d="%s"/><path class="cut" d="%s"/>`+"\n", a.String(), f.String(), cut.String())
	var beyond []string
	if peak > p.top {
		beyond = append(beyond, fmt.Sprintf("the highest is %.0f", peak))
	}
	if end := last(r); end.Seconds() > p.seconds {
		beyond = append(beyond, fmt.Sprintf("the end is at %.0f s", end.Seconds()))
	}
	if len(beyond) > 0 {
		fmt.Fprintf(p, `<text class="quiet" x="%.0f" y="%.0f">cut off: %s</text>`+"\n", p.left, p.bottom-panelH-12, strings.Join(beyond, ", "))
	}
}

func (p panel) limit(s sim.Server, r sim.Result) {
	rate := s.Rate()
	fmt.Fprintf(p, `<path class="limit" d="M%.1f %.1f`, p.left, p.y(rate))
	if s.Change != 0 {
		fmt.Fprintf(p, "H%.1fV%.1f", min(p.x(r.ChangeAt.Seconds()), p.left+p.width), p.y(rate*s.Change))
	}
	fmt.Fprintf(p, `H%.1f"/>`+"\n", p.left+p.width)
}

// fileName returns the name of a scenario, with other characters in place of those that
// are inconvenient in file names.
func fileName(s sim.Scenario) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '/', ' ', '@', '+', '%':
			return '-'
		case '×':
			return 'x'
		}
		return r
	}, s.String())
}
