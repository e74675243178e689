package main

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp/bench/internal/svg"
)

// Sizes in pixels.
const (
	plotW, plotH = 700, 90
	left, top    = 46, 44
	rowH         = plotH + 46
)

// draw shows for each client how many requests the server received in each
// second, and how many of them it refused. All panels have the same axes; higher
// bars are cut off.
func draw(results []result) []byte {
	seconds := 1
	for _, r := range results {
		seconds = max(seconds, int(math.Ceil(r.makespan.Seconds())))
	}
	most := 3 * float64(results[0].rate)
	var b bytes.Buffer
	width, height := left+plotW+20, top+len(results)*rowH
	svg.Begin(&b, width, height, fmt.Sprintf("Requests per second of %d processes", results[0].processes))
	fmt.Fprintf(&b, `<text x="%d" y="18">%s: requests per second, <tspan class="accepted">■</tspan> accepted, <tspan class="refused">■</tspan> refused; dashed: the limit</text>`+"\n", left, results[0].server)
	for i, r := range results {
		bottom := float64(top + i*rowH + plotH + 20)
		fmt.Fprintf(&b, `<text class="name" x="%d" y="%.0f">%s</text><text class="quiet" x="%d" y="%.0f">%.2f sent per success, %d failed</text>`+"\n",
			left, bottom-plotH-6, r.client, left+220, bottom-plotH-6, r.perOK(), r.failed)
		ok, refused := r.bySecond(seconds)
		w := float64(plotW) / float64(seconds)
		var accepted, turnedAway strings.Builder
		for s := range seconds {
			h := min(ok[s]/most, 1) * plotH
			g := min(refused[s]/most*plotH, plotH-h)
			bar(&accepted, left+float64(s)*w, bottom, w*0.85, h)
			bar(&turnedAway, left+float64(s)*w, bottom-h, w*0.85, g)
		}
		fmt.Fprintf(&b, `<path class="accepted" d="%s"/><path class="refused" d="%s"/>`+"\n", &accepted, &turnedAway)
		limit := bottom - float64(r.rate)/most*plotH
		fmt.Fprintf(&b, `<path class="limit" d="M%d %.1fh%d"/><text class="quiet" x="8" y="%.1f">%d</text>`+"\n", left, limit, plotW, limit+4, r.rate)
		fmt.Fprintf(&b, `<text class="quiet" x="%d" y="%.0f">0 s</text><text class="quiet" x="%d" y="%.0f">%d s</text>`+"\n", left, bottom+14, left+plotW-30, bottom+14, seconds)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// bar adds a bar to a path.
func bar(path *strings.Builder, x, bottom, width, height float64) {
	if height > 0 {
		fmt.Fprintf(path, "M%.1f %.1fv%.1fh%.1fv%.1fz", x, bottom, -height, width, height)
	}
}

func (r *result) bySecond(seconds int) (ok, refused []float64) {
	ok, refused = make([]float64, seconds), make([]float64, seconds)
	for _, rep := range r.reports {
		for _, s := range rep.Sends {
			at := int(time.UnixMicro(s.At).Sub(r.begin).Seconds())
			switch {
			case at < 0 || at >= seconds:
			case s.Status == http.StatusTooManyRequests:
				refused[at]++
			default:
				ok[at]++
			}
		}
	}
	return ok, refused
}
