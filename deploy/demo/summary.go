package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// summary keeps what happened, and answers at the end what the experiment asked.
type summary struct {
	mu       sync.Mutex
	policies []*record
}

// record is what happened to the channel with one policy.
type record struct {
	policy  string
	answers map[string]string // The connection that each RPC's answer came by, by the RPC's name.

	connections []event.TransportEnded
	lost        map[event.ID]event.TransportEnded
	redials     []event.ConnectStarted // Those that a loss began.
	ended       map[event.ID]event.ConnectEnded
	failures    int // Of attempts.
	backoffs    []time.Duration
	waits       map[string]time.Duration // Of the RPCs that waited and got a connection, by name.
	refused     int
	killed      int64
}

// begin implements [observer].
func (s *summary) begin(policy string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policies = append(s.policies, &record{
		policy:  policy,
		answers: map[string]string{},
		lost:    map[event.ID]event.TransportEnded{},
		ended:   map[event.ID]event.ConnectEnded{},
		waits:   map[string]time.Duration{},
	})
}

// announce implements [observer].
func (s *summary) announce(string) {}

// answered implements [observer].
func (s *summary) answered(rpc, connection string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current().answers[rpc] = connection
}

// failed implements [observer]: there are events of it too.
func (s *summary) failed(string, error, time.Duration) {}

// handle implements [observer].
func (s *summary) handle(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current().handle(e)
}

func (s *summary) current() *record { return s.policies[len(s.policies)-1] }

func (r *record) handle(e event.Event) {
	switch e := e.(type) {
	case event.TransportEnded:
		r.connections = append(r.connections, e)
		r.killed += e.Interrupted
		if e.Cause != event.CauseChannelClosed {
			r.lost[e.Transport] = e
		}
	case event.ConnectStarted:
		if e.Lost != 0 {
			r.redials = append(r.redials, e)
		}
	case event.ConnectEnded:
		r.ended[e.Episode] = e
	case event.AttemptEnded:
		if e.Outcome == event.OutcomeFailed {
			r.failures++
		}
	case event.BackoffEnded:
		if e.Outcome == event.OutcomeElapsed {
			r.backoffs = append(r.backoffs, e.Time.Sub(e.Start))
		}
	case event.PickWaitEnded:
		if e.Outcome == event.OutcomePicked {
			r.waits[rpcName(e.Context)] = e.Time.Sub(e.Start)
		}
	case event.RPCRefused:
		r.refused++
	}
}

// print writes the answers.
func (s *summary) print(screen *screen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	screen.text(bold, "\nDoes grpc-go redial by itself?")
	for _, r := range s.policies {
		for _, line := range r.doesItRedial() {
			screen.text(plain, "  %s", line)
		}
	}
	screen.text(plain, "  No code of this program asks for any of that.")
	screen.text(bold, "\nWhich connection does my RPC get?")
	screen.text(plain, "  The one that is READY when it asks. If there is none, it waits for the attempt that goes on "+
		"and fails with it, "+
		"unless it is wait-for-ready: then it waits for the attempt that succeeds.")
	for _, r := range s.policies {
		for _, line := range r.whichConnection() {
			screen.text(plain, "  %s", line)
		}
	}
}

func (r *record) doesItRedial() (lines []string) {
	if len(r.lost) == 0 {
		return []string{r.policy + ": no connection was lost, so this run has no answer."}
	}
	var idle, away []time.Duration
	for _, redial := range r.redials {
		lost := r.lost[redial.Lost].Lost
		idle = append(idle, redial.Time.Sub(lost))
		if e := r.ended[redial.Episode]; e.Outcome == event.OutcomeReady {
			away = append(away, e.Time.Sub(lost))
		}
	}
	verdict := "yes"
	if len(away) < len(r.lost) {
		verdict = "not always"
	}
	lines = append(lines, fmt.Sprintf("%s: %s, %d of %d lost connections were replaced.",
		r.policy, verdict, len(away), len(r.lost)))
	if len(idle) > 0 {
		how := "It begins at once, whether there is an RPC or not"
		if slices.Max(idle) > calm/2 { // As long as the callers paused.
			how = "It begins with the next RPC"
		}
		lines = append(lines, fmt.Sprintf("  %s: %s after the loss.", how, between(idle)))
	}
	if len(r.backoffs) > 0 {
		lines = append(lines, fmt.Sprintf("  Then it goes on alone: %s failed, each with a backoff of %s.",
			count(r.failures, "attempt"), between(r.backoffs)))
	}
	if len(away) > 0 {
		lines = append(lines, fmt.Sprintf("  From the loss to the next READY it took %s.", between(away)))
	}
	return lines
}

func (r *record) whichConnection() (lines []string) {
	by := map[string]int{}
	for _, connection := range r.answers {
		by[connection]++
	}
	lines = append(lines, r.policy+":")
	for _, c := range r.connections {
		lines = append(lines, fmt.Sprintf("  %s lived %s: %s answered, %d killed, %s", c.Conn.Local, short(c.Gone.Sub(c.Start)),
			count(by[c.Conn.Local], "RPC"), c.Interrupted, c.Cause))
	}
	waited := 0
	for rpc := range r.waits {
		if _, ok := r.answers[rpc]; ok {
			waited++
		}
	}
	found := fmt.Sprintf("  %s answered: %d found a connection READY, %d waited for one", count(len(r.answers), "RPC"),
		len(r.answers)-waited, waited)
	if waited > 0 {
		found += ", " + between(slices.Collect(maps.Values(r.waits)))
	}
	return append(lines, found+".",
		fmt.Sprintf("  %s refused, as there was no connection, and %d died with theirs.", count(r.refused, "RPC"), r.killed))
}

// between returns the shortest and the longest of several durations.
func between(all []time.Duration) string {
	shortest, longest := short(slices.Min(all)), short(slices.Max(all))
	if shortest == longest {
		return shortest
	}
	return shortest + " to " + longest
}
