package causes

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument/event"
)

var (
	update = flag.Bool("update", false, "write the traces into docs/causes.md anew")
	page   = filepath.Join("..", "..", "docs", "causes.md")
	pageMu sync.Mutex
)

// tell compares a trace with the one that docs/causes.md shows under a name: the words must be the same, numbers may
// differ.
func tell(t *testing.T, name, text string) {
	t.Helper()
	pageMu.Lock()
	defer pageMu.Unlock()
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)(<!-- trace: " + regexp.QuoteMeta(name) + " -->\n```text\n)(.*?)(```)")
	match := block.FindSubmatchIndex(have)
	if match == nil {
		t.Fatalf("%s has no trace %q; the trace is\n%s", page, name, text)
	}
	want := string(have[match[4]:match[5]])
	if *update {
		changed := string(have[:match[4]]) + text + string(have[match[5]:])
		if err := os.WriteFile(page, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if name == "server killed" {
		text, want = either.Replace(text), either.Replace(want)
	}
	if withoutNumbers(text) != withoutNumbers(want) {
		t.Errorf("docs/causes.md shows another trace. Have\n%s\nwant\n%s", text, want)
	}
}

var numbers = regexp.MustCompile(`<1ms|\d[\d.:]*(µs|ms|s|m)?(\d+s)?`)

// either are the two ways in which the connections of a process that is killed end: with RST where it left data unread.
var either = strings.NewReplacer(
	"teardown.cause=peer_closed", "teardown.cause=either", "teardown.cause=connection_reset", "teardown.cause=either",
	"disconnect_error=unknown", "disconnect_error=either", "disconnect_error=connection reset", "disconnect_error=either",
	"CLOSE_WAIT", "either", "CLOSE", "either", `ERROR "unknown"`, "either", `ERROR "connection reset"`, "either")

func withoutNumbers(text string) string { return numbers.ReplaceAllString(text, "#") }

// sharp lets the client ping as soon as gRPC allows.
var sharp = grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: time.Second, PermitWithoutStream: true})

func TestServerKilled(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p := spawn(t, "127.0.0.1:0", nil)
	cc := s.dial(p.address)
	s.ready()
	p.kill(t)
	s.lost()
	tell(t, "server killed", s.traces(cc))
}

func TestServerStoppedGracefully(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	srv := server(t)
	cc := s.dial(srv.Address)
	s.ready()
	srv.GracefulStop()
	s.lost()
	tell(t, "server stopped gracefully", s.traces(cc))
}

func TestNATDrop(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := wire(t)
	dialed := make(chan *net.TCPConn, 1)
	cc := s.dial(w.server.address, sharp, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			dialed <- c.(*net.TCPConn)
		}
		return c, err
	}))
	s.ready()
	answered, wait := s.rpc(cc)
	<-answered
	quiet(t, <-dialed) // What is on its way at the cut would time out sooner than the ping.
	w.cut(t)
	s.lost()
	wait()
	tell(t, "NAT drop", s.traces(cc))
}

// quiet waits until all that a connection sent is acknowledged, and stays so for a while.
func quiet(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const calm = 20 // Looks in a row.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for looks := 0; looks < calm; {
		<-tick.C
		var info *unix.TCPInfo
		var asked error
		if err := raw.Control(func(fd uintptr) { info, asked = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || asked != nil {
			t.Fatal(err, asked)
		}
		looks++
		if info.Unacked > 0 {
			looks = 0
		}
		if time.Now().After(deadline) {
			t.Fatal("the connection was never quiet")
		}
	}
}

// A proxy that cuts a flow on which nothing happened, without telling the server.
func TestIdleProxy(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	cc := s.dial(cutting(t, server(t).Address, 300*time.Millisecond))
	s.ready()
	s.lost()
	tell(t, "idle proxy", s.traces(cc))
}

// cutting returns the address of a proxy that resets a connection after so long.
func cutting(t *testing.T, to string, after time.Duration) string {
	t.Helper()
	return loopback.Accept(t, func(client *net.TCPConn) error {
		backend, err := net.Dial("tcp", to)
		if err != nil {
			return err
		}
		go func() { _, _ = backend.(*net.TCPConn).ReadFrom(client) }()
		go func() { _, _ = client.ReadFrom(backend) }()
		time.AfterFunc(after, func() {
			_ = client.SetLinger(0) // RST.
			_ = client.Close()
			_ = backend.Close()
		})
		return nil
	})
}

// certificate is one for a name until a time, signed by itself.
func certificate(t *testing.T, name string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func trusting(pool *x509.CertPool, name string) grpc.DialOption {
	return grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12}))
}

func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	cert, pool := certificate(t, "service.test", time.Now().Add(-24*time.Hour))
	srv := server(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	cc := s.dial(srv.Address, trusting(pool, "service.test"))
	s.failed()
	tell(t, "expired certificate", s.traces(cc))
}

func TestWrongPort(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	cc := s.dial(loopback.FreeAddress(t))
	await(s, func(e event.ChannelState) bool { return e.To == event.StateTransientFailure })
	_, wait := s.rpc(cc)
	wait()
	tell(t, "wrong port", s.traces(cc))
}

// A name server that never answers.
func TestDNSWithoutAnswer(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := silent.Close(); err != nil {
			t.Error(err)
		}
	})
	cc := s.dial("dns://" + silent.LocalAddr().String() + "/service.test:443")
	await(s, func(e event.Resolved) bool { return e.Err != nil })
	tell(t, "DNS without answer", s.traces(cc))
}

// The server allows a ping each five minutes, its default; the client sends one each ten seconds.
func TestTooManyPings(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	cc := s.dial(server(t).Address, sharp)
	s.ready()
	_, wait := s.rpc(cc)
	s.lost()
	wait()
	tell(t, "too many pings", s.traces(cc))
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	cc := s.dial(server(t, grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 300 * time.Millisecond, MaxConnectionAgeGrace: 300 * time.Millisecond,
	})).Address)
	s.ready()
	_, wait := s.rpc(cc)
	s.lost()
	wait()
	tell(t, "max age", s.traces(cc))
}
