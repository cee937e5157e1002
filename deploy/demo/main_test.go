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
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redial-dev/redial/instrument/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A wrong flag is named, with what is wrong about it, and nothing is played.
func TestWrongFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-cycles", "0"}, "-cycles 0: must be 1 or more"},
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

// The whole story of one cycle, for people.
func TestStory(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"-cycles", "1", "-interval", "50ms"}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d, stderr %q", code, &errs)
	}
	const address = `127\.0\.0\.1:\d+`
	for _, want := range []string{
		`attempt 1 to ` + address + ` from ` + address + ` succeeded after \S+ \(dial \S+, handshake \S+, settings \S+\)`,
		`attempt 1 to ` + address + ` failed in dial after \S+: connection_refused \(Error while dialing: .*refused\)`,
		`backed off for \S+ \(elapsed\)`,
		`READY: ` + address + ` -> ` + address,
		`is gone after \S+: (peer_closed|connection_reset) \(gRPC says ".*"\), \d+ RPCs? died with it`,
		`patient \d+ waited \S+ for a connection \(picked\): \d attempts, \d × connection_refused, \S+ of backoff`,
		`(quick|slow) \d+ refused, there is no connection: 1 attempt, 1 × connection_refused`,
		`is gone after \S+: goaway \(gRPC says "GOAWAY NO_ERROR"\)`,
		`Yes: 3 of 3 lost connections were replaced`,
		`the channel became idle 3 times`,
		`\d+ RPCs answered: \d+ found a connection READY, \d+ waited for one`,
		`channel_closed`,
	} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("the story does not tell %q", want)
		}
	}
	if strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), "\r") {
		t.Error("there are colours or progress lines, but no terminal")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// With -json every line is one event, and all kinds are there.
func TestJSON(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"-cycles", "1", "-json"}, &out, &errs); code != exitOK || errs.Len() > 0 {
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
	if c := <-code; c != exitOK || !answered {
		t.Errorf("exit code %d, stderr %q, /metrics was answered: %v", c, &errs, answered)
	}
}

// A setting that is not allowed is named.
func TestBadEnvironment(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon")
	var out, errs bytes.Buffer
	if code := run(t.Context(), nil, &out, &errs); code != exitFault || !strings.Contains(errs.String(), `OTEL_EXPORTER_OTLP_PROTOCOL="pigeon"`) {
		t.Errorf("exit code %d, stderr %q", code, &errs)
	}
}

// An interrupted run ends at once, and says that it tells nothing.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, nil, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d, stderr %q", code, &errs)
	}
	if want := "no connection was lost"; !strings.Contains(out.String(), want) {
		t.Errorf("not told: %q\n%s", want, &out)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestOutputFails(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var errs bytes.Buffer
	if code := run(ctx, []string{"-json"}, brokenPipe{}, &errs); code != exitFault || !strings.Contains(errs.String(), "broken pipe") {
		t.Errorf("exit code %d, stderr %q", code, &errs)
	}
}

// The summary's answer comes from what happened.
func TestSummaryOfALossThatWasNotReplaced(t *testing.T) {
	at := time.Now()
	sum := newSummary()
	head := event.Header{Time: at}
	sum.handle(event.TransportEnded{Header: head, Transport: 1, Start: at, Lost: at, Gone: at, Cause: event.CausePeerClosed})
	sum.handle(event.ConnectStarted{Header: head, Episode: 2, Trigger: event.TriggerRedial, Lost: 1})
	sum.handle(event.ConnectEnded{Header: head, Episode: 2, Outcome: event.OutcomeAbandoned})
	if got := sum.doesItRedial()[0]; !strings.HasPrefix(got, "Not always: 0 of 1") {
		t.Errorf("the summary says %q", got)
	}
}

// On a terminal the progress line is erased before each line, and lines are coloured.
func TestTerminal(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out)
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
