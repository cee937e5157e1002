package causes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/selfsigned"
)

// noFamily is the number of no address family.
const noFamily = 255

// Failures of an attempt, each made for real.
func TestFailures(t *testing.T) {
	t.Parallel()
	for _, route := range [][]string{
		{"unreachable", "203.0.113.0/25"}, {"prohibit", "203.0.113.128/25"}, {"blackhole", "198.18.0.0/24"},
	} {
		if err := ip(append([]string{"route", "replace"}, route...)...); err != nil {
			t.Fatal(err)
		}
	}
	for name, of := range map[string]struct {
		want string
		dial func(*testing.T, *environment) *grpc.ClientConn
	}{
		"no route":    {"network_unreachable", to("198.51.100.1:443")},
		"unreachable": {"host_unreachable", to("203.0.113.1:443")},
		"prohibited":  {"permission_denied", to("203.0.113.129:443")},
		"blackhole":   {"network_unreachable", to("198.18.0.1:443")},
		"no port":     {"invalid_address", to("passthrough:///127.0.0.1")},
		"no socket file": {"no_such_file", func(t *testing.T, env *environment) *grpc.ClientConn {
			return env.dial("unix://" + filepath.Join(t.TempDir(), "none.sock"))
		}},
		"a socket that nobody accepts from": {"backlog_full", fullBacklog},
		"no address of this host": {"address_not_available", func(_ *testing.T, env *environment) *grpc.ClientConn {
			from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7)}}
			return env.dial("127.0.0.1:1", dialing(func(ctx context.Context) (net.Conn, error) {
				return from.DialContext(ctx, "tcp", "127.0.0.1:1")
			}))
		}},
		"no such address family": {"address_family_not_supported", func(_ *testing.T, env *environment) *grpc.ClientConn {
			return env.dial("127.0.0.1:1", dialing(func(context.Context) (net.Conn, error) {
				_, err := unix.Socket(noFamily, unix.SOCK_STREAM, 0)
				return nil, os.NewSyscallError("socket", err)
			}))
		}},
		"RST": {"connection_reset", answering(func(c *net.TCPConn) error { return c.SetLinger(0) })},
		"FIN": {"closed_by_peer", answering(readPreface)},
		"GOAWAY before SETTINGS": {"closed_by_peer", answering(func(c *net.TCPConn) error {
			return errors.Join(readPreface(c), http2.NewFramer(c, c).WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil))
		})},
		"a conn that its dialer closed": {"_OTHER", func(t *testing.T, env *environment) *grpc.ClientConn {
			address := server(t).Address
			return env.dial(address, dialing(func(context.Context) (net.Conn, error) {
				c, err := net.Dial("tcp", address)
				if err != nil {
					return nil, err
				}
				return c, c.Close()
			}))
		}},
		"a fault of the dialer's own": {"_OTHER", func(_ *testing.T, env *environment) *grpc.ClientConn {
			return env.dial("127.0.0.1:1", dialing(func(context.Context) (net.Conn, error) {
				return nil, errors.New("the dialer has its own troubles")
			}))
		}},
		"certificate from tomorrow": {"tls_certificate_not_yet_valid", tlsServer(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour)
		})},
		"certificate of a client": {"tls_certificate_invalid", tlsServer(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})},
		"no client certificate, TLS 1.2": {"tls_alert", wantsClientCertificate(tls.VersionTLS12)},
		"no client certificate, TLS 1.3": {"tls_alert", wantsClientCertificate(tls.VersionTLS13)},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			of.dial(t, env)
			if e := env.failed(); e.ErrorType != of.want {
				t.Errorf("%s: the type is %s, want %s", e, e.ErrorType, of.want)
			}
		})
	}
}

// to dials a target as it is.
func to(target string) func(*testing.T, *environment) *grpc.ClientConn {
	return func(_ *testing.T, env *environment) *grpc.ClientConn { return env.dial(target) }
}

func dialing(dial func(context.Context) (net.Conn, error)) grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) })
}

// answering dials a server that does this to each connection, and closes it.
func answering(do func(*net.TCPConn) error) func(*testing.T, *environment) *grpc.ClientConn {
	return func(t *testing.T, env *environment) *grpc.ClientConn {
		return env.dial(loopback.Accept(t, func(c *net.TCPConn) error { return errors.Join(do(c), c.Close()) }))
	}
}

// readPreface reads all that gRPC sends before it hears from the server: what is unread would make the kernel send RST.
func readPreface(c *net.TCPConn) error {
	const preface, settings = 24, 9
	_, err := io.ReadFull(c, make([]byte, preface+settings))
	return err
}

// fullBacklog dials a unix socket that takes no connection any more.
func fullBacklog(t *testing.T, env *environment) *grpc.ClientConn {
	path := filepath.Join(t.TempDir(), "full.sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.Dial("unix", path)
		if errors.Is(err, unix.EAGAIN) {
			return env.dial("unix://" + path)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() }) // The server never accepted it.
	}
}

// tlsServer dials a server with a changed certificate, whose signer the client trusts.
func tlsServer(change func(*x509.Certificate)) func(*testing.T, *environment) *grpc.ClientConn {
	return func(t *testing.T, env *environment) *grpc.ClientConn {
		cert, pool := selfsigned.Certificate(t, "service.test", change)
		srv := server(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
		return env.dial(srv.Address, trusting(pool, "service.test"))
	}
}

// wantsClientCertificate dials a server that wants a certificate of the client, which has none. It reads what the
// client sends meanwhile, so that no RST destroys its alert.
func wantsClientCertificate(version uint16) func(*testing.T, *environment) *grpc.ClientConn {
	return func(t *testing.T, env *environment) *grpc.ClientConn {
		cert, pool := selfsigned.Certificate(t, "service.test")
		config := &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
			MinVersion: version, MaxVersion: version, NextProtos: []string{"h2"},
		}
		return env.dial(loopback.Accept(t, func(c *net.TCPConn) error {
			if err := tls.Server(c, config).Handshake(); err == nil {
				return errors.New("the client has a certificate")
			}
			_, _ = io.Copy(io.Discard, c) // Until the client closes.
			return c.Close()
		}), trusting(pool, "service.test"))
	}
}

// The process has no file descriptors to spare.
func TestNoFileDescriptors(t *testing.T) {
	t.Parallel()
	if !isChild(t) {
		runChild(t)
		recordType("resource_exhausted")
		return
	}
	env := newEnvironment(t)
	address := server(t).Address
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	env.dial(address)
	if e := env.failed(); e.ErrorType != "resource_exhausted" {
		t.Errorf("%s: the type is %s", e, e.ErrorType)
	}
}

// A name server whose port refuses was reported as a backend that refuses.
func TestNameServerRefuses(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	env.dial("dns://" + nobody.LocalAddr().String() + "/service.test:443")
	e := await(env, func(e event.Resolved) bool { return e.Err != nil })
	if e.ErrorType != "name_resolution" {
		t.Errorf("%s: the type is %s", e, e.ErrorType)
	}
}

// trusting returns the credentials of a client that trusts the pool, for a server of the name.
func trusting(pool *x509.CertPool, name string) grpc.DialOption {
	config := &tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12}
	return grpc.WithTransportCredentials(credentials.NewTLS(config))
}
