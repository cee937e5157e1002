package hooks

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	estats "google.golang.org/grpc/experimental/stats"
)

// roll is a private metric. It measures nothing: recorded on a channel's metrics recorder it reaches, in the same
// goroutine, every stats.Handler of the channel, and so finds out who observes it.
var roll = estats.RegisterInt64Count(estats.MetricDescriptor{
	Name:        "redial.internal.roll_call",
	Description: "Not a measurement: how redial finds the handlers of a channel.",
	Labels:      []string{"token"},
})

var (
	calls  sync.Map // token -> *[]*Observer: the roll calls that go on.
	tokens atomic.Uint64
)

// observing returns the observers of the channel with this recorder, in the order of its options.
func observing(recorder estats.MetricsRecorder) []*Observer {
	if recorder == nil {
		return nil
	}
	var present []*Observer
	token := strconv.FormatUint(tokens.Add(1), 10)
	calls.Store(token, &present)
	defer calls.Delete(token)
	roll.Record(recorder, 1, token)
	return present
}

// AnswerRollCall reports whether the metric was a roll call, which it answered if it is still going on.
func (o *Observer) AnswerRollCall(metric *estats.Int64CountHandle, labels []string) bool {
	if metric != roll {
		return false
	}
	if call, ok := calls.Load(labels[0]); ok && !o.closed.Load() {
		if present := call.(*[]*Observer); !slices.Contains(*present, o) {
			*present = append(*present, o)
		}
	}
	return true
}
