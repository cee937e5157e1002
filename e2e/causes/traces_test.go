package causes

import (
	"context"
	"crypto/x509"
	"flag"
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
	"github.com/redial-dev/redial/internal/selfsigned"
)

var (
	update = flag.Bool("update", false, "write the traces into docs/causes.md anew")
	page   = filepath.Join("..", "..", "docs", "causes.md")
	pageMu sync.Mutex
)

// checkTrace compares a trace with the one that docs/causes.md shows under a name: the words must be the same, numbers
// may differ.
func checkTrace(t *testing.T, name, text string) {
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

// fastKeepalive lets the client ping as soon as gRPC allows.
var fastKeepalive = grpc.WithKeepaliveParams(keepalive.ClientParameters{
	Time: 10 * time.Second, Timeout: time.Second, PermitWithoutStream: true,
})

func TestServerKilled(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	p := spawn(t, "127.0.0.1:0", nil)
	cc := env.dial(p.address)
	env.ready()
	p.kill(t)
	env.lost()
	checkTrace(t, "server killed", env.traces(cc))
}

func TestServerStoppedGracefully(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	srv := server(t)
	cc := env.dial(srv.Address)
	env.ready()
	srv.GracefulStop()
	env.lost()
	checkTrace(t, "server stopped gracefully", env.traces(cc))
}

func TestNATDrop(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	w := vethServer(t)
	dialed := make(chan *net.TCPConn, 1)
	cc := env.dial(w.server.address, fastKeepalive, dialing(func(ctx context.Context) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", w.server.address)
		if err == nil {
			dialed <- c.(*net.TCPConn)
		}
		return c, err
	}))
	env.usable()
	answered, wait := env.rpc(cc)
	<-answered
	awaitAcked(t, <-dialed) // What is on its way at the cut would time out sooner than the ping.
	w.cut(t)
	env.lost()
	wait()
	checkTrace(t, "NAT drop", env.traces(cc))
}

// awaitAcked waits until all that a connection sent is acknowledged, and stays so for a while.
func awaitAcked(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const quietLooks = 20 // Looks in a row.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(testTimeout)
	for looks := 0; looks < quietLooks; {
		<-tick.C
		var info *unix.TCPInfo
		var asked error
		err := raw.Control(func(fd uintptr) {
			info, asked = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		})
		if err != nil || asked != nil {
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

// A proxy that cuts a flow on which nothing happened, without a word to the server.
func TestIdleProxy(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	cc := env.dial(resettingProxy(t, server(t).Address, 300*time.Millisecond))
	env.ready()
	env.lost()
	checkTrace(t, "idle proxy", env.traces(cc))
}

// resettingProxy returns the address of a proxy that resets a connection after so long.
func resettingProxy(t *testing.T, to string, after time.Duration) string {
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

func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	cert, pool := selfsigned.Certificate(t, "service.test", func(c *x509.Certificate) {
		c.NotAfter = time.Now().Add(-24 * time.Hour)
	})
	srv := server(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	cc := env.dial(srv.Address, trusting(pool, "service.test"))
	env.failed()
	checkTrace(t, "expired certificate", env.traces(cc))
}

func TestWrongPort(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	cc := env.dial(loopback.FreeAddress(t))
	await(env, func(e event.ChannelState) bool { return e.To == event.StateTransientFailure })
	_, wait := env.rpc(cc)
	wait()
	checkTrace(t, "wrong port", env.traces(cc))
}

// A name server that never answers.
func TestDNSWithoutAnswer(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := silent.Close(); err != nil {
			t.Error(err)
		}
	})
	cc := env.dial("dns://" + silent.LocalAddr().String() + "/service.test:443")
	await(env, func(e event.Resolved) bool { return e.Err != nil })
	checkTrace(t, "DNS without answer", env.traces(cc))
}

// The server allows a ping each five minutes, its default; the client sends one each ten seconds.
func TestTooManyPings(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	cc := env.dial(server(t).Address, fastKeepalive)
	env.usable()
	_, wait := env.rpc(cc)
	env.lost()
	wait()
	checkTrace(t, "too many pings", env.traces(cc))
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	cc := env.dial(server(t, grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 300 * time.Millisecond, MaxConnectionAgeGrace: 300 * time.Millisecond,
	})).Address)
	env.usable()
	_, wait := env.rpc(cc)
	env.lost()
	wait()
	checkTrace(t, "max age", env.traces(cc))
}
