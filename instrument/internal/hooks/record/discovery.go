package record

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	estats "google.golang.org/grpc/experimental/stats"
)

// discovery is a private metric. It measures nothing: recorded on a channel's metrics recorder it reaches, in the same
// goroutine, every stats.Handler of the channel, and so finds out who observes the channel.
var discovery = estats.RegisterInt64Count(estats.MetricDescriptor{
	Name:        "redial.internal.discovery",
	Description: "Not a measurement: how redial finds the handlers of a channel.",
	Labels:      []string{"token"},
})

var (
	discoveries sync.Map // token -> *[]*Attachment: those that go on.
	tokens      atomic.Uint64
)

// AttachmentsOf returns the attachments to the channel with this recorder, one of each observer, in the order of its
// options.
func AttachmentsOf(recorder estats.MetricsRecorder) []*Attachment {
	if recorder == nil {
		return nil
	}
	var found []*Attachment
	token := strconv.FormatUint(tokens.Add(1), 10)
	discoveries.Store(token, &found)
	defer discoveries.Delete(token)
	discovery.Record(recorder, 1, token)
	return found
}

// Discovered reports whether the metric is the one of a discovery. If so, the attachment is among those that are found.
func (a *Attachment) Discovered(metric *estats.Int64CountHandle, labels []string) bool {
	if metric != discovery {
		return false
	}
	if call, ok := discoveries.Load(labels[0]); ok && !a.observer.guard.Closed() {
		found := call.(*[]*Attachment)
		if !slices.ContainsFunc(*found, func(other *Attachment) bool { return other.observer == a.observer }) {
			*found = append(*found, a)
		}
	}
	return true
}
