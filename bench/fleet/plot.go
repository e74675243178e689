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
	left, top    = 64, 62
	rowH         = plotH + 56
)

// draw draws a panel for each client. A panel shows how many requests were sent in each
// second, and how many of them were throttled. All panels have the same axes; bars that
// are cut off are marked.
func draw(results []result) []byte {
	seconds := 1
	for _, r := range results {
		seconds = max(seconds, int(math.Ceil(r.makespan.Seconds())))
	}
	most := 3 * float64(results[0].rate)
	var b bytes.Buffer
	width, height := left+plotW+20, top+len(results)*rowH
	title := fmt.Sprintf("%d processes with %d callers each, sending to %s: what reaches the service", results[0].processes, results[0].callers, results[0].server)
	svg.Begin(&b, width, height, title)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="20">%s</text>`+"\n", left, svg.Escape(title))
	fmt.Fprintf(&b, `<text x="%d" y="42"><tspan class="accepted">■</tspan> accepted   <tspan class="refused">■</tspan> throttled (429)   <tspan>╌╌</tspan> the limit, %d requests per second   <tspan>▴</tspan> cut off</text>`+"\n", left, results[0].rate)
	for i, r := range results {
		bottom := float64(top + i*rowH + plotH + 20)
		fmt.Fprintf(&b, `<text class="name" x="%d" y="%.0f">%s</text><text class="quiet" text-anchor="end" x="%d" y="%.0f">%.2f requests per success, %d calls failed</text>`+"\n",
			left, bottom-plotH-9, svg.Escape(shown(r.plan)), left+plotW, bottom-plotH-9, r.perOK(), r.failed)
		ok, refused := r.bySecond(seconds)
		w := float64(plotW) / float64(seconds)
		var accepted, turnedAway, cut strings.Builder
		for s := range seconds {
			h := min(ok[s]/most, 1) * plotH
			g := min(refused[s]/most*plotH, plotH-h)
			bar(&accepted, left+float64(s)*w, bottom, w*0.85, h)
			bar(&turnedAway, left+float64(s)*w, bottom-h, w*0.85, g)
			if ok[s]+refused[s] > most {
				cut.WriteString(svg.Up(left+(float64(s)+0.425)*w, bottom-plotH-1, min(w*0.85, 8)))
			}
		}
		fmt.Fprintf(&b, `<path class="accepted" d="%s"/><path class="refused" d="%s"/><path class="cut" d="%s"/>`+"\n", &accepted, &turnedAway, &cut)
		limit := bottom - float64(r.rate)/most*plotH
		fmt.Fprintf(&b, `<path class="limit" d="M%d %.1fh%d"/>`+"\n", left, limit, plotW)
		for _, tick := range []float64{0, float64(r.rate), most} {
			fmt.Fprintf(&b, `<text class="quiet" text-anchor="end" x="%d" y="%.1f">%.0f</text>`, left-6, bottom-tick/most*plotH+4, tick)
		}
		fmt.Fprintf(&b, `<text class="quiet" text-anchor="middle" transform="translate(16 %.0f) rotate(-90)">requests/s</text>`+"\n", bottom-plotH/2)
		fmt.Fprintf(&b, `<text class="quiet" x="%d" y="%.0f">0 s</text><text class="quiet" text-anchor="end" x="%d" y="%.0f">%d s</text>`+"\n", left, bottom+14, left+plotW, bottom+14, seconds)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// shown returns a client's name for readers who do not know the names that -client accepts.
func shown(p plan) string {
	return map[string]string{
		noGate:       "iamhttp without a gate",
		localGates:   "iamhttp with a gate in each process",
		oneGate:      "iamhttp with redisgate",
		losesRedis:   "iamhttp with redisgate; the Redis server is killed halfway",
		losesMembers: fmt.Sprintf("iamhttp with redisgate; %d of the processes are killed", p.processes/4),
	}[p.client]
}

// bar adds a bar to path.
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
			case s.Status == http.StatusOK: // a request without a response is not drawn
				ok[at]++
			}
		}
	}
	return ok, refused
}
