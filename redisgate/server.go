package redisgate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// load is the beginning of every script. It defines functions that read and write what
// the server keeps about an account, which is one field of a hash, encoded in JSON:
//
//	p  when the pause ends
//	l  the leader
//	e  when the leader's lease ends
//	d  the leader's distance to the server in ms; missing: not known
//	k  what was learned
//	m  how many processes use the account
//	s  when this field of the hash was written
//
// Times are in ms, by the server's clock.
//
// A field that decode rejects, because no gate can have written it, counts as missing. If
// it caused an error instead, one account would break up the whole fleet. If s is in the
// future, the server's clock was set back, or another server, whose clock is behind, has
// taken over. The first reader then shifts the times by the difference, as if no time had
// passed. Without this shift, a pause that is over and a dead leader's lease could be in
// force again, for up to that difference. A clock that is set ahead ends pauses and leases
// early. The leader restores what is lost when it renews the lease, so only an account
// without a leader loses its pause and, if the clock jumps far enough, what was learned.
//
// The hash outlives both its latest write and every pause by at least the time in
// ARGV[1]. countScript removes the fields of accounts that are out of date.
const load = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function number(v, limit) return type(v) == 'number' and v >= 0 and v <= limit end
local function text(v, limit) return type(v) == 'string' and #v <= limit end
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
  if not number(v.d, 86400000) then v.d = 0 end
  return v
end
local function get(name)
  local raw = redis.call('HGET', KEYS[1], name)
  return raw and decode(name, raw) or {p = 0, e = 0, d = 0, l = '', k = '', m = 0}
end
local function put(name, v)
  v.s = now
  redis.call('HSET', KEYS[1], name, cjson.encode(v))
  local ttl = math.max(tonumber(ARGV[1]), v.p - now + tonumber(ARGV[1]))
  if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], ttl) end
end
`

var (
	// pauseScript extends an account's pause. It never shortens a pause.
	pauseScript = load + `
local v = get(ARGV[2])
v.p = math.max(v.p, now + tonumber(ARGV[3]))
put(ARGV[2], v)
return 1`

	// leadScript makes a process the leader of an account unless another process already
	// is. If the lease length is 0, the process gives up the lead or does not take it.
	// leadScript returns the leader, how long the pause lasts, what was learned, how many
	// processes use the account, and how far away the leader is.
	leadScript = redis.NewScript(load + `
local name, id, lease = ARGV[2], ARGV[3], tonumber(ARGV[4])
local v = get(name)
if v.l ~= '' and v.l ~= id and v.e > now then
  return {v.l, math.max(v.p - now, 0), v.k, v.m, v.d}
end
v.l, v.e, v.d = id, now + lease, tonumber(ARGV[9])
if lease == 0 then v.l = '' end
if ARGV[5] ~= '' and (v.k == '' or ARGV[7] == '1') then v.k, v.m = ARGV[5], tonumber(ARGV[8]) end
v.p = math.max(v.p, now + tonumber(ARGV[6]))
put(name, v)
return {v.l, v.p - now, v.k, v.m, v.d}`)

	// countScript records that a process is alive, and scans some of the accounts,
	// starting at a cursor. It removes those that are out of date or unreadable. It
	// returns how many processes there are, the next cursor and, if ARGV[5] is 1, what is
	// known about the other scanned accounts. Scanning many accounts at once would block
	// the server.
	countScript = redis.NewScript(load + `
local id, absence, cursor = ARGV[2], tonumber(ARGV[3]), ARGV[4]
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], string.format('(%.0f', now), '+inf')) do
  redis.call('ZADD', KEYS[2], now, other)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - absence))
redis.call('ZADD', KEYS[2], now, id)
redis.call('PEXPIRE', KEYS[2], 2 * absence)
local some = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 100)
local out, removed = {redis.call('ZCARD', KEYS[2]), some[1]}, 0
for i = 1, #some[2], 2 do
  local name, v = some[2][i], decode(some[2][i], some[2][i + 1])
  if not v or math.max(v.s, v.p) + tonumber(ARGV[1]) < now then
    redis.call('HDEL', KEYS[1], name)
    removed = removed + 1
  elseif ARGV[5] == '1' then
    local leader = v.e > now and v.l or ''
    out[#out + 1] = {name, leader, math.max(v.p - now, 0), v.k, v.m, v.d}
  end
end
if ARGV[5] ~= '1' then
  out[3] = removed
end
return out`)
)

// publish returns a command that publishes a message. In a cluster, go-redis would send a
// PUBLISH to any node, even to one that is down. This command goes to the node that holds
// the gate's keys, because the channels have the same hash tag.
func publish(ctx context.Context, channel string, message any) *redis.IntCmd {
	c := redis.NewIntCmd(ctx, "publish", channel, message)
	c.SetFirstKeyPos(1)
	return c
}

// publish sends letters and stores pauses in one round trip. The letters go first,
// because a server that is out of memory can still publish.
func (g *Gate) publish(ctx context.Context, letters []letter, pauses map[string]time.Duration) error {
	_, err := g.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, l := range letters {
			b, err := json.Marshal(l.message)
			if err != nil { // the message contains NaN or an infinity; the other messages are sent anyway
				continue
			}
			_ = p.Process(ctx, publish(ctx, l.to, b))
		}
		for name, d := range pauses {
			p.Eval(ctx, pauseScript, []string{g.names.accounts}, keep.Milliseconds(), name, d.Milliseconds())
		}
		return nil
	})
	return err
}

// count runs countScript. v holds the number of processes, the next cursor and, if tell
// is set, the scanned accounts.
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

// take runs leadScript.
func (g *Gate) take(ctx context.Context, l lease) (s state, err error) {
	v, err := leadScript.Run(ctx, g.client, []string{g.names.accounts}, g.leadArgs(l)...).Slice()
	if err != nil {
		return s, err
	}
	s, ok := parseState(v)
	if !ok {
		return s, unexpected(v)
	}
	return s, nil
}

// leadArgs returns the arguments of leadScript.
func (g *Gate) leadArgs(l lease) []any {
	learned := ""
	if l.known.Learned != nil {
		if b, err := json.Marshal(l.known.Learned); err == nil { // otherwise Learned contains NaN or an infinity, which is of no use to the next leader
			learned = string(b)
		}
	}
	replace := "0"
	if l.replace {
		replace = "1"
	}
	return []any{
		keep.Milliseconds(), l.name, g.id, l.length.Milliseconds(), learned,
		l.known.Pause.Milliseconds(), replace, l.known.Members, max(time.Duration(g.distance()).Milliseconds(), 1),
	}
}

func unexpected(answer []any) error { return fmt.Errorf("unexpected reply %v", answer) }

// parseState reads what leadScript and countScript return about an account.
func parseState(v []any) (s state, ok bool) {
	if len(v) != 5 {
		return s, false
	}
	leader, ok1 := v[0].(string)
	pause, ok2 := v[1].(int64)
	learned, ok3 := v[2].(string)
	members, ok4 := v[3].(int64)
	away, ok5 := v[4].(int64)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return s, false
	}
	s = state{Leader: leader, Away: time.Duration(away) * time.Millisecond, Pause: time.Duration(pause) * time.Millisecond, Members: int(members)}
	if learned != "" {
		s.Learned = new(fleet1.Learned)
		if json.Unmarshal([]byte(learned), s.Learned) != nil {
			s.Learned = nil
		}
	}
	return s, s.check()
}
