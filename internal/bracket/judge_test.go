package bracket

import (
	"math"
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
		"and what was refused stays refused":          {[]epoch{{accepted: 0, took: 9.9, steady: true}}, long, 100, 100},
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
	}
	assert.Equal(t, []int{12, 13, 14, 15, 16, 17, 18, 19}, s)
}

// Whoever names a time does not mean many times it; who names none, no window
// longer than a minute.
func TestAnOutageIsASilenceThatIsMuchLongerThanWasAskedFor(t *testing.T) {
	for _, tt := range []struct {
		probes        int
		asked, wanted float64
		want          bool
	}{
		{4, 1, 10.1, true}, {4, 1, 10, false}, {3, 1, 1000, false},
		{4, 60, 60 + longestWindow + 1, true}, {4, 60, 60 + longestWindow, false},
		{4, 0, longestWindow + 1, true}, {4, 0, longestWindow, false}, {3, 0, 1000, false},
	} {
		c := &Controller{Constants: Standard, probes: tt.probes, asked: tt.asked}
		assert.Equal(t, tt.want, c.outage(tt.wanted), "%+v", tt)
	}
}
