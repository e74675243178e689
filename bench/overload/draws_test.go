package main

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

var (
	draws      = flag.Int("draws", 500, "the `number` of situations that are drawn at random, from -seed on")
	drawsShown = flag.Int("shown", 40, "the `number` of draws that are shown, the worst first")
)

// The gate reaches these shares of the draws today: those in which it answers so much
// of what is answered without a gate, and those in which it sends no more requests
// per success. The goal is 1 for each.
var (
	drawsReach    = []struct{ answered, share float64 }{{0.97, 0.6}, {0.9, 0.75}, {0.5, 0.94}}
	drawsSendLess = 0.97
)

// A drawn is a situation with a gate and without one.
type drawn struct {
	seed                  uint64
	situation             sim.Situation
	with, without         int     // calls answered, outside of what is conceded
	sentWith, sentWithout float64 // requests for each
}

func drawOne(seed uint64) drawn {
	s := sim.Draw(seed)
	with := s.Run(new(testing.T), strategies[0].client(s, settings{}))
	without := s.Run(new(testing.T), strategies[1].client(s, settings{}))
	d := drawn{seed: seed, situation: s, sentWith: with.SentPerOK(), sentWithout: without.SentPerOK()}
	for _, stretch := range counted(s) {
		d.with += with.Answered(stretch[0], stretch[1])
		d.without += without.Answered(stretch[0], stretch[1])
	}
	return d
}

// counted returns the stretches of time in which a gate has to be as good as none. It
// obeys Retry-After for all callers, and has to learn: the goals of the rows concede
// it five pauses at the beginning, and half a minute and a pause after all that
// changes.
func counted(s sim.Situation) [][2]time.Duration {
	pause := longestPause(s)
	after := 30*time.Second + pause
	conceded := [][2]time.Duration{{0, 5 * max(pause, s.Ban)}}
	for _, c := range s.Callers {
		conceded = append(conceded, [2]time.Duration{c.From, c.From + 5*pause})
	}
	for _, l := range s.Limits {
		for _, c := range l.Course {
			conceded = append(conceded, [2]time.Duration{c.At, c.At + after})
		}
		for _, p := range l.Strangers {
			conceded = append(conceded, [2]time.Duration{p.From, p.Until + after})
		}
	}
	for _, f := range s.Faults {
		switch {
		case f.Count > 0:
			conceded = append(conceded, [2]time.Duration{f.From, f.From + 10*time.Second})
		case f.From > 0:
			conceded = append(conceded, [2]time.Duration{f.From, f.Until + after})
		}
	}
	slices.SortFunc(conceded, func(a, b [2]time.Duration) int { return cmp.Compare(a[0], b[0]) })
	var stretches [][2]time.Duration
	var now time.Duration
	for _, c := range conceded {
		if c[0] > now {
			stretches = append(stretches, [2]time.Duration{now, c[0]})
		}
		now = max(now, c[1])
	}
	return append(stretches, [2]time.Duration{now, max(now, s.Length)})
}

// longestPause is about the longest Retry-After of a situation but for bans.
func longestPause(s sim.Situation) time.Duration {
	longest := time.Second
	for _, f := range s.Faults {
		longest = max(longest, inSeconds(f.RetryAfter))
	}
	if s.RetryAfter != sim.Seconds {
		longest = max(longest, inSeconds(string(s.RetryAfter)))
	}
	for _, l := range s.Limits {
		least := 1.0
		for _, c := range l.Course {
			least = min(least, c.Times)
		}
		switch wait := 1 / (l.Server.Rate() * least); {
		case l.Server.Algorithm != sim.TokenBucket:
			longest = max(longest, l.Server.Window)
		case s.RetryAfter == sim.Seconds:
			longest = max(longest, time.Duration(min(wait, 60)*float64(time.Second)))
		}
	}
	return longest
}

func inSeconds(header string) time.Duration {
	n, _ := strconv.Atoi(header) // none is 0
	return time.Duration(n) * time.Second
}

// telling reports whether enough is answered without a gate to compare with.
func (d drawn) telling() bool { return d.without >= 20 }

// ratio is what is answered with a gate in relation to what is without, but for two
// deviations of chance: where the last calls end, and which strangers came.
func (d drawn) ratio() float64 {
	of := float64(d.without)
	return (float64(d.with) + min(of/2, 2+math.Sqrt(of)/4)) / of
}

// A gate that is recommended has to be safe before it is clever: nobody loses by it,
// whatever the service and the callers do.
//
//	go test -v -run Draws ./overload -draws 20000        the worst of them as a table
//	go test -v -run Draws ./overload -draws 1 -seed 17   one of them
func TestTheGateIsNotWorseThanNoneInRandomDraws(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("measures, and finds no races that others do not")
	}
	all := make([]drawn, *draws)
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	began := time.Now()
	for i := range all {
		limit <- struct{}{}
		wg.Go(func() {
			all[i] = drawOne(*rowSeed + uint64(i))
			<-limit
		})
	}
	wg.Wait()
	var with, without float64
	all = slices.DeleteFunc(all, func(d drawn) bool { return !d.telling() })
	require.NotEmpty(t, all, "no draw tells anything")
	ratios := make([]float64, len(all))
	for i, d := range all {
		ratios[i] = d.ratio()
		with, without = with+float64(d.with), without+float64(d.without)
	}
	slices.SortFunc(all, func(a, b drawn) int { return cmp.Compare(a.ratio(), b.ratio()) })
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nseed\tratio\tgate\tnone\tsent per success\tnone\tsituation")
	for _, d := range all[:min(len(all), *drawsShown)] {
		fmt.Fprintf(w, "%d\t%.2f\t%d\t%d\t%.2f\t%.2f\t%v\n", d.seed, d.ratio(), d.with, d.without, d.sentWith, d.sentWithout, d.situation)
	}
	w.Flush()
	for _, r := range drawsReach {
		share := 0.0
		for _, ratio := range ratios {
			if ratio >= r.answered {
				share += 1 / float64(len(ratios))
			}
		}
		fmt.Fprintf(&b, "%.3f of the draws reach %.2f of what is answered without a gate\n", share, r.answered)
		if len(all) >= 100 {
			assert.GreaterOrEqual(t, share, r.share, "%.2f of what is answered without a gate; the worst is -draws 1 -seed %d", r.answered, all[0].seed)
		}
	}
	sendLess := 0.0
	for _, d := range all {
		if d.sentWith <= d.sentWithout || d.with == 0 {
			sendLess += 1 / float64(len(all))
		}
	}
	fmt.Fprintf(&b, "%.3f of the draws send no more requests per success than without a gate\n", sendLess)
	if len(all) >= 100 {
		assert.GreaterOrEqual(t, sendLess, drawsSendLess, "requests per success")
	}
	t.Logf("%s%d draws tell something, %.1f %% of all that is answered without a gate, in %.0f s", b.String(), len(all), 100*with/without, time.Since(began).Seconds())
}
