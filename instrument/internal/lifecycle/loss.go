package lifecycle

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

const (
	// maxPending bounds the losses that wait for the subchannel they belong to.
	maxPending = 256
	// lossExpires is the time in which a subchannel's news must follow the loss. gRPC schedules it in the same
	// critical section.
	lossExpires = 5 * time.Second
	// maxProbes bounds the sockets that are looked at for one loss.
	maxProbes = 128
)

// Loss is a lost transport that gRPC told of without telling whose it was. Channels of the same target share it, since
// gRPC's word does not tell them apart either; the first to prove that it is theirs takes it.
type Loss struct {
	at     time.Time
	word   string
	shared bool
	taken  atomic.Bool
	// doubted: it may belong to several transports that were lost with different words.
	doubted atomic.Bool
}

// NewLoss returns a loss told in gRPC's own word (the label grpc.disconnect_error of gRFC A94). It is shared if several
// channels are told of it.
func NewLoss(at time.Time, word string, shared bool) *Loss {
	return &Loss{at: at, word: word, shared: shared}
}

func (l *Loss) label() string {
	if l.doubted.Load() {
		return ""
	}
	return l.word
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
	if len(c.live) == 1 && !l.shared {
		for t := range c.live {
			t.take(l)
			delete(c.live, t)
			if t.evidence.GoAwayCode() != "" {
				t.tellDraining(at)
			}
		}
		return
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
		t.lost, t.evidence.Disconnect, t.evidence.TCP = latest(l.at, t.start), l.label(), t.seen[l]
	}
}

// settled reports whether the loss is taken, or too old to be somebody's.
func (l *Loss) settled(at time.Time) bool {
	return l.taken.Load() || at.Sub(l.at) >= lossExpires
}

func (c *Channel) expireLosses(at time.Time) {
	c.pending = slices.DeleteFunc(c.pending, func(l *Loss) bool { return l.settled(at) })
}

// claim finds the loss that was t's. Where several are open whose words differ, and the socket does not tell which is
// t's, none of them is believed any more.
func (t *Transport) claim() {
	c := t.ch
	c.expireLosses(c.now)
	if len(c.pending) == 0 {
		return
	}
	mine := c.pending[0]
	same := true
	var fits []*Loss
	for _, l := range c.pending {
		same = same && l.label() == mine.label()
		if fitsSocket(l.label(), t.seen[l]) {
			fits = append(fits, l)
		}
	}
	switch {
	case len(fits) == 1:
		mine = fits[0]
	case !same:
		for _, l := range c.pending {
			l.doubted.Store(true)
		}
	}
	t.take(mine)
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
