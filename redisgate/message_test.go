package redisgate

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// led returns a gate that leads the account "k", and the account's name.
func led(t *testing.T, w *world) (g *Gate, name string) {
	g, book := w.gate()
	throttle(t, g, "k", 100*time.Millisecond)
	leaderOf(t, []*Gate{g}, "k")
	time.Sleep(time.Second)
	t.Cleanup(func() { assert.Empty(t, book.all()) })
	return g, g.names.of("k")
}

// works asserts that calls for the account "k" succeed within 20 s, and that g leads the
// account. g must be the only gate of its fleet.
func works(t *testing.T, g *Gate) {
	t.Helper()
	a := newAccount(50, 5, 100*time.Millisecond)
	begin := time.Now()
	start([]*Gate{g}, 5, 20, "k", a).wait(t)
	assert.Less(t, time.Since(begin), 20*time.Second)
	assert.True(t, g.leads("k"))
}

func TestParseRejectsNonsenseAndClampsLargeValues(t *testing.T) {
	name := defaultNames().of("k")
	good := fleet1.Learned{Pace: 2, Lo: 1, Best: 1, Burst: 1, Burst0: 1, Trip: 1, Silence: 1, Asked: 1, Holding: 10}
	of := func(change func(*fleet1.Learned)) *fleet1.Learned { k := good; change(&k); return &k }
	marks := func(at ...time.Duration) (m []fleet1.Mark) {
		for i, at := range at {
			m = append(m, fleet1.Mark{At: at, Accepted: int64(i)})
		}
		return m
	}
	rep := func(r report) message { r.Name, r.From = name, "other"; return message{Report: &r} }
	long := strings.Repeat("x", maxName+1)
	const now = time.Hour
	dropped := message{}
	for what, tt := range map[string]struct{ sent, read message }{
		"an echo":                                       {message{Echo: now}, message{Echo: now}},
		"an echo from the future":                       {message{Echo: now + 1}, dropped},
		"an echo before the origin":                     {message{Echo: -1}, dropped},
		"a hello":                                       {message{Hello: "other"}, message{Hello: "other"}},
		"a hello with a long ID":                        {message{Hello: long}, dropped},
		"a hello with a long ID and a bye":              {message{Hello: long, Bye: "other"}, dropped},
		"a bye with a long ID":                          {message{Bye: long}, dropped},
		"an empty message":                              {message{}, dropped},
		"a notice":                                      {message{Notice: &notice{name, state{Pause: 1, Learned: &good}}}, message{Notice: &notice{name, state{Pause: 1, Learned: &good}}}},
		"a notice with an invalid account name":         {message{Notice: &notice{name + "x", state{}}}, dropped},
		"a negative pause":                              {message{Notice: &notice{name, state{Pause: -1}}}, dropped},
		"a leader at a negative distance":               {message{Notice: &notice{name, state{Leader: "other", Away: -1}}}, dropped},
		"a pause of two days":                           {message{Notice: &notice{name, state{Pause: 2 * maxPause}}}, message{Notice: &notice{name, state{Pause: maxPause}}}},
		"a leader with a long ID":                       {message{Notice: &notice{name, state{Leader: long}}}, dropped},
		"too many members":                              {message{Notice: &notice{name, state{Members: 1 << 40}}}, message{Notice: &notice{name, state{Members: maxCount}}}},
		"a negative number of members":                  {message{Notice: &notice{name, state{Members: -1}}}, dropped},
		"a pace of 0":                                   {message{Notice: &notice{name, state{Pause: 1, Learned: of(func(k *fleet1.Learned) { k.Pace = 0 })}}}, message{Notice: &notice{name, state{Pause: 1}}}},
		"endpoints with own accounts":                   {message{Notice: &notice{name, state{Separated: []separated{{1, time.Minute, fleet1.MostSpan}}}}}, message{Notice: &notice{name, state{Separated: []separated{{1, time.Minute, fleet1.MostSpan}}}}}},
		"an own account for an hour":                    {message{Notice: &notice{name, state{Separated: []separated{{1, time.Hour, 1}, {2, 1, time.Hour}, {3, 0, 1}, {4, 1, 0}, {0, 1, 1}}}}}, message{Notice: &notice{name, state{Separated: []separated{}}}}},
		"too many own accounts":                         {message{Notice: &notice{name, state{Separated: slices.Repeat([]separated{{1, 1, 1}}, 100)}}}, message{Notice: &notice{name, state{Separated: slices.Repeat([]separated{{1, 1, 1}}, fleet1.MostOwn)}}}},
		"endpoints of accepted requests":                {rep(report{Accepted: []uint64{1, 2}, To: []fleet1.Endpoint{{Route: 1, Resource: 2}}}), rep(report{Accepted: []uint64{1, 2}, To: []fleet1.Endpoint{{Route: 1, Resource: 2}}})},
		"more endpoints than accepted requests":         {rep(report{Accepted: []uint64{1}, To: make([]fleet1.Endpoint, 2)}), rep(report{Accepted: []uint64{1}})},
		"turns":                                         {message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1}, Stamp: now}}, message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1}, Stamp: now}}},
		"turns without a sender":                        {message{Turns: &turns{Name: name, IDs: []uint64{1}}}, dropped},
		"a turn with the number 0":                      {message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1, 0}}}, dropped},
		"turns with a stamp from the future":            {message{Turns: &turns{Name: name, From: "other", Stamp: now + 1}}, dropped},
		"turns with a negative stamp":                   {message{Turns: &turns{Name: name, From: "other", Stamp: -1}}, dropped},
		"turns with a negative pause":                   {message{Turns: &turns{Name: name, From: "other", state: state{Pause: -1}}}, dropped},
		"a report":                                      {rep(report{Waiting: 3, Others: 2, Throttled: []throttled{{Turn: 1, After: time.Second}}}), rep(report{Waiting: 3, Others: 2, Throttled: []throttled{{Turn: 1, After: time.Second}}})},
		"a report without a sender":                     {message{Report: &report{Name: name, Waiting: 3}}, dropped},
		"a negative number of waiting requests":         {rep(report{Waiting: -1}), dropped},
		"a negative number of urgent requests":          {rep(report{Waiting: 3, Urgent: -1}), dropped},
		"a negative number of bulk requests":            {rep(report{Waiting: 3, Bulk: -1}), dropped},
		"too many urgent and bulk requests":             {rep(report{Waiting: 3, Urgent: 4, Bulk: 4}), rep(report{Waiting: 3, Urgent: 3})},
		"a negative number of callers that gave up":     {rep(report{Missed: -1}), dropped},
		"too many callers that gave up":                 {rep(report{Missed: 1 << 40}), rep(report{Missed: maxCount})},
		"a negative distance":                           {rep(report{Away: -1}), dropped},
		"a negative number of other requests":           {rep(report{Others: -1}), dropped},
		"a report with a negative stamp":                {rep(report{Stamp: -1}), dropped},
		"too many waiting and other requests":           {rep(report{Waiting: 1 << 40, Others: 1 << 40}), rep(report{Waiting: maxCount, Others: maxCount})},
		"a negative Retry-After":                        {rep(report{Throttled: []throttled{{Turn: 1, After: -1}}}), dropped},
		"a Retry-After of two days":                     {rep(report{Throttled: []throttled{{Turn: 1, After: 2 * maxPause}}}), rep(report{Throttled: []throttled{{Turn: 1, After: maxPause}}})},
		"a stated limit":                                {rep(report{Stated: &stated{200, time.Minute}}), rep(report{Stated: &stated{200, time.Minute}})},
		"a stated limit of 0 requests":                  {rep(report{Waiting: 1, Stated: &stated{0, time.Minute}}), rep(report{Waiting: 1})},
		"a stated limit with a negative window":         {rep(report{Waiting: 1, Stated: &stated{200, -1}}), rep(report{Waiting: 1})},
		"a negative offset":                             {message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1}, Offsets: []time.Duration{-1}}}, message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1}}}},
		"more offsets than turns":                       {message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1}, Offsets: []time.Duration{1, 2}}}, message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1}}}},
		"turns with a negative time":                    {message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1}, At: -1}}, message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1}}}},
		"turns with a time of 200 years":                {message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1}, At: 2 * maxAge}}, message{Turns: &turns{Name: name, From: "other", IDs: []uint64{1}}}},
		"turns with a stated limit of 0 requests":       {message{Turns: &turns{Name: name, From: "other", Stated: &stated{0, 1}}}, message{Turns: &turns{Name: name, From: "other"}}},
		"turns with refusals in a row":                  {message{Turns: &turns{Name: name, From: "other", Row: &fleet1.Row{Routes: []uint64{1}, N: 2, Same: 1}}}, message{Turns: &turns{Name: name, From: "other", Row: &fleet1.Row{Routes: []uint64{1}, N: 2, Same: 1}}}},
		"turns with a row of no refusals":               {message{Turns: &turns{Name: name, From: "other", Row: &fleet1.Row{Routes: []uint64{1}, Same: 1}}}, message{Turns: &turns{Name: name, From: "other"}}},
		"turns with refusals of a negative number":      {message{Turns: &turns{Name: name, From: "other", Row: &fleet1.Row{Routes: []uint64{1}, N: 2, Same: -1}}}, message{Turns: &turns{Name: name, From: "other"}}},
		"turns with too many refused routes":            {message{Turns: &turns{Name: name, From: "other", Row: &fleet1.Row{Routes: []uint64{1, 2, 3, 4}, N: 4, Same: 1}}}, message{Turns: &turns{Name: name, From: "other"}}},
		"a negative maximum rate":                       {message{Turns: &turns{Name: name, From: "other", Most: -1}}, dropped},
		"a history":                                     {rep(report{History: &history{Marks: marks(9, 1), Flying: 1, Age: 1}}), rep(report{History: &history{Marks: marks(9, 1), Flying: 1, Age: 1}})},
		"a history out of order":                        {rep(report{History: &history{Marks: marks(9, 10)}}), rep(report{History: &history{Marks: marks(9, 9)}})},
		"a history without marks":                       {rep(report{Waiting: 1, History: &history{}}), rep(report{Waiting: 1})},
		"a history with a mark in the future":           {rep(report{Waiting: 1, History: &history{Marks: marks(-1)}}), rep(report{Waiting: 1})},
		"a history with a negative age":                 {rep(report{Waiting: 1, History: &history{Marks: marks(1), Age: -1}}), rep(report{Waiting: 1})},
		"a history that is 200 years old":               {rep(report{Waiting: 1, History: &history{Marks: marks(1), Age: 2 * maxAge}}), rep(report{Waiting: 1})},
		"a history with the time that a response took":  {rep(report{History: &history{Marks: marks(1), Trip: 5}}), rep(report{History: &history{Marks: marks(1), Trip: 5}})},
		"a history with a negative time for a response": {rep(report{Waiting: 1, History: &history{Marks: marks(1), Trip: -1}}), rep(report{Waiting: 1})},
		"a history with a negative number in flight":    {rep(report{Waiting: 1, History: &history{Marks: marks(1), Flying: -1}}), rep(report{Waiting: 1})},
		"a history with too many in flight":             {rep(report{History: &history{Marks: marks(1), Flying: 1 << 40}}), rep(report{History: &history{Marks: marks(1), Flying: maxCount}})},
		"a history with too many marks":                 {rep(report{Waiting: 1, History: &history{Marks: make([]fleet1.Mark, maxMarks+1)}}), rep(report{Waiting: 1})},
		"a history with a negative number accepted":     {rep(report{Waiting: 1, History: &history{Marks: []fleet1.Mark{{Accepted: -1}}}}), rep(report{Waiting: 1})},
	} {
		t.Run(what, func(t *testing.T) {
			b, err := json.Marshal(tt.sent)
			require.NoError(t, err)
			m, ok := parse(b, now)
			assert.Equal(t, !assert.ObjectsAreEqual(dropped, tt.read), ok)
			if ok {
				assert.Equal(t, tt.read, m)
			}
		})
	}
	_, ok := parse(fmt.Appendf(nil, `{"h":"other","x":"%s"}`, strings.Repeat("x", maxMessage)), now)
	assert.False(t, ok, "a message of more than maxMessage bytes was accepted")
}

// Other processes may send nonsense, by mistake or on purpose. Afterwards, the gate must
// still lead the account, and calls must succeed.
func TestNonsenseFromOtherProcessesDoesNoHarm(t *testing.T) {
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
		report(`"w":1,"i":-1`), report(`"w":1,"b":9223372036854775807`), report(`"w":1,"i":9223372036854775807,"b":9223372036854775807`), report(`"o":-1`), report(`"o":1000000000000000000`),
		report(`"s":-1`), report(`"s":1,"l":[0]`), report(`"s":1,"e":18446744073709551615`), report(`"x":[{}],"d":{"n":-5,"p":-5}`), report(`"x":[{}],"d":{"n":9223372036854775807,"p":1}`),
		granted(`"i":[1],"o":[9223372036854775807]`), granted(`"v":-1`), granted(`"i":[1],"a":-9223372036854775808`), granted(`"i":[1],"a":9223372036854775807`), granted(`"i":[1],"a":3000000000000000000`), granted(`"v":1e-308`), granted(`"y":{}`), granted(`"i":[1],"y":{"n":9223372036854775807,"s":9223372036854775807}`), granted(`"l":18446744073709551615`),
		report(`"x":[{"a":-1}]`), report(`"x":[{"a":-9223372036854775808}]`),
		report(`"h":{}`), report(`"h":{"m":[{"At":1,"Accepted":5},{"At":9,"Accepted":1}],"f":-3,"a":-1}`),
		report(`"h":{"m":[{"At":-9223372036854775808,"Accepted":-5}],"f":9223372036854775807,"a":9223372036854775807}`),
		report(`"h":{"m":[` + strings.Repeat(`{"At":1,"Accepted":1},`, 5000) + `{"At":1,"Accepted":1}]}`),
		notice(`"p":-1`), notice(`"p":-9223372036854775808`),
		notice(`"m":-1`), notice(`"m":9223372036854775807`),
		notice(learned("0", "")), notice(learned("-1", "")), notice(learned("1e308", "")), notice(learned("1e-300", "")),
		notice(learned("1", `,"hi":-1`)), notice(learned("1", `,"silence":-5`)), notice(learned("1", `,"trip":1e300`)),
		notice(`"e":"` + strings.Repeat("x", 10_000) + `"`),
		granted(`"i":[0]`), granted(`"s":-1`), granted(`"s":9223372036854775807`), granted(`"p":-5`), granted(`"b":-5`), granted(`"i":[1],"b":true`), granted(`"m":-5`),
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

func TestPauseInAMessageIsClampedToADay(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		g.receive(fmt.Appendf(nil, `{"n":{"n":"%s","p":%d}}`, name, int64(math.MaxInt64)))
		assert.InDelta(t, 24*time.Hour, pauseAt(g, "k"), float64(time.Second))
	})
}

// JSON cannot hold NaN. A message that contains NaN must not prevent other messages from
// being sent, and a lease must be granted even if what was learned contains NaN.
func TestMessageWithNaNIsSkippedAndTheOthersAreSent(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, books := w.gates(2)
		bad := fleet1.Learned{Pace: math.NaN()}
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
	k := fleet1.Learned{Pace: 1, Lo: 1, Best: 1, Burst: 1, Burst0: 1, Trip: 1, Silence: 1, Holding: 10}
	s := state{Leader: "other", Away: 1, Pause: time.Second, Members: 2, Learned: &k, Separated: []separated{{1, time.Minute, time.Minute}}}
	name := defaultNames().of("k")
	for _, m := range []message{
		{Report: &report{Name: name, From: "other", Waiting: 3, Urgent: 1, Bulk: 1, Away: 1, Stamp: 1, Got: []uint64{1}, Flying: []uint64{1}, Unsent: []uint64{2}, Throttled: []throttled{{Turn: 1, After: time.Second, To: fleet1.Endpoint{Route: 1, Resource: 2}}}, Accepted: []uint64{3}, To: []fleet1.Endpoint{{Route: 1, Resource: 2}}, Others: 3, Seen: 1, Stated: &stated{200, time.Minute}}},
		{Report: &report{Name: name, From: "other", History: &history{Marks: []fleet1.Mark{{At: 9}, {At: 1, Accepted: 4}}, Flying: 1, Age: 1}}},
		{Turns: &turns{Name: name, From: "other", IDs: []uint64{1, 2}, Stamp: 1, Probing: true, Offsets: []time.Duration{0, time.Second}, At: 5, Last: 2, Most: 9, Believed: true, Stated: &stated{200, time.Minute}, state: s}},
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
			g.receive(first) // during the first pause
			time.Sleep(time.Second)
			g.receive(second)
			for _, key := range []string{"k", "another"} {
				sane, err := json.Marshal(message{Notice: &notice{g.names.of(key), state{Pause: time.Minute}}})
				require.NoError(t, err)
				g.receive(sane)
				assert.Greater(t, pauseAt(g, key), 59*time.Second)
				assert.LessOrEqual(t, pauseAt(g, key), maxPause)
			}
		})
	})
}

func TestNoticesAndTurnsInABatchAreMergedLosslessly(t *testing.T) {
	k := &fleet1.Learned{Pace: 2, Silence: 1}
	full := state{Leader: "leader", Pause: time.Second, Members: 20, Learned: k}
	for name, tt := range map[string]struct{ first, then, notice, turns state }{
		"everything, then a longer pause": {full, state{Pause: 2 * time.Second},
			state{Leader: "leader", Pause: 2 * time.Second, Members: 20, Learned: k},
			state{Leader: "leader", Pause: 2 * time.Second, Members: 20, Learned: k}},
		"a longer pause, then everything": {state{Pause: 2 * time.Second}, full,
			state{Leader: "leader", Pause: 2 * time.Second, Members: 20, Learned: k},
			state{Leader: "leader", Pause: time.Second, Members: 20, Learned: k}}, // no turns are handed out during a pause, so turns show that the pause is over
		"everything, then the leader leaves": {full, state{Leader: nobody},
			state{Leader: nobody, Pause: time.Second, Members: 20, Learned: k},
			state{Leader: nobody, Members: 20, Learned: k}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // so that no time passes
				g := &Gate{names: defaultNames(), id: "me"}
				g.out.notice("n", tt.first)
				g.out.notice("n", tt.then)
				g.out.turn("m", &turns{Name: "n", IDs: []uint64{1}, Stamp: 1, state: tt.first}, false)
				g.out.turn("m", &turns{Name: "n", IDs: []uint64{2}, state: tt.then}, false)
				letters, pauses := g.out.empty(g, 100)
				require.Len(t, letters, 2)
				assert.Equal(t, &notice{"n", tt.notice}, letters[0].Notice)
				assert.Equal(t, map[string]time.Duration{"n": tt.notice.Pause}, pauses)
				assert.Equal(t, &turns{Name: "n", From: "me", IDs: []uint64{1, 2}, At: g.now(), Stamp: 1, state: tt.turns}, letters[1].Turns)
			})
		})
	}
}

func TestOutdatedLeaderIsNotPublishedAfterRejoin(t *testing.T) {
	g := &Gate{names: defaultNames(), id: "me"}
	g.out.notice("n", state{Leader: "leader", Pause: time.Hour, Members: 20})
	g.out.mute(true)
	g.out.mute(false)
	letters, _ := g.out.empty(g, 100)
	require.Len(t, letters, 1)
	assert.Empty(t, letters[0].Notice.Leader)
	assert.Positive(t, letters[0].Notice.Pause)
}

// A report without the number of waiting requests means that no requests wait, so even a
// report of a single outcome must carry the number.
func TestEveryReportCarriesTheNumberOfWaitingRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		tell    func(l *link)
		waiting int
	}{
		"accepted":             {func(l *link) { l.Accepted(1, fleet1.Send{Turn: 1}) }, 4},
		"throttled":            {func(l *link) { l.Refused(1, fleet1.Send{Turn: 1}, time.Second) }, 5}, // the unused turn is handed back
		"not sent":             {func(l *link) { l.Unsend(fleet1.Send{Turn: 1}) }, 4},
		"question":             {func(l *link) { l.question(1) }, 4},
		"question while alone": {func(l *link) { l.goAlone(1); l.Leader = "leader"; l.question(1) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := &Gate{names: defaultNames(), id: "me"}
			l := g.link("n", "k")
			l.Leader, l.waiting, l.turns, l.flying = "leader", 5, []slot{{turn: 2}}, []slot{{turn: 1}}
			tt.tell(l)
			letters, _ := g.out.empty(g, 100)
			i := slices.IndexFunc(letters, func(l letter) bool { return l.Report != nil })
			require.GreaterOrEqual(t, i, 0)
			assert.Equal(t, tt.waiting, letters[i].Report.Waiting)
			if l.timer != nil {
				l.timer.Stop()
			}
		})
	}
}
