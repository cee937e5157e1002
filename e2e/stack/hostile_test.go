package stack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/selfsigned"
)

// tally counts something of each target.
type tally map[string]map[string]int

func (t tally) add(target, what string, n int) {
	if t[target] == nil {
		t[target] = map[string]int{}
	}
	t[target][what] += n
}

// within reports whether another tally has the same of some targets.
func (t tally) within(test *testing.T, other tally, targets map[string]int) bool {
	for target := range targets {
		for what, want := range t[target] {
			if have := other[target][what]; have != want {
				test.Logf("%s: %d of %d of %s are there", target, have, want, what)
				return false
			}
		}
	}
	return true
}

// witness counts what redial observes, as the spans and the histograms that it makes of it.
type witness struct {
	mu             sync.Mutex
	spans, metrics tally
}

// Handle implements [event.Sink].
func (w *witness) Handle(_ context.Context, e event.Event) {
	span, metric := "", ""
	switch e := e.(type) {
	case event.ConnectEnded:
		span, metric = "grpc.connect", "redial.connect.duration"
	case event.AttemptEnded:
		span, metric = "grpc.connect.attempt", "redial.attempt.duration"
	case event.PhaseEnded:
		span, metric = "grpc.connect."+string(e.Phase), "redial.phase.duration"
	case event.BackoffEnded:
		span, metric = "grpc.connect.backoff", "redial.backoff.duration"
	case event.TransportEnded:
		span = "grpc.transport"
		if e.Outcome != event.OutcomeInterrupted { // Else it was closed a moment before, and its end not seen yet.
			metric = "redial.transport.duration"
		}
	case event.PickWaitEnded:
		span, metric = "grpc.pick.wait", "redial.pick.wait.duration"
	default:
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	target := e.EventHeader().Target
	w.spans.add(target, span, 1)
	if metric != "" {
		w.metrics.add(target, metric, 1)
	}
}

// spansByTarget counts the collector's spans of channels.
func (c collector) spansByTarget(t *testing.T) tally {
	t.Helper()
	have := tally{}
	for _, s := range c.spans(t) {
		if s.Name != "grpc.resolve" {
			have.add(s.attribute("grpc.target"), s.Name, 1)
		}
	}
	return have
}

// point is what the test reads of one of a histogram or counter.
type point struct {
	attributes
	Count string `json:"count"` // Of a histogram.
	Int   string `json:"asInt"` // Of a counter.
}

// newestMetrics returns the sums of the newest export that the collector has, by target and instrument. Points without
// a target have the target "".
func (c collector) newestMetrics(t *testing.T) tally {
	t.Helper()
	newest := []byte("{}")
	lines(t, c.metrics, func(line []byte) { newest = line })
	var batch struct {
		ResourceMetrics []struct {
			ScopeMetrics []struct {
				Metrics []struct {
					Name           string `json:"name"`
					Histogram, Sum struct {
						DataPoints []point `json:"dataPoints"`
					}
				} `json:"metrics"`
			} `json:"scopeMetrics"`
		} `json:"resourceMetrics"`
	}
	if err := json.Unmarshal(newest, &batch); err != nil {
		t.Fatal(err)
	}
	have := tally{}
	for _, r := range batch.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				for _, p := range append(m.Histogram.DataPoints, m.Sum.DataPoints...) {
					if n, err := strconv.Atoi(p.Count + p.Int); err == nil { // Not a sum of floats.
						have.add(p.attribute("grpc.target"), m.Name, n)
					}
				}
			}
		}
	}
	return have
}

// healthy are channels whose servers stop and come back, each with one RPC after the other.
type healthy struct {
	agent *agent.Agent
	rpcs  map[string]int // That were answered, by target.
}

const healthyChannels = 5

// play makes outages of each channel until the neighbours are done, and three at least.
func (h *healthy) play(t *testing.T, done <-chan struct{}) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	for i := range healthyChannels {
		all.Go(func() {
			// Connections that others make on loopback come from 127.0.0.1: none takes the port while the server is away.
			srv := loopback.Serve(t, fmt.Sprintf("127.0.0.%d:0", 71+i))
			cc, err := h.agent.NewClient(srv.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Error(err)
				return
			}
			answered := 0
			for over := false; !over || answered < 3; answered++ {
				if err := call(cc); err != nil {
					t.Error(err)
					break
				}
				srv.Halt()
				if err := becomesIdle(cc); err != nil {
					t.Error(err)
					break
				}
				srv = loopback.Serve(t, srv.Address)
				select {
				case <-done:
					over = true
				default:
				}
			}
			srv.Halt()
			if err := cc.Close(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			h.rpcs["dns:///"+srv.Address] = answered
		})
	}
	all.Wait()
}

// becomesIdle waits until a channel, whose server stopped, is idle.
func becomesIdle(cc *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for state := cc.GetState(); state != connectivity.Idle; state = cc.GetState() {
		if !cc.WaitForStateChange(ctx, state) {
			return fmt.Errorf("the channel stays %v", state)
		}
	}
	return nil
}

// hostileServer is a server that answers each request with a status that is not UTF-8, before or after its GOAWAY, and
// returns its address.
func hostileServer(t *testing.T, goAway bool) string {
	t.Helper()
	return loopback.Accept(t, func(conn *net.TCPConn) error {
		go func() {
			defer conn.Close()
			r := bufio.NewReader(conn)
			if _, err := io.ReadFull(r, make([]byte, len(http2.ClientPreface))); err != nil {
				return
			}
			f := http2.NewFramer(conn, r)
			for err := f.WriteSettings(); err == nil; {
				var frame http2.Frame
				if frame, err = f.ReadFrame(); err != nil {
					return
				}
				if h, ok := frame.(*http2.HeadersFrame); ok {
					err = answerHostile(f, h.StreamID, goAway)
				}
			}
		}()
		return nil
	})
}

func answerHostile(f *http2.Framer, stream uint32, goAway bool) error {
	if goAway {
		if err := f.WriteGoAway(stream, http2.ErrCodeEnhanceYourCalm, bytes.Repeat([]byte("\x1b\xff"), 4000)); err != nil {
			return err
		}
	}
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{
		{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"},
		{Name: "grpc-status", Value: "14"}, {Name: "grpc-message", Value: "transport: %FF%FE%1B[31m hostile"},
	} {
		if err := e.WriteField(field); err != nil {
			return err
		}
	}
	return f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true,
	})
}

// neighbours does the worst that peers and targets can do, in channels of an agent.
func neighbours(t *testing.T, a *agent.Agent) {
	t.Helper()
	// session makes a channel, and closes it once it is in a state, or an RPC failed.
	session := func(target string, creds credentials.TransportCredentials, rpc bool) {
		t.Helper()
		cc, err := a.NewClient(target, grpc.WithTransportCredentials(creds))
		if err != nil {
			t.Fatal(err)
		}
		if rpc {
			if call(cc) == nil {
				t.Error("an RPC to a hostile server went well")
			}
		} else {
			cc.Connect()
			awaitState(t, cc, connectivity.TransientFailure)
		}
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, goAway := range []bool{false, true} {
		address := hostileServer(t, goAway)
		for range 30 {
			session(address, insecure.NewCredentials(), true)
		}
	}
	cert, pool := selfsigned.Certificate(t, "many names", func(c *x509.Certificate) {
		c.DNSNames = nil
		for i := range 95 {
			c.DNSNames = append(c.DNSNames, fmt.Sprint(i, ".", strings.Repeat("a", 600), ".example"))
		}
	})
	secure := loopback.Serve(t, "127.0.0.1:0", grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	defer secure.Halt()
	for range 30 {
		session(secure.Address, credentials.NewClientTLSFromCert(pool, "another.test"), false)
	}
	for _, target := range []string{"passthrough:///bad\xff\xfe", "passthrough:///" + strings.Repeat("x", 64<<10)} {
		for range 5 {
			session(target, insecure.NewCredentials(), false)
		}
	}
}

// overflow fills the queue of an agent whose collector never answers.
func overflow(t *testing.T) {
	t.Helper()
	silent := loopback.Listen(t)
	defer silent.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+silent.Addr().String())
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
	full, err := agent.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	srv := loopback.Serve(t, "127.0.0.1:0")
	defer srv.Halt()
	for range 50 {
		cc, err := full.NewClient(srv.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		if err := call(cc); err != nil {
			t.Error(err)
		}
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if full.Shutdown(ctx) == nil {
		t.Error("the agent whose collector does not answer lost nothing: the test shows nothing")
	}
}

// The collector receives every span and every point of five healthy channels, while in the same process a hostile
// server, a huge certificate, bad targets and a full queue do their worst beside them.
func TestHealthyChannelsBesideHostileOnes(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(strings.ReplaceAll(protocol, "/", "_"), func(t *testing.T) {
			otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) // Those of the agent that loses spans.
			c := startCollector(t)
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			address := map[string]string{"grpc": c.grpc, "http/protobuf": c.http}[protocol]
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
			t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "1000")
			t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "65536")
			t.Setenv("REDIAL_SPAN_RATE", "0")
			seen := &witness{spans: tally{}, metrics: tally{}}
			a, err := agent.Start(t.Context(), agent.WithInstrument(instrument.WithSink(seen)))
			if err != nil {
				t.Fatal(err)
			}
			good := &healthy{agent: a, rpcs: map[string]int{}}
			done := make(chan struct{})
			var playing sync.WaitGroup
			playing.Go(func() { good.play(t, done) })
			finish := sync.OnceFunc(func() {
				close(done)
				playing.Wait()
			})
			defer finish()
			neighbours(t, a)
			overflow(t)
			finish()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := a.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}

			if len(good.rpcs) != healthyChannels {
				t.Fatalf("the healthy targets are %v", good.rpcs)
			}
			for target, rpcs := range good.rpcs {
				seen.metrics.add(target, "redial.transport.rpcs", rpcs)
				t.Logf("%s: want %v and %v", target, seen.spans[target], seen.metrics[target])
			}
			eventually(t, "every span", func() bool { return seen.spans.within(t, c.spansByTarget(t), good.rpcs) })
			eventually(t, "every point", func() bool { return seen.metrics.within(t, c.newestMetrics(t), good.rpcs) })
			for _, lost := range []string{"redial.events.dropped", "redial.spans.suppressed", "redial.exports.failed"} {
				if n := c.newestMetrics(t)[""][lost]; n != 0 {
					t.Errorf("%s is %d", lost, n)
				}
			}
		})
	}
}
