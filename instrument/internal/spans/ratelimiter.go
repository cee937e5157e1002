package spans

import "time"

// burst is for how many seconds' worth of spans a target that was quiet has credit.
const burst = 10

// rateLimiter is a token bucket for each target, on the rate of root spans. It goes by the events' own times. There
// are as many buckets as targets have a name of their own.
type rateLimiter struct {
	perSecond float64 // Zero stands for no limit.
	buckets   map[string]*bucket
}

type bucket struct {
	tokens float64
	filled time.Time
}

func newRateLimiter(perSecond float64) rateLimiter {
	return rateLimiter{perSecond: perSecond, buckets: map[string]*bucket{}}
}

// credit is how many spans a target that was quiet may have at once: one at least, however low the rate is.
func (l *rateLimiter) credit() float64 { return max(1, l.perSecond*burst) }

// take reports whether a root span of the target may be made at this time.
func (l *rateLimiter) take(target string, at time.Time) bool {
	if l.perSecond == 0 {
		return true
	}
	b, ok := l.buckets[target]
	if !ok {
		b = &bucket{tokens: l.credit(), filled: at}
		l.buckets[target] = b
	}
	if passed := at.Sub(b.filled); passed > 0 {
		b.tokens, b.filled = min(b.tokens+passed.Seconds()*l.perSecond, l.credit()), at
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
