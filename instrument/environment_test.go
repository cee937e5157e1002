package instrument_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

// patience is how long a test waits for what must happen, on a machine that is busy.
const patience = 30 * time.Second

var insecureOption = grpc.WithTransportCredentials(insecure.NewCredentials())

// quickBackoff keeps the tests short: gRPC's own waits a second at least.
var quickBackoff = backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1, MaxDelay: 200 * time.Millisecond}

// environment is one scenario: a handler whose spans, metrics and events are recorded, and names for the addresses in
// it.
type environment struct {
	t       *testing.T
	handler *instrument.Handler
	tracer  *sdktrace.TracerProvider
	spans   *tracetest.SpanRecorder
	metrics *sdkmetric.ManualReader
	meter   *sdkmetric.MeterProvider
	conns   []*grpc.ClientConn

	mu     sync.Mutex
	names  map[string]string
	abrupt bool // A server was stopped.
	anyOne bool // The policy sends RPCs over any one of its transports.
	unseen int  // How many connections redial is not attached to.
	events []event.Event
	more   chan struct{} // Closed and made anew with each event.
}

// newEnvironment returns an environment in which no goroutine may be left behind, and no fault of redial's own may
// occur.
func newEnvironment(t *testing.T, opts ...instrument.Option) *environment {
	t.Helper()
	return newEnvironmentWith(t, func(err error) { t.Errorf("reported to otel.Handle: %v", err) }, opts...)
}

// newEnvironmentWith is newEnvironment with what takes the errors of redial's own.
func newEnvironmentWith(t *testing.T, onFault func(error), opts ...instrument.Option) *environment {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	env := &environment{
		t:       t,
		spans:   tracetest.NewSpanRecorder(),
		metrics: sdkmetric.NewManualReader(),
		names:   map[string]string{},
		more:    make(chan struct{}),
	}
	env.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(env.metrics))
	env.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(env.spans))
	env.onFault(onFault)
	env.handler = env.newHandler(opts...)
	return env
}

// onFault sets what takes the errors of redial's own.
func (env *environment) onFault(handle func(error)) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(handle))
}

func (env *environment) newHandler(opts ...instrument.Option) *instrument.Handler {
	return instrument.NewHandler(append([]instrument.Option{
		instrument.WithTracerProvider(env.tracer),
		instrument.WithMeterProvider(env.meter),
		instrument.WithSink(event.SinkFunc(env.record)),
	}, opts...)...)
}

func (env *environment) record(_ context.Context, e event.Event) {
	env.mu.Lock()
	defer env.mu.Unlock()
	env.events = append(env.events, e)
	close(env.more)
	env.more = make(chan struct{})
}

// name makes an address appear under a name.
func (env *environment) name(address, name string) string {
	env.mu.Lock()
	defer env.mu.Unlock()
	env.names[address] = name
	return address
}

// await waits until so many events match.
func (env *environment) await(n int, what string, match func(event.Event) bool) {
	env.t.Helper()
	timeout := time.After(patience)
	for {
		env.mu.Lock()
		found := 0
		for _, e := range env.events {
			if match(e) {
				found++
			}
		}
		more := env.more
		env.mu.Unlock()
		if found >= n {
			return
		}
		select {
		case <-more:
		case <-timeout:
			env.t.Fatalf("waited %v for event %d that is %s; there were:\n%s", patience, n, what, env.eventText())
		}
	}
}

func (env *environment) eventText() (text string) {
	env.mu.Lock()
	defer env.mu.Unlock()
	for _, e := range env.events {
		text += e.EventHeader().Time.Format("05.000000 ") + e.String() + "\n"
	}
	return text
}

// awaitKind waits for the n-th event of a type.
func awaitKind[E event.Event](env *environment, n int) {
	env.t.Helper()
	var e E
	env.await(n, "a "+typeName(e), func(have event.Event) bool { _, ok := have.(E); return ok })
}

// dial makes an observed channel, insecure unless the options say otherwise.
func (env *environment) dial(target string, opts ...grpc.DialOption) *grpc.ClientConn {
	env.t.Helper()
	return env.dialWith(target, append([]grpc.DialOption{
		insecureOption, env.handler.DialOption(),
	}, opts...)...)
}

func (env *environment) dialWith(target string, opts ...grpc.DialOption) *grpc.ClientConn {
	env.t.Helper()
	cc, err := grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quickBackoff, MinConnectTimeout: 5 * time.Second}),
	}, opts...)...)
	if err != nil {
		env.t.Fatal(err)
	}
	env.keep(cc)
	return cc
}

// keep closes the channel at the end of the test.
func (env *environment) keep(cc *grpc.ClientConn) { env.conns = append(env.conns, cc) }

// closeAll closes the channels and waits until everything that was open has ended.
func (env *environment) closeAll() {
	env.t.Helper()
	for _, cc := range env.conns {
		if err := cc.Close(); err != nil && status.Code(err) != codes.Canceled {
			env.t.Errorf("close: %v", err)
		}
	}
	env.awaitBalance()
}

// awaitBalance waits until every transport, episode and RPC's wait that began has ended.
func (env *environment) awaitBalance() {
	env.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if err := env.handler.Drain(ctx); err != nil {
			env.t.Fatalf("the queue was not drained: %v", err)
		}
		env.mu.Lock()
		open := 0
		for _, e := range env.events {
			switch e.(type) {
			case event.TransportReady, event.ConnectStarted, event.AttemptStarted, event.BackoffStarted, event.PickWaitStarted:
				open++
			case event.TransportEnded, event.ConnectEnded, event.AttemptEnded, event.BackoffEnded, event.PickWaitEnded:
				open--
			}
		}
		more := env.more
		env.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			env.t.Fatalf("%d things that began did not end:\n%s", open, env.eventText())
		}
	}
}

// connect wakes a channel and waits until it is READY.
func (env *environment) connect(cc *grpc.ClientConn) {
	env.t.Helper()
	cc.Connect()
	env.awaitState(cc, connectivity.Ready)
}

// awaitState waits until a channel has a state, and redial reported that.
func (env *environment) awaitState(cc *grpc.ClientConn, want connectivity.State) {
	env.t.Helper()
	env.awaitUnobserved(cc, want)
	env.await(1, "the channel's "+want.String(), func(e event.Event) bool {
		c, ok := e.(event.ChannelState)
		return ok && strings.EqualFold(string(c.To), want.String())
	})
}

// call makes one RPC.
func call(cc *grpc.ClientConn, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return callWith(ctx, cc, opts...)
}

func callWith(ctx context.Context, cc *grpc.ClientConn, opts ...grpc.CallOption) error {
	_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}, opts...)
	return err
}

func mustCall(t *testing.T, cc *grpc.ClientConn, opts ...grpc.CallOption) {
	t.Helper()
	if err := call(cc, opts...); err != nil {
		t.Fatalf("RPC: %v", err)
	}
}

// stream opens a stream that lives until its transport ends, and returns a function that waits for that.
func (env *environment) stream(cc *grpc.ClientConn) (wait func() error) {
	env.t.Helper()
	return env.streamWith(context.Background(), cc)
}

func (env *environment) streamWith(ctx context.Context, cc *grpc.ClientConn) (wait func() error) {
	env.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	env.t.Cleanup(cancel)
	stream, err := healthpb.NewHealthClient(cc).Watch(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		env.t.Fatalf("stream: %v", err)
	}
	return func() error {
		for {
			if _, err := stream.Recv(); err != nil {
				return err
			}
		}
	}
}

// server is a real gRPC server on loopback that can be stopped and started again at the same address.
type server struct {
	t       *testing.T
	env     *environment
	network string
	address string
	opts    []grpc.ServerOption
	health  *health.Server
	srv     *grpc.Server
	done    chan error
}

// serve starts a server and gives its address a name.
func (env *environment) serve(name string, opts ...grpc.ServerOption) *server {
	env.t.Helper()
	srv := env.serveOn("tcp", "127.0.0.1:0", opts...)
	env.name(srv.address, name)
	return srv
}

func (env *environment) serveOn(network, address string, opts ...grpc.ServerOption) *server {
	env.t.Helper()
	srv := &server{t: env.t, env: env, network: network, address: address, opts: opts}
	srv.start()
	env.t.Cleanup(srv.stop)
	return srv
}

func (s *server) start() {
	s.t.Helper()
	lis, err := net.Listen(s.network, s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = lis.Addr().String()
	s.srv, s.health, s.done = grpc.NewServer(s.opts...), health.NewServer(), make(chan error, 1)
	healthpb.RegisterHealthServer(s.srv, s.health)
	go func() { s.done <- s.srv.Serve(lis) }()
}

// stop closes the listener and all connections at once. If the server did not read yet what gRPC had sent last, the
// kernel answers with RST and not with FIN.
func (s *server) stop() {
	if s.srv == nil {
		return
	}
	s.env.abrupt = true
	s.srv.Stop()
	if err := <-s.done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		s.t.Errorf("serve: %v", err)
	}
	s.srv = nil
}

// raw is a listener whose connections are handled by a function, for servers that do not speak gRPC.
func (env *environment) raw(name string, handle func(net.Conn)) (address string) {
	env.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		env.t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	all.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			all.Go(func() { handle(c) })
		}
	})
	env.t.Cleanup(func() {
		errs := []error{lis.Close()}
		mu.Lock()
		for _, c := range conns {
			if err := c.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
		mu.Unlock()
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			env.t.Error(err)
		}
	})
	return env.name(lis.Addr().String(), name)
}

// freeAddress returns an address on which nobody listens.
func (env *environment) freeAddress(name string) string {
	env.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		env.t.Fatal(err)
	}
	address := lis.Addr().String()
	if err := lis.Close(); err != nil {
		env.t.Fatal(err)
	}
	return env.name(address, name)
}

// recorded returns what happened so far.
func (env *environment) recorded() []event.Event {
	env.mu.Lock()
	defer env.mu.Unlock()
	return slices.Clone(env.events)
}
