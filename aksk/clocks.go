package aksk

import (
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iamhttp/iamhttp/internal/signature"
)

const (
	maxSkew   = 26 * time.Hour // enough for a clock that is set to the wrong time zone
	maxClocks = 256            // maximum number of skews that are kept; once it is reached, the next change discards all others
)

// clocks records how far each host's clock is ahead of this machine's. A host whose clock
// agrees with this machine's to within a minute takes no memory.
type clocks struct {
	known atomic.Pointer[map[string]time.Duration] // the map is never changed, only replaced
	mu    sync.Mutex                               // guards replacing the map
	last  atomic.Int64                             // send time of the latest request for which due returned true, in Unix seconds
}

// due reports whether to learn from the response to a request that was sent at the given
// time. One response per second is enough.
func (c *clocks) due(sent time.Time) bool {
	now := sent.Unix()
	return c.last.Load() != now && c.last.Swap(now) != now
}

// skew returns how far a host's clock is ahead of this machine's.
func (c *clocks) skew(host string) time.Duration {
	if known := c.known.Load(); known != nil {
		return (*known)[host]
	}
	return 0
}

// learn updates a host's skew from the Date of a response, unless the result differs from
// ahead by more than the life of a signature. ahead is how far the signature's time is ahead
// of this machine's clock: if the signature would be invalid at the Date, the Date does not
// come from the clock that checked the signature.
func (c *clocks) learn(host string, skew time.Duration, h http.Header, sent time.Time, ahead time.Duration) {
	if learned := estimate(skew, h, sent); learned != skew && (learned-ahead).Abs() <= signature.Life {
		c.set(host, learned)
	}
}

// estimate returns a host's skew according to the Date of a response. skew is the skew
// known so far, and sent is the time when the request was sent. estimate changes the skew
// as little as the Date allows: the response was made at some time between sent and now,
// and the Date is truncated to seconds. A response with an Age header is ignored, because
// it comes from a cache. A new skew is ignored if it exceeds maxSkew; within tolerance, it
// counts as 0.
func estimate(skew time.Duration, h http.Header, sent time.Time) time.Duration {
	date, ok := dateOf(h)
	if d := date - sent.Unix(); !ok || skew == 0 && -59 < d && d < 59 {
		return skew // the usual case, decided without reading the clock
	}
	if len(h["Age"]) > 0 {
		return skew
	}
	least, most := time.Until(time.Unix(date, 0)), time.Unix(date+1, 0).Sub(sent)
	switch estimated := min(max(skew, least), most); {
	case estimated < -maxSkew, estimated > maxSkew:
		return skew
	case -tolerance <= estimated && estimated <= tolerance:
		return 0
	default:
		return estimated
	}
}

// set replaces a host's skew.
func (c *clocks) set(host string, skew time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.skew(host) == skew {
		return
	}
	known := map[string]time.Duration{}
	if before := c.known.Load(); before != nil && len(*before) < maxClocks {
		maps.Copy(known, *before)
	}
	if known[host] = skew; skew == 0 {
		delete(known, host)
	}
	c.known.Store(&known)
}

// dateOf returns the Date of a response as Unix time. It returns false if there is no
// valid time in the form that net/http writes; the day of the week and the separators are
// not checked.
func dateOf(h http.Header) (unix int64, ok bool) {
	v := h["Date"]
	if len(v) != 1 || len(v[0]) != len(http.TimeFormat) {
		return 0, false
	}
	s := v[0] // Mon, 02 Jan 2006 15:04:05 GMT
	month := int64(strings.Index("JanFebMarAprMayJunJulAugSepOctNovDec", s[8:11]))
	day, a := signature.Two(s[5:7])
	century, b := signature.Two(s[12:14])
	year, c := signature.Two(s[14:16])
	clock, d := signature.Clock(s[17:19], s[20:22], s[23:25])
	if month < 0 || !(a && b && c && d) || s[25:] != " GMT" {
		return 0, false
	}
	days, ok := signature.Days(100*century+year, month/3+1, day)
	return 86400*days + clock, ok && month%3 == 0
}
