// Package docs draws decision.svg, which shows how a Transport handles a response: the
// status, the rules, and what the caller gets. The codes of each retry rule and the texts
// of the retry rules and stop reasons come from the library, so these always agree with
// it.
//
//	go test ./docs -update
package docs

import (
	"bytes"
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

var update = flag.Bool("update", false, "rewrite decision.svg")

func TestDecisionPictureIsUpToDate(t *testing.T) {
	const file = "decision.svg"
	if *update {
		require.NoError(t, os.WriteFile(file, draw(), 0o644))
		return
	}
	drawn, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(draw()), string(drawn), "decision.svg is out of date; run: go test ./docs -update")
}

func TestDecisionPictureShowsEveryStopReasonOnce(t *testing.T) {
	picture := string(draw())
	for s := iamhttp.StopUnset + 1; !strings.HasPrefix(s.String(), "StopReason("); s++ {
		assert.Equal(t, 1, strings.Count(picture, ">"+s.String()+"<"), "the picture must contain the text of %q once", s)
		assert.Equal(t, 1, strings.Count(picture, ">iamhttp."+constant(s)+"<"), "the picture must contain the name of the constant of %q once", s)
	}
}

func TestDecisionPictureListsStopReasonsInTheOrderOfTheirConstants(t *testing.T) {
	for i, r := range rules {
		assert.Equal(t, iamhttp.StopUnset+1+iamhttp.StopReason(i), r.no, "rule %d (%q) is out of order", i, r.question)
	}
}

// rules lists the questions that a Transport asks about a failed attempt, in the order of
// the StopReason constants. If the answer to a question is no, the call ends with the
// StopReason in the field no.
var rules = []struct {
	question, detail string
	no               iamhttp.StopReason
}{
	{"Listed in AlsoRetry?", "and idempotent; 413: with Retry-After", iamhttp.StopNotRetryable},
	{"Can the body be sent again?", "there is no body, or GetBody is set", iamhttp.StopBodyNotReplayable},
	{"Attempts left?", "fewer than MaxAttempts were sent", iamhttp.StopAttempts},
	{"Does the schedule allow a retry?", "Backoff has not stopped", iamhttp.StopBackoff},
	{"Is Retry-After short enough?", "at most MaxWait", iamhttp.StopWaitTooLong},
	{"Does the wait end in time?", "before the deadline or Client.Timeout", iamhttp.StopDeadline},
	{"Is the signature valid until then?", "if an SDK has signed with AK/SK", iamhttp.StopSignature},
	{"Wait. Is the caller still waiting?", "the context has not ended", iamhttp.StopCanceled},
	{"Does the gate admit the request?", "yes, if there is no gate", iamhttp.StopGate},
}

// Sizes and positions are in pixels; firstRule and lastRow are numbers of rows. Statuses,
// rules and outcomes have one column each.
const (
	width            = 884
	row, top         = 58, 86
	boxH             = 42
	leftX, leftW     = 20, 250
	ruleX, ruleW     = 325, 270
	endX, endW       = 650, 216
	ruleMid, leftMid = ruleX + ruleW/2, leftX + leftW/2
	firstRule        = 2 // the row of rules[0]
	lastRow          = firstRule + 9
)

// style works on light and dark pages. For readers who cannot tell the colors apart, the
// text and the positions carry the same information.
const style = `
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.head { font-size: 12px; font-weight: 600; fill: #59636e }
.quiet { font-size: 11px; fill: #59636e }
.strong { font-weight: 600 }
rect { fill: #f6f8fa; stroke: #818b98 }
.go { fill: #ddf4ff; stroke: #0969da }
.stop { fill: #fff1e5; stroke: #bc4c00 }
path { fill: none; stroke: #59636e; stroke-width: 1.3; marker-end: url(#head) }
#head path { fill: #59636e; stroke: none; marker-end: none }
@media (prefers-color-scheme: dark) {
 text { fill: #f0f6fc }
 .head, .quiet { fill: #9198a1 }
 rect { fill: #151b23; stroke: #656c76 }
 .go { fill: #0c2d6b; stroke: #4493f8 }
 .stop { fill: #3d1d00; stroke: #db6d28 }
 path { stroke: #9198a1 }
 #head path { fill: #9198a1 }
}
`

// A drawing is an SVG document; the methods below append elements.
type drawing struct{ bytes.Buffer }

func draw() []byte {
	var d drawing
	height := y(lastRow+1) + 4
	fmt.Fprintf(&d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, height, width, height)
	d.WriteString("<title>What a Transport does with a response: status, rules, what the caller gets</title>\n")
	d.WriteString("<style>" + style + "</style>\n")
	d.WriteString(`<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>` + "\n")
	d.text("title", width/2, 24, "What an iamhttp.Transport does with a response")
	for _, h := range []struct {
		x    int
		text string
	}{{leftMid, "status"}, {ruleMid, "rule"}, {endX + endW/2, "what the caller gets"}} {
		d.text("head", h.x, 60, h.text)
	}

	d.box("go", leftX, leftW, 0, "100–399", "or Expected")
	d.arrow("M%d %d H%d", leftX+leftW, middle(0), endX)
	d.box("go", endX, endW, 0, "the response", "unchanged")

	never := []iamhttp.RetryRule{iamhttp.RetryDiscouraged, iamhttp.RetryUnstated, iamhttp.RetryIfTemporary}
	for i, r := range never {
		if r == iamhttp.RetryUnstated {
			d.box("", leftX, leftW, firstRule-1+i, "every other failure", "the table states no rule")
		} else {
			d.box("", leftX, leftW, firstRule-1+i, codes(r), r.String())
		}
		const join = leftX + leftW + 25
		if i == 1 {
			d.arrow("M%d %d H%d", leftX+leftW, middle(firstRule), ruleX)
		} else {
			d.line("M%d %d H%d V%d", leftX+leftW, middle(firstRule-1+i), join, middle(firstRule))
		}
	}
	d.line("M%d %d H%d V%d", leftX+leftW, middle(firstRule+3), leftX+leftW+25, middle(firstRule+2))
	d.line("M%d %d H%d", leftX+leftW, middle(firstRule+2), leftX+leftW+25)
	d.arrow("M%d %d V%d H%d", leftX+leftW+25, middle(firstRule+2), middle(firstRule+1)+12, ruleX)
	d.box("go", leftX, leftW, firstRule+2, codes(iamhttp.RetryAnytime), iamhttp.RetryAnytime.String())
	d.box("go", leftX, leftW, firstRule+3, codes(iamhttp.RetryAfterDelay), iamhttp.RetryAfterDelay.String())

	for i, r := range rules {
		at := firstRule + i
		d.box("", ruleX, ruleW, at, r.question, r.detail)
		d.arrow("M%d %d V%d", ruleMid, y(at)+boxH, y(at+1))
		d.text("quiet", ruleMid+18, y(at)+boxH+12, "yes")
		d.arrow("M%d %d H%d", ruleX+ruleW, middle(at), endX)
		d.text("quiet", ruleX+ruleW+24, middle(at)-5, "no")
		d.box("stop", endX, endW, at, r.no.String(), "iamhttp."+constant(r.no))
	}
	d.box("go", ruleX, ruleW, lastRow, "Send the request again", "and look at the new response")
	const turn = leftX - 10
	d.arrow("M%d %d H%d V%d H%d", ruleX, middle(lastRow), turn, middle(0), leftX)

	for i, s := range []string{
		"Each “no” ends the call with a", "*StatusError that has the reason in Stop.",
		"With PassThrough you get the response,", "except for the last two reasons; the error", "goes to the Recorder and to OnFailure.",
		"Without any response you get", "Base's error.",
	} {
		d.text("quiet", leftMid+5, y(firstRule+4)+22+18*i, s)
	}
	d.WriteString("</svg>\n")
	return d.Bytes()
}

func y(n int) int      { return top + n*row - 8 }
func middle(n int) int { return y(n) + boxH/2 }

// codes returns the codes whose retry rule is r.
func codes(r iamhttp.RetryRule) string {
	var all []string
	for c := range iamhttp.Codes() {
		if iamhttp.Classify(int(c)).Retry == r {
			all = append(all, strconv.Itoa(int(c)))
		}
	}
	return strings.Join(all, " ")
}

// constant returns the name of the Go constant for s.
func constant(s iamhttp.StopReason) string {
	return map[iamhttp.StopReason]string{
		iamhttp.StopNotRetryable:      "StopNotRetryable",
		iamhttp.StopBodyNotReplayable: "StopBodyNotReplayable",
		iamhttp.StopAttempts:          "StopAttempts",
		iamhttp.StopBackoff:           "StopBackoff",
		iamhttp.StopWaitTooLong:       "StopWaitTooLong",
		iamhttp.StopDeadline:          "StopDeadline",
		iamhttp.StopSignature:         "StopSignature",
		iamhttp.StopCanceled:          "StopCanceled",
		iamhttp.StopGate:              "StopGate",
	}[s]
}

func (d *drawing) box(class string, x, w, at int, title, detail string) {
	fmt.Fprintf(d, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="6"/>`+"\n", class, x, y(at), w, boxH)
	d.text("strong", x+w/2, y(at)+18, title)
	d.text("quiet", x+w/2, y(at)+34, detail)
}

func (d *drawing) text(class string, x, y int, s string) {
	fmt.Fprintf(d, `<text class="%s" x="%d" y="%d" text-anchor="middle">`, class, x, y)
	_ = xml.EscapeText(d, []byte(s)) // a Buffer never fails
	d.WriteString("</text>\n")
}

func (d *drawing) arrow(path string, at ...any) {
	fmt.Fprintf(d, `<path d="%s"/>`+"\n", fmt.Sprintf(path, at...))
}

// line draws an arrow without a head.
func (d *drawing) line(path string, at ...any) {
	fmt.Fprintf(d, `<path style="marker-end:none" d="%s"/>`+"\n", fmt.Sprintf(path, at...))
}
