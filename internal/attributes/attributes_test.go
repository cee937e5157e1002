package attributes_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/attributes"
)

var (
	at     = time.Unix(2, 0)
	header = event.Header{Time: at, Target: "dns:///service", Channel: 1, Endpoint: 2, Subchannel: 3}
	conn   = event.Conn{Network: "tcp", Local: "127.0.0.1:50000", Remote: "10.0.0.1:443"}
	errOne = errors.New("an error")
)

// everyEvent is each struct of package event.
var everyEvent = []event.Event{
	event.ChannelState{Header: header, To: event.StateIdle},
	event.SubchannelState{Header: header, From: event.StateIdle, To: event.StateTransientFailure, Err: errOne},
	event.Resolved{Header: header, Outcome: event.OutcomeFailed, Err: errOne, ErrorType: "timeout"},
	event.ConnectStarted{Header: header, Episode: 4, Trigger: event.TriggerRedial, Lost: 6, Previous: 3},
	event.ConnectEnded{Header: header, Episode: 4, Outcome: event.OutcomeFailed, Err: errOne, ErrorType: "timeout"},
	event.AttemptStarted{Header: header, Episode: 4, Attempt: 5, Number: 1, Address: "10.0.0.1:443"},
	event.AttemptEnded{Header: header, Episode: 4, Attempt: 5, Conn: conn, Err: errOne, ErrorType: "timeout"},
	event.PhaseEnded{Header: header, Attempt: 5, Phase: event.PhaseHandshake, TLS: &event.TLS{Version: "1.3"},
		Err: errOne},
	event.BackoffStarted{Header: header, Episode: 4},
	event.BackoffEnded{Header: header, Episode: 4},
	event.TransportReady{Header: header, Episode: 4, Transport: 6, Conn: conn},
	event.TransportDraining{Header: header, Transport: 6},
	event.TransportStalled{Header: header, Transport: 6, TCP: &event.TCP{State: "ESTABLISHED"}},
	event.TransportRecovered{Header: header, Transport: 6},
	event.TransportEnded{Header: header, Transport: 6, Conn: conn, TCP: &event.TCP{State: "CLOSE"}, RPCError: "an error"},
	event.PickWaitStarted{Header: header, Reason: event.WaitPolicy, Episode: 4, Method: "/service/Method"},
	event.PickWaitEnded{Header: header, Reason: event.WaitPolicy, Episode: 4, Method: "/service/Method",
		Err: errOne, ErrorType: "timeout"},
	event.RPCRefused{Header: header, Episode: 4, Method: "/service/Method",
		Err: errOne, ErrorType: "timeout"},
}

func values(l attributes.List) map[string]string {
	found := map[string]string{}
	for _, kv := range l {
		found[string(kv.Key)] = kv.Value.String()
	}
	return found
}

// A record has what happened under its name, once each, with the ids that join it to others.
func TestRecord(t *testing.T) {
	names := map[string]bool{}
	for _, e := range everyEvent {
		l := attributes.List{}.Record(e)
		have := values(l)
		if len(have) != len(l) {
			t.Errorf("%T has a key twice: %v", e, l)
		}
		if len(l) > attributes.Room {
			t.Errorf("%T has %d attributes, there is room for %d", e, len(l), attributes.Room)
		}
		if name := have["event"]; names[name] || !strings.Contains(name, ".") {
			t.Errorf("%T is named %q", e, name)
		}
		names[have["event"]] = true
		for key, want := range map[string]string{
			"grpc.target": "dns:///service", "redial.channel.id": "1", "redial.endpoint.id": "2", "redial.subchannel.id": "3",
		} {
			if have[key] != want {
				t.Errorf("%T: %s is %q, want %q", e, key, have[key], want)
			}
		}
		for key, want := range map[string]string{"redial.episode.id": "4", "redial.attempt.id": "5", "redial.transport.id": "6"} {
			if value, ok := have[key]; ok && value != want {
				t.Errorf("%T: %s is %q, want %q", e, key, value, want)
			}
		}
		if text, ok := have["error.message"]; ok && text != "an error" {
			t.Errorf("%T: the error is %q", e, text)
		}
	}
	ended := values(attributes.List{}.Record(everyEvent[6]))
	if ended["redial.episode.id"] != "4" || ended["redial.attempt.id"] != "5" || ended["event"] != "attempt.ended" {
		t.Errorf("an attempt's end cannot be joined to its start: %v", ended)
	}
}

// A record and a span say the same of an address: host and port where the port is a number, and else the address as it
// is, as that of an abstract socket or with a port that is given by name.
func TestAddress(t *testing.T) {
	for address, want := range map[string][2]string{
		"10.0.0.1:443":  {"10.0.0.1", "443"},
		"[::1]:443":     {"::1", "443"},
		"service:https": {"service:https", ""},
		"/run/s.sock":   {"/run/s.sock", ""},
		"@abstract":     {"@abstract", ""},
		"::1":           {"::1", ""},
	} {
		e := event.AttemptStarted{Header: header, Address: address}
		for where, l := range map[string]attributes.List{
			"span": attributes.List{}.Span(e), "record": attributes.List{}.Record(e),
		} {
			have := values(l)
			if have["server.address"] != want[0] || have["server.port"] != want[1] {
				t.Errorf("%s of %q: %q and %q, want %q", where, address, have["server.address"], have["server.port"], want)
			}
		}
	}
}

// Making a record takes no memory beyond its list.
func TestRecordAllocations(t *testing.T) {
	l := make(attributes.List, 0, attributes.Room)
	for _, e := range everyEvent {
		if n := testing.AllocsPerRun(100, func() { l = l[:0].Record(e) }); n > 0 {
			t.Errorf("%T: %v allocations", e, n)
		}
	}
}
