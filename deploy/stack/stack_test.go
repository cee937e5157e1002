package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// handshake lets a client that trusts the stack's authority meet a server with a certificate until a time.
func handshake(t *testing.T, name string, until time.Time) error {
	t.Helper()
	own, err := certificate([]string{"backend-1"}, until)
	if err != nil {
		t.Fatal(err)
	}
	config, err := trust()
	if err != nil {
		t.Fatal(err)
	}
	config.ServerName = name
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		_ = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{*own}, MinVersion: tls.VersionTLS12}).Handshake()
		_, _ = io.Copy(io.Discard, far)
	}()
	return tls.Client(near, config).Handshake()
}

// What one program makes, another trusts, though they share no file; what has expired nobody trusts.
func TestCertificate(t *testing.T) {
	if err := handshake(t, "backend-1", time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	var invalid x509.CertificateInvalidError
	if err := handshake(t, "backend-1", time.Now().Add(-time.Minute)); !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		t.Errorf("have %v, want that it has expired", err)
	}
	var hostname x509.HostnameError
	if err := handshake(t, "backend-2", time.Now().Add(time.Hour)); !errors.As(err, &hostname) {
		t.Errorf("have %v, want another name", err)
	}
}

func TestNameServer(t *testing.T) {
	n := &nameServer{name: "backends.stack.test.", backends: []string{"localhost"}}
	ask := func(name string, kind dnsmessage.Type) (m dnsmessage.Message) {
		t.Helper()
		query := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET,
		}}}
		packed, err := query.Pack()
		if err != nil {
			t.Fatal(err)
		}
		answer, err := n.answer(t.Context(), packed)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Unpack(answer); err != nil || m.ID != 7 || !m.Response {
			t.Fatalf("%v: %+v", err, m.Header)
		}
		return m
	}
	m := ask("Backends.Stack.test.", dnsmessage.TypeA)
	if len(m.Answers) != 1 || !netip.AddrFrom4(m.Answers[0].Body.(*dnsmessage.AResource).A).IsLoopback() {
		t.Errorf("the answer is %v", m.Answers)
	}
	if m := ask("backends.stack.test.", dnsmessage.TypeAAAA); m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) > 0 {
		t.Errorf("the answer is %v %v", m.RCode, m.Answers)
	}
	if m := ask("elsewhere.test.", dnsmessage.TypeA); m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("the answer is %v", m.RCode)
	}
	if _, err := n.answer(t.Context(), []byte("no query")); err == nil {
		t.Error("what is no query is answered")
	}
}

func TestProxy(t *testing.T) {
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "far") }))
	defer far.Close()
	p := &proxy{}
	near := httptest.NewServer(p)
	defer near.Close()
	connect := func() (status int, c net.Conn) {
		t.Helper()
		c, err := net.Dial("tcp", near.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, "CONNECT "+far.Listener.Addr().String()+" HTTP/1.1\r\nHost: far\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		first := make([]byte, len("HTTP/1.1 200"))
		if _, err := io.ReadFull(c, first); err != nil {
			t.Fatal(err)
		}
		return map[string]int{"HTTP/1.1 200": 200, "HTTP/1.1 503": 503}[string(first)], c
	}
	status, c := connect()
	if status != http.StatusOK {
		t.Fatalf("the proxy answers %d", status)
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(answer), "far") {
		t.Errorf("through the tunnel: %q, %v", answer, err)
	}
	p.closed.Store(true)
	if status, _ := connect(); status != http.StatusServiceUnavailable {
		t.Errorf("the closed proxy answers %d", status)
	}
}

// The page names the step that is played, and links to what listens according to compose.yaml.
func TestPage(t *testing.T) {
	i := &injection{step: 3, on: true, until: time.Now().Add(time.Minute)}
	w := httptest.NewRecorder()
	i.page(w, nil)
	if !strings.Contains(w.Body.String(), `<b>`+story[3].Name+`</b>`) ||
		!strings.Contains(w.Body.String(), `class="on">`+story[3].Name) {
		t.Errorf("the page is %s", w.Body)
	}
	compose, err := os.ReadFile(filepath.Join("..", "..", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`).FindAllStringSubmatch(w.Body.String(), -1)
	if len(links) < 4 {
		t.Errorf("only %d links", len(links))
	}
	for _, link := range links {
		if !strings.Contains(string(compose), `ports: ["`+link[1]+":") {
			t.Errorf("compose.yaml publishes no %s", link[1])
		}
	}
}

// Each step asks for a fault that a backend has, of a backend that there is.
func TestStory(t *testing.T) {
	var asked []string
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if faults[r.FormValue("kind")] == nil {
			t.Errorf("no backend has the fault %q", r.FormValue("kind"))
		}
		if d, err := time.ParseDuration(r.FormValue("for")); err != nil || d > longestFault {
			t.Errorf("it lasts %q", r.FormValue("for"))
		}
		asked = append(asked, r.FormValue("kind"))
		w.WriteHeader(http.StatusAccepted)
	}))
	defer backend.Close()
	address := backend.Listener.Addr().String()
	through := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	defer through.CloseIdleConnections()
	i := &injection{names: &nameServer{backends: []string{"a", "b", "c"}}, proxy: &proxy{},
		control: &http.Client{Transport: through}}
	for _, s := range story {
		if err := s.do(t.Context(), i); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		if s.end != nil {
			if err := s.end(t.Context(), i); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
	}
	if len(asked) != len(story) || i.names.silent.Load() || i.proxy.closed.Load() {
		t.Errorf("asked for %v; name server silent %v, proxy closed %v", asked, i.names.silent.Load(), i.proxy.closed.Load())
	}
}
