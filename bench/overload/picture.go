package main

import (
	"bytes"
	"fmt"
	"math"
	"os"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/bench/internal/svg"
)

// The layout of the README's picture, in pixels.
const (
	pictureW, pictureH = 760, 272
	plotW, plotH       = 310, 150
	plotTop            = 84
)

// writePicture draws README.md's picture: a thousand calls at once against one limit,
// without a gate and with one.
func writePicture(file string) error {
	s, err := scenarios("tb100/0.1", "seconds", "1000@once", "10ms", "1")
	if err != nil {
		return err
	}
	fleet, err := contestants("iamhttp,gate", "0")
	if err != nil {
		return err
	}
	for results := range inOrder(s, fleet, true) {
		byName := map[string]sim.Result{}
		for i, r := range results {
			byName[fleet[i].Name] = r
		}
		return os.WriteFile(file, drawPicture(byName["iamhttp"], byName["gate"]), 0o644)
	}
	return nil
}

func drawPicture(without, with sim.Result) []byte {
	a := axes{bin: 1, seconds: math.Ceil(max(last(without), last(with)).Seconds())}
	for _, r := range []sim.Result{without, with} {
		accepted, refused := a.rates(r)
		for i := range accepted {
			a.top = max(a.top, accepted[i]+refused[i])
		}
	}
	a.top = round(a.top)

	var b bytes.Buffer
	svg.Begin(&b, pictureW, pictureH, "1000 calls at once, limit of 100 requests per second: without a gate, and with one")
	b.WriteString(`<text class="title" x="50" y="22">1000 calls at once, to a service that allows 100 requests per second</text>` + "\n")
	x := 50
	for _, l := range []struct{ class, text string }{{"accepted", "served"}, {"refused", "refused with 429"}} {
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="36" width="11" height="11"/><text x="%d" y="46">%s</text>`+"\n", l.class, x, x+17, l.text)
		x += 44 + 7*len(l.text)
	}
	fmt.Fprintf(&b, `<path class="limit" d="M%d 42h22"/><text x="%d" y="46">the limit</text>`+"\n", x, x+28)
	drawHalf(&b, a, 50, "iamhttp without a gate", without)
	drawHalf(&b, a, 420, "iamhttp with a gate", with)
	fmt.Fprintf(&b, `<text class="quiet" text-anchor="middle" transform="rotate(-90 12 %d)" x="12" y="%d">requests per second</text>`+"\n", plotTop+plotH/2, plotTop+plotH/2)
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// drawHalf draws one run, in one half of the picture.
func drawHalf(b *bytes.Buffer, a axes, left float64, name string, r sim.Result) {
	const bottom = plotTop + plotH
	at := func(second float64) float64 { return left + second/a.seconds*plotW }
	high := func(rate float64) float64 { return bottom - rate/a.top*plotH }
	accepted, refused := a.rates(r)
	throttled := 0
	for _, d := range r.Decisions {
		if !d.Accepted {
			throttled++
		}
	}
	fmt.Fprintf(b, `<text class="name" x="%.0f" y="%d">%s: %d refused</text>`+"\n", left, plotTop-10, name, throttled)
	for _, rate := range []float64{0, a.top / 2, a.top} {
		fmt.Fprintf(b, `<path class="grid" d="M%.0f %.1fh%d"/><text class="quiet" text-anchor="end" x="%.0f" y="%.1f">%.4g</text>`+"\n",
			left, high(rate), plotW, left-6, high(rate)+4, rate)
	}
	for second := 0.0; second <= a.seconds; second += 5 {
		fmt.Fprintf(b, `<text class="quiet" text-anchor="middle" x="%.1f" y="%d">%.4g</text>`+"\n", at(second), bottom+15, second)
	}
	fmt.Fprintf(b, `<text class="quiet" text-anchor="middle" x="%.1f" y="%d">seconds</text>`+"\n", left+plotW/2, bottom+31)
	for i := range accepted {
		const gap = 0.06
		x, w := at(float64(i)+gap), at(float64(i)+1-gap)-at(float64(i)+gap)
		for _, bar := range []struct {
			class      string
			from, upTo float64
		}{{"accepted", 0, accepted[i]}, {"refused", accepted[i], accepted[i] + refused[i]}} {
			if bar.from < bar.upTo {
				fmt.Fprintf(b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n",
					bar.class, x, high(bar.upTo), w, high(bar.from)-high(bar.upTo))
			}
		}
	}
	fmt.Fprintf(b, `<path class="limit" d="M%.1f %.1fh%d"/>`+"\n", left, high(r.Scenario.Server.Rate()), plotW)
}
