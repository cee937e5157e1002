// Demo replays the experiment that redial began with: a client calls an echo server again and again while the server is
// stopped and started and its connection cut. It tells live what gRPC does about it, and answers at the end whether
// grpc-go redials by itself, and which connection an RPC gets.
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

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/eventlog"
)

// The exit codes.
const (
	exitOK    = 0
	exitFault = 1
	exitUsage = 2
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
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program, and returns its exit code.
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
		err = tellJSON(ctx, s, stdout)
	} else {
		err = tellStory(ctx, s, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "demo: %v\n", err)
		return exitFault
	}
	return exitOK
}

func parse(args []string, stderr io.Writer) (s settings, err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run tells the error, once.
	flags.Usage = func() {}
	flags.IntVar(&s.cycles, "cycles", 2, "how often the server is stopped, its connection cut, and it is restarted; from 1")
	flags.DurationVar(&s.interval, "interval", 200*time.Millisecond, "time between two RPCs of each caller; from 1ms to 2s")
	flags.StringVar(&s.server, "server", "127.0.0.1:0", "address of the echo server, host:port; port 0 stands for any that is free")
	flags.StringVar(&s.listen, "listen", "", "address, host:port, on which /metrics, /healthz and /debug/redial/ are served meanwhile")
	flags.BoolVar(&s.json, "json", false, "print the events, one JSON object a line, and not the story")
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
	case s.cycles < 1:
		return s, fmt.Errorf("-cycles %d: must be 1 or more", s.cycles)
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

// tellStory plays with a narrator, and sums up.
func tellStory(ctx context.Context, s settings, stdout io.Writer) error {
	screen := newScreen(stdout)
	defer screen.close()
	story, sum := newStory(screen), newSummary()
	err := play(ctx, s, event.SinkFunc(func(_ context.Context, e event.Event) {
		story.handle(e)
		sum.handle(e)
	}), tee{story, sum})
	if err != nil {
		return err
	}
	sum.print(screen)
	return nil
}

// tellJSON plays, and writes nothing but the events.
func tellJSON(ctx context.Context, s settings, stdout io.Writer) error {
	out := &checked{w: stdout}
	log := slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})
	return errors.Join(play(ctx, s, eventlog.New(log), tee{}), out.err)
}

// checked keeps the first error of a writer whose users do not look.
type checked struct {
	w   io.Writer
	err error
}

// Write implements [io.Writer].
func (c *checked) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.err == nil {
		c.err = err
	}
	return n, err
}
