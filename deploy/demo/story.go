package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// story tells live, line by line, what happens. Events and callers come from several goroutines.
type story struct {
	screen *screen

	mu       sync.Mutex
	episodes map[event.ID]*episode
	phases   map[event.ID][]string // What is told of an attempt's phases, by attempt.
	waiting  int                   // The RPCs that wait for a connection.
	backing  time.Time             // When the backoff began that goes on, or zero.

	calm     int    // The RPCs that were answered since the last line.
	over     string // The connection that they went over.
	refusals int    // The RPCs that were refused since the last line, after one that was told of.
	known    string // Why the last one was refused.
	// An RPC's failure is told twice, by its caller and if it was refused by an event, in either order.
	refused  map[string]bool
	failures map[string]string
}

// episode is what is known of the way to a connection.
type episode struct {
	attempts int
	failures []string // The error.type of each.
	backoff  time.Duration
}

func newStory(s *screen) *story {
	return &story{
		screen: s, episodes: map[event.ID]*episode{}, phases: map[event.ID][]string{},
		refused: map[string]bool{}, failures: map[string]string{},
	}
}

// act implements [audience].
func (s *story) act(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(time.Now(), bold, "── %s", text)
}

// answered implements [audience].
func (s *story) answered(_, client string, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != client {
		s.flush()
	}
	s.calm++
	s.over = client
	s.watch()
}

// failed implements [audience].
func (s *story) failed(rpc string, err error, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused[rpc] {
		delete(s.refused, rpc)
		return
	}
	s.failures[rpc] = fmt.Sprintf("%s failed after %s: %v", rpc, short(took), err)
}

// flush tells of the RPCs that are only counted.
func (s *story) flush() {
	if s.calm > 0 {
		s.screen.line(time.Now(), grey, "%s answered over %s", count(s.calm, "RPC"), s.over)
	}
	if s.refusals > 0 {
		s.screen.line(time.Now(), red, "and %s refused", count(s.refusals, "more RPC"))
	}
	s.calm, s.refusals = 0, 0
}

// tell writes a line, after what is still to be told of before.
func (s *story) tell(at time.Time, c colour, format string, args ...any) {
	s.flush()
	s.screen.line(at, c, format, args...)
	s.watch()
}

// handle tells of an event.
func (s *story) handle(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := e.(type) {
	case event.ChannelState:
		s.tell(e.Time, grey, "the channel is %s", strings.ToUpper(string(e.To)))
	case event.Resolved:
		s.tell(e.Time, grey, "the resolver answered after %s: %s%s", short(e.Time.Sub(e.Start)), count(e.Addresses, "address"), because(e.Err))
	case event.ConnectStarted:
		s.connectStarted(e)
	case event.AttemptStarted:
		s.episode(e.Episode).attempts = e.Number
	case event.AttemptEnded:
		s.attemptEnded(e)
	case event.PhaseEnded:
		s.phases[e.Attempt] = append(s.phases[e.Attempt], fmt.Sprintf("%s %s", e.Phase, short(e.Time.Sub(e.Start))))
	case event.BackoffStarted:
		s.backing = e.Time
		s.watch()
	case event.BackoffEnded:
		s.episode(e.Episode).backoff += e.Time.Sub(e.Start)
		s.backing = time.Time{}
		s.tell(e.Time, yellow, "  backed off for %s (%s)", short(e.Time.Sub(e.Start)), e.Outcome)
	case event.TransportReady:
		s.tell(e.Time, green, "READY: %s -> %s", e.Conn.Local, e.Conn.Remote)
	case event.TransportDraining:
		s.tell(e.Time, yellow, "the connection takes no new RPCs (%s), %s still on it", e.Cause, count(int(e.InFlight), "RPC"))
	case event.TransportEnded:
		s.transportEnded(e)
	case event.PickWaitStarted, event.PickWaitEnded, event.RPCRefused:
		s.rpc(e)
	}
}

// watch sets the progress line to what goes on now.
func (s *story) watch() {
	since, waiting, refusals, calm, over := s.backing, s.waiting, s.refusals, s.calm, s.over
	switch {
	case !since.IsZero():
		s.screen.wait(func(now time.Time) string {
			return fmt.Sprintf("backing off for %.1f s; %s waiting, %d refused meanwhile", now.Sub(since).Seconds(), count(waiting, "RPC"), refusals)
		})
	case calm > 0:
		s.screen.wait(func(time.Time) string { return fmt.Sprintf("%s answered over %s", count(calm, "RPC"), over) })
	default:
		s.screen.wait(nil)
	}
}

func (s *story) episode(id event.ID) *episode {
	p, ok := s.episodes[id]
	if !ok {
		p = &episode{}
		s.episodes[id] = p
	}
	return p
}

func (s *story) connectStarted(e event.ConnectStarted) {
	why := map[event.Trigger]string{
		event.TriggerFirst:  "there was no connection yet",
		event.TriggerRedial: "the last connection is lost",
		event.TriggerWake:   "the channel was idle",
	}
	s.known = ""
	s.tell(e.Time, plain, "gRPC connects: %s", why[e.Trigger])
}

func (s *story) attemptEnded(e event.AttemptEnded) {
	took := short(e.Time.Sub(e.Start))
	phases := strings.Join(s.phases[e.Attempt], ", ")
	delete(s.phases, e.Attempt)
	switch e.Outcome {
	case event.OutcomeReady:
		s.tell(e.Time, plain, "  attempt %d to %s from %s succeeded after %s (%s)", e.Number, e.Address, e.Conn.Local, took, phases)
	case event.OutcomeFailed:
		p := s.episode(e.Episode)
		p.failures = append(p.failures, e.ErrorType)
		s.tell(e.Time, red, "  attempt %d to %s failed in %s after %s: %s%s", e.Number, e.Address, e.Phase, took, e.ErrorType, because(e.Err))
	default:
		s.tell(e.Time, grey, "  attempt %d to %s: %s after %s", e.Number, e.Address, e.Outcome, took)
	}
}

func (s *story) transportEnded(e event.TransportEnded) {
	c := yellow
	if e.Cause.Unexpected() {
		c = red
	}
	said := ""
	if e.DisconnectError != "" {
		said = fmt.Sprintf(" (gRPC says %q)", e.DisconnectError)
	}
	if e.GoAwayDebugData != "" {
		said += fmt.Sprintf(", the server said %q", e.GoAwayDebugData)
	}
	s.tell(e.Time, c, "%s is gone after %s: %s%s, %s died with it", e.Conn.Local, short(e.Gone.Sub(e.Start)), e.Cause, said, count(int(e.Interrupted), "RPC"))
	for _, rpc := range slices.Sorted(maps.Keys(s.failures)) {
		s.tell(e.Time, red, "  %s", s.failures[rpc])
	}
	clear(s.failures)
}

// rpc tells of an RPC that had no connection.
func (s *story) rpc(e event.Event) {
	switch e := e.(type) {
	case event.PickWaitStarted:
		s.waiting++
		s.watch()
	case event.PickWaitEnded:
		s.waiting--
		if e.Outcome != event.OutcomeFailed { // Else it is refused next.
			s.tell(e.Time, yellow, "%s waited %s for a connection (%s): %s", rpcName(e.Context), short(e.Time.Sub(e.Start)), e.Outcome, s.why(e.Episode))
		}
	case event.RPCRefused:
		s.rpcRefused(rpcName(e.Context), e)
	}
}

func (s *story) rpcRefused(rpc string, e event.RPCRefused) {
	if _, told := s.failures[rpc]; told {
		delete(s.failures, rpc)
	} else {
		s.refused[rpc] = true
	}
	why := s.why(e.Episode)
	if why == s.known {
		s.refusals++
		s.watch()
		return
	}
	s.known = why
	s.tell(e.Time, red, "%s refused, there is no connection: %s", rpc, why)
}

// why tells what an RPC waited for.
func (s *story) why(id event.ID) string {
	p, ok := s.episodes[id]
	if !ok {
		return "gRPC had not begun to connect"
	}
	parts := []string{count(p.attempts, "attempt")}
	failures := map[string]int{}
	for _, f := range p.failures {
		failures[f]++
	}
	for _, f := range slices.Sorted(maps.Keys(failures)) {
		parts = append(parts, fmt.Sprintf("%d × %s", failures[f], f))
	}
	if p.backoff > 0 {
		parts = append(parts, short(p.backoff)+" of backoff")
	}
	return strings.Join(parts, ", ")
}

// because tells an error without what gRPC puts around it.
func because(err error) string {
	if err == nil {
		return ""
	}
	text, wrapped := strings.CutPrefix(err.Error(), `connection error: desc = "`)
	if wrapped {
		text = strings.TrimSuffix(text, `"`)
	}
	return " (" + strings.TrimPrefix(text, "transport: ") + ")"
}

// short rounds a duration to what a person reads.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Microsecond).String()
}

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "s"):
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
