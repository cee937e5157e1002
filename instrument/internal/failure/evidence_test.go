package failure_test

import (
	"testing"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// unknown is gRPC's disconnect error where it has none.
const unknown = failure.UnknownDisconnectError

func socket(state string, idle time.Duration) *event.TCP { return &event.TCP{State: state, Idle: idle} }

func TestCauseOfLoss(t *testing.T) {
	for name, c := range map[string]struct {
		loss failure.Loss
		want event.Cause
	}{
		"nothing":        {failure.Loss{}, event.CauseUnknown},
		"GOAWAY":         {failure.Loss{DisconnectError: "GOAWAY NO_ERROR"}, event.CauseGoAway},
		"too many pings": {failure.Loss{DisconnectError: "GOAWAY ENHANCE_YOUR_CALM"}, event.CauseTooManyPings},
		"too many of something else": {
			failure.Loss{DisconnectError: "GOAWAY ENHANCE_YOUR_CALM", NeverPings: true}, event.CauseGoAway,
		},
		"reset":              {failure.Loss{DisconnectError: "connection reset"}, event.CauseConnectionReset},
		"keepalive":          {failure.Loss{DisconnectError: unknown, ByKeepalive: true}, event.CauseKeepaliveTimeout},
		"FIN":                {failure.Loss{DisconnectError: unknown, LastRead: failure.ReadEOF}, event.CausePeerClosed},
		"RST behind the EOF": {failure.Loss{LastRead: failure.ReadReset}, event.CauseConnectionReset},
		"rejected":           {failure.Loss{LastRead: failure.ReadRejected}, event.CauseProtocolError},
		"FIN, then RST": {
			failure.Loss{DisconnectError: unknown, LastRead: failure.ReadEOF, TCP: socket("CLOSE", 0)}, event.CausePeerClosed,
		},
		"rejected, then FIN": {
			failure.Loss{DisconnectError: unknown, LastRead: failure.ReadRejected, TCP: socket("CLOSE_WAIT", 0)},
			event.CauseProtocolError,
		},
		"FIN, and nothing else known": {
			failure.Loss{DisconnectError: unknown, TCP: socket("CLOSE_WAIT", 0)}, event.CausePeerClosed,
		},
		"CLOSE, and nothing else known": {
			failure.Loss{DisconnectError: unknown, TCP: socket("CLOSE", 0)}, event.CauseUnknown,
		},
		"silence": {
			failure.Loss{DisconnectError: unknown, TCP: socket("ESTABLISHED", 11*time.Second)}, event.CauseKeepaliveTimeout,
		},
		"the kernel gave up": {
			failure.Loss{DisconnectError: "connection timed out", TCP: socket("CLOSE", 0)}, event.CauseTimedOut,
		},
		"no route any more": {
			failure.Loss{DisconnectError: "socket error", TCP: socket("CLOSE", 0)}, event.CauseTimedOut,
		},
		"a read deadline of the dialer's": {
			failure.Loss{DisconnectError: "connection timed out", TCP: socket("ESTABLISHED", 11*time.Second)},
			event.CauseUnknown,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if have := (failure.Evidence{Loss: c.loss, TCPInfoAvailable: true}).Cause(); have != c.want {
				t.Errorf("the cause is %s, want %s", have, c.want)
			}
		})
	}
}

func TestCauseFromRPCErrors(t *testing.T) {
	const fromServer = "error reading from server: "
	for rpcError, want := range map[string]event.Cause{
		fromServer + "EOF": event.CauseUnknown, // The kernel was not asked in time.
		fromServer + "read tcp 1->2: read: connection reset by peer": event.CauseConnectionReset,
		fromServer + "connection error: PROTOCOL_ERROR":              event.CauseProtocolError,
		fromServer + "http2: frame too large, note that the frame header looked like an HTTP/1.1 header": event.
			CauseProtocolError,
		fromServer + "local error: tls: bad record MAC":                         event.CauseProtocolError,
		fromServer + "read tcp 1->2: i/o timeout":                               event.CauseUnknown,
		fromServer + "read tcp 1->2: use of closed network connection":          event.CauseUnknown,
		"keepalive ping failed to receive ACK within timeout":                   event.CauseKeepaliveTimeout,
		"closing connection since the server is not reading: deadline exceeded": event.CauseUnknown,
	} {
		evidence := failure.Evidence{RPCError: rpcError, TCPInfoAvailable: true}
		if have := evidence.Cause(); have != want {
			t.Errorf("%q: the cause is %s, want %s", rpcError, have, want)
		}
	}
	withoutTCPInfo := failure.Evidence{RPCError: fromServer + "EOF"}
	if have := withoutTCPInfo.Cause(); have != event.CausePeerClosed {
		t.Errorf("EOF where the kernel cannot be asked: the cause is %s", have)
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
