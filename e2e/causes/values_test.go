package causes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument/event"
)

// Failures of an attempt that need a network, a proxy or a server of their own.
func TestFailures(t *testing.T) {
	t.Parallel()
	if err := ip("route", "replace", "unreachable", "203.0.113.0/24"); err != nil {
		t.Fatal(err)
	}
	mine, pool := certificate(t, "service.test", time.Now().Add(time.Hour))
	for want, dial := range map[string]func(*testing.T, *scene) *grpc.ClientConn{
		"network_unreachable": func(_ *testing.T, s *scene) *grpc.ClientConn { return s.dial("198.51.100.1:443") },
		"host_unreachable":    func(_ *testing.T, s *scene) *grpc.ClientConn { return s.dial("203.0.113.1:443") },
		"tls_alert": func(t *testing.T, s *scene) *grpc.ClientConn { // The server wants a certificate of the client.
			srv := server(t, grpc.Creds(credentials.NewTLS(&tls.Config{
				Certificates: []tls.Certificate{mine}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MaxVersion: tls.VersionTLS12,
			})))
			return s.dial(srv.Address, trusting(pool, "service.test"))
		},
		"connection_reset": func(t *testing.T, s *scene) *grpc.ClientConn {
			return s.dial(loopback.Accept(t, func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) }))
		},
		"closed_by_peer": func(t *testing.T, s *scene) *grpc.ClientConn {
			return s.dial(loopback.Accept(t, func(c *net.TCPConn) error {
				_, err := io.ReadFull(c, make([]byte, 24+9))
				return errors.Join(err, c.Close())
			}))
		},
		"_OTHER": func(_ *testing.T, s *scene) *grpc.ClientConn {
			return s.dial("passthrough:///anywhere", grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
				return nil, errors.New("the dialer has its own troubles")
			}))
		},
	} {
		t.Run(want, func(t *testing.T) {
			s := newScene(t)
			dial(t, s)
			if e := s.failed(); e.ErrorType != want {
				t.Errorf("%s: the class is %s", e, e.ErrorType)
			}
		})
	}
}

// The proxy of the environment refuses. net/http reads the environment once, so this is a process of its own.
func TestProxyFails(t *testing.T) {
	t.Parallel()
	const child = "REDIAL_CAUSES_PROXY"
	if os.Getenv(child) == "" {
		proxy := loopback.Accept(t, func(c *net.TCPConn) error {
			buf := make([]byte, 4096)
			if _, err := c.Read(buf); err != nil {
				return err
			}
			_, err := io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
			return errors.Join(err, c.Close())
		})
		cmd := exec.Command(os.Args[0], "-test.run=^TestProxyFails$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1", "HTTPS_PROXY=http://"+proxy, "NO_PROXY=")
		out, err := cmd.CombinedOutput()
		if err != nil || !regexp.MustCompile(`--- PASS: TestProxyFails`).Match(out) {
			t.Errorf("%v:\n%s", err, out)
		}
		seen.Lock()
		defer seen.Unlock()
		if seen.types == nil {
			seen.causes, seen.types = map[event.Cause]bool{}, map[string]bool{}
		}
		seen.types["proxy"] = err == nil
		return
	}
	s := newScene(t)
	s.dial("dns:///service.test:443")
	if e := s.failed(); e.ErrorType != "proxy" {
		t.Errorf("%s: the class is %s", e, e.ErrorType)
	}
}

// The kernel gives up a connection of which nothing is acknowledged. It is told to do so early.
func TestTimedOut(t *testing.T) {
	t.Parallel()
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_retries2", []byte("3"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newScene(t)
	w := wire(t)
	cc := s.dial(w.server.address)
	s.ready()
	w.cut(t)
	_, wait := s.rpc(cc)
	e := s.lost()
	wait()
	if e.Cause != event.CauseTimedOut || e.Interrupted != 1 {
		t.Errorf("%s: want timed_out, and the RPC killed", e)
	}
}

// everyValue holds that each value of the closed sets was produced for real, here or by a scenario of package instrument
// (whose record is in testdata/scenarios). It is asked once all tests have run.
func everyValue() error {
	files, err := filepath.Glob(filepath.Join("..", "..", "instrument", "testdata", "scenarios", "*.txt"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("find scenarios: %d files: %w", len(files), err)
	}
	var scenarios string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		scenarios += string(text)
	}
	signals, err := os.ReadFile(filepath.Join("..", "..", "docs", "signals.md"))
	if err != nil {
		return err
	}
	var errs []error
	for key, produced := range map[string]func(string) bool{
		"error.type":            func(v string) bool { return seen.types[v] },
		"redial.teardown.cause": func(v string) bool { return seen.causes[event.Cause(v)] },
	} {
		list := regexp.MustCompile("(?s)\n`" + regexp.QuoteMeta(key) + "`: (.*?)\\.\n").FindSubmatch(signals)
		if list == nil {
			return fmt.Errorf("docs/signals.md does not list the values of %s", key)
		}
		for _, v := range regexp.MustCompile("`([a-zA-Z0-9_]+)`").FindAllStringSubmatch(string(list[1]), -1) {
			inScenario := regexp.MustCompile(`(?m)(error\.type|teardown\.cause)="?([a-z_]+\|)*` + v[1] + `[ "|:\n]`)
			if !produced(v[1]) && !inScenario.MatchString(scenarios) {
				errs = append(errs, fmt.Errorf("%s=%s was never produced", key, v[1]))
			}
		}
	}
	return errors.Join(errs...)
}

// The server says GOAWAY before gRPC has told anybody that the connection is up: gRPC says "unknown" then, and the socket
// does not tell more.
func TestUnknown(t *testing.T) {
	t.Parallel()
	for range 200 {
		s := newScene(t)
		address := loopback.Accept(t, func(c *net.TCPConn) error {
			_, err := c.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
			if err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, c)
			return c.Close()
		})
		cc := s.dial(address)
		e := s.lost()
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
		if e.Cause == event.CauseUnknown {
			return
		}
	}
	t.Error("gRPC was never so late that the cause is unknown")
}
