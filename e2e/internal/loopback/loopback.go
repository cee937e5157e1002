// Package loopback has servers and addresses on the loopback interface, for tests.
package loopback

import (
	"errors"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// FreeAddress returns an address on which nobody listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	lis := Listen(t)
	if err := lis.Close(); err != nil {
		t.Fatal(err)
	}
	return lis.Addr().String()
}

// Listen listens at any free port.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

// Accept does this with each connection, one after the other, until the test ends, and returns the address.
func Accept(t testing.TB, handle func(*net.TCPConn) error) (address string) {
	t.Helper()
	lis := Listen(t)
	t.Cleanup(func() {
		if err := lis.Close(); err != nil {
			t.Error(err)
		}
	})
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			if err := handle(c.(*net.TCPConn)); err != nil {
				t.Error(err)
			}
		}
	}()
	return lis.Addr().String()
}

// Server is a gRPC server with the health service.
type Server struct {
	*grpc.Server
	Address string
	t       testing.TB
	done    chan error
}

// Serve starts a server at an address. The caller must call Halt.
func Serve(t testing.TB, address string, opts ...grpc.ServerOption) *Server {
	t.Helper()
	lis, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Server: grpc.NewServer(opts...), Address: lis.Addr().String(), t: t, done: make(chan error, 1)}
	healthpb.RegisterHealthServer(s, health.NewServer())
	go func() { s.done <- s.Server.Serve(lis) }()
	return s
}

// Halt stops the server at once, and waits until it serves no more.
func (s *Server) Halt() {
	s.Stop()
	if err := <-s.done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // It may be stopped before it serves.
		s.t.Error(err)
	}
}
