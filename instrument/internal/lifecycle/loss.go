package lifecycle

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

const (
	// maxPending bounds the losses that wait for the transport they belong to.
	maxPending = 256
	// lossExpires is the time in which a subchannel's news must follow the loss. gRPC schedules it in the same
	// critical section.
	lossExpires = 5 * time.Second
	// maxProbes bounds the sockets that are looked at for one loss.
	maxProbes = 128
)

// Loss is a lost transport that gRPC told of without telling whose it was. The channels of one target share it, since
// gRPC's word does not tell them apart either; the transport that proves to be the one takes it.
type Loss struct {
	at   time.Time
	word string
	// teller is the goroutine that told it: gRPC's reader or keepalive of the transport, which tells the end of the
	// connection too. Zero where that is not known.
	teller uint64
	shared bool
	taken  atomic.Bool
}

// NewLoss returns a loss told by a goroutine in gRPC's own word (the label grpc.disconnect_error of gRFC A94). It is
// shared if several channels are told of it.
func NewLoss(at time.Time, word string, teller uint64, shared bool) *Loss {
	return &Loss{at: at, word: word, teller: teller, shared: shared}
}

// Disconnected tells that some transport of the channel is lost. It comes before the news of the subchannel that left
// READY, and while the socket is still open.
func (c *Channel) Disconnected(l *Loss) {
	if l.word == subchannelShutdown || c.closed {
		return // The end of a policy or subchannel tells the same, and of whom.
	}
	at := c.advance(l.at)
	c.expireLosses(at)
	if len(c.live) <= maxProbes {
		for t := range c.live {
			t.look(l)
		}
	}
	if len(c.pending) == maxPending {
		c.pending = c.pending[1:]
	}
	c.pending = append(c.pending, l)
}

// look reads the socket at the time of a loss that may be t's.
func (t *Transport) look(l *Loss) {
	if t.probe == nil {
		return
	}
	if t.seen == nil {
		t.seen = map[*Loss]*event.TCP{}
	}
	for old := range t.seen {
		if old.settled(l.at) {
			delete(t.seen, old)
		}
	}
	t.seen[l] = t.probe()
}

// take makes the loss t's.
func (t *Transport) take(l *Loss) {
	if l.taken.CompareAndSwap(false, true) {
		t.loss, t.lost = l, l.at
		t.inFlight = max(t.inFlight, t.InFlight.Load())
		t.evidence.Disconnect, t.evidence.TCP = l.word, t.seen[l]
	}
}

// settled reports whether the loss is taken, or too old to be somebody's. A GOAWAY's connection may end much later.
func (l *Loss) settled(at time.Time) bool {
	return l.taken.Load() || at.Sub(l.at) >= lossExpires && !strings.HasPrefix(l.word, failure.GoAway)
}

func (c *Channel) expireLosses(at time.Time) {
	c.pending = slices.DeleteFunc(c.pending, func(l *Loss) bool { return l.settled(at) })
}

// prove takes the loss that the goroutine told which now tells the end of t's connection. Goroutines are never
// mistaken for each other.
func (t *Transport) prove(teller uint64) {
	if teller == 0 || t.loss != nil {
		return
	}
	for _, l := range t.ch.pending {
		if l.teller == teller && !l.taken.Load() {
			t.take(l)
			t.cause = "" // It was lost before this side took it down.
			return
		}
	}
}

// infer takes the loss that can only be t's, where nothing proves it. Where several can be, no more is believed than
// what they agree on.
func (t *Transport) infer() {
	c := t.ch
	c.expireLosses(c.now)
	var fits []*Loss
	for _, l := range c.pending {
		if c.now.Sub(l.at) < lossExpires && fitsSocket(l.word, t.seen[l]) {
			fits = append(fits, l)
		}
	}
	if len(fits) == 0 {
		return
	}
	if len(fits) == 1 && !fits[0].shared {
		t.take(fits[0])
		return
	}
	t.lost = fits[0].at // At the earliest.
	if word := fits[0].word; !slices.ContainsFunc(fits, func(l *Loss) bool { return l.word != word }) {
		t.evidence.Disconnect = word
	}
}

// fitsSocket reports whether gRPC's word may be said of a socket in that state.
func fitsSocket(word string, tcp *event.TCP) bool {
	if tcp == nil {
		return true
	}
	switch word {
	case "connection reset", "connection timed out", "connection aborted":
		return tcp.State == "CLOSE"
	}
	return true
}
