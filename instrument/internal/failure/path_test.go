package failure_test

import (
	"testing"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// What a socket says of an RPC that was sent a second before it was read, unless the age is another.
func TestPathOfRPC(t *testing.T) {
	const rto = 200 * time.Millisecond
	// quiet is a socket from which nothing was received since the RPC, and not for ten seconds before.
	quiet := event.TCP{
		State: "ESTABLISHED", RTO: rto, RTT: time.Millisecond, Idle: 11 * time.Second, AckIdle: 11 * time.Second,
		SendIdle: time.Second,
	}
	with := func(change func(*event.TCP)) *event.TCP {
		tcp := quiet
		change(&tcp)
		return &tcp
	}
	for name, c := range map[string]struct {
		tcp  *event.TCP
		age  time.Duration
		want failure.Path
	}{
		"no socket":          {nil, time.Second, failure.PathUnknown},
		"the peer closed it": {with(func(s *event.TCP) { s.State = "CLOSE_WAIT" }), time.Second, failure.PathUnknown},
		"sent twice in vain": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.Timeouts, s.RTO = 2, 200, 2, 4*rto
		}), time.Second, failure.PathDead},
		"sent twice in vain, long before the RPC": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.Timeouts, s.RTO = 2, 200, 5, 32*rto
		}), time.Millisecond, failure.PathDead},
		"sent once in vain": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.Timeouts, s.RTO = 2, 200, 1, 2*rto
		}), time.Second, failure.PathUnknown},
		"sent twice in vain, and something came back": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.Timeouts, s.RTO, s.AckIdle = 2, 200, 2, 4*rto, 3*rto-1
		}), time.Second, failure.PathUnknown},
		// This was unknown for as long as the peer sent again what it had sent before.
		"sent four times in vain, and the peer sends again": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.Timeouts, s.RTO, s.AckIdle = 2, 200, 4, 16*rto, 3*rto
		}), 4 * time.Second, failure.PathDead},
		"the peer's window is closed, and it answers no probe": {with(func(s *event.TCP) {
			s.Unsent, s.Probes = 1000, 2
		}), time.Second, failure.PathDead},
		"the peer's window is closed, and one probe is out": {with(func(s *event.TCP) {
			s.Unsent, s.Probes = 1000, 1
		}), time.Second, failure.PathUnknown},
		"all is acknowledged": {with(func(s *event.TCP) { s.AckIdle = time.Second }), time.Second, failure.PathAcknowledged},
		// This was unknown, as if the RPC itself might be on its way.
		"all is acknowledged, and the RPC's cancellation is on its way": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.AckIdle, s.SendIdle = 1, 13, 300*time.Millisecond, 0
		}), 300 * time.Millisecond, failure.PathAcknowledged},
		"the RPC is on its way": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.SendIdle = 1, 63, 100*time.Millisecond
		}), 100 * time.Millisecond, failure.PathUnknown},
		"the RPC is on its way, and so is its cancellation": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.SendIdle = 2, 76, 0
		}), 100 * time.Millisecond, failure.PathUnknown},
		"other RPCs are on their way, and something came back since": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.SendIdle, s.AckIdle = 9, 9000, 0, 5*time.Millisecond
		}), 300 * time.Millisecond, failure.PathAcknowledged},
		"something came back that may answer what was sent before": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.SendIdle, s.AckIdle, s.RTT = 9, 9000, 0, 10*time.Millisecond, 100*time.Millisecond
		}), 300 * time.Millisecond, failure.PathUnknown},
		"the kernel would have sent the RPC again": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.SendIdle = 1, 1000, 0
		}), time.Second, failure.PathAcknowledged},
		"the RPC waits in the socket": {with(func(s *event.TCP) {
			s.Unacked, s.InFlight, s.Unsent, s.SendIdle, s.AckIdle = 9, 9000, 100000, 0, 0
		}), time.Second, failure.PathUnknown},
		"the RPC is not written": {with(func(s *event.TCP) { s.SendIdle = 5 * time.Second }), time.Second, failure.PathUnknown},
		"the deadline was shorter than the kernel's clock": {with(func(s *event.TCP) {
			s.SendIdle = 0
		}), 10 * time.Millisecond, failure.PathUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			if have := failure.PathOfRPC(c.tcp, c.age); have != c.want {
				t.Errorf("the path is %s, want %s", have, c.want)
			}
		})
	}
}

// Of a transport that is looked at later, the cancellation itself must be acknowledged: the path may have died since
// the RPC was.
func TestPathSince(t *testing.T) {
	tcp := event.TCP{
		State: "ESTABLISHED", RTO: 3 * time.Second, Unacked: 1, InFlight: 13, Idle: time.Minute, AckIdle: time.Minute,
		SendIdle: time.Second,
	}
	if have := failure.PathSince(&tcp, time.Second); have != failure.PathUnknown {
		t.Errorf("with the cancellation on its way the path is %s", have)
	}
	tcp.Unacked, tcp.InFlight, tcp.AckIdle = 0, 0, time.Second
	if have := failure.PathSince(&tcp, time.Second); have != failure.PathAcknowledged {
		t.Errorf("with the cancellation acknowledged the path is %s", have)
	}
}
