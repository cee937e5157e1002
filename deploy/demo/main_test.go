package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/redial-dev/redial/instrument/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A wrong flag is named, with what is wrong about it, and nothing is run.
func TestWrongFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-cycles", "0"}, "-cycles 0: must be from 1 to 100"},
		{[]string{"-cycles", "two"}, `invalid value "two" for flag -cycles`},
		{[]string{"-interval", "1h"}, "-interval 1h0m0s: must be from 1ms to 2s"},
		{[]string{"-interval", "0"}, "-interval 0s: must be"},
		{[]string{"-listen", "here"}, `-listen "here": must be host:port`},
		{[]string{"-server", "there"}, `-server "there": must be host:port`},
		{[]string{"-colour"}, "flag provided but not defined: -colour"},
		{[]string{"now"}, `unexpected argument "now"`},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), c.args, &out, &errs); code != exitUsage {
			t.Errorf("%q: exit code %d, want %d", c.args, code, exitUsage)
		}
		if !strings.Contains(errs.String(), c.want) || strings.Count(errs.String(), c.want) != 1 || out.Len() > 0 {
			t.Errorf("%q: stdout %q, stderr %q, want %q there once", c.args, &out, &errs, c.want)
		}
	}
}

func TestHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"-h"}, &out, &errs); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{"-cycles", "-interval", "-server", "-listen", "-json"} {
		if !strings.Contains(errs.String(), name) {
			t.Errorf("the help does not name %s:\n%s", name, &errs)
		}
	}
}

func TestServerAddressTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out, errs bytes.Buffer
	address := taken.Addr().String()
	if code := run(t.Context(), []string{"-server", address}, &out, &errs); code != exitFault {
		t.Errorf("exit code %d, want %d", code, exitFault)
	}
	if want := fmt.Sprintf("listen on %q (flag -server)", address); !strings.Contains(errs.String(), want) {
		t.Errorf("stderr %q, want %q", &errs, want)
	}
}

// One cycle with each policy, for people.
func TestNarrated(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"-interval", "50ms"}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d, stderr %q", code, &errs)
	}
	const address = `127\.0\.0\.1:\d+`
	for _, want := range []string{
		`READY in attempt 1, after \S+: ` + address + ` -> ` + address,
		`attempt 1 failed in dial after \S+: connection_refused`,
		`backed off for \S+ \(elapsed\)`,
		`lost ` + address + ` after \S+: (peer_closed|connection_reset); (no RPC|\d+ RPCs?) killed`,
		`gRPC itself says ".*"`,
		`wait-for-ready \d+ waited \S+: \d attempts? \(connection_refused\), \S+ of backoff`,
		`\d+ RPCs? refused: 1 attempt \(connection_refused\)`,
		`ended after \S+: goaway; no RPC killed`,
		`ended after \S+: channel_closed`,
		`the channel is IDLE: gRPC waits for the next RPC \S+ ── the callers go on \S+ gRPC redials, \S+ after the loss`,
		`while there is no RPC [^─]*gRPC redials[^─]* READY in attempt 1[^─]*── the callers go on`,
		`pick_first: yes, 4 of 4 lost connections were replaced\. ` +
			`It begins with the next RPC: \S+ to \S+ after the loss`,
		`round_robin: yes, 4 of 4 lost connections were replaced\. ` +
			`It begins at once, whether there is an RPC or not: \S+ to \S+ after the loss`,
		`\d+ RPCs answered: \d+ found a connection READY, \d+ waited for one`,
		`grpc\.transport \w+ .*grpc\.connect redial .*├─attempt connection_refused .*│ └─dial connection_refused .*├─backoff ` +
			`.*└─attempt .*├─dial .*└─settings .*grpc\.pick\.wait`,
	} {
		// Where a line breaks depends on how long its numbers are.
		if !regexp.MustCompile(want).MatchString(strings.Join(strings.Fields(out.String()), " ")) {
			t.Errorf("the narrator does not say %q", want)
		}
	}
	if strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), "\r") {
		t.Error("there are colours or progress lines, but no terminal")
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > defaultWidth {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// With -json every line is one event, and all kinds are there.
func TestJSON(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"-json"}, &out, &errs); code != exitOK || errs.Len() > 0 {
		t.Fatalf("exit code %d, stderr %q", code, &errs)
	}
	kinds := map[event.Kind]int{}
	lines := bufio.NewScanner(&out)
	for lines.Scan() {
		var e struct {
			Time   time.Time  `json:"time"`
			Kind   event.Kind `json:"kind"`
			Target string     `json:"grpc.target"`
			Msg    string     `json:"msg"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		if e.Time.IsZero() || e.Msg == "" || !strings.Contains(e.Target, "127.0.0.1:") {
			t.Errorf("incomplete: %s", lines.Bytes())
		}
		kinds[e.Kind]++
	}
	for _, want := range []event.Kind{
		event.KindResolve, event.KindConnect, event.KindAttempt, event.KindPhase, event.KindBackoff, event.KindReady,
		event.KindTeardown, event.KindPickWait, event.KindState,
	} {
		if kinds[want] == 0 {
			t.Errorf("no event of the kind %s", want)
		}
	}
}

// With -listen it serves meanwhile what an agent serves.
func TestListen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, write := io.Pipe()
	code := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		code <- run(ctx, []string{"-listen", "127.0.0.1:0"}, write, &errs)
		write.Close()
	}()
	served := regexp.MustCompile(`redial serves (http://\S+/metrics)`)
	answered := false
	for lines := bufio.NewScanner(out); lines.Scan(); { // To the end: a pipe that is not read blocks the demo.
		match := served.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		resp, err := http.Get(match[1])
		if err != nil {
			t.Error(err)
			cancel()
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Error(err)
		}
		answered = strings.Contains(string(body), "redial_build_info")
		cancel()
	}
	http.DefaultClient.CloseIdleConnections()
	if c := <-code; c != exitInterrupted || !answered {
		t.Errorf("exit code %d, stderr %q, /metrics was answered: %v", c, &errs, answered)
	}
}

// A setting that is not allowed is named.
func TestBadEnvironment(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon")
	var out, errs bytes.Buffer
	if code := run(t.Context(), nil, &out, &errs); code != exitFault ||
		!strings.Contains(errs.String(), `OTEL_EXPORTER_OTLP_PROTOCOL="pigeon"`) {
		t.Errorf("exit code %d, stderr %q", code, &errs)
	}
}

// A run that is interrupted ends at once, whatever it was doing: it says so, announces nothing that does not happen,
// and has no answer.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"the server is stopped", "the server is started again", "says GOAWAY", "the callers pause"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var errs bytes.Buffer
			out := &watched{text: at, found: interrupt}
			code := run(ctx, nil, out, &errs)
			if took := time.Since(out.at); took > time.Second {
				t.Errorf("it took %v to end", took)
			}
			if code != exitInterrupted || errs.String() != "demo: interrupted\n" {
				t.Errorf("exit code %d, stderr %q", code, &errs)
			}
			_, after, _ := strings.Cut(out.String(), at)
			if strings.Contains(after, "──") || strings.Contains(after, "?") || strings.Contains(after, "grpc.connect") {
				t.Errorf("it goes on after the interruption with\n%s", after)
			}
		})
	}
}

// watched calls found when a text is written.
type watched struct {
	bytes.Buffer
	text  string
	found func()
	at    time.Time
}

// Write implements [io.Writer].
func (w *watched) Write(p []byte) (int, error) {
	if w.at.IsZero() && strings.Contains(string(p), w.text) {
		w.at = time.Now()
		w.found()
	}
	return w.Buffer.Write(p)
}

// A collector that does not answer delays neither the answer nor, for long, the end.
func TestDeadCollector(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+dead.Addr().String())
	out, errs := &watched{text: "Which connection"}, bytes.Buffer{}
	out.found = func() {}
	if code := run(t.Context(), []string{"-interval", "50ms"}, out, &errs); code != exitFault {
		t.Errorf("exit code %d, want %d", code, exitFault)
	}
	if took := time.Since(out.at); out.at.IsZero() || took > 2*shutdownTime {
		t.Errorf("it ended %v after the answer", took)
	}
	if !strings.Contains(out.String(), "Waiting up to 5s for the collector") ||
		!strings.Contains(errs.String(), "were not delivered within 5s") {
		t.Errorf("it does not say what it waits for:\n%s\nstderr: %s", out, &errs)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// Output that cannot be written ends the run, at once.
func TestOutputFails(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"-json"}} {
		var errs bytes.Buffer
		start := time.Now()
		if code := run(t.Context(), args, fullDisk{}, &errs); code != exitFault ||
			!strings.HasSuffix(errs.String(), "demo: write the output: no space left on device\n") {
			t.Errorf("%q: exit code %d, stderr %q", args, code, &errs)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q: it took %v to end", args, took)
		}
	}
}

// The summary's answer comes from what happened.
func TestSummaryOfALossThatWasNotReplaced(t *testing.T) {
	at := time.Now()
	var sum summary
	sum.begin(pickFirst)
	head := event.Header{Time: at}
	sum.handle(event.TransportEnded{Header: head, Transport: 1, Start: at, Lost: at, Gone: at, Cause: event.CausePeerClosed})
	sum.handle(event.ConnectStarted{Header: head, Episode: 2, Trigger: event.TriggerRedial, Lost: 1})
	sum.handle(event.ConnectEnded{Header: head, Episode: 2, Outcome: event.OutcomeAbandoned})
	if got := sum.current().doesItRedial()[0]; !strings.HasPrefix(got, "pick_first: not always, 0 of 1") {
		t.Errorf("the summary says %q", got)
	}
}

// On a terminal the progress line is erased before each line, and lines are coloured.
func TestTerminal(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&checked{w: &out})
	s.mu.Lock()
	s.terminal, s.colours = true, true
	s.mu.Unlock()
	s.wait(func(time.Time) string { return "waiting" })
	s.text(red, "refused")
	s.close()
	if want := "\r\x1b[K\x1b[31mrefused\x1b[0m\n"; !strings.Contains(out.String(), want) {
		t.Errorf("wrote %q, want %q in it", &out, want)
	}
	if !strings.Contains(out.String(), "… waiting") || !strings.HasSuffix(out.String(), "\r\x1b[K") {
		t.Errorf("wrote %q, want a progress line that is erased at last", &out)
	}
}

// Lines break between words, to an indented rest.
func TestWrap(t *testing.T) {
	for _, c := range []struct {
		prefix, text string
		width        int
		want         string
	}{
		{"  1.000 ", "backed off for 1s", 80, "  1.000 backed off for 1s"},
		{"  1.000 ", "backed off for 1s", 19, "  1.000 backed off|          for 1s"},
		{"", "  all of it is indented", 12, "  all of it|    is|    indented"},
		{"", "127.0.0.1:40268 is longer", 10, "127.0.0.1:40268|  is|  longer"},
		{"", "", 10, ""},
	} {
		if got := strings.Join(wrap(c.prefix, c.text, c.width), "|"); got != c.want {
			t.Errorf("%q in %d columns: %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
