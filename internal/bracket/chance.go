package bracket

import "time"

// A chance finds out whether a service refuses requests at random. If it does, a lower
// pace does not reduce the share of refused requests, but it lets fewer requests through
// per second. It is then better to keep to the best pace.
type chance struct {
	found   bool    // whether refusals are assumed to be random, so they do not lower the pace below the best one
	low     average // epochs whose end was blamed on the pace while found was false
	high    average // epochs whose end has been blamed on the pace since found became true
	lowered int     // number of epochs that ended well below the best pace since the latest attempt to return to it
	patient int     // value of lowered at which the next attempt may begin; 0 means leastPatient
}

// An average holds sums over epochs, with decaying weights.
type average struct{ epochs, accepted, seconds float64 }

const (
	fading       = 0.85 // weight of an epoch, compared with the next one
	rare         = 32.0 // accepted requests per refusal; a service that refuses more often is assumed to have a limit
	worthwhile   = 1.25 // the best pace must let through this many times as many requests per second as the low one
	longEpoch    = 10.0 // how many times as many requests as usual an epoch accepts that chance is unlikely to have ended
	leastPatient = 4
	mostPatient  = 32
)

func (a *average) add(e epoch) {
	a.epochs = fading*a.epochs + 1
	a.accepted = fading*a.accepted + e.accepted
	a.seconds = fading*a.seconds + e.took + e.silence
}

func (a *average) perEpoch() float64  { return a.accepted / max(a.epochs, 1) }
func (a *average) perSecond() float64 { return a.accepted / a.seconds }

// byChance corrects the pace after an epoch whose final refusal was blamed on the pace. If
// requests are also refused at low paces, but rarely, and at most half of the best pace gets
// through, the best pace is tried again. The attempt ends when requests are refused more than
// twice as often as before, or no longer rarely, or when too few more of them get through. It
// also ends when so many are accepted in a row that the refusals were probably those of a
// temporary fault: the next ones are due to a limit, which a faster pace would exceed again
// and again.
func (c *Controller) byChance(now time.Duration, e epoch) {
	l := &c.chance
	if l.found {
		long := e.accepted > longEpoch*max(l.low.perEpoch(), l.high.perEpoch())
		l.high.add(e)
		if long || l.high.perEpoch() < max(rare, l.low.perEpoch()/2) || l.high.perSecond() < worthwhile*l.low.perSecond() {
			l.found, l.lowered, l.patient = false, 0, min(2*max(l.patient, leastPatient), mostPatient)
			return
		}
		l.patient = leastPatient
		c.bestAt = now
	} else {
		l.low.add(e)
		if e.pace > nearly*c.best {
			return
		}
		if l.lowered++; l.lowered < max(l.patient, leastPatient) || l.low.perEpoch() < rare || 2*l.low.perSecond() > c.best {
			return
		}
		l.found, l.high = true, average{}
	}
	c.pace = max(c.pace, c.best)
	if l.high.epochs > 0 {
		// A faster pace pays until sending takes less time than the silence. If there is
		// a limit after all, fewer requests are accepted per epoch, and the pace falls
		// again.
		c.pace = max(c.pace, min(1.25*e.pace, l.high.perEpoch()/max(e.silence, shortest)))
	}
	c.hi = max(c.hi, 1.1*c.pace)
}
