package redisgate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/iamhttp/iamhttp/internal/bracket"
)

// What the server keeps of an account is one field of a hash: p until when it
// is paused, l its leader and e until when, k what was learned, m by how many
// it is used, s when it was last written. Times are the server's, in ms.
//
// A field that no gate can have written so is as good as none: an error would
// keep the whole fleet apart for the sake of one account. If s is in the future,
// the server's clock was set back, or that of the one which has taken over is
// behind: who reads it first makes it as if no time had passed since. Otherwise
// a pause that is over would hold for as long again as the clock was set back,
// and a dead leader lead. A clock set ahead lets both end early, until the
// leader renews its lease; what is lost is the pause of an account that nobody
// leads.
//
// The hash outlives its latest write, and every pause, by the time that is kept;
// fields of accounts that nobody uses go one by one, when somebody comes past.
const load = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function number(v, most) return type(v) == 'number' and v >= 0 and v <= most end
local function text(v, most) return type(v) == 'string' and #v <= most end
local function decode(name, raw)
  local ok, v = pcall(cjson.decode, raw)
  if not ok or type(v) ~= 'table' then return nil end
  if not (number(v.p, 1e15) and number(v.e, 1e15) and number(v.s, 1e15) and number(v.m, 65536)) then return nil end
  if not (text(v.l, 64) and text(v.k, 4096)) then return nil end
  if v.s > now then
    local back = v.s - now
    v.p, v.e, v.s = math.max(v.p - back, 0), math.max(v.e - back, 0), now
    redis.call('HSET', KEYS[1], name, cjson.encode(v))
  end
  v.p = math.min(v.p, now + 86400000)
  return v
end
local function get(name)
  local raw = redis.call('HGET', KEYS[1], name)
  return raw and decode(name, raw) or {p = 0, e = 0, l = '', k = '', m = 0}
end
local function put(name, v)
  v.s = now
  redis.call('HSET', KEYS[1], name, cjson.encode(v))
  local ttl = math.max(tonumber(ARGV[1]), v.p - now + tonumber(ARGV[1]))
  if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], ttl) end
end
`

var (
	// pauseScript makes the pause of an account as long as the longest.
	pauseScript = load + `
local v = get(ARGV[2])
v.p = math.max(v.p, now + tonumber(ARGV[3]))
put(ARGV[2], v)
return 1`

	// leadScript makes a process the leader, if there is no other, and returns
	// who it is, how long the pause lasts, and what was learned.
	leadScript = redis.NewScript(load + `
local name, id, lease = ARGV[2], ARGV[3], tonumber(ARGV[4])
local v = get(name)
if v.l ~= '' and v.l ~= id and v.e > now then
  return {v.l, math.max(v.p - now, 0), v.k, v.m}
end
v.l, v.e = id, now + lease
if lease == 0 then v.l = '' end
if ARGV[5] ~= '' and (v.k == '' or ARGV[7] == '1') then v.k, v.m = ARGV[5], tonumber(ARGV[8]) end
v.p = math.max(v.p, now + tonumber(ARGV[6]))
put(name, v)
return {v.l, v.p - now, v.k, v.m}`)

	// countScript counts a process in, and goes through some of the accounts from
	// a cursor on. It forgets those that are out of date, and returns how many
	// processes there are, where to go on, and, if that is asked for, what is
	// known of the accounts. All at once would keep the server from all else.
	countScript = redis.NewScript(load + `
local id, absence, cursor = ARGV[2], tonumber(ARGV[3]), ARGV[4]
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], string.format('(%.0f', now), '+inf')) do
  redis.call('ZADD', KEYS[2], now, other)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - absence))
redis.call('ZADD', KEYS[2], now, id)
redis.call('PEXPIRE', KEYS[2], 2 * absence)
local some = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 100)
local out = {redis.call('ZCARD', KEYS[2]), some[1]}
for i = 1, #some[2], 2 do
  local name, v = some[2][i], decode(some[2][i], some[2][i + 1])
  if not v or math.max(v.s, v.p) + tonumber(ARGV[1]) < now then
    redis.call('HDEL', KEYS[1], name)
  elseif ARGV[5] == '1' then
    local leader = v.e > now and v.l or ''
    out[#out + 1] = {name, leader, math.max(v.p - now, 0), v.k, v.m}
  end
end
return out`)
)

var errSlow = errors.New("the server answers too late")

// timed runs a command and judges the server by it. It returns after patience
// at the latest, while a client that does not watch the context waits for its
// ReadTimeout, or for ever: one connection may be dead while the others are well.
// What is left behind then is limited by the connections of the client's pool;
// nobody reads what it brings. It is not repeated once it is out of date.
func (g *Gate) timed(f func(ctx context.Context) error) error {
	start := g.now()
	ctx, cancel := context.WithTimeout(g.ctx, outOfDate)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- f(ctx)
	}()
	err := errSlow
	select {
	case err = <-done:
		if err == nil && g.now()-start > tooSlow {
			err = errSlow
		}
	case <-time.After(patience):
	}
	if err != nil {
		g.fail(start, err)
	}
	return err
}

// fail notes that the server could not be used by what began at that time, and
// says so if that is new. Who loses it again soon after being back stays away, for
// longer each time: what answers may be one part of it, and what is needed another.
func (g *Gate) fail(began time.Duration, err error) {
	g.mu.Lock()
	news := !g.lost && began >= g.back && g.ctx.Err() == nil
	if news {
		now := g.now()
		if now-g.back > presence {
			g.away = 0
		} else {
			g.away = min(max(2*g.away, tryAgain), longestAway)
		}
		g.lost, g.returns = true, now+g.away
		g.out.mute(true)
	}
	g.mu.Unlock()
	if news {
		g.attention()
		g.log.Warn("redisgate: lost the fleet, this process goes on alone", "namespace", g.names.prefix, "err", err)
	}
}

// recover notes that the server can be used again.
func (g *Gate) recover() {
	g.mu.Lock()
	news := g.lost && g.hears && g.now() >= g.returns && g.leaders != nil && g.ctx.Err() == nil
	if news {
		g.lost, g.back = false, g.now()
		g.out.mute(false)
	}
	g.mu.Unlock()
	if news {
		g.log.Info("redisgate: back in the fleet", "namespace", g.names.prefix)
	}
}

// usable reports whether the server has answered of late.
func (g *Gate) usable() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.lost
}

// send sends what is in the outbox.
func (g *Gate) send() {
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.out.wake:
		}
		// While the server is lost there are none: attend tries, and nobody else.
		letters, pauses := g.out.empty(g)
		began := time.Now()
		if len(letters) > 0 && g.timed(func(ctx context.Context) error { return g.publish(ctx, letters, pauses) }) != nil {
			for name, d := range pauses {
				if d -= time.Since(began); d > 0 {
					g.out.notice(name, state{Pause: d})
				}
			}
		}
	}
}

// publish sends in one trip. The pause is published before it is written down:
// a server without memory publishes still.
func (g *Gate) publish(ctx context.Context, letters []letter, pauses map[string]time.Duration) error {
	_, err := g.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, l := range letters {
			b, err := json.Marshal(l.message)
			if err != nil { // a number that is none; the others are not to blame
				continue
			}
			p.Publish(ctx, l.to, b)
		}
		for name, d := range pauses {
			p.Eval(ctx, pauseScript, []string{g.names.accounts}, keep.Milliseconds(), name, d.Milliseconds())
		}
		return nil
	})
	return err
}

// attend keeps the process counted, and notices when the server is back.
func (g *Gate) attend() {
	for hello := true; ; {
		wait := presence
		g.out.tidy()
		// Nothing that is published before the subscription would be heard: the
		// state is read after it.
		if g.connected() {
			if g.join(hello) == nil {
				hello = false // the echo tells whether all is well
			} else {
				hello, wait = true, tryAgain
				g.settle()
			}
		}
		if !g.usable() {
			wait = tryAgain
		}
		select {
		case <-g.ctx.Done():
			return
		case <-g.again:
		case <-time.After(wait):
		}
	}
}

func (g *Gate) connected() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hears && g.now() >= g.returns
}

// attention makes attend look now.
func (g *Gate) attention() {
	select {
	case g.again <- struct{}{}:
	default:
	}
}

// join counts the process in. Who is new, or was lost, reads all that is known;
// who has been told of every change goes past a part of it, so that what is out
// of date is forgotten.
func (g *Gate) join(hello bool) error {
	all := hello || !g.usable()
	if all {
		g.cursor = "0"
	}
	for {
		var v []any
		cursor := g.cursor
		if err := g.timed(func(ctx context.Context) (err error) {
			v, err = g.count(ctx, cursor, all)
			return err
		}); err != nil {
			return err
		}
		g.counted(v)
		if !all || g.cursor == "0" {
			break
		}
	}
	letters := []letter{{g.names.inbox(g.id), message{Echo: g.now()}}}
	if hello {
		letters = append(letters, letter{g.names.all, message{Hello: g.id}})
	}
	return g.timed(func(ctx context.Context) error { return g.publish(ctx, letters, nil) })
}

// count counts the process in, and returns how many there are, the next cursor,
// and, if that is asked for, accounts.
func (g *Gate) count(ctx context.Context, cursor string, tell bool) (v []any, err error) {
	v, err = countScript.Run(ctx, g.client, []string{g.names.accounts, g.names.members},
		keep.Milliseconds(), g.id, absence.Milliseconds(), cursor, tell).Slice()
	if err != nil {
		return nil, err
	}
	if len(v) >= 2 {
		_, ok1 := v[0].(int64)
		_, ok2 := v[1].(string)
		if ok1 && ok2 {
			return v, nil
		}
	}
	return nil, unexpected(v)
}

// counted takes what count has returned.
func (g *Gate) counted(v []any) {
	g.cursor = v[1].(string)
	g.mu.Lock()
	g.size = max(int(v[0].(int64)), 1)
	for name, n := range g.notes {
		if _, used := g.keys[name]; !used && g.now() > n.seen+keep && g.now() > n.paused {
			delete(g.notes, name)
		}
	}
	g.mu.Unlock()
	for _, e := range v[2:] {
		if e, ok := e.([]any); ok && len(e) == 5 {
			if name, ok := e[0].(string); ok && isName(name) {
				if s, ok := parseState(e[1:]); ok {
					g.noticed(name, s)
				}
			}
		}
	}
}

func unexpected(answer []any) error { return fmt.Errorf("unexpected answer %v", answer) }

// parseState reads what the scripts return of an account.
func parseState(v []any) (s state, ok bool) {
	if len(v) != 4 {
		return s, false
	}
	leader, ok1 := v[0].(string)
	pause, ok2 := v[1].(int64)
	learned, ok3 := v[2].(string)
	members, ok4 := v[3].(int64)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return s, false
	}
	s = state{Leader: leader, Pause: time.Duration(pause) * time.Millisecond, Members: int(members)}
	if learned != "" {
		s.Learned = new(bracket.Learned)
		if json.Unmarshal([]byte(learned), s.Learned) != nil {
			s.Learned = nil
		}
	}
	return s, s.check()
}

// A lease is asked for, or given back if length is 0.
type lease struct {
	name    string
	length  time.Duration
	known   state // what to go on from, if the server knows nothing
	replace bool  // what the server knows
}

func (g *Gate) take(ctx context.Context, l lease) (s state, err error) {
	learned := ""
	if l.known.Learned != nil {
		if b, err := json.Marshal(l.known.Learned); err == nil { // else it is nothing to go on from
			learned = string(b)
		}
	}
	replace := "0"
	if l.replace {
		replace = "1"
	}
	v, err := leadScript.Run(ctx, g.client, []string{g.names.accounts},
		keep.Milliseconds(), l.name, g.id, l.length.Milliseconds(), learned,
		l.known.Pause.Milliseconds(), replace, l.known.Members).Slice()
	if err != nil {
		return s, err
	}
	s, ok := parseState(v)
	if !ok {
		return s, unexpected(v)
	}
	return s, nil
}

// ask is take for a while. Close waits for the answer longer than the caller does.
func (g *Gate) ask(l lease) (state, error) {
	var s state
	g.leases.Add(1)
	err := g.timed(func(ctx context.Context) (err error) {
		defer g.leases.Done()
		s, err = g.take(ctx, l)
		return err
	})
	if err != nil { // s may still be written
		return state{}, err
	}
	return s, nil
}

// leave says what has not been said, gives back what the process leads, and
// takes it out of the count.
func (g *Gate) leave(ctx context.Context, leaders map[string]*leader, unsaid []letter, pauses map[string]time.Duration) {
	answered := make(chan struct{})
	go func() {
		g.leases.Wait()
		close(answered)
	}()
	select { // a renewal on its way would take back what was given back
	case <-answered:
	case <-time.After(askAgain): // its connection is dead, probably
	}
	g.publish(ctx, unsaid, pauses)
	for name, l := range leaders {
		g.take(ctx, lease{name: name, known: l.known(), replace: true})
		g.publish(ctx, []letter{{g.names.all, message{Notice: &notice{name, state{Leader: nobody, Pause: l.known().Pause}}}}}, nil)
	}
	g.client.ZRem(ctx, g.names.members, g.id)
	g.publish(ctx, []letter{{g.names.all, message{Bye: g.id}}}, nil)
}

// nobody is the leader of an account whose leader has left.
const nobody = "-"

// listen receives what others send.
func (g *Gate) listen() {
	for g.ctx.Err() == nil {
		err := g.hear()
		g.mu.Lock()
		g.hears = false
		g.mu.Unlock()
		if g.ctx.Err() != nil {
			return
		}
		g.fail(g.now(), err)
		g.settle()
		select {
		case <-g.ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

// hear receives until the connection is lost.
func (g *Gate) hear() error {
	sub := g.client.Subscribe(g.ctx)
	defer sub.Close()
	defer context.AfterFunc(g.ctx, func() { sub.Close() })()
	if err := sub.Subscribe(g.ctx, g.names.all, g.names.inbox(g.id)); err != nil {
		return err
	}
	const quiet = 15 * time.Second
	for pinged := false; ; {
		m, err := sub.ReceiveTimeout(g.ctx, quiet)
		switch m := m.(type) {
		case *redis.Subscription:
			if m.Channel == g.names.inbox(g.id) {
				g.mu.Lock()
				g.hears = true
				g.mu.Unlock()
				g.attention()
			}
		case *redis.Message:
			g.receive([]byte(m.Payload))
		}
		var timeout interface{ Timeout() bool }
		switch {
		case err == nil:
			pinged = false
		case errors.As(err, &timeout) && timeout.Timeout() && !pinged:
			if err := sub.Ping(g.ctx); err != nil {
				return err
			}
			pinged = true
		default:
			return err
		}
	}
}

// receive takes a message. What cannot be read is of another version, or of
// somebody else.
func (g *Gate) receive(b []byte) {
	m, ok := parse(b, g.now())
	if !ok {
		return
	}
	switch {
	case m.Echo != 0:
		if g.now()-m.Echo <= tooSlow {
			g.recover()
		} else {
			g.fail(m.Echo, errSlow)
		}
		g.settle()
	case m.Turns != nil:
		g.granted(m.Turns)
	case m.Report != nil:
		g.mu.Lock()
		l := g.leaders[m.Report.Name]
		g.mu.Unlock()
		if l != nil {
			l.handle(m.Report)
		}
	case m.Notice != nil:
		g.noticed(m.Notice.Name, m.Notice.state)
	case m.Hello != "" && m.Hello != g.id:
		g.mu.Lock()
		g.size++
		g.mu.Unlock()
	case m.Bye != "":
		g.mu.Lock()
		g.size = max(g.size-1, 1)
		led := slices.Collect(maps.Values(g.leaders))
		g.mu.Unlock()
		for _, l := range led {
			l.left(m.Bye)
		}
	}
}
