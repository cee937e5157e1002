// Demo replays the experiment that redial began with: a client calls an echo server again and again while the server is
// stopped and started and its connection cut, first with pick_first, gRPC's default policy, then with round_robin. It
// shows live what gRPC does about it, answers at the end whether grpc-go redials by itself and which connection an
// RPC gets, and draws the spans of one episode.
//
//	go run ./deploy/demo
//
// It needs no network and ends by itself. OpenTelemetry's environment variables point it at a collector
// (OTEL_EXPORTER_OTLP_ENDPOINT), and with -listen it serves what a program with redial's agent serves.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/redial-dev/redial/agent"
)

// The exit codes.
const (
	exitOK          = 0
	exitFault       = 1
	exitUsage       = 2
	exitInterrupted = 130 // As a shell reports a program that SIGINT ended.
)

// settings are the flags.
type settings struct {
	cycles   int
	interval time.Duration
	server   string
	listen   string
	json     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // A second Ctrl-C ends the program at once.
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program, and returns its exit code. A context that is done interrupts it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "demo: %v\nRun it with -help to see what it takes.\n", err)
		return exitUsage
	}
	if s.json {
		err = runJSON(ctx, s, stdout)
	} else {
		err = runNarrated(ctx, s, stdout)
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "demo: interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Fprintf(stderr, "demo: %v\n", err)
		return exitFault
	}
	return exitOK
}

func parse(args []string, stderr io.Writer) (s settings, err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run reports the error, once.
	flags.Usage = func() {}
	flags.IntVar(&s.cycles, "cycles", 1,
		"how many times each policy sees the server stopped, its connection cut, and the server replaced; from 1 to 100")
	flags.DurationVar(&s.interval, "interval", 200*time.Millisecond,
		"time between two RPCs of each caller; from 1ms to 2s")
	flags.StringVar(&s.server, "server", "127.0.0.1:0",
		"address of the echo server, host:port; port 0 stands for any that is free")
	flags.StringVar(&s.listen, "listen", "",
		"address, host:port, on which /metrics, /healthz and /debug/redial/ are served meanwhile")
	flags.BoolVar(&s.json, "json", false, "print the events, one JSON object a line, and nothing else")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stderr, "usage: demo [flags]")
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return s, err
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q: there are only flags", flags.Arg(0))
	case s.cycles < 1 || s.cycles > 100:
		return s, fmt.Errorf("-cycles %d: must be from 1 to 100", s.cycles)
	case s.interval < time.Millisecond || s.interval > 2*time.Second:
		return s, fmt.Errorf("-interval %v: must be from 1ms to 2s", s.interval)
	}
	for name, address := range map[string]string{"-server": s.server, "-listen": s.listen} {
		if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
			return s, fmt.Errorf("%s %q: must be host:port", name, address)
		}
	}
	return s, nil
}

// runNarrated runs the scenario with a narrator, sums up, draws an episode, and ends the agent last: the answer does
// not wait for a collector.
func runNarrated(ctx context.Context, s settings, stdout io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	screen := newScreen(&checked{w: stdout, failed: cancel})
	defer screen.close()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		screen.line(time.Now(), yellow, "redial reports: %v", err)
	}))
	a, err := startAgent(ctx, s)
	if err != nil {
		return err
	}
	narrator, sum, spans := newNarrator(screen), &summary{}, newRecorder()
	screen.text(plain, "Three callers call an echo server, each every %v: quick and slow (the server takes %v to answer) fail "+
		"where there is no connection; wait-for-ready waits for one.", s.interval, 2*s.interval)
	if a.Addr() != nil {
		screen.text(plain, "redial serves http://%v/metrics", a.Addr())
		screen.text(plain, "and http://%v/debug/redial/api/v1/channels", a.Addr())
	}
	err = runScenario(ctx, s, a, observers{narrator, sum}, spans.provider)
	narrator.end()
	if err == nil {
		sum.print(screen)
		spans.print(screen)
	}
	return endAgent(ctx, a, err, func() {
		screen.text(yellow, "\nWaiting up to %v for the collector to accept the last spans and metrics.", shutdownTime)
	})
}

// runJSON runs the scenario, and writes nothing but the events.
func runJSON(ctx context.Context, s settings, stdout io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &checked{w: stdout, failed: cancel}
	log := slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})
	a, err := startAgent(ctx, s, agent.WithLogger(log))
	if err != nil {
		return err
	}
	return endAgent(ctx, a, runScenario(ctx, s, a, observers{}, nil), func() {})
}

func startAgent(ctx context.Context, s settings, opts ...agent.Option) (*agent.Agent, error) {
	return agent.Start(ctx, append(opts, agent.WithListen(s.listen))...)
}

const (
	// shutdownTime is how long the last spans and metrics may take to be delivered.
	shutdownTime = 5 * time.Second
	// noticeable is how long a shutdown may take before the user should know what it waits for.
	noticeable = 300 * time.Millisecond
)

// endAgent shuts the agent down within shutdownTime, or at once where the context is done, and calls slow if that takes
// noticeably long. It returns why the run failed, if it did.
func endAgent(ctx context.Context, a *agent.Agent, failed error, slow func()) error {
	limited, cancel := context.WithTimeout(ctx, shutdownTime)
	defer cancel()
	timer := time.AfterFunc(noticeable, slow)
	defer timer.Stop()
	err := a.Shutdown(limited)
	switch {
	case ctx.Err() != nil: // What cannot be delivered now is not what failed.
		return context.Cause(ctx)
	case err != nil:
		err = fmt.Errorf("the last spans and metrics were not delivered within %v (is the collector of "+
			"OTEL_EXPORTER_OTLP_ENDPOINT up?): %w", shutdownTime, err)
	}
	return errors.Join(failed, err)
}

// checked calls failed with an error of the writer, since those that print do not look.
type checked struct {
	w      io.Writer
	failed context.CancelCauseFunc
}

// Write implements [io.Writer].
func (c *checked) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err != nil {
		err = fmt.Errorf("write the output: %w", err)
		c.failed(err) // The first call counts.
	}
	return n, err
}
