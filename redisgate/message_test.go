package redisgate

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/bracket"
)

// A led is a gate that leads the account "k", which its own callers use.
func led(t *testing.T, w *world) (g *Gate, name string) {
	g, book := w.gate()
	throttle(t, g, "k", 100*time.Millisecond)
	leaderOf(t, []*Gate{g}, "k")
	time.Sleep(time.Second)
	t.Cleanup(func() { assert.Empty(t, book.all()) })
	return g, g.names.of("k")
}

// works asserts that calls of the account get through, in the fleet.
func works(t *testing.T, g *Gate) {
	t.Helper()
	a := newAccount(50, 5, 100*time.Millisecond)
	begin := time.Now()
	start([]*Gate{g}, 5, 20, "k", a).wait(t)
	assert.Less(t, time.Since(begin), 20*time.Second)
	assert.True(t, g.leads("k"))
}

// What others say may be nonsense, by mistake or of another version. It changes
// nothing, or no more than the most that could be meant.
func TestNonsenseFromOthersIsDroppedOrBounded(t *testing.T) {
	report := func(rest string) string { return `{"r":{"n":"NAME","f":"other",` + rest + `}}` }
	notice := func(rest string) string { return `{"n":{"n":"NAME",` + rest + `}}` }
	granted := func(rest string) string { return `{"t":{"n":"NAME","f":"ME",` + rest + `}}` }
	learned := func(pace, rest string) string {
		return `"k":{"pace":` + pace + `,"lo":1,"best":1,"burst":1,"burst0":1,"trip":1,"silence":1,"asked":1,"holding":1` + rest + `}`
	}
	for _, text := range []string{
		``, `null`, `7`, `[]`, `{}`, `{"r":{}}`, `{"t":{}}`, `{"n":{}}`, `{"h":"ME"}`,
		`{"e":-9223372036854775808}`,
		report(`"w":-1`), report(`"w":9223372036854775807`),
		report(`"o":-1`), report(`"o":1000000000000000000`),
		report(`"s":-1`), report(`"s":1,"l":[0]`),
		report(`"x":[{"a":-1}]`), report(`"x":[{"a":-9223372036854775808}]`),
		report(`"h":{}`), report(`"h":{"m":[{"At":1,"Accepted":5},{"At":9,"Accepted":1}],"f":-3,"a":-1}`),
		report(`"h":{"m":[{"At":-9223372036854775808,"Accepted":-5}],"f":9223372036854775807,"a":9223372036854775807}`),
		report(`"h":{"m":[` + strings.Repeat(`{"At":1,"Accepted":1},`, 5000) + `{"At":1,"Accepted":1}]}`),
		notice(`"p":-1`), notice(`"p":-9223372036854775808`),
		notice(`"m":-1`), notice(`"m":9223372036854775807`),
		notice(`"b":-1`), notice(`"b":9223372036854775807`),
		notice(learned("0", "")), notice(learned("-1", "")), notice(learned("1e308", "")), notice(learned("1e-300", "")),
		notice(learned("1", `,"hi":-1`)), notice(learned("1", `,"silence":-5`)), notice(learned("1", `,"trip":1e300`)),
		notice(`"e":"` + strings.Repeat("x", 10_000) + `"`),
		granted(`"i":[0]`), granted(`"s":-1`), granted(`"s":9223372036854775807`), granted(`"p":-5`), granted(`"b":-5`), granted(`"m":-5`),
		granted(learned("-1", "")),
		strings.Repeat("[", 100_000), `{"r":{"n":"NAME","f":"other","g":[` + strings.Repeat("1,", 1<<20) + `1]}}`,
	} {
		t.Run(text[:min(len(text), 60)], func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				g, name := led(t, w)
				g.receive([]byte(strings.NewReplacer("NAME", name, "ME", g.id).Replace(text)))
				works(t, g)
			})
		})
	}
}

func TestThePauseOfAMessageIsADayAtMost(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		g.receive(fmt.Appendf(nil, `{"n":{"n":"%s","p":%d}}`, name, int64(math.MaxInt64)))
		assert.InDelta(t, 24*time.Hour, pauseAt(g, "k"), float64(time.Second))
	})
}

// So that what is learned once is nonsense for nobody else.
func TestWhatIsNoNumberIsNotSentAndKeepsNothingElse(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, books := w.gates(2)
		bad := bracket.Learned{Pace: math.NaN()}
		err := gates[0].publish(t.Context(), []letter{
			{gates[0].names.all, message{Notice: &notice{gates[0].names.of("a"), state{Learned: &bad}}}},
			{gates[0].names.all, message{Notice: &notice{gates[0].names.of("k"), state{Pause: time.Minute}}}},
		}, nil)
		require.NoError(t, err)
		require.Eventually(t, pauses(gates[1], "k"), soon, time.Millisecond)
		s, err := gates[0].take(t.Context(), lease{name: gates[0].names.of("b"), length: leaseTime, known: state{Learned: &bad}})
		require.NoError(t, err)
		assert.Equal(t, gates[0].id, s.Leader)
		for _, b := range books {
			assert.Empty(t, b.all())
		}
	})
}

func FuzzMessage(f *testing.F) {
	k := bracket.Learned{Pace: 1, Lo: 1, Best: 1, Burst: 1, Burst0: 1, Trip: 1, Silence: 1, Holding: 10}
	s := state{Leader: "other", Pause: time.Second, Probes: 1, Members: 2, Learned: &k}
	name := newNames("iamhttp").of("k")
	for _, m := range []message{
		{Report: &report{Name: name, From: "other", Waiting: 3, Stamp: 1, Got: []uint64{1}, Flying: []uint64{1}, Unsent: []uint64{2}, Refused: []refusal{{1, time.Second}}, Others: 3}},
		{Report: &report{Name: name, From: "other", History: &history{Marks: []bracket.Mark{{At: 9}, {At: 1, Accepted: 4}}, Flying: 1, Age: 1}}},
		{Turns: &turns{Name: name, From: "other", IDs: []uint64{1, 2}, Stamp: 1, state: s}},
		{Notice: &notice{name, s}},
		{Echo: 5}, {Hello: "other"}, {Bye: "other"},
	} {
		b, err := json.Marshal(m)
		require.NoError(f, err)
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		inVirtualTime(t, func(t *testing.T, w *world) {
			g, _ := w.gate()
			throttle(t, g, "k", 100*time.Millisecond)
			leaderOf(t, []*Gate{g}, "k")
			g.receive(first) // before the end of the first pause
			time.Sleep(time.Second)
			g.receive(second)
			for _, key := range []string{"k", "another"} {
				sane, err := json.Marshal(message{Notice: &notice{g.names.of(key), state{Pause: time.Minute}}})
				require.NoError(t, err)
				g.receive(sane)
				assert.Greater(t, pauseAt(g, key), 59*time.Second)
				assert.LessOrEqual(t, pauseAt(g, key), longestPause)
			}
		})
	})
}
