package spans

import "time"

const (
	// burst is for how many seconds' worth of spans a target that was quiet has credit.
	burst = 10
	// maxTargets bounds the targets that have a limit of their own; all others share one.
	maxTargets = 1024
)

// limit is a token bucket for each target, on the rate of root spans. It goes by the events' own times.
type limit struct {
	perSecond float64 // Zero stands for no limit.
	buckets   map[string]*bucket
	others    bucket
}

type bucket struct {
	tokens float64
	filled time.Time
}

func newLimit(perSecond float64) limit {
	return limit{perSecond: perSecond, buckets: map[string]*bucket{}}
}

// take reports whether a root span of the target may be made at this time.
func (l *limit) take(target string, at time.Time) bool {
	if l.perSecond == 0 {
		return true
	}
	b, ok := l.buckets[target]
	switch {
	case ok:
	case len(l.buckets) < maxTargets:
		b = &bucket{}
		l.buckets[target] = b
	default:
		b = &l.others
	}
	if b.filled.IsZero() {
		b.tokens, b.filled = l.perSecond*burst, at
	}
	if passed := at.Sub(b.filled); passed > 0 {
		b.tokens, b.filled = min(b.tokens+passed.Seconds()*l.perSecond, l.perSecond*burst), at
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
