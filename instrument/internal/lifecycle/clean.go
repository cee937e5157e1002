package lifecycle

import (
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/text"
)

// clean returns an event whose texts are fit for signals: peers, certificates, dialers and resolvers wrote them. It is
// the one place through which they all leave, but for [Channel.Snapshot]. An event that is clean already is returned as
// it is, and nothing is allocated.
func (c *Channel) clean(dirty event.Event) event.Event {
	t := texts{Cleaner: c.texts}
	switch e := dirty.(type) {
	case event.Resolved:
		if t.error(&e.Err); t.changed {
			return e
		}
	case event.SubchannelState:
		if t.error(&e.Err); t.changed {
			return e
		}
	case event.ConnectEnded:
		if t.error(&e.Err); t.changed {
			return e
		}
	case event.AttemptStarted:
		t.name(&e.Address)
		if t.name(&e.Proxy); t.changed {
			return e
		}
	case event.AttemptEnded:
		t.name(&e.Address)
		t.name(&e.Proxy)
		t.conn(&e.Conn)
		if t.error(&e.Err); t.changed {
			return e
		}
	case event.PhaseEnded:
		t.conn(&e.Conn)
		t.tls(&e.TLS)
		for i := range e.DialAttempts {
			t.name(&e.DialAttempts[i].Address)
		}
		if t.error(&e.Err); t.changed {
			return e
		}
	case event.TransportReady:
		t.name(&e.Address)
		t.name(&e.Proxy)
		if t.conn(&e.Conn); t.changed {
			return e
		}
	case event.TransportUnhealthy:
		if t.error(&e.Err); t.changed {
			return e
		}
	case event.TransportDraining:
		if t.text(&e.DisconnectError); t.changed {
			return e
		}
	case event.TransportEnded:
		t.name(&e.Address)
		t.name(&e.Proxy)
		t.conn(&e.Conn)
		t.text(&e.DisconnectError)
		t.text(&e.HTTP2ErrorCode)
		t.text(&e.GoAwayDebugData)
		if t.text(&e.RPCError); t.changed {
			return e
		}
	case event.PickWaitStarted:
		if t.name(&e.Method); t.changed {
			return e
		}
	case event.PickWaitEnded:
		t.name(&e.Method)
		if t.error(&e.Err); t.changed {
			return e
		}
	case event.RPCRefused:
		t.name(&e.Method)
		if t.error(&e.Err); t.changed {
			return e
		}
	}
	return dirty
}

// texts cleans the texts of one event.
type texts struct {
	text.Cleaner
	changed bool
}

func (t *texts) set(s *string, clean string) {
	if *s != clean {
		*s, t.changed = clean, true
	}
}

func (t *texts) text(s *string) { t.set(s, t.Text(*s)) }

func (t *texts) name(s *string) { t.set(s, t.Address(*s)) }

func (t *texts) conn(c *event.Conn) {
	t.name(&c.Network)
	t.name(&c.Local)
	t.name(&c.Remote)
}

func (t *texts) tls(tls **event.TLS) {
	if *tls == nil {
		return
	}
	clean := **tls
	if t.text(&clean.ServerSubject); clean.ServerSubject != (*tls).ServerSubject {
		*tls = &clean
	}
}

func (t *texts) error(err *error) {
	if clean, changed := t.Error(*err); changed {
		*err, t.changed = clean, true
	}
}
