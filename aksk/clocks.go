package aksk

import (
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxSkew   = 26 * time.Hour // a clock that is set to another time zone; more is no time to sign by
	maxClocks = 256            // hosts whose clock differs from this one's, of which there are few
)

// clocks know by how much the clocks of hosts are ahead of this machine's. A host
// whose clock agrees within a minute takes no room.
type clocks struct {
	known atomic.Pointer[map[string]time.Duration] // never changed, but replaced
	mu    sync.Mutex                               // of those who replace it
}

// skew returns by how much the clock of a host is ahead.
func (c *clocks) skew(host string) time.Duration {
	if known := c.known.Load(); known != nil {
		return (*known)[host]
	}
	return 0
}

// learn takes the Date of an answer to a request that was sent at a time, and returns
// what is known then. It believes as little of the Date as possible: the answer was
// made at some time between sending and now, and the Date is cut to seconds. An Age
// tells that a cache has kept the answer.
func (c *clocks) learn(host string, h http.Header, sent time.Time) time.Duration {
	skew := c.skew(host)
	date, ok := dateOf(h)
	if !ok || len(h["Age"]) > 0 {
		return skew
	}
	if d := date.Sub(sent); skew == 0 && -tolerance < d && d < tolerance {
		return 0 // nearly always; the rest would cost a look at the clock
	}
	least, most := date.Sub(time.Now()), date.Add(time.Second).Sub(sent)
	learned := min(max(skew, least), most)
	switch {
	case learned < -maxSkew || learned > maxSkew:
		return skew
	case -tolerance <= learned && learned <= tolerance:
		learned = 0
	}
	if learned != skew {
		c.set(host, learned)
	}
	return learned
}

func (c *clocks) set(host string, skew time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[string]time.Duration{}
	if before := c.known.Load(); before != nil && len(*before) < maxClocks {
		maps.Copy(known, *before)
	}
	if known[host] = skew; skew == 0 {
		delete(known, host)
	}
	c.known.Store(&known)
}

// dateOf returns the Date of an answer in the form that net/http writes. It does
// what http.ParseTime does, in a tenth of the time.
func dateOf(h http.Header) (time.Time, bool) {
	v := h["Date"]
	if len(v) != 1 || len(v[0]) != len(http.TimeFormat) {
		return time.Time{}, false
	}
	s := v[0] // Mon, 02 Jan 2006 15:04:05 GMT
	month := 0
	for i, name := range [...]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"} {
		if s[8:11] == name {
			month = i + 1
		}
	}
	day, d := two(s[5:7])
	century, c := two(s[12:14])
	year, y := two(s[14:16])
	hour, o := two(s[17:19])
	minute, m := two(s[20:22])
	second, e := two(s[23:25])
	if month == 0 || !(d && c && y && o && m && e) || s[25:] != " GMT" {
		return time.Time{}, false
	}
	return time.Date(100*century+year, time.Month(month), day, hour, minute, second, 0, time.UTC), true
}

// two returns the number that two digits are.
func two(s string) (n int, ok bool) {
	tens, ones := s[0]-'0', s[1]-'0'
	return 10*int(tens) + int(ones), tens <= 9 && ones <= 9
}
