package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/bench/internal/svg"
)

// Sizes are in pixels; plotColumns is a number of panels.
const (
	plotColumns = 2
	labelW      = 150
	barW        = 200
	valueW      = 90
	rowH        = 17
	gap         = 34
	shortest    = 2.0 // length of the shortest bar of a peer that did not fail
)

// draw draws the most important figures that were measured without a network: a panel for
// each figure, with a bar for each peer.
func (r *report) draw() []byte {
	var panels []column
	for _, s := range r.scenarios {
		if !slices.Contains(s.over, "memory") {
			continue
		}
		c := column{"memory", s, "ns/op", "Time per call: " + s.title, nil}
		switch {
		case s.waiting > 0:
			c.unit, c.head = "heap-B/call", "Heap of a waiting call"
		case s.size >= mib && !s.file:
			c.unit, c.head = "B/op", "Memory allocated: "+s.title
		case s.size >= mib:
			continue
		}
		panels = append(panels, c)
	}
	rows := (len(panels) + plotColumns - 1) / plotColumns
	panelW, panelH := labelW+barW+valueW+gap, (len(r.fleet)+1)*rowH+gap
	var b bytes.Buffer
	svg.Begin(&b, plotColumns*panelW+gap/2, rows*panelH+60, "What a call costs")
	fmt.Fprintf(&b, `<text class="title" x="%d" y="24">What a call costs, without a network</text>`+"\n", gap/2)
	fmt.Fprintf(&b, `<text class="quiet" x="%d" y="42">Lower is better. Logarithmic scale: an eighth of the longest bar is a factor of two; ◂ marks values below the scale.</text>`+"\n", gap/2)
	for i, c := range panels {
		r.panel(&b, c, gap/2+i%plotColumns*panelW, 60+i/plotColumns*panelH)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// shown returns a peer's name for readers who do not know what base is.
func shown(p peers.Peer) string {
	if p.Name == peers.Base.Name {
		return "no library"
	}
	return p.Name
}

// panel draws one figure's heading and bars. The scale is logarithmic: when a value
// doubles, its bar grows by an eighth of the longest bar's length.
func (r *report) panel(b *bytes.Buffer, c column, left, top int) {
	fmt.Fprintf(b, `<text class="name" x="%d" y="%d">%s</text>`+"\n", left, top+12, svg.Escape(c.head))
	most := 0.0
	for _, p := range r.fleet {
		if s := r.results.of(c.network, c.scenario, p); s != nil && s.fault == nil {
			most = max(most, s.median(c.unit))
		}
	}
	for i, p := range r.fleet {
		y := top + (i+1)*rowH
		class, text, width := "other", "fails", 0.0
		switch p.Name {
		case ours:
			class = "ours"
		case peers.Base.Name:
			class = "floor"
		}
		if s := r.results.of(c.network, c.scenario, p); s != nil && s.fault == nil {
			v := s.median(c.unit)
			text, width = value(c.unit, v), barW*(1+math.Log2(max(v, 1)/most)/8)
			if width < shortest {
				text, width = "◂ "+text, shortest
			}
		}
		fmt.Fprintf(b, `<text class="quiet" text-anchor="end" x="%d" y="%d">%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/><text class="quiet" x="%.1f" y="%d">%s</text>`+"\n",
			left+labelW-6, y+12, svg.Escape(shown(p)), class, left+labelW, y+3, width, rowH-5, float64(left+labelW)+width+5, y+12, text)
	}
}
