package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

// Sizes in pixels.
const (
	columns          = 3
	panelW, panelH   = 250, 130
	gapX, gapY       = 46, 62
	marginX, marginY = 46, 92
)

// style keeps to colours that differ in lightness too, and works on a light
// page and on a dark one.
const style = `
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.name { font-weight: 600 }
.quiet { fill: #59636e; font-size: 11px }
.accepted { fill: #0969da }
.refused { fill: #f0883e }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.limit { stroke: #1f2328; stroke-width: 1; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
 text { fill: #f0f6fc }
 .quiet { fill: #9198a1 }
 .accepted { fill: #4493f8 }
 .refused { fill: #db6d28 }
 .grid { stroke: #3d444d }
 .limit { stroke: #f0f6fc }
}
`

// draw makes a picture of one scenario: for each contestant what the server
// was asked for in each second, and how much of it it refused.
func draw(fleet []contestant, results []sim.Result) []byte {
	s := results[0].Scenario
	seconds, top := window(results)
	rows := (len(fleet) + columns - 1) / columns
	width := 2*marginX + columns*panelW + (columns-1)*gapX - 20
	height := marginY + rows*(panelH+gapY)

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, height, width, height)
	title := describe(s)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escape("Requests per second: "+title), style)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="22">%s</text>`+"\n", marginX, escape(upper(title)))
	x := marginX
	for _, l := range []struct{ class, text string }{{"accepted", "accepted"}, {"refused", "refused with 429"}} {
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="34" width="11" height="11"/><text x="%d" y="44">%s</text>`+"\n", l.class, x, x+17, l.text)
		x += 44 + 7*len(l.text)
	}
	fmt.Fprintf(&b, `<path class="limit" d="M%d 40h22"/><text x="%d" y="44">the limit; requests in each second</text>`+"\n", x, x+28)

	for i, r := range results {
		left := marginX + i%columns*(panelW+gapX)
		bottom := marginY + i/columns*(panelH+gapY) + panelH
		p := panel{&b, float64(left), float64(bottom), seconds, top}
		p.frame(fleet[i].String(), verdict(r), i%columns == 0)
		p.bars(r)
		p.limit(s.Server, r)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// window returns the seconds and the requests per second that all panels show.
// The slowest may take far longer than the others: half as long again as the
// ideal is enough to see what goes on.
func window(results []sim.Result) (seconds int, top float64) {
	longest := time.Duration(0)
	for _, r := range results {
		longest = max(longest, last(r))
	}
	longest = min(longest, max(3*results[0].IdealMakespan, 20*time.Second))
	seconds = int(math.Ceil(longest.Seconds()))
	for _, r := range results {
		accepted, refused := perSecond(r, seconds)
		for i := range accepted {
			top = max(top, accepted[i]+refused[i])
		}
	}
	return seconds, round(top)
}

// round returns the next number up that reads well on an axis.
func round(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(max(v, 1))))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
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

func perSecond(r sim.Result, seconds int) (accepted, refused []float64) {
	accepted, refused = make([]float64, seconds), make([]float64, seconds)
	for _, d := range r.Decisions {
		switch i := int(d.At / time.Second); {
		case i >= seconds:
		case d.Accepted:
			accepted[i]++
		default:
			refused[i]++
		}
	}
	return accepted, refused
}

// verdict is a run in a line.
func verdict(r sim.Result) string {
	v := fmt.Sprintf("%.1f sent per success", r.SentPerOK())
	if r.OK == 0 {
		v = "none served"
	}
	if r.Failed > 0 {
		return v + fmt.Sprintf(", %.0f %% failed", 100*float64(r.Failed)/float64(r.OK+r.Failed))
	}
	return v + fmt.Sprintf(", %.1f × the ideal time", r.MakespanRatio())
}

type panel struct {
	b            *bytes.Buffer
	left, bottom float64
	seconds      int
	top          float64
}

func (p panel) x(second float64) float64 { return p.left + second/float64(p.seconds)*panelW }
func (p panel) y(rate float64) float64   { return p.bottom - rate/p.top*panelH }

func (p panel) frame(name, verdict string, labels bool) {
	fmt.Fprintf(p.b, `<text class="name" x="%.0f" y="%.0f">%s</text><text class="quiet" x="%.0f" y="%.0f">%s</text>`+"\n",
		p.left, p.bottom-panelH-22, escape(name), p.left, p.bottom-panelH-8, escape(verdict))
	for _, rate := range []float64{0, p.top / 2, p.top} {
		fmt.Fprintf(p.b, `<path class="grid" d="M%.0f %.1fh%d"/>`, p.left, p.y(rate), panelW)
		if labels {
			fmt.Fprintf(p.b, `<text class="quiet" text-anchor="end" x="%.0f" y="%.1f">%.4g</text>`, p.left-6, p.y(rate)+4, rate)
		}
	}
	for _, at := range []int{0, p.seconds / 2, p.seconds} {
		fmt.Fprintf(p.b, `<text class="quiet" text-anchor="middle" x="%.1f" y="%.0f">%d s</text>`, p.x(float64(at)), p.bottom+15, at)
	}
	p.b.WriteByte('\n')
}

func (p panel) bars(r sim.Result) {
	accepted, refused := perSecond(r, p.seconds)
	var a, f strings.Builder
	gap := 0.1
	if panelW/p.seconds < 4 {
		gap = 0
	}
	bar := func(to *strings.Builder, i int, from, upTo float64) {
		if from < upTo {
			fmt.Fprintf(to, "M%.1f %.1fV%.1fH%.1fV%.1fz", p.x(float64(i)+gap/2), p.y(from), p.y(upTo), p.x(float64(i)+1-gap/2), p.y(from))
		}
	}
	for i := range accepted {
		bar(&a, i, 0, accepted[i])
		bar(&f, i, accepted[i], accepted[i]+refused[i])
	}
	fmt.Fprintf(p.b, `<path class="accepted" d="%s"/><path class="refused" d="%s"/>`+"\n", a.String(), f.String())
	if end := last(r); end > time.Duration(p.seconds)*time.Second {
		fmt.Fprintf(p.b, `<text class="quiet" text-anchor="end" x="%.0f" y="%.0f">until %.0f s →</text>`+"\n",
			p.left+panelW, p.bottom-panelH+12, end.Seconds())
	}
}

func (p panel) limit(s sim.Server, r sim.Result) {
	rate := s.Rate()
	fmt.Fprintf(p.b, `<path class="limit" d="M%.1f %.1f`, p.left, p.y(rate))
	if s.Change != 0 {
		fmt.Fprintf(p.b, "H%.1fV%.1f", min(p.x(r.ChangeAt.Seconds()), p.left+panelW), p.y(rate*s.Change))
	}
	fmt.Fprintf(p.b, `H%.1f"/>`+"\n", p.left+panelW)
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// fileName is the name of a scenario in characters that file systems take.
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
