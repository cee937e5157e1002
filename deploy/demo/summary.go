package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// summary keeps what happened, and answers at the end what the experiment asked.
type summary struct {
	mu      sync.Mutex
	answers map[string]string // The connection that each RPC's answer came by, by the RPC's name.

	connections []event.TransportEnded
	lost        map[event.ID]event.TransportEnded
	redials     []event.ConnectStarted // Those that a loss began.
	ended       map[event.ID]event.ConnectEnded
	failures    int // Of attempts.
	idle        int // How often the channel became idle.
	backoffs    []time.Duration
	waits       map[string]time.Duration // Of the RPCs that waited and got a connection, by name.
	refused     int
	killed      int64
}

func newSummary() *summary {
	return &summary{
		answers: map[string]string{},
		lost:    map[event.ID]event.TransportEnded{},
		ended:   map[event.ID]event.ConnectEnded{},
		waits:   map[string]time.Duration{},
	}
}

// act implements [audience].
func (s *summary) act(string) {}

// answered implements [audience].
func (s *summary) answered(rpc, client string, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[rpc] = client
}

// failed implements [audience]: the events tell of it too.
func (s *summary) failed(string, error, time.Duration) {}

// handle keeps what an event tells.
func (s *summary) handle(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := e.(type) {
	case event.TransportEnded:
		s.connections = append(s.connections, e)
		s.killed += e.Interrupted
		if e.Cause != event.CauseChannelClosed {
			s.lost[e.Transport] = e
		}
	case event.ConnectStarted:
		if e.Lost != 0 {
			s.redials = append(s.redials, e)
		}
	case event.ConnectEnded:
		s.ended[e.Episode] = e
	case event.AttemptEnded:
		if e.Outcome == event.OutcomeFailed {
			s.failures++
		}
	case event.BackoffEnded:
		if e.Outcome == event.OutcomeElapsed {
			s.backoffs = append(s.backoffs, e.Time.Sub(e.Start))
		}
	case event.ChannelState:
		if e.To == event.StateIdle {
			s.idle++
		}
	case event.PickWaitEnded:
		if e.Outcome == event.OutcomePicked {
			s.waits[rpcName(e.Context)] = e.Time.Sub(e.Start)
		}
	case event.RPCRefused:
		s.refused++
	}
}

// print writes the answers.
func (s *summary) print(screen *screen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	screen.text(bold, "\nDoes grpc-go redial by itself?")
	for _, line := range s.doesItRedial() {
		screen.text(plain, "  %s", line)
	}
	screen.text(bold, "\nWhich connection does my RPC get?")
	for _, line := range s.whichConnection() {
		screen.text(plain, "  %s", line)
	}
}

func (s *summary) doesItRedial() (lines []string) {
	if len(s.lost) == 0 {
		return []string{"This run tells nothing of it: no connection was lost."}
	}
	var asleep, away []time.Duration
	for _, r := range s.redials {
		lost := s.lost[r.Lost].Lost
		asleep = append(asleep, r.Time.Sub(lost))
		if e := s.ended[r.Episode]; e.Outcome == event.OutcomeReady {
			away = append(away, e.Time.Sub(lost))
		}
	}
	verdict := "Yes"
	if len(away) < len(s.lost) {
		verdict = "Not always"
	}
	lines = append(lines, fmt.Sprintf("%s: %d of %d lost connections were replaced, and no code of this program asked for it.", verdict, len(away), len(s.lost)))
	if s.idle > 0 && len(asleep) > 0 {
		lines = append(lines, fmt.Sprintf("It begins with the next RPC: the channel became idle %s, and was woken %s after the loss.", count(s.idle, "time"), span(asleep)))
	}
	if len(s.backoffs) > 0 {
		lines = append(lines, fmt.Sprintf("From then on it goes on alone: %s failed, and it waited %s before each next one.", count(s.failures, "attempt"), span(s.backoffs)))
	}
	if len(away) > 0 {
		lines = append(lines, fmt.Sprintf("From the loss to the next READY it took %s.", span(away)))
	}
	return lines
}

func (s *summary) whichConnection() (lines []string) {
	lines = append(lines,
		"The one that is READY when it asks. If there is none it waits for the attempt that goes on, and fails with it,",
		"unless it is wait-for-ready: then it waits for the attempt that succeeds.", "")
	by := map[string]int{}
	for _, connection := range s.answers {
		by[connection]++
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "connection\tlived\tRPCs answered\tRPCs killed\tended by")
	for _, c := range s.connections {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", c.Conn.Local, short(c.Gone.Sub(c.Start)), by[c.Conn.Local], c.Interrupted, c.Cause)
	}
	if err := w.Flush(); err != nil { // A strings.Builder has no errors.
		return []string{err.Error()}
	}
	lines = append(lines, strings.Split(table.String(), "\n")...)
	waited := 0
	for rpc := range s.waits {
		if _, ok := s.answers[rpc]; ok {
			waited++
		}
	}
	found := fmt.Sprintf("%s answered: %d found a connection READY, %d waited for one", count(len(s.answers), "RPC"), len(s.answers)-waited, waited)
	if waited > 0 {
		found += ", " + span(slices.Collect(maps.Values(s.waits)))
	}
	return append(lines, found+".",
		fmt.Sprintf("%s refused since there was no connection, and %d died with theirs.", count(s.refused, "RPC"), s.killed))
}

// span tells the least and the most of several durations.
func span(all []time.Duration) string {
	least, most := short(slices.Min(all)), short(slices.Max(all))
	if least == most {
		return least
	}
	return least + " to " + most
}
