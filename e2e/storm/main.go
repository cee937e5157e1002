// Storm lets thousands of subchannels flap, and reports what redial takes: of time, where its hooks hold gRPC, and of
// memory, goroutines, spans and time series.
//
//	go -C e2e run ./storm
//
// Some are real channels, to a server in a process of its own that cuts their connections; the others are driven: their
// callbacks are called as gRPC calls them, and nothing is connected. All sinks are there: the agent, with an SDK that
// makes spans and drops them, Prometheus and the journal.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	noopmetric "go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/e2e/internal/child"
	"github.com/redial-dev/redial/e2e/internal/cpu"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

var (
	length      = flag.Duration("for", time.Minute, "how long the storm lasts")
	every       = flag.Duration("every", 10*time.Second, "the time between two lines of the report meanwhile")
	realOnes    = flag.Int("channels", 1000, "how many real channels there are")
	subchannels = flag.Int("subchannels", 10_000, "how many subchannels there are, the real ones among them")
	life        = flag.Duration("life", 5*time.Second, "how long a connection lasts on average")
)

// perChannel is how many subchannels a driven channel has.
const perChannel = 8

func main() {
	flag.Parse()
	run := storm
	if child.Is() {
		run = func() error { return child.Serve(func(l net.Listener) net.Listener { return shortLived{l} }) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

// environment is the agent and what counts beside it.
type environment struct {
	agent  *agent.Agent
	clock  clock
	events atomic.Int64
	spans  spanCount
}

// spanCount is an exporter that counts.
type spanCount struct{ n atomic.Int64 }

func (s *spanCount) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	s.n.Add(int64(len(spans)))
	return nil
}

func (s *spanCount) Shutdown(context.Context) error { return nil }

func newEnvironment() (*environment, error) {
	s := &environment{clock: newClock(hooks...)}
	count := event.SinkFunc(func(context.Context, event.Event) { s.events.Add(1) })
	var err error
	s.agent, err = agent.Start(context.Background(), agent.WithInstrument(instrument.WithSink(count)),
		agent.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithBatcher(&s.spans))))
	return s, err
}

func storm() error {
	if *length <= 0 || *every <= 0 || *life <= 0 {
		return fmt.Errorf("-for %v -every %v -life %v: want more than zero of each", *length, *every, *life)
	}
	if *realOnes < 0 || *subchannels < *realOnes {
		return fmt.Errorf("-channels %d -subchannels %d: want zero or more, and no fewer subchannels", *realOnes, *subchannels)
	}
	fmt.Printf("%s, %s/%s, %d CPUs\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	if err := throughput(); err != nil {
		return err
	}
	if err := memory(); err != nil {
		return err
	}
	s, err := newEnvironment()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *length)
	defer cancel()
	before := liveHeap()
	wait, err := s.begin(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	fmt.Println("| time | heap | goroutines of redial | file descriptors | events | dropped | spans | suppressed | series |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for ctx.Err() == nil {
		select {
		case <-time.After(*every):
			s.report(time.Since(start))
		case <-ctx.Done():
		}
	}
	wait()
	s.report(time.Since(start))
	fmt.Printf("\n%s\n", s.clock)
	journal := s.agent.JournalStats()
	fmt.Printf("The journal wrote %d events and keeps %.1f MiB, of %.1f at most.\n",
		journal.Written, mib(journal.Bytes), mib(journal.Size)*1.25)
	time.Sleep(2 * time.Second) // The record of a transport may take a second to end.
	fmt.Printf("Live heap before: %.1f MiB; after all is closed: %.1f MiB, the journal and the time series included.\n",
		mib(before), mib(liveHeap()))
	return s.agent.Shutdown(context.Background())
}

// handler returns what gRPC calls.
func (s *environment) handler() handler { return s.agent.StatsHandler().(handler) }

// begin lets it storm until the context is done.
func (s *environment) begin(ctx context.Context) (wait func(), err error) {
	address, stop, err := child.Start()
	if err != nil {
		return nil, err
	}
	var flapping sync.WaitGroup
	var closers []func()
	for i := range (*subchannels - *realOnes) / perChannel {
		all, done, err := drive(s.handler(), s.clock, fmt.Sprint("driven:///", i), perChannel)
		if err != nil {
			return nil, err
		}
		closers = append(closers, done)
		for _, d := range all {
			flapping.Go(func() {
				rest(ctx, *life)
				for ctx.Err() == nil {
					d.flap(func() { rest(ctx, *life) })
				}
			})
		}
	}
	called, err := channels(ctx, *realOnes, address, &timed{s.handler(), s.clock})
	return func() {
		flapping.Wait()
		for _, done := range closers {
			done()
		}
		called()
		if err := stop(); err != nil {
			fmt.Fprintln(os.Stderr, "storm: the server:", err)
		}
	}, err
}

// report prints a line of the table.
func (s *environment) report(since time.Duration) {
	scraped := s.scrape()
	fmt.Printf("| %v | %.1f MiB | %d | %d | %d | %.0f | %d | %.0f | %d |\n",
		since.Round(time.Second), mib(lastLiveHeap()), goroutines(),
		descriptors(), s.events.Load(), scraped.sum("redial_events_dropped_total"), s.spans.n.Load(),
		scraped.sum("redial_spans_suppressed_total"), scraped.series())
}

// throughput measures what an event costs with all sinks, as fast as they take them.
func throughput() error {
	s, err := newEnvironment()
	if err != nil {
		return err
	}
	const flaps = 20_000
	all, _, err := drive(s.handler(), s.clock, "driven:///throughput", 1)
	if err != nil {
		return err
	}
	begin := cpu.Time()
	for i := range int64(flaps) {
		all[0].flap(func() {})
		for s.events.Load() < (i-400)*eventsPerFlap { // So that the queue is never full.
			runtime.Gosched()
		}
	}
	if err := s.agent.Shutdown(context.Background()); err != nil {
		return err
	}
	spent, n := cpu.Time()-begin, s.events.Load()
	if n < flaps*eventsPerFlap {
		return fmt.Errorf("%d events of %d flaps, want %d of each", n, flaps, eventsPerFlap)
	}
	fmt.Printf("Throughput with all sinks: %.0f events a second and core (%v of CPU each, the driver's own included)\n\n",
		float64(n)/spent.Seconds(), (spent / time.Duration(n)).Round(time.Nanosecond))
	fmt.Printf("%s\n", s.clock)
	return nil
}

// memory measures what a subchannel takes that is READY and quiet, and one that was lost and connects again, without
// the open spans, which are the SDK's.
func memory() error {
	const channels = 1000
	var quiet, flapping [2]float64 // Without redial and with it.
	for i := range quiet {
		h := instrument.NewHandler(instrument.WithTracerProvider(nooptrace.NewTracerProvider()),
			instrument.WithMeterProvider(noopmetric.NewMeterProvider()))
		if i == 0 { // What is shut down wraps nothing: what remains is the driver's own.
			if err := h.Shutdown(context.Background()); err != nil {
				return err
			}
		}
		before, clock := liveHeap(), newClock(hooks...)
		var all []*driven
		for n := range channels {
			more, _, err := drive(h.StatsHandler().(handler), clock, fmt.Sprint("driven:///", n), perChannel)
			if err != nil {
				return err
			}
			all = append(all, more...)
		}
		for _, d := range all {
			d.connect()
		}
		quiet[i] = float64(liveHeap()-before) / float64(len(all))
		for _, d := range all {
			d.lose()
			d.connecting()
		}
		flapping[i] = float64(liveHeap()-before) / float64(len(all))
		if err := h.Shutdown(context.Background()); err != nil {
			return err
		}
		runtime.KeepAlive(all)
	}
	fmt.Printf("Memory of a driven subchannel (%d of them in a channel): %.0f bytes while it is READY and quiet, "+
		"%.0f just after it was lost.\n\n",
		perChannel, quiet[1]-quiet[0], flapping[1]-flapping[0])
	return nil
}

func mib[N int | uint64](bytes N) float64 { return float64(bytes) / (1 << 20) }

// liveHeap returns what is reachable now.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC() // The first leaves what was in a sync.Pool.
	return lastLiveHeap()
}

// lastLiveHeap returns what the last garbage collection found reachable.
func lastLiveHeap() uint64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}

// goroutines counts those that redial started.
func goroutines() (n int) {
	records := make([]runtime.StackRecord, 2*runtime.NumGoroutine())
	have, _ := runtime.GoroutineProfile(records)
	for _, r := range records[:have] {
		stack := r.Stack()
		last, _ := runtime.CallersFrames(stack[max(0, len(stack)-2):]).Next() // Below is the runtime's own goexit.
		if strings.Contains(last.Function, "redial/instrument") || strings.Contains(last.Function, "redial/agent") {
			n++
		}
	}
	return n
}

// descriptors counts the open ones.
func descriptors() int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(open)
}

// exposition is what Prometheus would read.
type exposition []string

func (s *environment) scrape() exposition {
	answer := httptest.NewRecorder()
	s.agent.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	return strings.Split(answer.Body.String(), "\n")
}

// sum adds up the values of a metric.
func (e exposition) sum(name string) (total float64) {
	for _, line := range e {
		if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err == nil {
				total += value
			}
		}
	}
	return total
}

// series counts the time series of redial's own, a histogram as one.
func (e exposition) series() (n int) {
	for _, line := range e {
		name, _, _ := strings.Cut(line, "{")
		if strings.HasPrefix(name, "redial_") && !strings.HasSuffix(name, "_bucket") && !strings.HasSuffix(name, "_sum") {
			n++
		}
	}
	return n
}
