package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// narrator writes live, line by line, what happens. What is normal it only counts.
type narrator struct {
	screen *screen

	mu       sync.Mutex
	episodes map[event.ID]*episode
	lost     map[event.ID]time.Time // When a transport was lost.
	waiting  int                    // The RPCs that wait for a connection.
	backing  time.Time              // When the backoff began that goes on, or zero.
	idle     time.Time              // Since when the channel is IDLE, or zero.

	answers  map[string]int // The RPCs that were answered since the last line, by connection.
	waits    []wait         // Those that got a connection since the last line.
	refusals int            // Those that were refused since the last line.
	reason   string         // Why the last one was refused.
	// A refused RPC is reported twice, by its caller and by an event, in either order.
	refused  map[string]bool
	failures map[string]failure
}

// episode is what is known of the way to a connection.
type episode struct {
	attempts int
	failures map[string]bool // Their error.type.
	backoff  time.Duration
}

// wait is that of an RPC for a connection.
type wait struct {
	rpc, reason string
	took        time.Duration
}

// failure is one that a caller saw.
type failure struct {
	at   time.Time
	text string
}

const (
	// refusalDelay is how much later than an RPC's failure the event of its refusal may come.
	refusalDelay = 100 * time.Millisecond
	// noticeableIdle is how long a channel is IDLE if it waits for an RPC; some policies only pass through that state.
	noticeableIdle = 20 * time.Millisecond
	// noticeableWait is how long an RPC waits where it is not merely the first on a channel.
	noticeableWait = 100 * time.Millisecond
)

func newNarrator(s *screen) *narrator {
	return &narrator{
		screen: s, episodes: map[event.ID]*episode{}, lost: map[event.ID]time.Time{},
		answers: map[string]int{}, refused: map[string]bool{}, failures: map[string]failure{},
	}
}

// titles introduce the policies.
var titles = map[string]string{
	pickFirst:  "\nWith pick_first, gRPC's default policy",
	roundRobin: "\nWith round_robin",
}

// begin implements [observer].
func (n *narrator) begin(policy string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flush(time.Now())
	n.screen.text(bold, "%s", titles[policy])
}

// announce implements [observer].
func (n *narrator) announce(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.line(time.Now(), bold, "── %s", text)
}

// answered implements [observer].
func (n *narrator) answered(_, connection string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers[connection]++
	n.watch()
}

// failed implements [observer].
func (n *narrator) failed(rpc string, err error, took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refused[rpc] {
		delete(n.refused, rpc)
		return
	}
	n.failures[rpc] = failure{time.Now(), fmt.Sprintf("  %s failed after %s: %v", rpc, short(took), err)}
	time.AfterFunc(refusalDelay, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.fail(time.Now().Add(-refusalDelay))
	})
}

// end writes what is left to say, and takes the progress line away.
func (n *narrator) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flush(time.Now())
	n.fail(time.Now())
	n.screen.wait(nil)
}

// flush writes what was only counted until a time.
func (n *narrator) flush(at time.Time) {
	if len(n.waits) > 0 {
		longest := slices.MaxFunc(n.waits, func(a, b wait) int { return cmp.Compare(a.took, b.took) })
		n.screen.line(at, grey, "%s waited for it, %s at most", count(len(n.waits), "RPC"), short(longest.took))
	}
	if n.refusals > 0 {
		n.screen.line(at, red, "%s refused: %s", count(n.refusals, "RPC"), n.reason)
	}
	if len(n.answers) > 0 {
		n.screen.line(at, grey, "%s", answersOver(n.answers))
	}
	if !n.idle.IsZero() && at.Sub(n.idle) > noticeableIdle {
		n.screen.line(n.idle, yellow, "the channel is IDLE: gRPC waits for the next RPC")
		n.idle = time.Time{}
	}
	n.waits, n.refusals = nil, 0
	clear(n.answers)
}

// fail writes the failures that callers saw until a time.
func (n *narrator) fail(until time.Time) {
	for _, rpc := range slices.Sorted(maps.Keys(n.failures)) {
		if f := n.failures[rpc]; !f.at.After(until) {
			n.screen.line(f.at, red, "%s", f.text)
			delete(n.failures, rpc)
		}
	}
}

// line writes a line, after what was only counted before.
func (n *narrator) line(at time.Time, c colour, format string, args ...any) {
	n.flush(at)
	n.screen.line(at, c, format, args...)
	n.watch()
}

// watch sets the progress line to what goes on now.
func (n *narrator) watch() {
	since, waiting, refusals := n.backing, n.waiting, n.refusals
	switch {
	case !since.IsZero():
		n.screen.wait(func(now time.Time) string {
			return fmt.Sprintf("backing off for %.1fs; %s refused, %d waiting", now.Sub(since).Seconds(), count(refusals, "RPC"), waiting)
		})
	case len(n.answers) > 0:
		text := answersOver(n.answers)
		n.screen.wait(func(time.Time) string { return text })
	default:
		n.screen.wait(nil)
	}
}

// handle implements [observer].
func (n *narrator) handle(e event.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e := e.(type) {
	case event.ChannelState:
		n.idle = time.Time{}
		if e.To == event.StateIdle {
			n.idle = e.Time
		}
	case event.Resolved:
		if e.Err != nil {
			n.line(e.Time, red, "name resolution failed: %s (%v)", e.ErrorType, e.Err)
		}
	case event.ConnectStarted:
		n.connectStarted(e)
	case event.AttemptStarted:
		n.episode(e.Episode).attempts = e.Number
	case event.AttemptEnded:
		n.attemptEnded(e)
	case event.BackoffStarted:
		n.backing = e.Time
		n.watch()
	case event.BackoffEnded:
		n.episode(e.Episode).backoff += e.Time.Sub(e.Start)
		n.backing = time.Time{}
		n.line(e.Time, yellow, "backed off for %s (%s)", short(e.Time.Sub(e.Start)), e.Outcome)
	case event.TransportDraining:
		n.lost[e.Transport] = e.Time
		n.line(e.Time, yellow, "%s: the connection takes no new RPCs; %s under way", e.Cause, count(int(e.InFlight), "RPC"))
	case event.TransportEnded:
		n.transportEnded(e)
	case event.PickWaitStarted, event.PickWaitEnded, event.RPCRefused:
		n.rpc(e)
	}
}

func (n *narrator) episode(id event.ID) *episode {
	p, ok := n.episodes[id]
	if !ok {
		p = &episode{failures: map[string]bool{}}
		n.episodes[id] = p
	}
	return p
}

func (n *narrator) connectStarted(e event.ConnectStarted) {
	switch lost, ok := n.lost[e.Lost]; {
	case ok:
		n.line(e.Time, plain, "gRPC redials, %s after the loss", short(e.Time.Sub(lost)))
	case e.Trigger == event.TriggerRedial:
		n.line(e.Time, plain, "gRPC redials")
	default:
		n.line(e.Time, plain, "gRPC dials")
	}
}

func (n *narrator) attemptEnded(e event.AttemptEnded) {
	took := short(e.Time.Sub(e.Start))
	switch e.Outcome {
	case event.OutcomeReady:
		// What was answered meanwhile came after it: callers are quicker than events.
		n.screen.line(e.Time, green, "READY in attempt %d, after %s: %s -> %s", e.Number, took, e.Conn.Local, e.Conn.Remote)
	case event.OutcomeFailed:
		n.episode(e.Episode).failures[e.ErrorType] = true
		n.line(e.Time, red, "attempt %d failed in %s after %s: %s", e.Number, e.Phase, took, e.ErrorType)
	default:
		n.line(e.Time, grey, "attempt %d: %s after %s", e.Number, e.Outcome, took)
	}
}

func (n *narrator) transportEnded(e event.TransportEnded) {
	n.lost[e.Transport] = e.Lost
	lived, killed := short(e.Gone.Sub(e.Start)), count(int(e.Interrupted), "RPC")
	if !e.Cause.Unexpected() {
		n.line(e.Time, plain, "%s ended after %s: %s; %s killed", e.Conn.Local, lived, e.Cause, killed)
		return
	}
	n.line(e.Time, red, "lost %s after %s: %s; %s killed", e.Conn.Local, lived, e.Cause, killed)
	if e.DisconnectError != "" {
		n.screen.line(e.Time, grey, "  gRPC itself says %q", e.DisconnectError)
	}
}

// rpc handles an event of an RPC that found no connection.
func (n *narrator) rpc(e event.Event) {
	switch e := e.(type) {
	case event.PickWaitStarted:
		n.waiting++
	case event.PickWaitEnded:
		n.waiting--
		if e.Outcome == event.OutcomePicked { // Else its caller reports how it failed.
			n.waited(e.Time, wait{rpcName(e.Context), n.why(e.Episode), e.Time.Sub(e.Start)})
		}
	case event.RPCRefused:
		rpc := rpcName(e.Context)
		if _, reported := n.failures[rpc]; reported {
			delete(n.failures, rpc)
		} else {
			n.refused[rpc] = true
		}
		n.refusals++
		n.reason = n.why(e.Episode)
	}
	n.watch()
}

// waited writes or counts an RPC's wait.
func (n *narrator) waited(at time.Time, w wait) {
	if w.took < noticeableWait {
		n.waits = append(n.waits, w)
		return
	}
	n.screen.line(at, yellow, "%s waited %s: %s", w.rpc, short(w.took), w.reason)
}

// why describes what an RPC waited for.
func (n *narrator) why(id event.ID) string {
	p, ok := n.episodes[id]
	if !ok {
		return "gRPC had not begun to connect"
	}
	text := count(p.attempts, "attempt")
	if len(p.failures) > 0 {
		text += " (" + strings.Join(slices.Sorted(maps.Keys(p.failures)), ", ") + ")"
	}
	if p.backoff > 0 {
		text += ", " + short(p.backoff) + " of backoff"
	}
	return text
}

// answersOver says how many RPCs were answered, and over which connections.
func answersOver(answers map[string]int) string {
	var parts []string
	for _, connection := range slices.Sorted(maps.Keys(answers)) {
		what := count(answers[connection], "RPC") + " answered over "
		if len(parts) > 0 {
			what = fmt.Sprintf("%d over ", answers[connection])
		}
		parts = append(parts, what+connection)
	}
	return strings.Join(parts, ", ")
}

// short rounds a duration to what a person reads.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// count counts things as a person would.
func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
