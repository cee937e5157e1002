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

// scene is one scenario: a handler whose spans, metrics and events are recorded, and names for the addresses in it.
type scene struct {
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
	unseen int  // How many connections redial is not attached to.
	events []event.Event
	more   chan struct{} // Closed and made anew with each event.
}

// newScene returns a scene in which no goroutine may be left behind, and no fault of redial's own may occur.
func newScene(t *testing.T, opts ...instrument.Option) *scene {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	s := &scene{
		t:       t,
		spans:   tracetest.NewSpanRecorder(),
		metrics: sdkmetric.NewManualReader(),
		names:   map[string]string{},
		more:    make(chan struct{}),
	}
	s.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(s.metrics))
	s.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans))
	s.handler = s.newHandler(opts...)
	s.onFault(func(err error) { t.Errorf("told to otel.Handle: %v", err) })
	return s
}

// onFault sets who is told what goes wrong in redial.
func (s *scene) onFault(tell func(error)) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(tell))
}

func (s *scene) newHandler(opts ...instrument.Option) *instrument.Handler {
	return instrument.NewHandler(append([]instrument.Option{
		instrument.WithTracerProvider(s.tracer),
		instrument.WithMeterProvider(s.meter),
		instrument.WithBackoff(quickBackoff),
		instrument.WithSink(event.SinkFunc(s.record)),
	}, opts...)...)
}

func (s *scene) record(_ context.Context, e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	close(s.more)
	s.more = make(chan struct{})
}

// name makes an address appear under a name.
func (s *scene) name(address, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[address] = name
	return address
}

// await waits until so many events match.
func (s *scene) await(n int, what string, match func(event.Event) bool) {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		found := 0
		for _, e := range s.events {
			if match(e) {
				found++
			}
		}
		more := s.more
		s.mu.Unlock()
		if found >= n {
			return
		}
		select {
		case <-more:
		case <-timeout:
			s.t.Fatalf("waited %v for event %d that is %s; there were:\n%s", patience, n, what, s.story())
		}
	}
}

func (s *scene) story() (text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		text += e.EventHeader().Time.Format("05.000000 ") + e.String() + "\n"
	}
	return text
}

// awaitKind waits for the n-th event of a type.
func awaitKind[E event.Event](s *scene, n int) {
	s.t.Helper()
	var e E
	s.await(n, "a "+typeName(e), func(have event.Event) bool { _, ok := have.(E); return ok })
}

// dial makes an observed channel, insecure unless the options say otherwise.
func (s *scene) dial(target string, opts ...grpc.DialOption) *grpc.ClientConn {
	s.t.Helper()
	return s.dialWith(target, append([]grpc.DialOption{
		insecureOption, s.handler.DialOption(),
	}, opts...)...)
}

func (s *scene) dialWith(target string, opts ...grpc.DialOption) *grpc.ClientConn {
	s.t.Helper()
	cc, err := grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quickBackoff, MinConnectTimeout: 5 * time.Second}),
	}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.keep(cc)
	return cc
}

// keep closes the channel at the scene's end.
func (s *scene) keep(cc *grpc.ClientConn) { s.conns = append(s.conns, cc) }

// closeAll closes the channels and waits until all that was open is told to be over.
func (s *scene) closeAll() {
	s.t.Helper()
	for _, cc := range s.conns {
		if err := cc.Close(); err != nil && status.Code(err) != codes.Canceled {
			s.t.Errorf("close: %v", err)
		}
	}
	s.awaitBalance()
}

// awaitBalance waits until every transport, episode and RPC's wait that began has ended.
func (s *scene) awaitBalance() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if err := s.handler.Drain(ctx); err != nil {
			s.t.Fatalf("the queue was not drained: %v", err)
		}
		s.mu.Lock()
		open := 0
		for _, e := range s.events {
			switch e.(type) {
			case event.TransportReady, event.ConnectStarted, event.AttemptStarted, event.BackoffStarted, event.PickWaitStarted:
				open++
			case event.TransportEnded, event.ConnectEnded, event.AttemptEnded, event.BackoffEnded, event.PickWaitEnded:
				open--
			}
		}
		more := s.more
		s.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			s.t.Fatalf("%d things that began did not end:\n%s", open, s.story())
		}
	}
}

// connect wakes a channel and waits until it is READY.
func (s *scene) connect(cc *grpc.ClientConn) {
	s.t.Helper()
	cc.Connect()
	s.awaitState(cc, connectivity.Ready)
}

// awaitState waits until a channel has a state, and redial told so.
func (s *scene) awaitState(cc *grpc.ClientConn, want connectivity.State) {
	s.t.Helper()
	s.awaitUnobserved(cc, want)
	s.await(1, "the channel's "+want.String(), func(e event.Event) bool {
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
func (s *scene) stream(cc *grpc.ClientConn) (wait func() error) {
	s.t.Helper()
	return s.streamWith(context.Background(), cc)
}

func (s *scene) streamWith(ctx context.Context, cc *grpc.ClientConn) (wait func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	s.t.Cleanup(cancel)
	stream, err := healthpb.NewHealthClient(cc).Watch(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		s.t.Fatalf("stream: %v", err)
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
	scene   *scene
	network string
	address string
	opts    []grpc.ServerOption
	health  *health.Server
	srv     *grpc.Server
	done    chan error
}

// serve starts a server and gives its address a name.
func (s *scene) serve(name string, opts ...grpc.ServerOption) *server {
	s.t.Helper()
	srv := s.serveOn("tcp", "127.0.0.1:0", opts...)
	s.name(srv.address, name)
	return srv
}

func (s *scene) serveOn(network, address string, opts ...grpc.ServerOption) *server {
	s.t.Helper()
	srv := &server{t: s.t, scene: s, network: network, address: address, opts: opts}
	srv.start()
	s.t.Cleanup(srv.stop)
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
	s.scene.abrupt = true
	s.srv.Stop()
	if err := <-s.done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		s.t.Errorf("serve: %v", err)
	}
	s.srv = nil
}

// raw is a listener whose connections are handled by a function, for servers that do not speak gRPC.
func (s *scene) raw(name string, handle func(net.Conn)) (address string) {
	s.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
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
	s.t.Cleanup(func() {
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
			s.t.Error(err)
		}
	})
	return s.name(lis.Addr().String(), name)
}

// freeAddress returns an address on which nobody listens.
func (s *scene) freeAddress(name string) string {
	s.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	address := lis.Addr().String()
	if err := lis.Close(); err != nil {
		s.t.Fatal(err)
	}
	return s.name(address, name)
}

// told returns what happened so far.
func (s *scene) told() []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}
