package bracket

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const sec = time.Second

func TestMarksAreThinnedOutEvenlyAndTheOldestAndTheNewestAreKept(t *testing.T) {
	c := &Controller{memory: memory{marks: []Mark{{}}}}
	for i := 1; i <= 1000; i++ {
		c.total = int64(i)
		c.mark(time.Duration(i) * sec)
		c.total++
		c.mark(time.Duration(i) * sec) // at the same time, so this call adds no mark
		require.LessOrEqual(t, len(c.marks), mostMarks)
		require.Equal(t, Mark{time.Duration(i) * sec, int64(i)}, c.marks[len(c.marks)-1])
		if i == mostMarks {
			require.Equal(t, []Mark{{}, {2 * sec, 2}, {4 * sec, 4}}, c.marks[:3], "every other mark should be kept")
			require.Equal(t, []Mark{{62 * sec, 62}, {64 * sec, 64}}, c.marks[mostMarks/2-1:])
		}
	}
	assert.Equal(t, Mark{}, c.marks[0])
	for i, m := range c.marks[1:] {
		assert.Equal(t, int64(m.At/sec), m.Accepted)
		assert.Less(t, c.marks[i].At, m.At)
	}
}

func TestFastestStretchIncludesTheSilence(t *testing.T) {
	c := new(Controller)
	c.marks = []Mark{{}, {10 * sec, 10}, {20 * sec, 110}}
	c.total, c.ended = 110, 20*sec
	for _, tt := range []struct{ silence, accepted, took float64 }{
		{1, 100, 10},  // 100 in 11 s is 9.1/s; 110 in 21 s is 5.2/s
		{80, 100, 10}, // 100 in 90 s is a higher rate than 110 in 100 s
		{100, 110, 20},
	} {
		accepted, took := c.fastest(tt.silence)
		assert.Equal(t, []float64{tt.accepted, tt.took}, []float64{accepted, took}, "%+v", tt)
	}
	c.total, c.ended = 111, 19*sec // the last responses arrived after the refused request was sent
	accepted, took := c.fastest(0.1)
	assert.Equal(t, []float64{101, 9}, []float64{accepted, took}, "101 in 9.1 s is a higher rate than 1 in 0.1 s")
	accepted, took = c.fastest(0.01)
	assert.Equal(t, []float64{1, 0}, []float64{accepted, took})
	c.marks, c.total = []Mark{{}}, 0
	accepted, took = c.fastest(1)
	assert.Equal(t, []float64{1, 0}, []float64{accepted, took}, "at least one request should count as accepted")
}

func TestRequestsInFlightAtARefusalShowTheLimitIfTheyAreManyAndSomeAreRefused(t *testing.T) {
	for _, tt := range []struct {
		late, refused int
		took          float64
		lo, hi        float64
		ok            bool
	}{
		{16, 1, 2, 6, 10, true}, // 16 ± 4 in 2 s
		{9, 5, 0.5, 12, 24, true},
		{8, 1, 1, 8 - math.Sqrt(8), 8 + math.Sqrt(8), true},
		{7, 1, 1, 0, 0, false},
		{16, 0, 2, 0, 0, false},
		{16, 1, 0, 0, 0, false},
	} {
		c := new(Controller)
		c.late, c.lateRefused = tt.late, tt.refused
		lo, hi, ok := c.overload(tt.took)
		assert.Equal(t, tt.ok, ok, "%+v", tt)
		assert.Equal(t, []float64{tt.lo, tt.hi}, []float64{lo, hi}, "%+v", tt)
	}
}

func TestLimitIsComputedFromTheDifferencesBetweenTwoEpochs(t *testing.T) {
	// short, long and soon are epochs of a bucket of 20 tokens that fills at 8/s.
	short, long := epoch{accepted: 60, took: 5, steady: true}, epoch{accepted: 100, took: 10, steady: true}
	soon := epoch{accepted: 52, took: 4, steady: true}
	unsteady := epoch{accepted: 1000, took: 20}
	later := epoch{accepted: 110, took: 10, silence: 5, steady: true}
	for name, tt := range map[string]struct {
		past   []epoch
		e      epoch
		lo, hi float64
	}{
		"the earlier epoch was shorter":                       {[]epoch{short}, long, 38.5 / 5, 41.5 / 5},
		"the earlier epoch was longer":                        {[]epoch{long}, short, 38.5 / 5, 41.5 / 5},
		"the earlier epoch whose length differs most counts":  {[]epoch{short, soon, short}, long, 46.5 / 6, 49.5 / 6},
		"an earlier epoch with several paces does not count":  {[]epoch{unsteady, short}, long, 38.5 / 5, 41.5 / 5},
		"there is no earlier epoch":                           {nil, long, 1, 100},
		"no earlier epoch differs in length":                  {[]epoch{long}, long, 1, 100},
		"a longer silence may explain part of the difference": {[]epoch{short}, later, 48.5 / 10, 51.5 / 5},
		"a shorter silence may hide part of the difference":   {[]epoch{{accepted: 60, took: 5, silence: 4, steady: true}}, long, 38.5 / 5, 41.5 / 1},
		"the result is not below what is proven":              {[]epoch{{accepted: 100, took: 5, steady: true}}, long, 1, 1},
		"the result is not above what was refused":            {[]epoch{{steady: true}}, epoch{accepted: 2000, took: 10, steady: true}, 100, 100},
		"a value that is too high is ignored":                 {[]epoch{{accepted: 0, took: 9.9, steady: true}}, long, 1, 100},
	} {
		t.Run(name, func(t *testing.T) {
			c := new(Controller)
			c.past = tt.past
			lo, hi := c.compare(tt.e, 1, 100)
			assert.InDelta(t, tt.lo, lo, 1e-9)
			assert.InDelta(t, tt.hi, hi, 1e-9)
		})
	}
}

// If the computed value were the limit, more requests would have been accepted in the
// longer epoch.
func TestComputedLimitThatIsTooHighForTheNumberAcceptedIsIgnored(t *testing.T) {
	for _, tt := range []struct {
		burst0, silence float64
		lo, hi          float64
	}{
		{23, 5, 7.7, 8.3}, {23.1, 5, 1, 100}, // 100 requests are 7.7/s for 10 s, and 23 more
		{1e6, 2.9, 7.7, 8.3}, {1e6, 3, 1, 100}, // 7.7/s for 3 s is 23.1
	} {
		c := new(Controller)
		c.burst0, c.past = tt.burst0, []epoch{{accepted: 60, took: 5, silence: tt.silence, steady: true}}
		lo, hi := c.compare(epoch{accepted: 100, took: 10, silence: tt.silence, steady: true}, 1, 100)
		assert.InDelta(t, tt.lo, lo, 1e-9, "%+v", tt)
		assert.InDelta(t, tt.hi, hi, 1e-9, "%+v", tt)
	}
}

func TestSameNumberAcceptedInADifferentTimeOrAtADifferentPaceMeansAWindow(t *testing.T) {
	earlier := epoch{accepted: 100, took: 10, pace: 10}
	for name, tt := range map[string]struct {
		e    epoch
		want bool
	}{
		"about the same number in less time":                            {epoch{accepted: 100, took: 8.9, pace: 10}, true},
		"about the same number in more time":                            {epoch{accepted: 101, took: 11.1, pace: 10}, true},
		"about the same number at a lower pace":                         {epoch{accepted: 99, took: 10, pace: 8.9}, true},
		"about the same number at a higher pace":                        {epoch{accepted: 100, took: 10, pace: 11.1}, true},
		"same number in about the same time and at about the same pace": {epoch{accepted: 100, took: 9.1, pace: 10.9}, false},
		"same number in one tenth more time, at a pace one tenth lower": {epoch{accepted: 100, took: 11, pace: 9}, false},
		"smaller number in less time":                                   {epoch{accepted: 98, took: 5, pace: 10}, false},
		"larger number in more time, at a lower pace":                   {epoch{accepted: 102, took: 20, pace: 5}, false},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, tt.e.window(earlier)) })
	}
}

func TestKeepKeepsTheLatestEightValues(t *testing.T) {
	var s []int
	for i := range 20 {
		s = keep(s, i)
		require.Len(t, s, min(i+1, remembered))
	}
	assert.Equal(t, []int{12, 13, 14, 15, 16, 17, 18, 19}, s)
}

func TestFirstEpochGivesAnEstimateOfThePaceAndTheBurst(t *testing.T) {
	inf := math.Inf(1)
	atOnce := func(c *Controller) { c.marks, c.begin = []Mark{{20 * sec, 0}}, 20*sec }
	// 100 requests in 10 s and two seconds of silence are 8.33/s; the pace is higher by
	// 6/42, and the burst is what the pace does not explain.
	const lo = 100. / 12
	for name, tt := range map[string]struct {
		set                         func(*Controller)
		lo, hi, pace, burst, burst0 float64
	}{
		"requests spread over time":                           {func(*Controller) {}, lo, inf, lo * 8 / 7, 100 - 9.9*lo*8/7, 100},
		"requests spread over time, with a longer round trip": {func(c *Controller) { c.trip = 12 }, lo, inf, lo * 44 / 42, 100, 100},
		"all requests at once":                                {atOnce, 50, inf, 200, 100, 100},
		"all at once, round trip of a quarter of the silence": {func(c *Controller) { atOnce(c); c.trip = 0.5 }, 50, inf, 200, 100, 100},
		"all at once, longer round trip":                      {func(c *Controller) { atOnce(c); c.trip = 0.6 }, 50, inf, 100, 100, 100},
		"short Retry-After":                                   {func(c *Controller) { c.asked = 0.1 }, lo, inf, 20, 1, 100},
		"long Retry-After":                                    {func(c *Controller) { c.asked = 1 }, lo, inf, lo * 8 / 7, 100 - 9.9*lo*8/7, 100},
		"many late responses and a late refusal": {func(c *Controller) {
			atOnce(c)
			c.late, c.lateRefused, c.lateFrom, c.lateAt = 36, 1, 21*sec, 21*sec+300*ms
		}, 50, 140, 0.9 * math.Sqrt(50*140), 100 - 0.27*math.Sqrt(50*140), 100 - 0.27*math.Sqrt(50*140)},
		"many late responses that arrived slowly, and a late refusal": {func(c *Controller) {
			c.late, c.lateRefused, c.lateFrom, c.lateAt = 36, 1, 21*sec, 31*sec
		}, lo, lo, 0.9 * lo, 1, 64},
		"nothing was accepted": {func(c *Controller) { c.marks, c.total = []Mark{{20 * sec, 0}}, 0 }, 0.5, inf, 2, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Controller{Constants: constants, trip: 0.1, closed: 20 * sec}
			c.marks, c.begin, c.total, c.ended = []Mark{{10 * sec, 0}}, 10*sec, 100, 20*sec
			tt.set(c)
			c.judgeFirst(sec, 2)
			assert.True(t, c.learned)
			assert.InDelta(t, tt.lo, c.lo, 1e-9)
			assert.InDelta(t, 1/tt.hi, 1/c.hi, 1e-9)
			assert.InDelta(t, tt.pace, c.pace, 1e-9)
			if c.begin == 10*sec && c.total > 0 {
				assert.InDelta(t, lo, c.best, 1e-9, "a rate that was accepted for at least 5 seconds should be remembered")
			} else {
				assert.Zero(t, c.best, "a burst should not be remembered")
			}
			assert.InDelta(t, tt.burst, c.burst, 1e-9)
			assert.InDelta(t, tt.burst0, c.burst0, 1e-9)
			assert.Equal(t, 2.0, c.silence)
		})
	}
}

// Of the stretches that end with the refusal, the fastest counts if it lasted at least 5
// seconds, and otherwise the shortest that did. The pause counts as part of each.
func TestRateThatWasAcceptedFor5SecondsBeforeTheFirstRefusalIsRemembered(t *testing.T) {
	for name, tt := range map[string]struct {
		marks []Mark
		want  float64
	}{
		"the fastest stretch took 50 seconds": {[]Mark{{}, {20 * sec, 3000}, {45 * sec, 4500}, {50 * sec, 5150}}, 5150. / 55},
		"the fastest stretch was a burst":     {[]Mark{{}, {20 * sec, 300}, {45 * sec, 450}, {49 * sec, 500}, {50 * sec, 5150}}, 4700. / 10},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(50*sec, tt.marks, 1, 0, 5*sec)
			c.Next(55*sec, 0)
			assert.InDelta(t, tt.want, c.best, 1e-9)
			assert.Equal(t, 50*sec, c.bestAt)
			assert.Equal(t, 5.0, c.cost)
			assert.Equal(t, leastPatience, c.patience)
		})
	}
}

// The rate of an epoch is a bound of the limit only if the limit was used up all the time.
func TestRateOfAnEpochIsABoundOfTheLimitOnlyIfTheLimitWasUsedUp(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*Controller)
		want bool
	}{
		"all outcomes are known":                                   {func(*Controller) {}, true},
		"half of the requests have no response":                    {func(c *Controller) { c.accepted, c.flying = 10, 10 }, true},
		"more than half of the requests have no response":          {func(c *Controller) { c.accepted, c.flying = 9, 11 }, false},
		"the pace was raised":                                      {func(c *Controller) { c.raises = 1 }, false},
		"for most of the time, no request was waiting":             {func(c *Controller) { c.idle = 2 }, false},
		"an outcome is not known":                                  {func(c *Controller) { c.unknown = 1 }, false},
		"a gap too short for the limit to save up all that it can": {func(c *Controller) { c.gap = 1.1 }, true}, // 21 requests in 3 s, and 7.9 can be saved up
		"a gap in which all is saved up":                           {func(c *Controller) { c.gap = 1.2 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.begin, c.last, c.sent, c.accepted = 97*sec, 100*sec, 20, 20
			tt.set(c)
			c.close(100*sec, with(3), sec)
			c.judge(101*sec, 100)
			assert.Equal(t, tt.want, c.past[len(c.past)-1].steady)
		})
	}
}

// The rate of such an epoch is the callers' rate, not the limit.
func TestRefusalAfterMostlyIdleTimeHalvesThePaceAtMost(t *testing.T) {
	for name, tt := range map[string]struct{ lo, idle, want float64 }{
		"the refused pace was above the upper bound":    {1, 52, 10. / 2},
		"more than half of the time was idle":           {8, 51, 0.9 * 8},
		"the pace was far above the proven one":         {1, 51, 10. / 2},
		"half of the time was idle: judged by its rate": {1, 50, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.begin, c.last, c.sent, c.accepted, c.lo, c.silence, c.wanted, c.idle = 1*sec, 100*sec, 20, 20, tt.lo, 1, 1, tt.idle
			if tt.idle > 51 {
				c.hi = 4
			}
			s := with(3)
			s.at, s.seq = 100*sec, 20
			c.close(100*sec, s, sec)
			c.judge(101*sec, 0)
			switch {
			case tt.idle > 51:
				assert.InDelta(t, tt.want, c.pace, 1e-9)
				assert.InDelta(t, 1.1*tt.want, c.hi, 1e-9, "the bracket should contain the pace")
			case tt.idle > 50:
				assert.InDelta(t, tt.want, c.pace, 1e-9)
				assert.InDelta(t, 16, c.hi, 1e-9, "the upper bound should stay")
			default:
				assert.Less(t, c.pace, 1.0, "the pace should follow the rate of the epoch")
			}
		})
	}
}

// Callers may begin a job minutes after the pause that ended the previous one.
func TestSilenceInWhichNoRequestWaitsCountsAsIdleTime(t *testing.T) {
	for name, tt := range map[string]struct{ wanted, least, most float64 }{
		"more than half of the time": {44, 10. / 2, 10. / 2},
		"half of the time":           {45, 0, 1}, // about what the epoch proves
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.begin, c.last, c.sent, c.accepted, c.lo, c.silence, c.quiet, c.wanted = 90*sec, 100*sec, 20, 20, 1, 100, 100, tt.wanted
			s := with(3)
			s.at, s.seq = 100*sec, 20
			c.close(100*sec, s, 0)
			c.judge(100250*ms, 0)
			assert.GreaterOrEqual(t, c.pace, tt.least)
			assert.LessOrEqual(t, c.pace, tt.most)
		})
	}
}

func TestTimeInWhichNoRequestWaitsIsCounted(t *testing.T) {
	c := paced()
	c.burst, c.burst0 = 1, 1
	c.next = 10 * sec
	c.Idle(12 * sec)
	assert.Equal(t, 2.0, c.idle)
	c.Idle(15 * sec)
	assert.Equal(t, 5.0, c.idle)
	c.start(16 * sec)
	assert.Zero(t, c.idle)

	c = paced()
	c.burst, c.burst0, c.next = 1, 1, 10*sec
	c.Idle(10*sec + 50*ms)
	c.Idle(10*sec + 80*ms) // no whole turn has been unused
	assert.InDelta(t, 0.08, c.idle, 1e-9, "time must not be counted twice")
}

func TestBurstGrowsAgainIfAllOfItWasAcceptedAndSavedUpAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		used int
		idle time.Duration
		want float64
	}{
		"all was used, and saved up again":     {4, 400 * ms, 8},
		"not all was used":                     {3, 400 * ms, 4},
		"all was used, but not saved up again": {4, 399 * ms, 4},
	} {
		c := paced()
		c.burst, c.burst0, c.used, c.next = 4, 9, tt.used, 10*sec
		c.Idle(10*sec + tt.idle)
		assert.Equal(t, tt.want, c.burst, name)
		assert.Equal(t, tt.want > 4, c.regrown, name)
	}
	c := paced()
	c.burst, c.burst0, c.used = 4, 5, 4
	c.Idle(10 * sec)
	assert.Equal(t, 5.0, c.burst, "it should not exceed what the limit can save up")
	c.start(11 * sec)
	assert.False(t, c.regrown, "a new epoch should begin")

	c = paced()
	c.burst, c.burst0, c.credit, c.next = 4, 9, 4, 10*sec
	for range 4 {
		c.Sent(10*sec, 0)
	}
	c.Idle(11 * sec)
	assert.Equal(t, 8.0, c.burst, "requests of the burst should count as used")
}

func TestLongestGapBetweenTwoRequestsIsCountedPerEpoch(t *testing.T) {
	c := paced()
	c.begin, c.last = 90*sec, 80*sec
	for _, at := range []time.Duration{92, 97, 98} {
		c.Sent(at*sec, 0)
	}
	assert.Equal(t, 5.0, c.gap)
	c.start(98 * sec)
	assert.Zero(t, c.gap)
}

func TestFailedProbesMayShowAShortWindow(t *testing.T) {
	inf := math.Inf(1)
	for name, tt := range map[string]struct {
		set          func(*Controller)
		lo, hi, pace float64
		guessed      bool
	}{
		"one failed probe changes neither the bracket nor the pace":            {func(*Controller) {}, 8, 16, 10, false},
		"a burst of more than one request shrinks":                             {func(c *Controller) { c.burst = 1.5 }, 8, 16, 10, false},
		"a burst of one request does not shrink":                               {func(c *Controller) { c.burst = 1 }, 8, 16, 10, false},
		"after two failed probes, a short window determines the pace":          {func(c *Controller) { c.probes = 3 }, 20. / 12, inf, 20. / 12, true},
		"a lower pace is kept if the window would be faster":                   {func(c *Controller) { c.probes, c.pace = 3, 1.5 }, 1.5, inf, 1.5, true},
		"no window is assumed if fewer than two requests fit into the silence": {func(c *Controller) { c.probes, c.pace = 3, 0.99 }, 8, 16, 0.99, false},
		"a window is assumed if two requests fit into the silence":             {func(c *Controller) { c.probes, c.pace = 3, 1 }, 1, inf, 1, true},
		"no window is assumed after a long silence, which may be an outage":    {func(c *Controller) { c.probes, c.silence = 9, 1.01 }, 8, 16, 10, false},
		"no window is assumed if the service sends Retry-After":                {func(c *Controller) { c.probes, c.asked = 9, 1 }, 8, 16, 10, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.probes, c.closed, c.silence, c.quiet = 2, 42*sec, 1, 4
			c.begin, c.last = 20*sec, 21*sec
			c.total, c.ended = 20, 10*sec // 20 requests were accepted in 10 s
			tt.set(c)
			burst, silence := c.burst, c.silence
			c.judgeFailedProbe(1)
			assert.Equal(t, silence+1, c.silence)
			assert.InDelta(t, max(1, 0.7*burst), c.burst, 1e-9)
			assert.Equal(t, tt.guessed, c.guessed)
			assert.InDelta(t, tt.lo, c.lo, 1e-9)
			assert.InDelta(t, 1/tt.hi, 1/c.hi, 1e-9)
			assert.InDelta(t, tt.pace, c.pace, 1e-9)
		})
	}
}

// justRefused returns a controller whose latest request was refused. That request was the
// 21st of its epoch and was sent at 12 s.
func justRefused() *Controller {
	const at = 12 * sec
	c := paced()
	c.open = false
	c.paces = nil
	c.refused = Send{epoch: 7, seq: 21, pace: 16, at: at}
	c.latest = moment{at - 2*sec, 20}
	c.last, c.closed, c.silence, c.wanted = at, at, 1, 1
	return c
}

func TestEpochProvesBoundsOfThePace(t *testing.T) {
	steady := epoch{accepted: 59, took: 10, steady: true}
	for name, tt := range map[string]struct {
		set    func(*Controller)
		e      epoch
		proven float64
		lo, hi float64
	}{
		"lo is the proven pace, and hi is the refused pace":                            {func(*Controller) {}, epoch{}, 4, 4, 16},
		"hi is the rate at which the latest requests were sent":                        {func(c *Controller) { c.latest.seq = 1 }, epoch{}, 4, 4, 10},
		"hi is the refused pace if the latest requests were sent faster":               {func(c *Controller) { c.latest = moment{11 * sec, 1} }, epoch{}, 4, 4, 16},
		"hi is the rate of the latest requests within a short time":                    {func(c *Controller) { c.latest, c.refused.pace = moment{11500 * ms, 1}, 100 }, epoch{}, 4, 4, 40},
		"eight requests are enough for a rate":                                         {func(c *Controller) { c.latest.seq = 13 }, epoch{}, 3, 3, 4},
		"seven requests are not enough for a rate":                                     {func(c *Controller) { c.latest.seq = 14 }, epoch{}, 3, 3, 16},
		"requests sent all at once have no rate":                                       {func(c *Controller) { c.latest = moment{12 * sec, 1} }, epoch{}, 4, 4, 16},
		"hi is not below the proven pace":                                              {func(*Controller) {}, epoch{}, 20, 20, 20},
		"lo and hi surround the rate of the requests in flight":                        {func(c *Controller) { c.late, c.lateRefused, c.last = 16, 1, 14*sec }, epoch{}, 4, 6, 10},
		"requests in flight at a rate below the proven pace: lo and hi are that pace":  {func(c *Controller) { c.late, c.lateRefused, c.last = 16, 1, 14*sec }, epoch{}, 11, 11, 11},
		"requests in flight at a rate above the refused pace: lo and hi are that pace": {func(c *Controller) { c.late, c.lateRefused, c.last = 144, 1, 16*sec }, epoch{}, 4, 16, 16},
		"a single pace: hi is the accepted rate":                                       {func(*Controller) {}, steady, 4, 4, 6},
		"a single pace: hi is not below the proven pace":                               {func(*Controller) {}, steady, 7, 7, 7},
		"a single pace, one token: hi is twice the accepted rate, and lo falls slowly": {func(c *Controller) { c.burst0, c.lo = 1, 5 }, steady, 4, 0.93 * 5, 12},
		"a single pace, one token: lo is at most hi":                                   {func(c *Controller) { c.burst0, c.lo = 1, 20 }, steady, 4, 12, 12},
		"two tokens do not count as one":                                               {func(c *Controller) { c.burst0, c.lo = 2, 5 }, steady, 4, 4, 6},
		"a single pace: compared with an earlier epoch":                                {func(c *Controller) { c.past = []epoch{{accepted: 34, took: 5, steady: true}} }, steady, 4, 4.7, 5.3},
		"more than was saved up was accepted: lo is higher":                            {func(c *Controller) { c.paces, c.burst0 = []moment{{9 * sec, 2}}, 3 }, epoch{}, 4, 5, 16},
		"more than was saved up: unknown outcomes do not count":                        {func(c *Controller) { c.paces, c.burst0, c.unknown = []moment{{9 * sec, 2}}, 3, 1 }, epoch{}, 4, 14. / 3, 16},
		"more than was saved up: the best of all paces counts":                         {func(c *Controller) { c.paces, c.burst0 = []moment{{2 * sec, 0}, {9 * sec, 2}, {11 * sec, 17}}, 3 }, epoch{}, 4, 5, 16},
		"more than was saved up: lo is at most the refused pace":                       {func(c *Controller) { c.paces, c.burst0 = []moment{{11 * sec, 0}}, 3 }, epoch{}, 4, 16, 16},
		"more than was saved up: a pace without duration does not count":               {func(c *Controller) { c.paces, c.burst0 = []moment{{12 * sec, 0}}, 3 }, epoch{}, 4, 4, 16},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			tt.set(c)
			lo, hi := c.bounds(tt.e, tt.proven)
			assert.InDelta(t, tt.lo, lo, 1e-9)
			assert.InDelta(t, tt.hi, hi, 1e-9)
		})
	}
}

func TestPaceIsChosenBetweenTheBounds(t *testing.T) {
	at := func(share float64) float64 { return 0.9 * 4 * math.Pow(4, share) } // between 4 and 16
	probing := func(c *Controller) {                                          // 20 requests in a second, 10 more than the base allows
		c.base, c.began, c.from = 10, 10, moment{11 * sec, 1}
		c.silence = 59 // the burst of 5.9 makes up for only a hundredth of the silence
	}
	for name, tt := range map[string]struct {
		set                   func(*Controller)
		proven, backlog       float64
		lo, hi, pace, holding float64
		patience              float64
	}{
		"large backlog: the middle":                           {func(*Controller) {}, 4, 160, 4, 16, at(0.5), 10, 2},
		"huge backlog: the middle":                            {func(*Controller) {}, 4, 1e6, 4, 16, at(0.5), 10, 2},
		"no backlog: the safe end":                            {func(*Controller) {}, 4, 0, 4, 16, at(0), 10, 2},
		"medium backlog: between the middle and the safe end": {func(*Controller) {}, 4, 80, 4, 16, at(0.25), 10, 2},
		"longer silence: closer to the safe end":              {func(c *Controller) { c.silence = 2 }, 4, 160, 4, 16, at(0.25), 10, 2},
		"probe that used less than twice what can be saved up: back to its base, held longer": {probing, 4, 160, 10, 11, 10, 20, 2},
		"probe that used exactly twice what can be saved up: back to its base, held longer":   {func(c *Controller) { probing(c); c.burst0 = 5 }, 4, 160, 10, 11, 10, 20, 2},
		"another failed probe: held longer, up to a bound":                                    {func(c *Controller) { probing(c); c.holding = 30 }, 4, 160, 10, 11, 10, 39.6, 2},
		"failed probe, half of the silence made up for by the burst: held for a shorter time": {func(c *Controller) { probing(c); c.holding, c.silence = 30, 1.18 }, 4, 160, 10, 11, 10, 20, 2},
		"failed probe, all of the silence made up for by the burst: held for ten units":       {func(c *Controller) { probing(c); c.holding, c.silence = 30, 0.1 }, 4, 160, 10, 11, 10, 10, 2},
		"probe that used more than twice what can be saved up: judged like any other pace":    {func(c *Controller) { probing(c); c.silence, c.burst0, c.holding = 1, 4.9, 40 }, 4, 160, 4, 16, at(0.5), 10, 2},
		"probe that has proven a higher pace: bisected":                                       {func(c *Controller) { probing(c); c.began, c.holding = 9, 40 }, 4, 160, 10, 16, 0.9 * math.Sqrt(160), 10, 2},
		"probe that has proven little: back to its base, minus the margin":                    {func(c *Controller) { probing(c); c.began = 9.1 }, 4, 160, 9, 9.9, 9, 20, 2},
		"bisected between the base and the refused pace":                                      {func(c *Controller) { probing(c); c.began, c.base = 9, 12.7 }, 4, 160, 12.7, 16, 0.9 * math.Sqrt(12.7*16), 10, 2},
		"not bisected if the base is close to the refused pace":                               {func(c *Controller) { probing(c); c.began, c.base = 9, 12.9 }, 4, 160, 12.9, 1.1 * 12.9, 12.9, 10, 2},
		"refused on the way back to the best pace: patience doubles":                          {func(c *Controller) { probing(c); c.returning = true }, 4, 160, 10, 11, 10, 10, 4},
		"refused again on the way back: patience is at most 16 silences":                      {func(c *Controller) { probing(c); c.returning, c.patience = true, 10 }, 4, 160, 10, 11, 10, 10, 16},
		"failed probe far below the best pace: patience doubles":                              {func(c *Controller) { probing(c); c.best = 12.6 }, 4, 160, 10, 11, 10, 10, 4},
		"failed probe near the best pace: held longer":                                        {func(c *Controller) { probing(c); c.best = 12.4 }, 4, 160, 10, 11, 10, 20, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			tt.set(c)
			c.wanted = c.silence
			c.judgePace(epoch{took: 5, silence: c.silence}, tt.proven, tt.backlog)
			assert.InDelta(t, tt.pace, c.pace, 1e-9, "pace")
			assert.InDelta(t, tt.lo, c.lo, 1e-9, "lo")
			assert.InDelta(t, tt.hi, c.hi, 1e-9, "hi")
			assert.InDelta(t, tt.holding, c.holding, 1e-9, "holding")
			assert.Equal(t, tt.patience, c.patience, "patience")
		})
	}
}

// The refused pace of 16 per second is the highest possible rate, and 5.9 requests were
// known to be saved up.
func TestRequestsAcceptedBeyondTheHighestPossibleRateCountAsSavedUp(t *testing.T) {
	for accepted, want := range map[float64]float64{
		165: 5.9,  // 5 beyond 16/s for 10 s
		170: 10,   // 10 beyond that rate
		200: 11.8, // 40 beyond that rate, but the estimate at most doubles
	} {
		c := justRefused()
		c.judgePace(epoch{accepted: accepted, took: 10, silence: 1}, 4, 0)
		assert.InDelta(t, want, c.burst0, 1e-9, "%v accepted", accepted)
	}
}

// regrown makes two epochs in a row end with the refusal of a burst that had grown again.
func regrown(c *Controller) {
	c.granted, c.refused.credit, c.regrown, c.past = 10, true, true, []epoch{{}, {regrown: true}}
}

func TestRefusalIsBlamedOnItsProbableCause(t *testing.T) {
	const pace, burst, both, window, good = "the pace", "the burst", "both", "a window", "a burst at a good pace"
	for name, tt := range map[string]struct {
		set  func(*Controller)
		want string
	}{
		"no burst": {func(*Controller) {}, pace},
		"a burst of one request does not count as a burst":                           {func(c *Controller) { c.granted, c.refused.credit = 1, true }, pace},
		"refused within a burst":                                                     {func(c *Controller) { c.granted, c.refused.credit = 10, true }, burst},
		"refused within a burst, with as many refusals as the burst has requests":    {func(c *Controller) { c.granted, c.refused.credit, c.sent = 10, true, 30 }, burst},
		"refused within a burst, with more refusals than the burst has requests":     {func(c *Controller) { c.granted, c.refused.credit, c.sent = 10, true, 31 }, both},
		"refused soon after a burst":                                                 {func(c *Controller) { c.granted, c.paced = 16, 3 }, burst},
		"refused soon after a burst, with more refusals than the burst has requests": {func(c *Controller) { c.granted, c.paced, c.sent = 10, 3, 31 }, pace},
		"refused some time after a burst":                                            {func(c *Controller) { c.granted, c.paced = 16, 4 }, pace},
		"refused soon after a large burst":                                           {func(c *Controller) { c.granted, c.paced = 40, 9 }, burst},
		"refused some time after a large burst":                                      {func(c *Controller) { c.granted, c.paced = 40, 10 }, pace},
		"as many accepted as in an earlier epoch, after a burst":                     {func(c *Controller) { c.granted, c.paced, c.past = 10, 10, []epoch{{accepted: 20, took: 4}} }, window},
		"refused at a pace that was proven good":                                     {func(c *Controller) { c.granted, c.proven = 10, []float64{3, 16, 2} }, good},
		"refused at the best pace":                                                   {func(c *Controller) { c.granted, c.best = 10, 16 }, good},
		"refused at the best pace, with a burst of one request":                      {func(c *Controller) { c.granted, c.burst, c.best = 10, 1, 16 }, good},
		"refused slightly above the best pace":                                       {func(c *Controller) { c.granted, c.best = 10, 15.9 }, pace},
		"refused slightly above a pace that was proven good":                         {func(c *Controller) { c.granted, c.proven = 10, []float64{3, 15.9, 2} }, pace},
		"a window with a small burst":                                                {func(c *Controller) { c.granted, c.burst, c.past = 10, 3, []epoch{{accepted: 20, took: 4}} }, window},
		"a window with a burst of one request":                                       {func(c *Controller) { c.granted, c.burst, c.past = 10, 1, []epoch{{accepted: 20, took: 4}} }, window},
		"a burst of two requests counts as a burst":                                  {func(c *Controller) { c.granted, c.refused.credit = 2, true }, burst},
		"as many accepted as in an earlier epoch, without a burst":                   {func(c *Controller) { c.past = []epoch{{accepted: 20, took: 4}} }, pace},
		"a burst that grew again was refused, as in the previous epoch":              {func(c *Controller) { regrown(c) }, both},
		"a burst that grew again was refused, for the first time":                    {func(c *Controller) { regrown(c); c.past[1].regrown = false }, burst},
		"a burst that did not grow again was refused":                                {func(c *Controller) { regrown(c); c.regrown = false }, burst},
		"a burst that grew again was refused at the best pace":                       {func(c *Controller) { regrown(c); c.best = 16 }, burst},
		"a burst that grew again was refused after mostly idle time":                 {func(c *Controller) { regrown(c); c.idle, c.gap = 6, 10 }, burst},
		"refused some time after a burst that grew again":                            {func(c *Controller) { regrown(c); c.refused.credit, c.granted = false, 16 }, pace},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.accepted, c.sent, c.paced = 2*sec, 20, 21, 20
			c.burst, c.sumSent, c.sumTime, c.guessed = 10, 100, 50, true
			tt.set(c)
			past, before := len(c.past), c.burst
			c.judgeEpoch(15*sec, c.accepted, 4, 1e6)

			shrinks := map[string]float64{pace: 1, burst: 0.7, both: 0.7, window: 0.5, good: 0.25}
			assert.InDelta(t, max(1, before*shrinks[tt.want]), c.burst, 1e-9)
			pacesFault := tt.want == pace || tt.want == both
			assert.Equal(t, pacesFault, c.chance.low.epochs > 0, "only an epoch that is blamed on the pace may end by chance")
			if pacesFault {
				assert.Less(t, c.hi, 16.0)
			} else {
				assert.Equal(t, 16.0, c.hi)
				assert.Equal(t, max(10, slices.Max(c.proven)), c.pace)
			}
			assert.False(t, c.guessed)
			assert.Equal(t, []float64{1, 4, 90, 46}, []float64{c.needed, c.silence, c.sumSent, c.sumTime})
			assert.Len(t, c.past, past+1)
			assert.Equal(t, epoch{accepted: 20, took: 10, silence: 1, pace: 16, steady: c.idle == 0, regrown: c.regrown && tt.want != pace}, c.past[past])
			assert.InDelta(t, 89./46, c.proven[len(c.proven)-1], 1e-9)
		})
	}
}

// The epoch and the pause after it took 10 s and 4 s. At 16 requests per second, 224
// requests fit into this time. That nobody calls for a while afterwards does not matter.
func TestBurstIsWhatAGoodPaceLeavesInAWindow(t *testing.T) {
	for accepted, want := range map[int]float64{
		250: 20, // at most half of the burst
		240: 16,
		230: 10, // at least a quarter of it
		100: 10,
	} {
		c := justRefused()
		c.begin, c.granted, c.burst, c.best = 2*sec, 40, 40, 16
		c.sent, c.paced, c.pause = accepted+1, accepted, 16*sec
		c.judgeEpoch(30*sec, accepted, 18, 1e6)
		assert.InDelta(t, want, c.burst, 1e-9, "%v accepted", accepted)
	}
}

func TestFailedProbeSaysWhereTheNextOneBegins(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*Controller)
		want float64
	}{
		"at the pace before the refused one":                       {func(*Controller) {}, 11},
		"halfway to the refused pace if that was the first step":   {func(c *Controller) { c.again, c.before = true, 10 }, math.Sqrt(10 * 16)},
		"halfway to the refused pace if the next step had begun":   {func(c *Controller) { c.before = 16 }, math.Sqrt(10 * 16)},
		"as usual if the pace was to return to the best one":       {func(c *Controller) { c.returning = true }, 0},
		"halfway to the refused pace if it often was":              {func(c *Controller) { c.returning, c.patience = true, mostPatience }, math.Sqrt(10 * 16)},
		"as usual if there was no probe":                           {func(c *Controller) { c.base = 0 }, 0},
		"as usual if the account was mostly idle":                  {func(c *Controller) { c.idle = 100 }, 0},
		"as usual if the probe used more than can have been saved": {func(c *Controller) { c.burst0 = 4.9 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.base, c.began, c.before, c.from, c.stood = 10, 10, 11, moment{11 * sec, 1}, 13
			tt.set(c)
			c.judgePace(epoch{took: 5, silence: 1}, 4, 160)
			assert.InDelta(t, tt.want, c.stood, 1e-9)
		})
	}
}

func TestRequestsInFlightThatCountAsAcceptedDoNotCountAsRefused(t *testing.T) {
	c := justRefused()
	c.begin, c.burst, c.granted, c.sent, c.refused.credit = 2*sec, 10, 10, 31, true
	c.judgeEpoch(15*sec, 30, 4, 1e6) // no response has arrived
	assert.Equal(t, 16.0, c.hi, "only the burst should be blamed, because one request of 31 was refused")
	assert.InDelta(t, 7, c.burst, 1e-9)
}

func TestBestPaceIsTriedAgainAfterRareRefusalsOnlyIfThePaceIsBlamed(t *testing.T) {
	for blamed, set := range map[string]func(*Controller){
		"the pace":  func(*Controller) {},
		"the burst": func(c *Controller) { c.granted, c.refused.credit = 10, true },
	} {
		t.Run(blamed, func(t *testing.T) {
			c := justRefused()
			c.begin, c.accepted, c.sent, c.best = 2*sec, 100, 101, 50
			c.chance = chance{lowered: leastPatient - 1, low: average{epochs: 3, accepted: 300, seconds: 60}}
			set(c)
			c.judgeEpoch(15*sec, c.accepted, 4, 1e6)
			assert.Equal(t, blamed == "the pace", c.pace == 50)
		})
	}
}

func TestEpochProvesARate(t *testing.T) {
	for name, tt := range map[string]struct {
		accepted         int
		sumSent, sumTime float64
		want             float64
	}{
		"the accepted requests minus one, per second":               {56, 0, 0, 55. / 11},
		"half of the accepted requests per second, if that is more": {1, 0, 0, 0.5 / 11},
		"the rate of several epochs together, if that is more":      {56, 1000, 50, (700. + 56 - 1) / (35 + 10 + 1)},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.pace = 2*sec, 0
			c.raises, c.refused.pace = 1, tt.want
			c.accepted, c.sumSent, c.sumTime = tt.accepted, tt.sumSent, tt.sumTime
			if c.sumTime == 0 {
				c.sumSent = -1e9
			}
			c.judgeEpoch(15*sec, c.accepted, 4, 0)
			assert.InDelta(t, tt.want, c.proven[0], 1e-9)
			assert.InDelta(t, tt.want, c.pace, 1e-9, "the pace should not be below the proven rate")
			assert.False(t, c.past[0].steady)
		})
	}
}

// The epoch of justRefused proves 1.9 requests per second, and a silence of 4 s follows.
func TestBestPaceIsReplacedByABetterOneOrWhenItExpires(t *testing.T) {
	const proven = 21. / 11
	for name, tt := range map[string]struct {
		best, cost float64
		at         time.Duration
		patience   float64
		want       []float64 // best, cost, patience
	}{
		"the first epoch sets best":                             {0, 0, 0, 8, []float64{proven, 4, 2}},
		"a better epoch replaces best":                          {1.8, 1, 0, 8, []float64{proven, 4, 2}},
		"a slightly worse epoch keeps best and resets patience": {2, 1, 0, 8, []float64{2, 1, 2}},
		"a much worse epoch keeps best and patience":            {3, 1, 0, 8, []float64{3, 1, 8}},
		"best expires after 15 minutes":                         {3, 1, 15 * time.Minute, 8, []float64{proven, 4, 2}},
		"best is kept for exactly 15 minutes":                   {3, 1, 15*time.Minute + 1, 8, []float64{3, 1, 8}},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.accepted = 2*sec, 22
			c.sumSent, c.quiet = -1e9, 3
			c.pause, c.refused.pace = c.last+4*sec, 1 // too low for the cost to be that of a refusal at the best pace
			now := 13 * sec
			c.best, c.cost, c.patience = tt.best, tt.cost, tt.patience
			switch tt.at {
			case 0:
				c.bestAt = now
			default:
				c.bestAt = tt.at
				now = 30*time.Minute + 1
			}
			c.judgeEpoch(now, c.accepted, 4, 0)
			assert.InDeltaSlice(t, tt.want, []float64{c.best, c.cost, c.patience}, 1e-9)
		})
	}
}

func TestEpochWithAnUnknownOutcomeIsNotSteady(t *testing.T) {
	c := justRefused()
	c.begin, c.accepted, c.unknown = 2*sec, 19, 1
	c.judgeEpoch(15*sec, c.accepted, 4, 0)
	assert.False(t, c.past[0].steady)
}

func TestRefusedBurstIsSmallerTheNextTime(t *testing.T) {
	for _, tt := range []struct {
		burst float64
		seq   int
		want  float64
	}{{10, 21, 7}, {10, 6, 4.5}, {1.2, 21, 1}, {10, 1, 1}} {
		c := &Controller{Constants: constants, burst: tt.burst, refused: Send{seq: tt.seq}}
		c.shrink()
		assert.InDelta(t, tt.want, c.burst, 1e-9, "%+v", tt)
	}
}

func TestMeasureIsTheSilenceThatTheServiceRequired(t *testing.T) {
	for name, tt := range map[string]struct {
		set                    func(*Controller)
		now                    time.Duration
		wanted, measure, quiet float64
	}{
		"the pause was the silence":                             {func(*Controller) {}, 14 * sec, 2, 2, 2},
		"idle time after the pause does not count":              {func(*Controller) {}, 99 * sec, 2, 2, 87},
		"at least two round trips":                              {func(c *Controller) { c.trip = 2 }, 14 * sec, 4, 4, 4},
		"a silence of an hour counts as 90 s":                   {func(c *Controller) { c.pause = 2 * time.Hour }, time.Hour + 12*sec, 3600, longestWindow, 3600},
		"silences of failed probes are added":                   {func(c *Controller) { c.accepted, c.probes = 0, 2 }, 14 * sec, 7, 7, 2},
		"after an outage: at most 15 s":                         {func(c *Controller) { c.accepted, c.probes, c.wanted = 0, 4, 1000 }, 14 * sec, 1002, 15, 2},
		"after an outage with Retry-After: at most Retry-After": {func(c *Controller) { c.accepted, c.probes, c.wanted, c.asked = 0, 4, 1000, 3 }, 14 * sec, 1002, 3, 2},
		"after an outage with a long Retry-After: at most 90 s": {func(c *Controller) { c.accepted, c.probes, c.wanted, c.asked = 0, 4, 1000, 600 }, 14 * sec, 1002, longestWindow, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.accepted, c.pause, c.wanted, c.base = 2*sec, 20, 14*sec, 5, 3
			tt.set(c)
			c.judge(tt.now, 0)
			assert.Equal(t, []float64{tt.wanted, tt.measure, tt.quiet}, []float64{c.wanted, c.measure, c.quiet})
			assert.Zero(t, c.base, "a probe should end when the next pause is over")
		})
	}
}

func TestPaceIsAtLeastOneRequestPerTwoWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		asked, longest float64
		heardAt        time.Duration // the refused request was sent at 12 s, and the pause ended at 12.5 s
		want, kept     float64
	}{
		"one request in twice Retry-After":                                               {4, 4, 12 * sec, 1. / 8, 4},
		"after a longer gap before the refusal: one request in the gap plus Retry-After": {4, 40, 2 * sec, 1. / 14, 36},
		"the gap counts as at most the longest recent wait":                              {4, 8, 2 * sec, 1. / (4 + 7.2), 7.2},
		"the current Retry-After counts as a recent wait":                                {4, 0, 2 * sec, 1. / 8, 4},
		"a gap and a Retry-After that make up the longest wait confirm it":               {1, 10, 2 * sec, 1. / 11, 10},
		"a sum that is half longer confirms it too":                                      {6, 10, 2 * sec, 1. / 16, 10},
		"a longer sum does not":                                                          {7, 10, 2 * sec, 1. / 16, 9},
		"a sum that is a fifth shorter confirms it too":                                  {1, 10, 6 * sec, 1. / 7, 10},
		"a shorter sum does not":                                                         {1, 10, 7 * sec, 1. / 6, 9},
		"short times confirm each other within a second":                                 {1, 1.5, 10600 * ms, 1 / 2.4, 1.5},
		"without Retry-After, one request in twice the longest recent silence, decayed":  {0, 10, 12 * sec, 0.5 / 9, 9},
		"without Retry-After, a silence counts as at most 15 s":                          {0, 500, 12 * sec, 0.5 / 15, 450},
		"without Retry-After, a silence counts as at least a second":                     {0, 0, 12 * sec, 0.5, 0.5},
		"an accepted request that was sent after the refusal gives no gap":               {4, 50, 13 * sec, 1. / 8, 45},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.probes, c.silence, c.wanted, c.pause = 2*sec, 1, 0, 0, 12500*ms
			c.asked, c.longest, c.heardAt, c.pace = tt.asked, tt.longest, tt.heardAt, 1e-9
			c.judge(12500*ms, 0)
			assert.InDelta(t, tt.want, c.pace, 1e-9)
			assert.InDelta(t, tt.kept, c.longest, 1e-9)
		})
	}
}

func TestFailedProbesShowHowLongARequestMustWait(t *testing.T) {
	for name, tt := range map[string]struct {
		asked, wanted, longest float64
		probes                 int
		heardAt                time.Duration // the probe was sent at 12 s
		want, kept             float64
	}{
		"two refusals may be chance":                                  {1, 2, 1, 2, 6 * sec, 1 / (2.5 + 2.5), 2.5},
		"three are not":                                               {1, 2, 1, 3, 6 * sec, 1 / (2.5 + 6), 6},
		"the wait before the latest probe counts":                     {1, 5, 1, 3, 12 * sec, 0.5 / 5.5, 5.5},
		"what may be an outage counts as 15 s at most":                {1, 60, 1, 9, 12 * sec, 0.5 / 15, 15},
		"and so does the time without an accepted request":            {1, 2, 1, 9, -100 * sec, 1 / (2.5 + 15), 15},
		"a Retry-After counts as a whole":                             {60, 120, 1, 9, -100 * sec, 1 / (60 + 60.), 60},
		"while probes fail, the longest wait does not become shorter": {1, 2, 10, 2, 11 * sec, 0.5 / 2.5, 10},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.probes, c.accepted, c.flying, c.pause = 2*sec, tt.probes, 0, 0, 12500*ms
			c.asked, c.wanted, c.longest, c.heardAt, c.pace = tt.asked, tt.wanted, tt.longest, tt.heardAt, 1e-9
			c.judge(12500*ms, 0)
			assert.InDelta(t, tt.want, c.pace, 1e-9)
			assert.InDelta(t, tt.kept, c.longest, 1e-9)
		})
	}
}

func TestWaitThatWasRequiredAfterThreeEpochsIsNoOutage(t *testing.T) {
	for name, tt := range map[string]struct {
		past []epoch
		want float64
	}{
		"the shortest of three":                      {[]epoch{{accepted: 1, failed: 40}, {accepted: 1, failed: 30}, {accepted: 1, failed: 35}}, 30},
		"the latest three":                           {[]epoch{{accepted: 1}, {accepted: 1, failed: 40}, {accepted: 1, failed: 30}, {accepted: 1, failed: 35}}, 30},
		"per accepted request":                       {[]epoch{{accepted: 2, failed: 40}, {accepted: 1, failed: 30}, {accepted: 1, failed: 35}}, 20},
		"at most 90 s":                               {[]epoch{{accepted: 1, failed: 400}, {accepted: 1, failed: 300}, {accepted: 1, failed: 350}}, longestWindow},
		"not if the first probe was accepted once":   {[]epoch{{accepted: 1, failed: 40}, {accepted: 1}, {accepted: 1, failed: 35}}, 0},
		"not if the controller waits as long anyway": {[]epoch{{accepted: 1, failed: 40}, {accepted: 1, failed: 14}, {accepted: 1, failed: 35}}, 0},
		"not after two epochs":                       {[]epoch{{accepted: 1, failed: 40}, {accepted: 1, failed: 30}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.past = tt.past
			assert.InDelta(t, tt.want, c.starving(), 1e-9)
		})
	}
}

func TestWaitThatWasRequiredSeveralTimesLowersTheLeastPaceUntilItIsDisproved(t *testing.T) {
	for name, tt := range map[string]struct {
		asked, starved float64
		heardAt        time.Duration // the refused request was sent at 12 s, and the pause ended at 12.5 s
		want, kept     float64
	}{
		"confirmed":                              {0, 20, -8 * sec, 0.5 / 20, 20},
		"confirmed, with a shorter Retry-After":  {5, 20, -8 * sec, 0.5 / 20, 20},
		"not confirmed":                          {0, 20, 10 * sec, 0.5 / 18, 18},
		"a longer Retry-After counts":            {30, 20, 10 * sec, 0.5 / 30, 18},
		"no less than one request in 90 seconds": {0, 80, -70 * sec, 1. / 90, 80},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.probes, c.silence, c.wanted, c.pause = 2*sec, 1, 0, 0, 12500*ms
			c.asked, c.starved, c.longest, c.heardAt, c.pace = tt.asked, tt.starved, tt.starved, tt.heardAt, 1e-9
			c.judge(12500*ms, 0)
			assert.InDelta(t, tt.want, c.pace, 1e-9)
			assert.InDelta(t, tt.kept, c.starved, 1e-9)
		})
	}
}

func TestLimitThatAcceptsOneRequestInMoreThan15SecondsIsFound(t *testing.T) {
	for _, every := range []float64{20, 36, 60} {
		for _, retryAfter := range []time.Duration{0, sec, 5 * sec} {
			t.Run(fmt.Sprintf("every %v s, Retry-After %v", every, retryAfter), func(t *testing.T) {
				_, accepted, refused := drive(t, bucket(1/every, 1), retryAfter, 2*time.Hour)
				t.Logf("%d accepted, %d refused", accepted, refused)
				assert.GreaterOrEqual(t, float64(accepted), 0.9*2*3600/every)
				assert.LessOrEqual(t, float64(refused), 0.65*float64(accepted))
			})
		}
	}
}

// Retry-After may be shorter than the time in which the limit accepts one request.
func TestRequestAfterAPauseIsSentAtThePaceIfTheLimitSavesUpNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		burst   float64
		heardAt time.Duration
		probes  int
		want    time.Duration
	}{
		"a turn after the latest accepted request": {1, 10 * sec, 1, 20 * sec},
		"at once if that has passed":               {1, sec, 1, 12 * sec},
		"at once if the limit saves up requests":   {2, 10 * sec, 1, 12 * sec},
		"at once after a failed probe":             {1, 10 * sec, 2, 12 * sec},
		"at once if none was accepted yet":         {1, 0, 1, 12 * sec},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.pace, c.burst, c.heardAt, c.probes, c.silence = 0.1, tt.burst, tt.heardAt, tt.probes, sec.Seconds()
			c.start(12 * sec)
			assert.Equal(t, tt.want, c.next)
		})
	}
}

func TestRefusalOfAProvenPaceReopensTheBracketAsFarAsItWasOpenAtTheBestPace(t *testing.T) {
	for name, tt := range map[string]struct{ bestHi, hi float64 }{
		"closed at the best pace":           {11, 11},
		"open at the best pace":             {15, 15},
		"no upper bound when it was found":  {math.Inf(1), 20},
		"unknown, for example after Resume": {0, 6}, // unchanged
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.proven, c.best, c.bestHi, c.bestAt = []float64{10}, 10, tt.bestHi, 50*sec
			c.begin, c.last, c.sumTime, c.accepted, c.sent = 99*sec, 100*sec, 100, 5, 6
			c.refused = Send{epoch: 7, seq: 6, pace: 10, at: 100 * sec}
			c.judgeEpoch(102*sec, 5, 2, 100)
			assert.Equal(t, 10.0, c.pace)
			assert.InDelta(t, tt.hi, c.hi, 1e-9)
		})
	}
}

// After an outage of a minute, an epoch with few requests proves only a very low rate.
func TestAfterALongSilenceARefusalOfAPaceWellAboveTheBestOneDoesNotLowerThePaceBelowIt(t *testing.T) {
	for name, tt := range map[string]struct{ refused, cost, pace, hi float64 }{
		"four times the best pace":     {40, 14, 10, 40},
		"a silence that is not longer": {40, 16, 50. / 62, 40}, // what the epoch proves
		"just above the best pace":     {12, 14, 50. / 62, 12},
		"well below the best pace":     {5, 14, 50. / 62, 5},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.best, c.bestHi, c.bestAt, c.cost, c.raises = 10, 20, 50*sec, tt.cost, 1
			c.begin, c.last, c.sumTime, c.accepted, c.sent, c.silence, c.wanted = 198*sec, 200*sec, 1e6, 51, 52, 60, 60
			c.refused = Send{epoch: 7, seq: 52, pace: tt.refused, at: 200 * sec}
			c.latest = moment{199900 * ms, 50}
			c.paces = []moment{{198 * sec, 51}}
			c.judgeEpoch(202*sec, 51, 2, 0)
			assert.InDelta(t, tt.pace, c.pace, 0.05)
			assert.InDelta(t, tt.hi, c.hi, 1e-9)
		})
	}
}

func TestEachReturnToTheBestPaceThatIsRefusedSoonDoublesThePatience(t *testing.T) {
	for name, tt := range map[string]struct {
		set      func(*Controller)
		patience float64
	}{
		"refused at the best pace":         {func(*Controller) {}, 4},
		"never more than 16 silences":      {func(c *Controller) { c.patience = 12 }, 16},
		"the pace had not been raised":     {func(c *Controller) { c.raises = 0 }, 2},
		"refused well below the best pace": {func(c *Controller) { c.refused.pace = 7 }, 2},
		"the epoch proved a better pace":   {func(c *Controller) { c.patience, c.best, c.refused.pace = 4, 1, 1 }, 2},
		"refused during a probe":           {func(c *Controller) { c.base, c.from.seq, c.from.at = 9, 5, 100*sec }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.best, c.bestHi, c.bestAt, c.raises = 10, 20, 50*sec, 1
			c.begin, c.last, c.sumTime, c.accepted, c.sent = 99*sec, 100*sec, 100, 5, 6
			c.refused = Send{epoch: 7, seq: 6, pace: 10, at: 100 * sec}
			tt.set(c)
			c.judgeEpoch(102*sec, 5, 2, 100)
			assert.InDelta(t, tt.patience, c.patience, 1e-9)
		})
	}
}

// If a limit has fallen, the pace may be below it, and the best pace far above it.
func TestAfterThreeFailedReturnsToTheBestPaceAProbeComesFirst(t *testing.T) {
	c := paced()
	c.best, c.bestHi, c.cost, c.pace, c.lo, c.hi, c.patience = 100, 110, 1, 10, 10, 11, mostPatience
	c.proven = []float64{8}
	now := 100 * sec
	begin := func() {
		c.latest, c.busy = moment{at: now}, c.patience-0.1
		now += 100 * sec
		c.raise(now, 1e6)
		require.Equal(t, 10.0, c.pace, "requests have not waited for 16 silences yet")
		c.busy = c.patience
		c.raise(now, 0)
	}
	for range 3 {
		begin()
		require.True(t, c.returning)
		require.InDelta(t, math.Sqrt(1000), c.pace, 1e-9)
		c.refused = Send{pace: c.pace}
		c.endProbe(30)
		c.base, c.returning = 0, false
	}
	c.holding = c.HoldMost // the probe nevertheless begins as soon as a return would
	begin()
	require.False(t, c.returning)
	assert.InDelta(t, math.Sqrt(10*math.Sqrt(1000)), c.pace, 1e-9, "the probe should begin halfway to the pace of the failed return")
	c.base, c.pace = 0, 10
	begin()
	assert.True(t, c.returning, "the next attempt should be a return again")

	c.base, c.returning, c.pace, c.failures, c.holding, c.cost = 0, false, 10, 3, c.Hold, 3
	now += 100 * sec
	c.latest, c.busy = moment{at: now - 50*sec}, 10
	c.raise(now, 0)
	assert.NotZero(t, c.base, "a probe should begin after ten units if that is sooner than a return")
}

func TestAReturnThatIsRefusedAtTheBestPaceCountsAsFailed(t *testing.T) {
	for patience, want := range map[float64]int{mostPatience / 2: 0, mostPatience: 1} {
		c := justRefused()
		c.best, c.bestAt, c.patience, c.raises, c.sumTime = 16, 10*sec, patience, 1, 1e6
		c.judgeEpoch(14*sec, 5, 2, 100)
		assert.Equal(t, want, c.failures, "patience %v", patience)
	}
}

func TestFailedReturnsAreForgottenIfAnEpochProvesAGoodPace(t *testing.T) {
	c := justRefused()
	c.failures, c.best, c.bestAt, c.sumTime, c.accepted, c.sent = 2, 1.5, 10*sec, 100, 20, 21
	c.judgeEpoch(14*sec, 20, 2, 100)
	assert.Zero(t, c.failures)
}

func TestCostOfARefusalAtTheBestPaceIsSmoothed(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*Controller)
		want float64
	}{
		"a shorter silence":                              {func(*Controller) {}, 12},
		"a longer silence":                               {func(c *Controller) { c.cost = 1 }, 2},
		"a very long silence":                            {func(c *Controller) { c.cost = 0.99 }, 0.99},
		"close to the best pace":                         {func(c *Controller) { c.refused.pace = 8 }, 12},
		"at a lower pace":                                {func(c *Controller) { c.refused.pace = 7.9 }, 36},
		"then no request waited":                         {func(c *Controller) { c.pause = 13 * sec }, 6},
		"the first at this pace":                         {func(c *Controller) { c.best = 0.1 }, 4},
		"the first at this pace, then no request waited": {func(c *Controller) { c.best, c.pause = 0.1, 13*sec }, 1},
		"the best pace has expired":                      {func(c *Controller) { c.bestAt = -bestKept }, 4},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.best, c.bestAt, c.cost, c.refused.pace, c.sumTime, c.pause = 10, 11*sec, 36, 10, 1e6, 16*sec
			tt.set(c)
			c.judgeEpoch(16*sec, 5, 4, 100)
			assert.InDelta(t, tt.want, c.cost, 1e-9)
		})
	}
}

// A window of 50 requests is used up a little earlier each time, so the time between two
// refusals is shorter than a window.
func TestEpochsOfAWindowProveARateOnlyTogether(t *testing.T) {
	window := func(took float64) epoch { return epoch{accepted: 50, took: took, silence: 1} }
	for name, tt := range map[string]struct {
		past []epoch
		want float64
	}{
		"no earlier epoch":              {nil, 89 / 1.5},
		"one earlier epoch":             {[]epoch{window(0.25)}, 89 / 1.5},
		"two epochs of a window":        {[]epoch{window(0.15), window(0.25)}, (190. - 1) / 3.9},
		"the latest three are enough":   {[]epoch{{accepted: 7, took: 90}, window(0.05), window(0.15), window(0.25)}, (240. - 1) / 4.95},
		"another number accepted":       {[]epoch{window(0.25), {accepted: 52, took: 0.15, silence: 1}}, 89 / 1.5},
		"at least half of its own rate": {[]epoch{window(60), window(70)}, 0.5 * 89 / 1.5},
		"never more than its own rate":  {[]epoch{{accepted: 50, took: 0.01}, {accepted: 50, took: 0.02}}, 89 / 1.5},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.past, c.begin, c.last, c.silence, c.wanted = tt.past, 99500*ms, 100*sec, 1, 1
			c.accepted, c.sent, c.sumTime = 90, 91, 1e6
			c.refused = Send{epoch: 7, seq: 91, pace: 200, at: 100 * sec}
			c.judgeEpoch(101*sec, 90, 1, 100)
			assert.InDelta(t, tt.want, c.proven[len(c.proven)-1], 1e-9)
		})
	}
}

func TestTimeOfFailedProbesCountsInFullInTheRateOfSeveralEpochs(t *testing.T) {
	c := paced()
	c.silence, c.quiet, c.probes, c.asked = 5, 5, 2, 5
	c.begin, c.last, c.refused = 94*sec, 94*sec, Send{epoch: 7, seq: 1, pace: 10, at: 94 * sec}
	c.judgeFailedProbe(6)
	c.begin, c.last, c.accepted, c.sent, c.wanted = 100*sec, 104*sec, 30, 31, 11
	c.refused = Send{epoch: 7, seq: 31, pace: 10, at: 104 * sec}
	c.judgeEpoch(109*sec, 30, 5, 100)
	assert.Equal(t, 4.0+5+6, c.sumTime)
	assert.InDelta(t, 29./15, c.proven[0], 1e-9)
}
