package bracket

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const sec = time.Second

func TestMarksThinOutEvenlyAndKeepTheOldestAndTheNewest(t *testing.T) {
	c := &Controller{memory: memory{marks: []Mark{{}}}}
	for i := 1; i <= 1000; i++ {
		c.total = int64(i)
		c.mark(time.Duration(i) * sec)
		c.total++
		c.mark(time.Duration(i) * sec) // at the same time: it is known already
		require.LessOrEqual(t, len(c.marks), mostMarks)
		require.Equal(t, Mark{time.Duration(i) * sec, int64(i)}, c.marks[len(c.marks)-1])
		if i == mostMarks {
			require.Equal(t, []Mark{{}, {2 * sec, 2}, {4 * sec, 4}}, c.marks[:3], "every other one")
			require.Equal(t, []Mark{{62 * sec, 62}, {64 * sec, 64}}, c.marks[mostMarks/2-1:])
		}
	}
	assert.Equal(t, Mark{}, c.marks[0])
	for i, m := range c.marks[1:] {
		assert.Equal(t, int64(m.At/sec), m.Accepted)
		assert.Less(t, c.marks[i].At, m.At)
	}
}

func TestTheFastestStretchIsTheOneWithTheSilenceAddedToIt(t *testing.T) {
	c := new(Controller)
	c.marks = []Mark{{}, {10 * sec, 10}, {20 * sec, 110}}
	c.total, c.ended = 110, 20*sec
	for _, tt := range []struct{ silence, accepted, took float64 }{
		{1, 100, 10},  // 9.1/s, and 5.2/s by all
		{80, 100, 10}, // 100 in 90 s, 110 in 100 s
		{100, 110, 20},
	} {
		accepted, took := c.fastest(tt.silence)
		assert.Equal(t, []float64{tt.accepted, tt.took}, []float64{accepted, took}, "%+v", tt)
	}
	c.total, c.ended = 111, 19*sec // the last answer came after the refusal
	accepted, took := c.fastest(0.1)
	assert.Equal(t, []float64{101, 9}, []float64{accepted, took}, "1 in 0.1 s is less")
	accepted, took = c.fastest(0.01)
	assert.Equal(t, []float64{1, 0}, []float64{accepted, took})
	c.marks, c.total = []Mark{{}}, 0
	accepted, took = c.fastest(1)
	assert.Equal(t, []float64{1, 0}, []float64{accepted, took}, "one request is always accepted")
}

func TestThoseInFlightAtARefusalTellTheLimitIfTheyWereManyAndMetIt(t *testing.T) {
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

func TestTheQuotientOfTheDifferencesOfTwoEpochsIsTheLimit(t *testing.T) {
	// A bucket of 20 that fills by 8/s.
	short, long := epoch{accepted: 60, took: 5, steady: true}, epoch{accepted: 100, took: 10, steady: true}
	soon := epoch{accepted: 52, took: 4, steady: true}
	unsteady := epoch{accepted: 1000, took: 20}
	later := epoch{accepted: 110, took: 10, silence: 5, steady: true}
	for name, tt := range map[string]struct {
		past   []epoch
		e      epoch
		lo, hi float64
	}{
		"the earlier was shorter":                     {[]epoch{short}, long, 38.5 / 5, 41.5 / 5},
		"the earlier was longer":                      {[]epoch{long}, short, 38.5 / 5, 41.5 / 5},
		"the one that differs most counts":            {[]epoch{short, soon, short}, long, 46.5 / 6, 49.5 / 6},
		"one of several paces says nothing":           {[]epoch{unsteady, short}, long, 38.5 / 5, 41.5 / 5},
		"there is none":                               {nil, long, 1, 100},
		"nor one that differs":                        {[]epoch{long}, long, 1, 100},
		"a longer silence may be where more was from": {[]epoch{short}, later, 48.5 / 10, 51.5 / 5},
		"or explain less":                             {[]epoch{{accepted: 60, took: 5, silence: 4, steady: true}}, long, 38.5 / 5, 41.5 / 1},
		"what was proven stays proven":                {[]epoch{{accepted: 100, took: 5, steady: true}}, long, 1, 1},
		"and what was refused stays refused":          {[]epoch{{steady: true}}, epoch{accepted: 2000, took: 10, steady: true}, 100, 100},
		"more in no time is chance":                   {[]epoch{{accepted: 0, took: 9.9, steady: true}}, long, 1, 100},
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

// If the quotient were the limit, after such a silence more would have been
// accepted at once.
func TestAQuotientThatIsTooHighForWhatWasAcceptedSaysNothing(t *testing.T) {
	for _, tt := range []struct {
		burst0, silence float64
		lo, hi          float64
	}{
		{23, 5, 7.7, 8.3}, {23.1, 5, 1, 100}, // 100 are 7.7/s for 10 s, and 23
		{1e6, 2.9, 7.7, 8.3}, {1e6, 3, 1, 100}, // 7.7/s in 3 s are 23.1
	} {
		c := new(Controller)
		c.burst0, c.past = tt.burst0, []epoch{{accepted: 60, took: 5, silence: tt.silence, steady: true}}
		lo, hi := c.compare(epoch{accepted: 100, took: 10, silence: tt.silence, steady: true}, 1, 100)
		assert.InDelta(t, tt.lo, lo, 1e-9, "%+v", tt)
		assert.InDelta(t, tt.hi, hi, 1e-9, "%+v", tt)
	}
}

func TestAWindowIsWhatGivesOutTheSameInAnotherTimeOrAtAnotherPace(t *testing.T) {
	c := new(Controller)
	c.past = []epoch{{accepted: 100, took: 10, pace: 10}}
	for name, tt := range map[string]struct {
		e    epoch
		want bool
	}{
		"in less time":              {epoch{accepted: 100, took: 8.9, pace: 10}, true},
		"in more":                   {epoch{accepted: 101, took: 11.1, pace: 10}, true},
		"at a lower pace":           {epoch{accepted: 99, took: 10, pace: 8.9}, true},
		"at a higher":               {epoch{accepted: 100, took: 10, pace: 11.1}, true},
		"in about the same":         {epoch{accepted: 100, took: 9.1, pace: 10.9}, false},
		"in exactly one tenth more": {epoch{accepted: 100, took: 11, pace: 9}, false},
		"others, in less time":      {epoch{accepted: 98, took: 5, pace: 10}, false},
		"more, in more time":        {epoch{accepted: 102, took: 20, pace: 5}, false},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, c.window(tt.e)) })
	}
}

func TestTheLatestEightAreKept(t *testing.T) {
	var s []int
	for i := range 20 {
		s = keep(s, i)
		require.Len(t, s, min(i+1, remembered))
	}
	assert.Equal(t, []int{12, 13, 14, 15, 16, 17, 18, 19}, s)
}

func TestTheFirstGuess(t *testing.T) {
	inf := math.Inf(1)
	atOnce := func(c *Controller) { c.marks, c.begin = []Mark{{20 * sec, 0}}, 20*sec }
	// 100 in 10 s and two seconds of silence are 8.33/s; the pace is 6/42 higher, and the burst what it does not explain.
	const lo = 100. / 12
	for name, tt := range map[string]struct {
		set                         func(*Controller)
		lo, hi, pace, burst, burst0 float64
	}{
		"spread over time":                   {func(*Controller) {}, lo, inf, lo * 8 / 7, 100 - 9.9*lo*8/7, 100},
		"with answers as slow":               {func(c *Controller) { c.trip = 12 }, lo, inf, lo * 44 / 42, 100, 100},
		"all at once":                        {atOnce, 50, inf, 200, 100, 100},
		"with slow answers":                  {func(c *Controller) { atOnce(c); c.trip = 0.5 }, 50, inf, 200, 100, 100},
		"with answers that are more":         {func(c *Controller) { atOnce(c); c.trip = 0.6 }, 50, inf, 100, 100, 100},
		"of a limit that names a short time": {func(c *Controller) { c.asked = 0.1 }, lo, inf, 20, 1, 100},
		"or a long one":                      {func(c *Controller) { c.asked = 1 }, lo, inf, lo * 8 / 7, 100 - 9.9*lo*8/7, 100},
		"with many that met the limit": {func(c *Controller) {
			atOnce(c)
			c.late, c.lateRefused, c.lateFrom, c.lateAt = 36, 1, 21*sec, 21*sec+300*ms
		}, 50, 140, 0.9 * math.Sqrt(50*140), 100 - 0.27*math.Sqrt(50*140), 100 - 0.27*math.Sqrt(50*140)},
		"with many that were answered slowly": {func(c *Controller) {
			c.late, c.lateRefused, c.lateFrom, c.lateAt = 36, 1, 21*sec, 31*sec
		}, lo, lo, 0.9 * lo, 1, 64},
		"with nothing accepted": {func(c *Controller) { c.marks, c.total = []Mark{{20 * sec, 0}}, 0 }, 0.5, inf, 2, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Controller{Constants: constants, trip: 0.1, closed: 20 * sec}
			c.marks, c.begin, c.total, c.ended = []Mark{{10 * sec, 0}}, 10*sec, 100, 20*sec
			tt.set(c)
			c.judgeFirst(2)
			assert.True(t, c.learned)
			assert.InDelta(t, tt.lo, c.lo, 1e-9)
			assert.InDelta(t, 1/tt.hi, 1/c.hi, 1e-9)
			assert.InDelta(t, tt.pace, c.pace, 1e-9)
			assert.Zero(t, c.best, "what lasted less than 20 seconds may be a burst")
			assert.InDelta(t, tt.burst, c.burst, 1e-9)
			assert.InDelta(t, tt.burst0, c.burst0, 1e-9)
			assert.Equal(t, 2.0, c.silence)
		})
	}
}

// The shortest such stretch is taken, for it is the latest.
func TestAFirstEpochThatLasted20SecondsIsRemembered(t *testing.T) {
	c := New(50*sec, []Mark{{}, {20 * sec, 3000}, {30 * sec, 4000}, {40 * sec, 4400}, {50 * sec, 5000}}, 1, 5*sec)
	c.Next(55*sec, 0)
	assert.InDelta(t, 1000./25, c.best, 1e-9)
	assert.Equal(t, 50*sec, c.bestAt)
	assert.Equal(t, 5.0, c.cost)
	assert.Equal(t, leastPatience, c.patience)
}

func TestWhatAFailedProbeTeaches(t *testing.T) {
	inf := math.Inf(1)
	for name, tt := range map[string]struct {
		set          func(*Controller)
		lo, hi, pace float64
		guessed      bool
	}{
		"nothing, once":                          {func(*Controller) {}, 8, 16, 10, false},
		"not that there is no burst at all":      {func(c *Controller) { c.burst = 1.5 }, 8, 16, 10, false},
		"nor none":                               {func(c *Controller) { c.burst = 1 }, 8, 16, 10, false},
		"twice, that it is a short window":       {func(c *Controller) { c.probes = 3 }, 20. / 12, inf, 20. / 12, true},
		"which may be faster than the pace":      {func(c *Controller) { c.probes, c.pace = 3, 1.5 }, 1.5, inf, 1.5, true},
		"but not of less than two":               {func(c *Controller) { c.probes, c.pace = 3, 0.99 }, 8, 16, 0.99, false},
		"two are enough":                         {func(c *Controller) { c.probes, c.pace = 3, 1 }, 1, inf, 1, true},
		"nothing, in an outage":                  {func(c *Controller) { c.probes, c.silence = 9, 1.01 }, 8, 16, 10, false},
		"nothing, where the service names times": {func(c *Controller) { c.probes, c.asked = 9, 1 }, 8, 16, 10, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.probes, c.closed, c.silence, c.quiet = 2, 42*sec, 1, 4
			c.begin, c.last, c.sumTime = 20*sec, 21*sec, 100
			c.total, c.ended = 20, 10*sec // in 10 s, and 10 s of silence
			tt.set(c)
			burst, silence := c.burst, c.silence
			c.judgeFailedProbe(1)
			assert.Equal(t, silence+1, c.silence)
			assert.Equal(t, 105.0, c.sumTime)
			assert.InDelta(t, max(1, 0.7*burst), c.burst, 1e-9)
			assert.Equal(t, tt.guessed, c.guessed)
			assert.InDelta(t, tt.lo, c.lo, 1e-9)
			assert.InDelta(t, 1/tt.hi, 1/c.hi, 1e-9)
			assert.InDelta(t, tt.pace, c.pace, 1e-9)
		})
	}
}

// justRefused returns a controller whose latest request but late ones was the
// refused one, its 21st of the epoch, sent at 12 s.
func justRefused() *Controller {
	const at = 12 * sec
	c := paced()
	c.open = false
	c.paces = nil
	c.refused = Send{epoch: 7, seq: 21, pace: 16, at: at}
	c.latest = moment{at - 2*sec, 20}
	c.last, c.closed, c.silence = at, at, 1
	return c
}

func TestWhatAnEpochProvesGoodAndBad(t *testing.T) {
	steady := epoch{accepted: 59, took: 10, steady: true}
	for name, tt := range map[string]struct {
		set    func(*Controller)
		e      epoch
		proven float64
		lo, hi float64
	}{
		"what was proven, and the pace that was refused": {func(*Controller) {}, epoch{}, 4, 4, 16},
		"or what really left of late":                    {func(c *Controller) { c.latest.seq = 1 }, epoch{}, 4, 4, 10},
		"which is more than the pace":                    {func(c *Controller) { c.latest = moment{11 * sec, 1} }, epoch{}, 4, 4, 16},
		"in how little time it may be":                   {func(c *Controller) { c.latest, c.refused.pace = moment{11500 * ms, 1}, 100 }, epoch{}, 4, 4, 40},
		"eight at least":                                 {func(c *Controller) { c.latest.seq = 13 }, epoch{}, 3, 3, 4},
		"fewer say nothing":                              {func(c *Controller) { c.latest.seq = 14 }, epoch{}, 3, 3, 16},
		"neither do all at once":                         {func(c *Controller) { c.latest = moment{12 * sec, 1} }, epoch{}, 4, 4, 16},
		"what is proven is not bad":                      {func(*Controller) {}, epoch{}, 20, 20, 20},
		"those in flight":                                {func(c *Controller) { c.late, c.lateRefused, c.last = 16, 1, 14*sec }, epoch{}, 4, 6, 10},
		"that prove less":                                {func(c *Controller) { c.late, c.lateRefused, c.last = 16, 1, 14*sec }, epoch{}, 11, 11, 11},
		"or more than was refused":                       {func(c *Controller) { c.late, c.lateRefused, c.last = 144, 1, 16*sec }, epoch{}, 4, 16, 16},
		"one pace, all that was accepted":                {func(*Controller) {}, steady, 4, 4, 6},
		"one pace, less than is proven":                  {func(*Controller) {}, steady, 7, 7, 7},
		"one pace, of one token":                         {func(c *Controller) { c.burst0, c.lo = 1, 5 }, steady, 4, 0.93 * 5, 12},
		"one pace, of one token, that was proven before": {func(c *Controller) { c.burst0, c.lo = 1, 20 }, steady, 4, 12, 12},
		"two tokens are not one":                         {func(c *Controller) { c.burst0, c.lo = 2, 5 }, steady, 4, 4, 6},
		"one pace, against another epoch":                {func(c *Controller) { c.past = []epoch{{accepted: 34, took: 5, steady: true}} }, steady, 4, 4.7, 5.3},
		"more than was saved up, in time":                {func(c *Controller) { c.paces, c.burst0 = []moment{{9 * sec, 2}}, 3 }, epoch{}, 4, 5, 16},
		"but for what had no answer":                     {func(c *Controller) { c.paces, c.burst0, c.unknown = []moment{{9 * sec, 2}}, 3, 1 }, epoch{}, 4, 14. / 3, 16},
		"the best of all paces":                          {func(c *Controller) { c.paces, c.burst0 = []moment{{2 * sec, 0}, {9 * sec, 2}, {11 * sec, 17}}, 3 }, epoch{}, 4, 5, 16},
		"no more than what was refused":                  {func(c *Controller) { c.paces, c.burst0 = []moment{{11 * sec, 0}}, 3 }, epoch{}, 4, 16, 16},
		"not in no time":                                 {func(c *Controller) { c.paces, c.burst0 = []moment{{12 * sec, 0}}, 3 }, epoch{}, 4, 4, 16},
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

func TestThePaceBetweenTheBounds(t *testing.T) {
	at := func(share float64) float64 { return 0.9 * 4 * math.Pow(4, share) } // between 4 and 16
	probing := func(c *Controller) {                                          // 20 in a second, 10 more than before
		c.base, c.began, c.from = 10, 10, moment{11 * sec, 1}
		c.silence = 59 // which the burst of 5.9 makes up for by a hundredth
	}
	for name, tt := range map[string]struct {
		set                   func(*Controller)
		proven, backlog       float64
		lo, hi, pace, holding float64
		patience              float64
	}{
		"the middle, with much to come":                  {func(*Controller) {}, 4, 160, 4, 16, at(0.5), 10, 2},
		"with very much too":                             {func(*Controller) {}, 4, 1e6, 4, 16, at(0.5), 10, 2},
		"the safe end with nothing":                      {func(*Controller) {}, 4, 0, 4, 16, at(0), 10, 2},
		"something between":                              {func(*Controller) {}, 4, 80, 4, 16, at(0.25), 10, 2},
		"the longer the silences":                        {func(c *Controller) { c.silence = 2 }, 4, 160, 4, 16, at(0.25), 10, 2},
		"a probe that was within what is saved up":       {probing, 4, 160, 10, 11, 10, 20, 2},
		"as far as that can be known":                    {func(c *Controller) { probing(c); c.burst0 = 5 }, 4, 160, 10, 11, 10, 20, 2},
		"again and again":                                {func(c *Controller) { probing(c); c.holding = 30 }, 4, 160, 10, 11, 10, 39.6, 2},
		"whose silence the next burst half makes up":     {func(c *Controller) { probing(c); c.holding, c.silence = 30, 1.18 }, 4, 160, 10, 11, 10, 20, 2},
		"or more than that":                              {func(c *Controller) { probing(c); c.holding, c.silence = 30, 0.1 }, 4, 160, 10, 11, 10, 10, 2},
		"a probe that was more":                          {func(c *Controller) { probing(c); c.silence, c.burst0, c.holding = 1, 4.9, 40 }, 4, 160, 4, 16, at(0.5), 10, 2},
		"a probe that has proven something is bisected":  {func(c *Controller) { probing(c); c.began, c.holding = 9, 40 }, 4, 160, 10, 16, 0.9 * math.Sqrt(160), 10, 2},
		"but a step that small may have been the margin": {func(c *Controller) { probing(c); c.began = 9.1 }, 4, 160, 9, 9.9, 9, 20, 2},
		"from the base upwards":                          {func(c *Controller) { probing(c); c.began, c.base = 9, 12.7 }, 4, 160, 12.7, 16, 0.9 * math.Sqrt(12.7*16), 10, 2},
		"if there is anything to bisect":                 {func(c *Controller) { probing(c); c.began, c.base = 9, 12.9 }, 4, 160, 12.9, 1.1 * 12.9, 12.9, 10, 2},
		"a pace that came back and was refused":          {func(c *Controller) { probing(c); c.returning = true }, 4, 160, 10, 11, 10, 10, 4},
		"again, at most 16 times the silence":            {func(c *Controller) { probing(c); c.returning, c.patience = true, 10 }, 4, 160, 10, 11, 10, 10, 16},
		"a probe far below the best pace":                {func(c *Controller) { probing(c); c.best = 12.6 }, 4, 160, 10, 11, 10, 10, 4},
		"a probe near the best pace":                     {func(c *Controller) { probing(c); c.best = 12.4 }, 4, 160, 10, 11, 10, 20, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			tt.set(c)
			c.judgePace(epoch{took: 5, silence: c.silence}, tt.proven, tt.backlog)
			assert.InDelta(t, tt.pace, c.pace, 1e-9, "pace")
			assert.InDelta(t, tt.lo, c.lo, 1e-9, "lo")
			assert.InDelta(t, tt.hi, c.hi, 1e-9, "hi")
			assert.InDelta(t, tt.holding, c.holding, 1e-9, "holding")
			assert.Equal(t, tt.patience, c.patience, "patience")
		})
	}
}

func TestWhatIsToBlameForARefusal(t *testing.T) {
	const pace, burst, both, window = "the pace", "the burst", "both", "a window"
	for name, tt := range map[string]struct {
		set  func(*Controller)
		want string
	}{
		"without a burst":                         {func(*Controller) {}, pace},
		"one is no burst":                         {func(c *Controller) { c.granted, c.refused.credit = 1, true }, pace},
		"in a burst":                              {func(c *Controller) { c.granted, c.refused.credit = 10, true }, burst},
		"in a burst, of which much was refused":   {func(c *Controller) { c.granted, c.refused.credit, c.sent = 10, true, 30 }, burst},
		"in a burst, and more than it was":        {func(c *Controller) { c.granted, c.refused.credit, c.sent = 10, true, 31 }, both},
		"soon after a burst":                      {func(c *Controller) { c.granted, c.paced = 16, 3 }, burst},
		"soon after a burst, more than it was":    {func(c *Controller) { c.granted, c.paced, c.sent = 10, 3, 31 }, pace},
		"some time after a burst":                 {func(c *Controller) { c.granted, c.paced = 16, 4 }, pace},
		"soon after a large burst":                {func(c *Controller) { c.granted, c.paced = 40, 9 }, burst},
		"some time after a large burst":           {func(c *Controller) { c.granted, c.paced = 40, 10 }, pace},
		"when a window was used up after a burst": {func(c *Controller) { c.granted, c.paced, c.past = 10, 10, []epoch{{accepted: 20, took: 4}} }, window},
		"when the pace was fine":                  {func(c *Controller) { c.granted, c.proven = 10, []float64{3, 16, 2} }, window},
		"when one a bit lower was":                {func(c *Controller) { c.granted, c.proven = 10, []float64{3, 15.9, 2} }, pace},
		"a window that had little left":           {func(c *Controller) { c.granted, c.burst, c.past = 10, 3, []epoch{{accepted: 20, took: 4}} }, window},
		"or nothing":                              {func(c *Controller) { c.granted, c.burst, c.past = 10, 1, []epoch{{accepted: 20, took: 4}} }, window},
		"two are a burst":                         {func(c *Controller) { c.granted, c.refused.credit = 2, true }, burst},
		"a window without a burst":                {func(c *Controller) { c.past = []epoch{{accepted: 20, took: 4}} }, pace},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.accepted, c.sent, c.paced = 2*sec, 20, 21, 20
			c.burst, c.quiet, c.sumSent, c.sumTime, c.guessed = 10, 3, 100, 50, true
			tt.set(c)
			past, before := len(c.past), c.burst
			c.judgeEpoch(15*sec, 4, 1e6)

			shrinks := map[string]float64{pace: 1, burst: 0.7, both: 0.7, window: 0.5}
			assert.InDelta(t, max(1, before*shrinks[tt.want]), c.burst, 1e-9)
			if tt.want == pace || tt.want == both {
				assert.Less(t, c.hi, 16.0)
			} else {
				assert.Equal(t, 16.0, c.hi)
				assert.Equal(t, max(10, slices.Max(c.proven)), c.pace)
			}
			assert.False(t, c.guessed)
			assert.Equal(t, []float64{1, 4, 90, 48}, []float64{c.needed, c.silence, c.sumSent, c.sumTime})
			assert.Len(t, c.past, past+1)
			assert.Equal(t, epoch{accepted: 20, took: 10, silence: 1, pace: 16, steady: true}, c.past[past])
			assert.InDelta(t, 89./48, c.proven[len(c.proven)-1], 1e-9)
		})
	}
}

func TestWhatAnEpochProves(t *testing.T) {
	for name, tt := range map[string]struct {
		accepted         int
		sumSent, sumTime float64
		want             float64
	}{
		"it is right to one request": {56, 0, 0, 55. / 11},
		"or to half of them":         {1, 0, 0, 0.5 / 11},
		"or with those before":       {56, 1000, 50, (700. + 56 - 1) / (35 + 10 + 3)},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.quiet, c.pace = 2*sec, 3, 0
			c.raises, c.refused.pace = 1, tt.want
			c.accepted, c.sumSent, c.sumTime = tt.accepted, tt.sumSent, tt.sumTime
			if c.sumTime == 0 {
				c.sumSent, c.quiet = -1e9, 3
			}
			c.judgeEpoch(15*sec, 4, 0)
			assert.InDelta(t, tt.want, c.proven[0], 1e-9)
			assert.InDelta(t, tt.want, c.pace, 1e-9, "no pace is below it")
			assert.False(t, c.past[0].steady)
		})
	}
}

// justRefused proves 1.9 of a second, and comes after a silence of 4 s.
func TestWhatIsRememberedOfAnEpoch(t *testing.T) {
	const proven = 21. / 11
	for name, tt := range map[string]struct {
		best, cost float64
		at         time.Duration
		patience   float64
		want       []float64 // best, cost, patience
	}{
		"the first":                             {0, 0, 0, 8, []float64{proven, 4, 2}},
		"one that is better":                    {1.8, 1, 0, 8, []float64{proven, 4, 2}},
		"not one that is worse":                 {2, 1, 0, 8, []float64{2, 1, 2}},
		"far below the best patience stays":     {3, 1, 0, 8, []float64{3, 1, 8}},
		"but the best ends after 15 minutes":    {3, 1, 15 * time.Minute, 8, []float64{proven, 4, 2}},
		"which are counted from when it proved": {3, 1, 15*time.Minute + 1, 8, []float64{3, 1, 8}},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.accepted = 2*sec, 22
			c.sumSent, c.quiet = -1e9, 3
			now := 13 * sec
			c.best, c.cost, c.patience = tt.best, tt.cost, tt.patience
			switch tt.at {
			case 0:
				c.bestAt = now
			default:
				c.bestAt = tt.at
				now = 30*time.Minute + 1
			}
			c.judgeEpoch(now, 4, 0)
			assert.InDeltaSlice(t, tt.want, []float64{c.best, c.cost, c.patience}, 1e-9)
		})
	}
}

func TestAnEpochInWhichAnAnswerIsMissingIsNotComparedWithOthers(t *testing.T) {
	c := justRefused()
	c.begin, c.accepted, c.unknown = 2*sec, 19, 1
	c.judgeEpoch(15*sec, 4, 0)
	assert.False(t, c.past[0].steady)
}

func TestABurstThatWasRefusedIsSmallerTheNextTime(t *testing.T) {
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

func TestLongTimesAreMeasuredByTheSilenceThatTheServiceWanted(t *testing.T) {
	for name, tt := range map[string]struct {
		set                    func(*Controller)
		now                    time.Duration
		wanted, measure, quiet float64
	}{
		"and got":                          {func(*Controller) {}, 14 * sec, 2, 2, 2},
		"not that in which nobody came":    {func(*Controller) {}, 99 * sec, 2, 2, 87},
		"two round trips at least":         {func(c *Controller) { c.trip = 2 }, 14 * sec, 4, 4, 4},
		"not of an hour":                   {func(c *Controller) { c.pause = 2 * time.Hour }, time.Hour + 12*sec, 3600, longestWindow, 3600},
		"with those of the probes before":  {func(c *Controller) { c.accepted, c.probes = 0, 2 }, 14 * sec, 7, 7, 2},
		"not with an outage":               {func(c *Controller) { c.accepted, c.probes, c.wanted = 0, 4, 1000 }, 14 * sec, 1002, 15, 2},
		"but with what is asked for in it": {func(c *Controller) { c.accepted, c.probes, c.wanted, c.asked = 0, 4, 1000, 3 }, 14 * sec, 1002, 3, 2},
		"if that is not too long":          {func(c *Controller) { c.accepted, c.probes, c.wanted, c.asked = 0, 4, 1000, 600 }, 14 * sec, 1002, longestWindow, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.accepted, c.pause, c.wanted, c.base = 2*sec, 20, 14*sec, 5, 3
			tt.set(c)
			c.judge(tt.now, 0)
			assert.Equal(t, []float64{tt.wanted, tt.measure, tt.quiet}, []float64{c.wanted, c.measure, c.quiet})
			assert.Zero(t, c.base, "no try survives a pause")
		})
	}
}

func TestNobodyComesLessOftenThanOnceInTwoSilences(t *testing.T) {
	for name, tt := range map[string]struct {
		asked, longest, longestAsked float64
		heardAt                      time.Duration // 12 s: just before the refusal
		want                         float64
	}{
		"as was asked for":                              {4, 50, 0, 12 * sec, 1. / 8},
		"but for the gap of which that was the rest":    {4, 50, 40, 2 * sec, 1. / 14},
		"as far as any that was asked for of late":      {4, 50, 8, 2 * sec, 1. / (4 + 7.84)},
		"this one included":                             {4, 50, 0, 2 * sec, 1. / 8},
		"or was needed of late":                         {0, 10, 0, 12 * sec, 0.5 / 8},
		"but no longer than a pause of its own":         {0, 500, 0, 12 * sec, 0.5 / 15},
		"a second at least":                             {0, 0, 0, 12 * sec, 0.5},
		"an answer that left after the refusal is none": {4, 50, 40, 13 * sec, 1. / 8},
	} {
		t.Run(name, func(t *testing.T) {
			c := justRefused()
			c.begin, c.probes, c.silence, c.pause = 2*sec, 1, 0, 12500*ms
			c.asked, c.longest, c.longestAsked, c.heardAt, c.pace = tt.asked, tt.longest, tt.longestAsked, tt.heardAt, 1e-9
			c.judge(12500*ms, 0)
			assert.InDelta(t, tt.want, c.pace, 1e-9)
			assert.InDelta(t, max(0.5, 0.8*tt.longest), c.longest, 1e-9)
			assert.InDelta(t, max(tt.asked, 0.98*tt.longestAsked), c.longestAsked, 1e-9)
		})
	}
}
