package failure_test

import (
	"testing"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

func TestCause(t *testing.T) {
	const eof = "error reading from server: EOF"
	for name, c := range map[string]struct {
		evidence failure.Evidence
		want     event.Cause
	}{
		"nothing":             {failure.Evidence{}, event.CauseUnknown},
		"GOAWAY":              {failure.Evidence{DisconnectError: "GOAWAY NO_ERROR"}, event.CauseGoAway},
		"too many pings":      {failure.Evidence{DisconnectError: "GOAWAY ENHANCE_YOUR_CALM"}, event.CauseTooManyPings},
		"reset":               {failure.Evidence{DisconnectError: "connection reset"}, event.CauseConnectionReset},
		"the kernel gave up":  {failure.Evidence{DisconnectError: "connection timed out"}, event.CauseTimedOut},
		"FIN":                 {failure.Evidence{TCP: &event.TCP{State: "CLOSE_WAIT"}}, event.CausePeerClosed},
		"EOF without TCP":     {failure.Evidence{RPCError: eof}, event.CausePeerClosed},
		"EOF, TCP unanswered": {failure.Evidence{RPCError: eof, TCPInfoAvailable: true}, event.CauseUnknown},
		"silence": {
			failure.Evidence{DisconnectError: "unknown", TCP: &event.TCP{State: "ESTABLISHED", Idle: 11 * time.Second}},
			event.CauseKeepaliveTimeout,
		},
		"protocol error": {
			failure.Evidence{RPCError: "error reading from server: connection error: PROTOCOL_ERROR"}, event.CauseProtocolError,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if have := c.evidence.Cause(); have != c.want {
				t.Errorf("the cause is %s, want %s", have, c.want)
			}
		})
	}
}

func TestGoAwayDebugData(t *testing.T) {
	for rpcError, want := range map[string]string{
		"": "",
		`closing transport due to: EOF, received prior goaway: code: NO_ERROR, debug data: "max_age"`: "max_age",
		"received prior goaway: code: NO_ERROR, debug data: max_age, and so on":                       "max_age",
	} {
		if have := (failure.Evidence{RPCError: rpcError}).GoAwayDebugData(); have != want {
			t.Errorf("%q: the debug data is %q, want %q", rpcError, have, want)
		}
	}
}

func TestUnknownHTTP2CodesAreOneValue(t *testing.T) {
	for disconnectError, want := range map[string]string{
		"connection reset":               "connection reset",
		"GOAWAY NO_ERROR":                "GOAWAY NO_ERROR",
		"GOAWAY unknown error code 0x99": "GOAWAY _OTHER",
	} {
		if have := failure.KnownDisconnectError(disconnectError); have != want {
			t.Errorf("%q: have %q, want %q", disconnectError, have, want)
		}
	}
}
