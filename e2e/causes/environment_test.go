// Package causes produces each cause of a teardown and each failure of an attempt for real, and writes the traces that
// docs/causes.md shows: go test ./causes -update. It runs in a network namespace of its own.
package causes

import (
	"context"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

const (
	testTimeout = 2 * time.Minute
	// roleEnv says what a process of this test binary is: "" is what the user started, then in a namespace of its own.
	roleEnv    = "REDIAL_CAUSES_ROLE"
	roleClient = "client"
	roleServer = "server" // Of gRPC, at the address in its argument.
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case roleServer:
		if err := serveForever(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case roleClient:
		flag.Parse()
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(discard{}, discard{}, discard{}))
		if err := ip("link", "set", "lo", "up"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		code := m.Run()
		if code == 0 && flag.Lookup("test.run").Value.String() == "" {
			if err := everyValue(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
		os.Exit(code)
	default:
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), roleEnv+"="+roleClient)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = newNamespace()
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "in a network namespace of its own:", err)
			os.Exit(1)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// newNamespace makes a process start in a network namespace of its own, as its root.
func newNamespace() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if id := os.Getuid(); id != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// ip runs the ip command of iproute2.
func ip(args ...string) error { return command("ip", args...) }

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func serveForever(address string) error {
	lis, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(lis.Addr())
	srv := grpc.NewServer()
	healthpb.RegisterHealthServer(srv, health.NewServer())
	return srv.Serve(lis)
}

// process is a gRPC server in a process of its own.
type process struct {
	cmd     *exec.Cmd
	address string
}

// spawn starts one, in another network namespace if attr says so.
func spawn(t *testing.T, address string, attr *syscall.SysProcAttr) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], address)}
	p.cmd.Env = append(os.Environ(), roleEnv+"="+roleServer)
	p.cmd.SysProcAttr = attr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill(t) })
	if _, err := fmt.Fscanln(out, &p.address); err != nil {
		t.Fatal(err)
	}
	return p
}

// kill sends SIGKILL, and waits for the end.
func (p *process) kill(t *testing.T) {
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = p.cmd.Wait() // It was killed.
}

// environment is a handler whose spans and events are recorded.
type environment struct {
	t       *testing.T
	tracer  *sdktrace.TracerProvider
	spans   *tracetest.SpanRecorder
	handler *instrument.Handler

	mu     sync.Mutex
	events []event.Event
	more   chan struct{}

	// up is closed when the first transport is READY. A server that ends the connection sooner is a case of its own: gRPC
	// reports nothing of why then.
	up     chan struct{}
	wentUp sync.Once
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	env := &environment{t: t, spans: tracetest.NewSpanRecorder(), more: make(chan struct{}), up: make(chan struct{})}
	env.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(env.spans))
	env.handler = instrument.NewHandler(
		instrument.WithTracerProvider(env.tracer), instrument.WithSink(event.SinkFunc(env.record)))
	return env
}

func (env *environment) record(_ context.Context, e event.Event) {
	switch e := e.(type) {
	case event.TransportReady:
		env.wentUp.Do(func() { close(env.up) })
	case event.TransportEnded:
		recordCause(e.Cause)
	case event.AttemptEnded:
		recordType(e.ErrorType)
	case event.PhaseEnded:
		recordType(e.ErrorType)
	case event.Resolved:
		recordType(e.ErrorType)
	}
	env.mu.Lock()
	defer env.mu.Unlock()
	env.events = append(env.events, e)
	close(env.more)
	env.more = make(chan struct{})
}

// await waits for the first event of a type that matches.
func await[E event.Event](env *environment, match func(E) bool) E {
	env.t.Helper()
	timeout := time.After(testTimeout)
	for {
		env.mu.Lock()
		for _, e := range env.events {
			if e, ok := e.(E); ok && match(e) {
				env.mu.Unlock()
				return e
			}
		}
		more := env.more
		env.mu.Unlock()
		select {
		case <-more:
		case <-timeout:
			env.mu.Lock()
			defer env.mu.Unlock()
			for _, e := range env.events {
				env.t.Log(e)
			}
			var e E
			env.t.Fatalf("waited %v for a %T", testTimeout, e)
		}
	}
}

// recorded returns what happened so far.
func (env *environment) recorded() []event.Event {
	env.mu.Lock()
	defer env.mu.Unlock()
	return slices.Clone(env.events)
}

func (env *environment) lost() event.TransportEnded {
	env.t.Helper()
	return await(env, func(event.TransportEnded) bool { return true })
}

func (env *environment) failed() event.AttemptEnded {
	env.t.Helper()
	return await(env, func(e event.AttemptEnded) bool { return e.Outcome == event.OutcomeFailed })
}

// dial makes an observed channel and wakes it.
func (env *environment) dial(target string, opts ...grpc.DialOption) *grpc.ClientConn {
	env.t.Helper()
	cc := env.client(target, opts...)
	cc.Connect()
	return cc
}

// client makes an observed channel.
func (env *environment) client(target string, opts ...grpc.DialOption) *grpc.ClientConn {
	env.t.Helper()
	slow := backoff.Config{BaseDelay: time.Minute, Multiplier: 1, MaxDelay: time.Minute}
	cc, err := grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), env.handler.DialOption(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: slow, MinConnectTimeout: 5 * time.Second}),
	}, opts...)...)
	if err != nil {
		env.t.Fatal(err)
	}
	env.t.Cleanup(func() { _ = cc.Close() }) // It may be closed already.
	return cc
}

func (env *environment) ready() event.TransportReady {
	env.t.Helper()
	return await(env, func(event.TransportReady) bool { return true })
}

// usable waits until RPCs of the channel wait for nothing.
func (env *environment) usable() {
	env.t.Helper()
	await(env, func(e event.ChannelState) bool { return e.To == event.StateReady })
}

// rpc makes one below a span of its own, in the background. It is answered once, and goes on.
func (env *environment) rpc(cc *grpc.ClientConn) (answered <-chan struct{}, wait func()) {
	return env.rpcFor(testTimeout, cc)
}

// rpcFor is rpc with a deadline.
func (env *environment) rpcFor(deadline time.Duration, cc *grpc.ClientConn) (answered <-chan struct{}, wait func()) {
	first, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		ctx, span := env.tracer.Tracer("app").Start(ctx, "rpc")
		defer span.End()
		stream, err := healthpb.NewHealthClient(cc).Watch(ctx, &healthpb.HealthCheckRequest{})
		for answers := 0; err == nil; answers++ {
			if answers == 1 {
				close(first)
			}
			_, err = stream.Recv()
		}
		span.SetStatus(codes.Error, err.Error())
	}()
	return first, func() { <-done }
}

// traces closes the channel and the handler, and draws its spans: one trace after the other, each as a tree.
func (env *environment) traces(cc *grpc.ClientConn) string {
	env.t.Helper()
	if err := cc.Close(); err != nil {
		env.t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := env.handler.Shutdown(ctx); err != nil {
		env.t.Error(err)
	}
	all := env.spans.Ended()
	slices.SortStableFunc(all, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	var text strings.Builder
	for _, span := range all {
		if !span.Parent().IsValid() && (span.Name() != "grpc.resolve" || matters(span)) {
			draw(&text, all, span, "")
		}
	}
	return text.String()
}

// matters reports whether a name resolution failed or kept somebody waiting.
func matters(resolve sdktrace.ReadOnlySpan) bool {
	return resolve.Status().Code == codes.Error || resolve.EndTime().Sub(resolve.StartTime()) >= held
}

func draw(text *strings.Builder, all []sdktrace.ReadOnlySpan, span sdktrace.ReadOnlySpan, indent string) {
	fmt.Fprintf(text, "%s%s %s", indent, span.Name(), rounded(span.EndTime().Sub(span.StartTime())))
	for _, link := range span.Links() {
		fmt.Fprintf(text, " -> %s", nameOf(all, link.SpanContext))
	}
	drawAttributes(text, span.Attributes())
	if st := span.Status(); st.Description != "" {
		fmt.Fprintf(text, " ERROR %q", nameServer.ReplaceAllString(st.Description, "on 127.0.0.1:53:"))
	}
	fmt.Fprintln(text)
	for _, e := range span.Events() {
		fmt.Fprintf(text, "%s  ! %s", indent, e.Name)
		drawAttributes(text, e.Attributes)
		fmt.Fprintln(text)
	}
	for _, child := range all {
		if child.Parent().SpanID() == span.SpanContext().SpanID() {
			draw(text, all, child, indent+"  ")
		}
	}
}

// drawAttributes draws those that are shown, and times to the millisecond.
func drawAttributes(text *strings.Builder, all []attribute.KeyValue) {
	for _, kv := range all {
		value := kv.Value.String()
		if kv.Value.Type() == attribute.FLOAT64 {
			value = strconv.FormatFloat(math.Round(kv.Value.AsFloat64()*1000)/1000, 'f', -1, 64)
		}
		if slices.Contains(shown, string(kv.Key)) {
			fmt.Fprintf(text, " %s=%s", strings.TrimPrefix(string(kv.Key), "redial."), value)
		}
	}
}

// nameServer is the one that the host is set up for. The standard library names it, whichever it asks.
var nameServer = regexp.MustCompile(`on \S+:53:`)

// shown are the attributes that answer the question.
var shown = []string{
	"redial.trigger", "redial.wait.reason", "redial.outcome", "redial.phase", "error.type", "redial.teardown.cause",
	"grpc.disconnect_error", "http2.error_code", "redial.goaway.debug_data", "redial.rpcs.in_flight",
	"redial.rpcs.interrupted", "redial.tcp.state", "redial.tcp.idle", "redial.tcp.unacked", "redial.tcp.retransmits",
	"redial.attempt.number", "tls.server.not_after",
	"redial.path", "redial.tcp.ack_idle", "redial.tcp.timeouts", "redial.transport.stalled_duration",
}

func nameOf(all []sdktrace.ReadOnlySpan, sc trace.SpanContext) string {
	for _, s := range all {
		if s.SpanContext().SpanID() == sc.SpanID() {
			return s.Name()
		}
	}
	return "?"
}

func rounded(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond} {
		if d >= unit {
			return d.Round(unit / 10).String()
		}
	}
	return "<1ms"
}

// server is a gRPC server in this process.
func server(t *testing.T, opts ...grpc.ServerOption) *loopback.Server {
	t.Helper()
	srv := loopback.Serve(t, "127.0.0.1:0", opts...)
	t.Cleanup(srv.Halt)
	return srv
}

// network is a veth pair to a server in another namespace.
type network struct {
	server *process
	pid    string
	// subnet, host and device are those of the server's side.
	subnet, host, device string
}

var veths struct {
	sync.Mutex
	n int
}

// vethServer starts a server behind a veth pair.
func vethServer(t *testing.T) *network {
	t.Helper()
	veths.Lock()
	veths.n++
	n := veths.n
	veths.Unlock()
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	w := &network{server: spawn(t, "0.0.0.0:0", attr)}
	w.pid = strconv.Itoa(w.server.cmd.Process.Pid)
	here, there := fmt.Sprintf("here%d", n), fmt.Sprintf("there%d", n)
	_, port, err := net.SplitHostPort(w.server.address)
	if err != nil {
		t.Fatal(err)
	}
	w.subnet, w.host, w.device = fmt.Sprintf("192.168.%d.0/24", n), fmt.Sprintf("192.168.%d.2", n), there
	w.server.address = net.JoinHostPort(w.host, port)
	for _, err := range []error{
		ip("link", "add", here, "type", "veth", "peer", "name", there),
		ip("link", "set", there, "netns", w.pid),
		ip("addr", "add", fmt.Sprintf("192.168.%d.1/24", n), "dev", here),
		ip("link", "set", here, "up"),
		w.there("link", "set", "lo", "up"),
		w.there("addr", "add", w.host+"/24", "dev", there),
		w.there("link", "set", there, "up"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// The first packets may be lost, and a connection whose SYN was sent again has longer timeouts.
	first, err := net.Dial("tcp", w.server.address)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

// there runs ip at the server's side.
func (w *network) there(args ...string) error {
	return command("nsenter", append([]string{"--net=/proc/" + w.pid + "/ns/net", "ip"}, args...)...)
}

// cut makes everything that comes to the server's side vanish without a word, as a NAT does that forgot a flow. What
// the server's side sends still arrives.
func (w *network) cut(t *testing.T) {
	t.Helper()
	if err := w.there("route", "flush", "table", "local"); err != nil {
		t.Fatal(err)
	}
}

// cutBoth cuts what the server's side sends, too.
func (w *network) cutBoth(t *testing.T) {
	t.Helper()
	w.cut(t)
	if err := w.there("route", "flush", "table", "main"); err != nil {
		t.Fatal(err)
	}
}

// restore makes a path whole again that was cut.
func (w *network) restore(t *testing.T) {
	t.Helper()
	for _, route := range [][]string{
		{"local", w.host, "table", "local"}, {w.subnet},
	} {
		if err := w.there(append(append([]string{"route", "replace"}, route...), "dev", w.device)...); err != nil {
			t.Fatal(err)
		}
	}
}
