package record

import (
	"fmt"
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

// discoveries are those that go on, by their token. A token is used again when its discovery is over: handlers that
// are not redial's see no more of them than there are discoveries at once.
var discoveries struct {
	mu   sync.Mutex
	free []string
	made int
	by   map[string]*[]*Attachment
}

// beginDiscovery returns the token of a discovery whose findings go to found.
func beginDiscovery(found *[]*Attachment) (token string) {
	d := &discoveries
	d.mu.Lock()
	defer d.mu.Unlock()
	if last := len(d.free) - 1; last >= 0 {
		token, d.free = d.free[last], d.free[:last]
	} else {
		token = strconv.Itoa(d.made)
		d.made++
	}
	if d.by == nil {
		d.by = map[string]*[]*Attachment{}
	}
	d.by[token] = found
	return token
}

func endDiscovery(token string) {
	d := &discoveries
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.by, token)
	d.free = append(d.free, token)
}

// AttachmentsOf returns the attachments to the channel with this recorder, one of each observer, in the order of its
// options. Where no observer was ever made it asks no handler.
func AttachmentsOf(recorder estats.MetricsRecorder) (found []*Attachment) {
	if recorder == nil || !observed.Load() {
		return nil
	}
	token := beginDiscovery(&found)
	defer endDiscovery(token)
	defer func() {
		if r := recover(); r != nil { // In a handler that is not redial's.
			for _, a := range found {
				a.observer.cfg.Faults.Report("discovery", fmt.Errorf(
					"redial: a stats handler of the channel panicked on a metric that it does not know: %v", r))
			}
		}
	}()
	discovery.Record(recorder, 0, token)
	return found
}

// observed reports whether an observer was made in the process.
var observed atomic.Bool

// Discovered reports whether the metric is the one of a discovery. If so, the attachment is among those that are found.
func (a *Attachment) Discovered(metric *estats.Int64CountHandle, labels []string) bool {
	if metric != discovery {
		return false
	}
	if a.observer.guard.Closed() || len(labels) == 0 {
		return true
	}
	discoveries.mu.Lock()
	defer discoveries.mu.Unlock()
	if found := discoveries.by[labels[0]]; found != nil {
		if slices.ContainsFunc(*found, func(other *Attachment) bool { return other.observer == a.observer && other != a }) {
			a.spare()
		} else if !slices.Contains(*found, a) {
			*found = append(*found, a)
		}
	}
	return true
}
