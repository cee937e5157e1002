package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/internal/selfsigned"
)

// signalsOf are all outputs of an agent that a test may search.
type signalsOf struct {
	agent     *agent.Agent
	collector *collector
	log       *output
	reports   *reports
}

// observeAll starts an agent with a collector, a log and the reports.
func observeAll(t *testing.T) signalsOf {
	t.Helper()
	quickly(t)
	s := signalsOf{collector: collect(t, "127.0.0.1:0"), log: &output{}, reports: newReports(t)}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+s.collector.address)
	debug := &slog.HandlerOptions{Level: slog.LevelDebug}
	s.agent = start(t, agent.WithLogger(slog.NewTextHandler(s.log, debug)))
	return s
}

// all returns every output by its name, once the agent is shut down and all is sent. The API is read before.
func (s signalsOf) all(t *testing.T) map[string]string {
	t.Helper()
	outputs := map[string]string{}
	for _, path := range []string{
		"/metrics", "/debug/redial/api/v1/channels", "/debug/redial/api/v1/dump",
		"/debug/redial/api/v1/events?limit=10000",
	} {
		w := get(s.agent.Handler(), path)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
		outputs[path] = w.Body.String()
	}
	shutdown(t, s.agent)
	s.log.mu.Lock()
	outputs["the log"] = s.log.b.String()
	s.log.mu.Unlock()
	s.collector.mu.Lock()
	outputs["what was exported"] = s.collector.raw.String()
	s.collector.mu.Unlock()
	for _, err := range s.reports.all() {
		outputs["the reports"] += err.Error() + "\n"
	}
	return outputs
}

// check holds what every output must be, whatever peers say: valid, bounded, and all of the healthy channels.
func (s signalsOf) check(t *testing.T, healthy int) {
	t.Helper()
	shorter := map[string]int{"/metrics": 100 << 10}
	for name, text := range s.all(t) {
		if name == "what was exported" {
			continue // Protobuf, which the collector has read.
		}
		if !utf8.ValidString(text) {
			t.Errorf("%s is not UTF-8", name)
		}
		if strings.Contains(text, "\x1b") {
			t.Errorf("a terminal obeys what is in %s", name)
		}
		if limit, ok := shorter[name]; ok && len(text) > limit {
			t.Errorf("%s has %d bytes, want %d at most", name, len(text), limit)
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(name, "/debug/") && !json.Valid([]byte(line)) {
				t.Errorf("%s: no JSON: %.200s", name, line)
			}
			if name == "the log" && len(line) > 8<<10 {
				t.Errorf("a line of the log has %d bytes", len(line))
			}
		}
	}
	if have := s.collector.count("grpc.transport"); have < healthy {
		t.Errorf("the collector has the transports of %d healthy channels, want %d", have, healthy)
	}
	if errs := s.reports.own(); len(errs) > 0 {
		t.Errorf("reported: %.300v", errs)
	}
}

// One text that is no UTF-8, is huge or holds control characters takes no span of others along, and nothing of it
// reaches a terminal or makes a scrape large.
func TestHostileTexts(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct{ target, text string }{
		"error not UTF-8":  {"passthrough:///bad", "boom \xff\xfe \x1b[31m"},
		"target not UTF-8": {"passthrough:///bad\xff", "boom"},
		"encoded target":   {"passthrough:///x%0a%1b[31m%ff", "boom"},
		"huge error":       {"passthrough:///bad", huge},
		"huge target":      {"passthrough:///" + huge[:64<<10], "boom"},
		"newline target":   {"passthrough:///a%22b%5Cc%0A%23 HELP x%0Aredial_fake 1", "boom"},
		"empty target":     {"passthrough:///", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := observeAll(t)
			cc, err := s.agent.NewClient(c.target, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(s.agent.Dialer(func(context.Context, string) (net.Conn, error) {
					return nil, errors.New(c.text)
				})))
			if err != nil {
				t.Fatal(err)
			}
			failing(t, cc)
			good := backend(t)
			for range 5 {
				session(t, s.agent, good)
			}
			s.check(t, 5)
			if err := cc.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// failing waits until a channel fails to connect, however long that takes: errors of a mebibyte take a while.
func failing(t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	cc.Connect()
	for state := cc.GetState(); state != connectivity.TransientFailure; state = cc.GetState() {
		if !cc.WaitForStateChange(t.Context(), state) {
			t.Fatalf("the channel stays %v", state)
		}
	}
}

// hostileServer is a server of HTTP/2 frames that answers each request by a function, and returns its address.
func hostileServer(t *testing.T, answer func(f *http2.Framer, stream uint32)) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			go serveHostile(conn, answer)
		}
	}()
	return lis.Addr().String()
}

// serveHostile serves a connection until the client closes it.
func serveHostile(conn net.Conn, answer func(f *http2.Framer, stream uint32)) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	if _, err := io.ReadFull(r, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(conn, r)
	f.AllowIllegalWrites = true
	if err := f.WriteSettings(); err != nil {
		return
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() && f.WriteSettingsAck() != nil {
				return
			}
		case *http2.HeadersFrame:
			answer(f, frame.StreamID)
		}
	}
}

// unavailable answers a request with a status of a server's own.
func unavailable(f *http2.Framer, stream uint32, message string) {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{
		{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"},
		{Name: "grpc-status", Value: "14"}, {Name: "grpc-message", Value: message},
	} {
		_ = e.WriteField(field) // A buffer takes everything.
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{ // The client may have gone.
		StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true,
	})
}

// What a server says, in a status or a GOAWAY, is data.
func TestHostileServers(t *testing.T) {
	for name, answer := range map[string]func(f *http2.Framer, stream uint32){
		"a status after its GOAWAY": func(f *http2.Framer, stream uint32) {
			_ = f.WriteGoAway(stream, http2.ErrCodeEnhanceYourCalm, []byte("x"))
			unavailable(f, stream, "transport: %FF%FE%1B[31m hostile")
		},
		"debug data of 16 KiB": func(f *http2.Framer, stream uint32) {
			_ = f.WriteGoAway(stream, http2.ErrCodeEnhanceYourCalm, bytes.Repeat([]byte("\x1b\xff"), 8000))
			_ = f.WriteRawFrame(http2.FrameData, 0, 0, []byte{1}) // A protocol error: the connection dies.
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := observeAll(t)
			cc := dial(t, s.agent, hostileServer(t, answer))
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if _, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}); err == nil {
				t.Error("the RPC succeeds: the test shows nothing")
			}
			if err := cc.Close(); err != nil {
				t.Error(err)
			}
			eventually(t, "the end of the transport", ended(s.agent))
			good := backend(t)
			for range 5 {
				session(t, s.agent, good)
			}
			s.check(t, 6)
		})
	}
}

// secureBackend serves with a certificate that a function changes, and returns what trusts it.
func secureBackend(
	t *testing.T, change func(*x509.Certificate),
) (address string, trust credentials.TransportCredentials) {
	t.Helper()
	cert, pool := selfsigned.Certificate(t, "localhost", change)
	return backend(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert))),
		credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "localhost"})
}

// A subject in Latin-1, as old authorities issue them.
func TestHostileSubject(t *testing.T) {
	s := observeAll(t)
	address, trust := secureBackend(t, func(c *x509.Certificate) {
		organization := pkix.AttributeTypeAndValue{
			Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: asn1.RawValue{Tag: 20, Bytes: []byte("Soci\xe9t\xe9")},
		}
		subject, err := asn1.Marshal(pkix.RDNSequence{{organization}})
		if err != nil {
			t.Fatal(err)
		}
		c.RawSubject = subject
	})
	cc, err := s.agent.NewClient(address, grpc.WithTransportCredentials(trust))
	if err != nil {
		t.Fatal(err)
	}
	call(t, cc)
	if err := cc.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the end of the transport", ended(s.agent))
	s.check(t, 1)
	if s.collector.count("grpc.connect.handshake") != 1 {
		t.Error("the span of the handshake is missing")
	}
}

// A certificate with 95 long names, none of which is the one asked for: gRPC quotes them all in each failure.
func TestHostileCertificate(t *testing.T) {
	s := observeAll(t)
	address, trust := secureBackend(t, func(c *x509.Certificate) {
		c.DNSNames = nil
		for i := range 95 {
			c.DNSNames = append(c.DNSNames, fmt.Sprint(i, ".", strings.Repeat("a", 600), "\x1b.example"))
		}
	})
	for range 30 {
		cc, err := s.agent.NewClient(address, grpc.WithTransportCredentials(trust))
		if err != nil {
			t.Fatal(err)
		}
		failing(t, cc)
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
	session(t, s.agent, backend(t))
	s.check(t, 1)
	s.collector.mu.Lock()
	defer s.collector.mu.Unlock()
	if sent := s.collector.raw.Len(); sent > 2<<20 {
		t.Errorf("%d bytes were sent", sent)
	}
}

// No user, password, query or fragment of a target stands in any signal, nor do errors quote them.
func TestTargetSecrets(t *testing.T) {
	const password = "hunter2pw"
	sock := t.TempDir() + "/s.sock"
	for _, target := range []string{
		"http://user:" + password + "@127.0.0.1:1/path", "dns://user:" + password + "@127.0.0.1:1/localhost:1",
		"dns:///user:" + password + "@127.0.0.1:1", "dns:///" + password + "@127.0.0.1:1",
		"unix://" + sock + "?token=" + password, "unix:" + sock + "?token=" + password,
		"passthrough:///127.0.0.1:1?token=" + password, "passthrough:///user:" + password + "@127.0.0.1:1",
		"consul://user:" + password + "@127.0.0.1:8500/service?token=" + password,
		"consul://127.0.0.1:8500/service?token=" + password, "user:" + password + "@127.0.0.1:1",
		"dns:///127.0.0.1:1#" + password, "passthrough:///127.0.0.1:1%3Ftoken=" + password,
	} {
		t.Run("", func(t *testing.T) {
			s := observeAll(t)
			r := manual.NewBuilderWithScheme("consul")
			r.BuildCallback = func(t resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) {
				cc.ReportError(fmt.Errorf("ask %s: no such service", t.URL.String()))
			}
			cc, err := s.agent.NewClient(target,
				grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(r))
			if err != nil {
				t.Fatal(err)
			}
			failing(t, cc)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if _, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}); err == nil {
				t.Error("the RPC succeeds: the test shows nothing")
			}
			outputs := s.all(t)
			for where, text := range outputs {
				if i := strings.Index(text, password); i >= 0 {
					t.Errorf("%s: a secret is in %s: …%s…", target, where, text[max(0, i-100):i])
				}
			}
			if !strings.Contains(outputs["/metrics"], "grpc_subchannel_") && !strings.Contains(target, "consul") &&
				!strings.Contains(target, "dns") && !strings.Contains(target, "@") {
				t.Error("gRPC's own metrics are missing: the test shows nothing of them")
			}
			if err := cc.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

var nameOfTarget = regexp.MustCompile(`^(redial|grpc)_.*grpc_target="([^"]*)"`)

// A target has one name in redial's metrics and gRPC's own, however it was dialed, and the same at each start of a
// program, whatever address in memory the target holds.
func TestOneNameOfTarget(t *testing.T) {
	to := backend(t)
	for dialed, want := range map[string]string{
		to:                                    "dns:///" + to,
		"dns:" + to:                           "dns:///" + to,
		"passthrough:///" + to:                "passthrough:///" + to,
		"etcd-endpoints://0xc0001d2000/" + to: "etcd-endpoints:///" + to,
	} {
		a := start(t)
		r := manual.NewBuilderWithScheme("etcd-endpoints")
		r.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: to}}})
		cc := dial(t, a, dialed, grpc.WithResolvers(r))
		call(t, cc)
		eventually(t, "metrics of the target", func() bool { return len(metric(a, "redial_connect_duration")) > 0 })
		found := map[string]bool{}
		for _, line := range append(metric(a, "redial_"), metric(a, "grpc_")...) {
			if m := nameOfTarget.FindStringSubmatch(line); m != nil {
				found[m[1]] = true
				if m[2] != want {
					t.Errorf("dialed as %s: %s, want the target %s", dialed, line, want)
				}
			}
		}
		if !found["redial"] || !found["grpc"] {
			t.Errorf("dialed as %s: metrics of %v alone", dialed, found)
		}
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A name of the user's own.
func TestTargetRename(t *testing.T) {
	a := start(t, agent.WithInstrument(instrument.WithTargetRename(func(string) string { return "orders?secret" })))
	session(t, a, backend(t))
	eventually(t, "the end of the transport", ended(a))
	lines := append(metric(a, "redial_connect_duration_seconds_count"), metric(a, "grpc_subchannel_conn")...)
	if len(lines) != 2 {
		t.Errorf("metrics: %v", lines)
	}
	for _, line := range lines {
		if !strings.Contains(line, `grpc_target="orders"`) {
			t.Errorf("%s, want the target orders", line)
		}
	}
}

// shutting shuts an agent down while it handles a record.
type shutting struct {
	slog.Handler
	shutdown func()
}

func (shutting) Enabled(context.Context, slog.Level) bool { return true }
func (h shutting) Handle(context.Context, slog.Record) error {
	h.shutdown()
	return nil
}

// Shutdown in a sink returns at once, and says that it must not be called there. A later call works.
func TestShutdownInSink(t *testing.T) {
	results := make(chan error, 1000)
	var a *agent.Agent
	ready := make(chan struct{})
	a = start(t, agent.WithLogger(shutting{slog.DiscardHandler, func() {
		<-ready
		select {
		case results <- a.Shutdown(context.Background()):
		default:
		}
	}}))
	close(ready)
	session(t, a, backend(t))
	if err := <-results; !errors.Is(err, instrument.ErrShutdownInSink) {
		t.Errorf("Shutdown in a sink: %v", err)
	}
	eventually(t, "the transport's end", ended(a))
}

// A sink that panics at each event is reported once a minute.
func TestReportsOfPanics(t *testing.T) {
	reports := newReports(t)
	a := start(t, agent.WithLogger(panicking{slog.DiscardHandler}))
	to := backend(t)
	for range 20 {
		session(t, a, to)
	}
	shutdown(t, a)
	if errs := reports.own(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "a sink panicked") {
		t.Errorf("%d reports, want one: %.300v", len(errs), errs)
	}
}
