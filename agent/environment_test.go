package agent_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/redial-dev/redial/agent"
)

// patience is how long a test waits for what must happen, on a machine that is busy.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts an agent that the test shuts down, with nothing of the machine's environment.
func start(t *testing.T, opts ...agent.Option) *agent.Agent {
	t.Helper()
	a, err := agent.Start(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, a) })
	return a
}

func shutdown(t *testing.T, a *agent.Agent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// reports collects what otel.Handle is given during a test.
type reports struct {
	mu   sync.Mutex
	errs []error
}

func newReports(t *testing.T) *reports {
	t.Helper()
	r := &reports{}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.errs = append(r.errs, err)
	}))
	t.Cleanup(func() { otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) })
	return r
}

func (r *reports) all() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.errs)
}

// own are those of redial. The SDK reports an export that Shutdown cut off.
func (r *reports) own() []error {
	return slices.DeleteFunc(r.all(), func(err error) bool { return !strings.HasPrefix(err.Error(), "redial") })
}

// backend is a gRPC server on loopback.
func backend(t *testing.T, opts ...grpc.ServerOption) (address string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, done := grpc.NewServer(opts...), make(chan error, 1)
	healthpb.RegisterHealthServer(srv, health.NewServer())
	go func() { done <- srv.Serve(lis) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return lis.Addr().String()
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lis.Close(); err != nil {
			t.Error(err)
		}
	}()
	return lis.Addr().String()
}

func dial(t *testing.T, a *agent.Agent, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	secure := grpc.WithTransportCredentials(insecure.NewCredentials())
	cc, err := a.NewClient(target, append([]grpc.DialOption{secure}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

// session makes a channel, an RPC, and closes the channel.
func session(t *testing.T, a *agent.Agent, target string) {
	t.Helper()
	cc := dial(t, a, target)
	call(t, cc)
	if err := cc.Close(); err != nil {
		t.Error(err)
	}
}

func call(t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Errorf("RPC: %v", err)
	}
}

// failOnce makes a channel that fails to connect, and closes it.
func failOnce(t *testing.T, a *agent.Agent, target string) {
	t.Helper()
	cc := dial(t, a, target)
	cc.Connect()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for s := cc.GetState(); s != connectivity.TransientFailure; s = cc.GetState() {
		if !cc.WaitForStateChange(ctx, s) {
			t.Fatalf("the channel stays %v", s)
		}
	}
	if err := cc.Close(); err != nil {
		t.Error(err)
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// get asks a handler for a path.
func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "localhost"
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// metric returns the lines of /metrics that begin so.
func metric(a *agent.Agent, prefix string) (lines []string) {
	for line := range strings.Lines(get(a.Handler(), "/metrics").Body.String()) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// collector is an OTLP collector, over HTTP and gRPC at the same port, that behaves as a test wants.
type collector struct {
	coltrace.UnimplementedTraceServiceServer
	address string
	// answer is what it does with a request: nil stands for accepting it.
	answer atomic.Pointer[func(http.ResponseWriter, *http.Request)]

	mu    sync.Mutex
	spans []string     // Their names.
	paths []string     // Of the posts over HTTP/1.
	raw   bytes.Buffer // All that was sent, headers too.

	stop chan struct{} // Closed at the end, for answers that never come.
	done chan error
	http *http.Server
	grpc *grpc.Server // Serves what HTTP/2 brings.
}

// collect starts a collector at an address, and returns when it listens.
func collect(t *testing.T, address string) *collector {
	t.Helper()
	lis, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{
		address: lis.Addr().String(), stop: make(chan struct{}), done: make(chan error, 1), grpc: grpc.NewServer(),
	}
	coltrace.RegisterTraceServiceServer(c.grpc, c)
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	c.http = &http.Server{Handler: c, Protocols: &both}
	go func() { c.done <- c.http.Serve(lis) }()
	t.Cleanup(func() {
		close(c.stop)
		if err := c.http.Close(); err != nil {
			t.Error(err)
		}
		if err := <-c.done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		c.grpc.Stop()
	})
	return c
}

func (c *collector) behave(f func(http.ResponseWriter, *http.Request)) { c.answer.Store(&f) }

// ServeHTTP implements [http.Handler].
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if answer := c.answer.Load(); answer != nil {
		(*answer)(w, r)
		return
	}
	c.mu.Lock()
	for k, vs := range r.Header {
		c.raw.WriteString(k + ": " + strings.Join(vs, ",") + "\n")
	}
	c.mu.Unlock()
	if r.ProtoMajor == 2 {
		c.grpc.ServeHTTP(w, r)
		return
	}
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	b, err := io.ReadAll(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.raw.Write(b)
	c.paths = append(c.paths, r.URL.Path)
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-protobuf")
	if r.URL.Path != "/v1/traces" {
		return
	}
	var req coltrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(b, &req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.take(&req)
}

// Export implements [coltrace.TraceServiceServer].
func (c *collector) Export(
	_ context.Context, req *coltrace.ExportTraceServiceRequest,
) (*coltrace.ExportTraceServiceResponse, error) {
	c.take(req)
	return &coltrace.ExportTraceServiceResponse{}, nil
}

func (c *collector) take(req *coltrace.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		for _, s := range r.GetScopeSpans() {
			for _, span := range s.GetSpans() {
				c.spans = append(c.spans, span.GetName())
			}
		}
	}
}

// posted returns the paths of the posts, each once.
func (c *collector) posted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(c.paths)))
}

// count returns how many spans of a name were received.
func (c *collector) count(name string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, have := range c.spans {
		if have == name {
			n++
		}
	}
	return n
}
