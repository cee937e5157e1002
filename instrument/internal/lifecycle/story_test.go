package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/internal/text"
)

// Each file of testdata is a story: the lines of a block are inputs, each with its time, and below ---- is what the
// machine makes of them. The inputs are those of [machine.input]. Run with -rewrite to write the answers anew.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			m := newMachine()
			datadriven.RunTest(t, file, func(t *testing.T, block *datadriven.TestData) string {
				if block.Cmd != "run" {
					block.Fatalf(t, "unknown command %q: there is only run", block.Cmd)
				}
				for line := range strings.Lines(block.Input) {
					if err := m.line(line); err != nil {
						block.Fatalf(t, "%q: %v", strings.TrimSpace(line), err)
					}
				}
				return m.reported()
			})
		})
	}
}

// begin is the time 0 of every story.
var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// shortestBackoff is the machine's notion of gRPC's backoff.
const shortestBackoff = 800 * time.Millisecond

// machine is a channel with names for what is in it.
type machine struct {
	ch          *Channel
	resolver    *Resolver
	policies    map[string]*Policy
	subchannels map[string]*Subchannel
	transports  map[string]*Transport
	waits       map[string]*Wait
	tcp         map[string]*event.TCP // What the kernel says of a transport's socket.
	lastRead    map[string]failure.LastRead
	inFlight    map[string]*rpcs
	events      []event.Event
	faults      []error
	counts      []string
	paths       []string
}

// rpcs counts the RPCs of a transport.
type rpcs struct{ n, sent int64 }

func (r *rpcs) InFlight() int64 { return r.n }

func (r *rpcs) Sent() int64 { return r.sent }

func newMachine() *machine {
	m := &machine{
		policies: map[string]*Policy{}, subchannels: map[string]*Subchannel{}, transports: map[string]*Transport{},
		waits: map[string]*Wait{}, tcp: map[string]*event.TCP{}, lastRead: map[string]failure.LastRead{},
		inFlight: map[string]*rpcs{},
	}
	var ids event.ID
	m.ch = NewChannel(&Config{
		NextID:  func() event.ID { ids++; return ids },
		Emit:    func(e event.Event) { m.events = append(m.events, e) },
		Backoff: func(int) time.Duration { return shortestBackoff }, BackoffKnown: true,
		Fault: func(err error) { m.faults = append(m.faults, err) },
	}, "dns:///service", text.Cleaner{})
	m.ch.Identify(1)
	m.resolver = m.ch.OpenResolver(PaceAsked)
	return m
}

// reported returns the events and faults since the last call.
func (m *machine) reported() string {
	var text strings.Builder
	for _, e := range m.events {
		fmt.Fprintf(&text, "%-7s %s\n", e.EventHeader().Time.Sub(begin), e)
	}
	for _, err := range m.faults {
		fmt.Fprintf(&text, "fault   %s\n", err)
	}
	for _, count := range m.counts {
		fmt.Fprintf(&text, "count   %s\n", count)
	}
	for _, path := range m.paths {
		fmt.Fprintf(&text, "path    %s\n", path)
	}
	m.events, m.faults, m.counts, m.paths = nil, nil, nil, nil
	return text.String()
}

// count describes what the channel has at a time.
func (m *machine) count(at time.Time) string {
	of := sample.ByTarget{}.Of("")
	m.ch.Count(at, true, of)
	text := fmt.Sprintf("waiting %v, disconnected %v, connecting for %v, resolving for %v",
		of.Waiting, of.Disconnected, of.ConnectAge, of.ResolveAge)
	if !of.NotAfter.IsZero() {
		text += fmt.Sprintf(", certificate until %v", of.NotAfter.Sub(begin))
	}
	if of.Stalled > 0 {
		text += fmt.Sprintf(", stalled %d", of.Stalled)
	}
	if len(of.Unhealthy) > 0 {
		text += fmt.Sprintf(", unhealthy %v", of.Unhealthy)
	}
	if of.RPCs > 0 {
		text += fmt.Sprintf(", RPCs %d", of.RPCs)
	}
	if s := of.Spread; s.Subchannels > 0 {
		text += fmt.Sprintf(", of %d subchannels %d to %d", s.Subchannels, s.LeastBusy, s.Busiest)
	}
	return text
}

// rpcsOf returns the RPCs of a transport.
func (m *machine) rpcsOf(transport string) *rpcs {
	if m.inFlight[transport] == nil {
		m.inFlight[transport] = &rpcs{}
	}
	return m.inFlight[transport]
}

// path describes what a look at a transport's socket says, when an RPC has timed out or later: so many segments are not
// acknowledged, the kernel sent them again so often in vain, and something was received so long ago.
func (m *machine) path(t *Transport, at time.Time, what string, args []string) (text string) {
	tcp := &event.TCP{State: "ESTABLISHED", RTT: time.Millisecond, RTO: 200 * time.Millisecond}
	if _, err := fmt.Sscan(strings.Join(args[2:4], " "), &tcp.Unacked, &tcp.Timeouts); err != nil {
		panic(err)
	}
	tcp.RTO <<= tcp.Timeouts
	tcp.InFlight, tcp.Idle, tcp.AckIdle = 100*tcp.Unacked, duration(args[4]), duration(args[4])
	due := begin.Add(duration(args[1]))
	if what == "timedout" {
		text = "of the RPC: " + string(t.RPCTimedOut(at, due, tcp))
	} else if text = "known"; t.PathSeen(at, due, tcp) {
		text = "look again"
	}
	for _, e := range m.ch.Snapshot().Endpoints {
		if e.Stalled != nil {
			text += fmt.Sprintf(", endpoint %d is stalled since %v", e.ID, e.Stalled.Sub(begin))
		}
	}
	return text
}

// line runs one input, "time input".
func (m *machine) line(line string) error {
	words := strings.Fields(line)
	if len(words) < 2 {
		return errors.New("want a time and an input")
	}
	since, err := time.ParseDuration(words[0])
	if err != nil {
		return err
	}
	return m.input(begin.Add(since), words[1], append(words[2:], "", "", ""))
}

// input runs one input. Its words are:
//
//	channel STATE
//	resolver [throttled|own] | asked | answered ADDRESS... | rejected | empty | unresolved ERROR
//	pick_first P | policy P | says P STATE [ERROR] | close P CAUSE | remove P | given P ADDRESS...
//	add P S ADDRESS... | address S ADDRESS... | to S [ADDRESS] | state S STATE [ERROR]
//	dial S | tried S ADDRESS | proxied S ADDRESS | dialed S [ERROR]
//	handshake S | handshaken S [ERROR] | secured S CERTIFICATE_EXPIRES
//	up S T | kernel T STATE IDLE | read T eof|reset|rejected | lost T WORD | gone T | check T
//	rpcs T N | sent T N | killed T ERROR
//	timedout T SENT UNACKED TIMEOUTS HEARD | path T DUE UNACKED TIMEOUTS HEARD
//	wait P W | pending W | queued P W | picked W | dropped W | delayed W | waited W OUTCOME [ERROR] | refuse P ERROR
//	roll | count | interrupt
func (m *machine) input(at time.Time, what string, args []string) error {
	rest := func(from int) error { return failureOf(strings.TrimSpace(strings.Join(args[from:], " "))) }
	for _, part := range []func(time.Time, string, []string, func(int) error) bool{
		m.channelInput, m.policyInput, m.subchannelInput, m.transportInput, m.rpcInput,
	} {
		if part(at, what, args, rest) {
			return nil
		}
	}
	return errors.New("no such input")
}

func (m *machine) channelInput(at time.Time, what string, args []string, rest func(int) error) bool {
	switch what {
	case "channel":
		m.ch.SetState(at, event.State(args[0]))
	case "resolver":
		m.resolver = m.ch.OpenResolver(map[string]Pace{"": PaceAsked, "throttled": PaceThrottled, "own": PaceOwn}[args[0]])
	case "asked":
		m.resolver.Asked(at)
	case "answered":
		m.resolver.Answered(at, strings.Fields(strings.Join(args, " ")), nil)
	case "rejected":
		m.resolver.Rejected()
	case "empty":
		m.resolver.Answered(at, nil, failure.ErrNoAddresses)
	case "unresolved":
		m.resolver.Answered(at, nil, rest(0))
	case "roll":
		m.ch.RollOver(at)
	case "count":
		m.counts = append(m.counts, m.count(at))
	case "interrupt":
		m.ch.Interrupt(at)
	default:
		return false
	}
	return true
}

func (m *machine) policyInput(at time.Time, what string, args []string, rest func(int) error) bool {
	p := m.policies[args[0]]
	switch what {
	case "pick_first":
		m.policies[args[0]] = m.ch.OpenPickFirst()
	case "policy":
		m.policies[args[0]] = m.ch.OpenPolicy()
	case "says":
		p.SetState(at, event.State(args[1]), rest(2))
	case "close":
		p.Close(at, event.Cause(args[1]))
	case "remove":
		p.CloseRemoved(at)
	case "given":
		p.SetAddresses(strings.Fields(strings.Join(args[1:], " ")))
	case "add":
		m.subchannels[args[1]] = p.Add(at, int64(10+len(m.subchannels)), addresses(args[2:])...)
	default:
		return false
	}
	return true
}

func (m *machine) subchannelInput(at time.Time, what string, args []string, rest func(int) error) bool {
	s := m.subchannels[args[0]]
	conn := event.Conn{Network: "tcp", Local: "127.0.0.1:" + args[0], Remote: "service:443"}
	switch what {
	case "address":
		s.SetAddresses(addresses(args[1:])...)
	case "state":
		s.SetState(at, event.State(args[1]), rest(2))
	case "dial":
		s.DialStart(at)
	case "tried":
		s.DialAttempt(at, args[1])
	case "to":
		s.ConnectsTo(append(addresses(args[1:]), Address{})[0])
	case "proxied":
		s.DialProxied(args[1])
	case "dialed":
		s.DialEnd(at, conn, rest(1))
	case "handshake":
		s.HandshakeStart(at, conn, time.Time{})
	case "handshaken":
		s.HandshakeEnd(at, nil, rest(1))
	case "secured":
		s.HandshakeEnd(at, &event.TLS{Version: "1.3", ServerNotAfter: begin.Add(duration(args[1]))}, nil)
	case "up":
		m.transports[args[1]] = s.ConnBegin(at, m.rpcsOf(args[1]), true)
	default:
		return false
	}
	return true
}

var lastReads = map[string]failure.LastRead{
	"eof": failure.ReadEOF, "reset": failure.ReadReset, "rejected": failure.ReadRejected,
}

func (m *machine) transportInput(at time.Time, what string, args []string, rest func(int) error) bool {
	t := m.transports[args[0]]
	switch what {
	case "kernel":
		idle, err := time.ParseDuration(args[2])
		m.tcp[args[0]] = &event.TCP{State: args[1], Idle: idle}
		return err == nil
	case "read":
		m.lastRead[args[0]] = lastReads[args[1]]
	case "lost":
		t.Disconnected(at, failure.Loss{
			DisconnectError: wordOf(rest(1)), TCP: m.tcp[args[0]], LastRead: m.lastRead[args[0]],
		})
	case "gone":
		t.ConnEnd(at)
	case "check":
		t.Check(at)
	case "rpcs":
		_, err := fmt.Sscan(args[1], &m.rpcsOf(args[0]).n)
		return err == nil
	case "sent":
		_, err := fmt.Sscan(args[1], &m.rpcsOf(args[0]).sent)
		return err == nil
	case "killed":
		t.RPCKilled(at, wordOf(rest(1)))
	case "timedout", "path":
		m.paths = append(m.paths, m.path(t, at, what, args))
	default:
		return false
	}
	return true
}

func (m *machine) rpcInput(at time.Time, what string, args []string, rest func(int) error) bool {
	switch what {
	case "wait":
		m.waits[args[1]] = m.policies[args[0]].Wait(context.Background(), at, "/Echo/"+args[1])
	case "pending":
		m.waits[args[0]] = m.ch.Pending(context.Background(), at, at, "/Echo/"+args[0])
	case "queued":
		m.waits[args[1]].Queued(at, m.policies[args[0]])
	case "picked":
		m.waits[args[0]].Picked(at)
	case "dropped":
		m.waits[args[0]].Drop(at)
	case "delayed":
		m.ch.Resolved(context.Background(), at, "/Echo/"+args[0])
	case "waited":
		m.waits[args[0]].End(at, event.Outcome(args[1]), rest(2))
	case "refuse":
		m.ch.Refused(at, m.ch.Refuse(context.Background(), at, m.policies[args[0]], "/Echo/Say", "", rest(1)))
	default:
		return false
	}
	return true
}

// addresses reads "SERVER" or "SERVER@PROXY" each.
func addresses(words []string) (all []Address) {
	for _, word := range words {
		if word != "" {
			server, proxy, _ := strings.Cut(word, "@")
			all = append(all, Address{server, proxy})
		}
	}
	return all
}

func duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}

func failureOf(text string) error {
	switch text {
	case "":
		return nil
	case "refused":
		return syscall.ECONNREFUSED
	}
	return errors.New(text)
}

func wordOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
