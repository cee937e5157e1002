// Bench measures what redial costs an RPC on a READY channel, beside its peers and in one run: each round plays every
// candidate, in random order, for a moment, and what counts are the ratios within a round.
//
//	go -C e2e run ./bench
//
// It prints lines that benchstat reads, and then a table for people: medians over the rounds with intervals of 95 %
// confidence (of the median, by the bootstrap). The server is a process of its own.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/stats/opentelemetry"

	"github.com/redial-dev/redial/deploy/demo/echo"
	"github.com/redial-dev/redial/instrument"
)

var (
	rounds = flag.Int("rounds", 15, "how often each candidate is measured")
	moment = flag.Duration("moment", 150*time.Millisecond, "how long each measurement takes")
)

const serverEnv = "REDIAL_BENCH_SERVER"

func main() {
	flag.Parse()
	run := measure
	if os.Getenv(serverEnv) != "" {
		run = serve
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// echoService answers at once.
type echoService struct{ echo.UnimplementedEchoServer }

func (echoService) Say(_ context.Context, req *echo.SayRequest) (*echo.SayResponse, error) {
	return &echo.SayResponse{Text: req.GetText()}, nil
}

// serve is the server's process, until its standard input is closed.
func serve() error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := grpc.NewServer()
	echo.RegisterEchoServer(srv, echoService{})
	fmt.Println(lis.Addr())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte() // Ends with the parent.
		srv.Stop()
	}()
	return srv.Serve(lis)
}

// doNothing is the handler that redial is compared with: any stats.Handler costs gRPC what this one does.
type doNothing struct{}

func (doNothing) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (doNothing) HandleRPC(context.Context, stats.RPCStats)                         {}
func (doNothing) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (doNothing) HandleConn(context.Context, stats.ConnStats)                       {}

// candidate is a way to observe a channel.
type candidate struct {
	name    string
	options func() []grpc.DialOption
}

// base is the candidate that the others are compared with.
const base = "nothing"

func candidates() []candidate {
	tracer := sdktrace.NewTracerProvider() // Spans are made, sampled and dropped.
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	redial := func() grpc.DialOption {
		return instrument.DialOption(instrument.WithTracerProvider(tracer), instrument.WithMeterProvider(meter))
	}
	otel := func() grpc.DialOption {
		return grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(tracer), otelgrpc.WithMeterProvider(meter)))
	}
	return []candidate{
		{"bare", func() []grpc.DialOption { return nil }},
		{base, func() []grpc.DialOption { return []grpc.DialOption{grpc.WithStatsHandler(doNothing{})} }},
		{"redial", func() []grpc.DialOption { return []grpc.DialOption{redial()} }},
		{"otelgrpc", func() []grpc.DialOption { return []grpc.DialOption{otel()} }},
		{"grpc-otel", func() []grpc.DialOption {
			return []grpc.DialOption{opentelemetry.DialOption(opentelemetry.Options{
				MetricsOptions: opentelemetry.MetricsOptions{MeterProvider: meter},
			})}
		}},
		{"redial+otelgrpc", func() []grpc.DialOption { return []grpc.DialOption{redial(), otel()} }},
	}
}

// work is what is measured.
type work struct {
	name    string
	size    int
	callers int
	policy  string
	ways    int // How many subchannels there are.
}

const roundRobin = `{"loadBalancingConfig":[{"round_robin":{}}]}`

var works = []work{
	{"Unary", 10, 1, `{}`, 1},
	{"Unary64KiB", 64 << 10, 1, `{}`, 1},
	{"Unary64Callers", 10, 64, `{}`, 1},
	{"RoundRobin64Callers", 10, 64, roundRobin, 8},
}

// sample is one measurement, of one RPC.
type sample struct{ time, p99, cpu, bytes, allocs float64 }

func measure() error {
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), serverEnv+"=1")
	stdin, err := server.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	var address string
	if _, err := fmt.Fscanln(stdout, &address); err != nil {
		return fmt.Errorf("read the server's address: %w", err)
	}
	fmt.Printf("goos: %s\ngoarch: %s\npkg: github.com/redial-dev/redial/e2e/bench\n", runtime.GOOS, runtime.GOARCH)
	var table strings.Builder
	for _, w := range works {
		results, err := w.measure(address)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		w.tabulate(&table, results)
	}
	fmt.Printf("\n%s", &table)
	if err := stdin.Close(); err != nil {
		return err
	}
	return server.Wait()
}

// measure returns the samples of each candidate, round by round.
func (w work) measure(address string) (map[string][]sample, error) {
	all := candidates()
	clients := map[string]echo.EchoClient{}
	for _, c := range all {
		r := manual.NewBuilderWithScheme("bench")
		var state resolver.State
		for i := range w.ways { // The attribute keeps the ways apart, all to one server.
			a := resolver.Address{Addr: address, ServerName: fmt.Sprint("way", i)}
			state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{a}})
		}
		r.InitialState(state)
		cc, err := grpc.NewClient("bench:///"+c.name, append([]grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(r),
			grpc.WithDefaultServiceConfig(w.policy), grpc.WithIdleTimeout(0),
		}, c.options()...)...)
		if err != nil {
			return nil, err
		}
		defer cc.Close()
		clients[c.name] = echo.NewEchoClient(cc)
		if _, err := w.play(clients[c.name], *moment); err != nil { // To warm up.
			return nil, err
		}
	}
	results := map[string][]sample{}
	for range *rounds {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, c := range all {
			s, err := w.play(clients[c.name], *moment)
			if err != nil {
				return nil, err
			}
			results[c.name] = append(results[c.name], s)
		}
	}
	for _, c := range candidates() {
		for _, s := range results[c.name] {
			fmt.Printf("Benchmark%s/%s-%d\t1\t%.0f ns/op\t%.0f p99-ns/op\t%.0f cpu-ns/op\t%.0f B/op\t%.1f allocs/op\n",
				w.name, c.name, runtime.GOMAXPROCS(0), s.time, s.p99, s.cpu, s.bytes, s.allocs)
		}
	}
	return results, nil
}

// play makes RPCs for a while, from all callers at once.
func (w work) play(client echo.EchoClient, d time.Duration) (sample, error) {
	req := &echo.SayRequest{Text: strings.Repeat("x", w.size)}
	var stop atomic.Bool
	var callers sync.WaitGroup
	took, errs := make([][]float64, w.callers), make([]error, w.callers)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, begin := cpuTime(), time.Now()
	for i := range w.callers {
		callers.Go(func() {
			for !stop.Load() {
				start := time.Now()
				if _, errs[i] = client.Say(context.Background(), req, grpc.WaitForReady(true)); errs[i] != nil {
					return
				}
				took[i] = append(took[i], float64(time.Since(start)))
			}
		})
	}
	time.Sleep(d)
	stop.Store(true)
	callers.Wait()
	elapsed := time.Since(begin)
	cpu = cpuTime() - cpu
	runtime.ReadMemStats(&after)
	for _, err := range errs {
		if err != nil {
			return sample{}, err
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	n := float64(len(all))
	return sample{
		time: float64(elapsed) / n, p99: all[len(all)*99/100], cpu: float64(cpu) / n,
		bytes: float64(after.TotalAlloc-before.TotalAlloc) / n, allocs: float64(after.Mallocs-before.Mallocs) / n,
	}, nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tabulate adds a table of ratios to the base.
func (w work) tabulate(to *strings.Builder, results map[string][]sample) {
	fmt.Fprintf(to, "%s: %d bytes, %d callers, %d subchannels; beside a stats.Handler that does nothing\n\n", w.name, w.size, w.callers, w.ways)
	fmt.Fprintf(to, "| | time | CPU | p99 | B/op | allocs/op |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, c := range candidates() {
		ratio := func(of func(sample) float64) string {
			var ratios []float64
			for i, s := range results[c.name] {
				ratios = append(ratios, of(s)/of(results[base][i]))
			}
			low, mid, high := interval(ratios)
			return fmt.Sprintf("%.2f (%.2f to %.2f)", mid, low, high)
		}
		more := func(of func(sample) float64) string {
			var differences []float64
			for i, s := range results[c.name] {
				differences = append(differences, of(s)-of(results[base][i]))
			}
			_, mid, _ := interval(differences)
			return fmt.Sprintf("%+.0f", mid)
		}
		fmt.Fprintf(to, "| %s | %s | %s | %s | %s | %s |\n", c.name, ratio(func(s sample) float64 { return s.time }),
			ratio(func(s sample) float64 { return s.cpu }), ratio(func(s sample) float64 { return s.p99 }),
			more(func(s sample) float64 { return s.bytes }), more(func(s sample) float64 { return s.allocs }))
	}
	fmt.Fprintln(to)
}

// interval returns the median, and the interval that has it with 95 % confidence, by the bootstrap.
func interval(of []float64) (low, mid, high float64) {
	const resamples = 2000
	medians := make([]float64, resamples)
	for i := range medians {
		again := make([]float64, len(of))
		for j := range again {
			again[j] = of[rand.IntN(len(of))]
		}
		medians[i] = median(again)
	}
	slices.Sort(medians)
	return medians[resamples*25/1000], median(of), medians[resamples*975/1000]
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
