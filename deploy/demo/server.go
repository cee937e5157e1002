package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/redial-dev/redial/deploy/demo/echo"
)

// server is an echo server that can be stopped and started again at the same address, and whose connections can be cut.
type server struct {
	address string
	grpc    *grpc.Server
	done    chan error
	conns   *listener
}

// start begins to serve.
func (s *server) start() error {
	inner, err := net.Listen("tcp", s.address)
	if err != nil {
		return fmt.Errorf("echo server: listen on %q (flag -server): %w", s.address, err)
	}
	s.address = inner.Addr().String()
	s.conns, s.done, s.grpc = newListener(inner), make(chan error, 1), grpc.NewServer()
	echo.RegisterEchoServer(s.grpc, echoService{})
	go func(done chan<- error, g *grpc.Server, l net.Listener) {
		done <- g.Serve(l)
		close(done)
	}(s.done, s.grpc, s.conns)
	return nil
}

// stop ends the server and all its connections, as a crash does. A server that is stopped stays so.
func (s *server) stop() error {
	s.grpc.Stop()
	return served(<-s.done)
}

// restart replaces the server by a new one as a rolling deployment does: the old one says GOAWAY and lets the RPCs that it
// has end. It returns when they have.
func (s *server) restart() error {
	old := *s
	go old.grpc.GracefulStop()
	<-old.conns.closed
	err := s.start()
	return errors.Join(err, served(<-old.done))
}

func served(err error) error {
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("echo server: %w", err)
	}
	return nil
}

// cut resets the server's connections, as a firewall does that has forgotten them.
func (s *server) cut() error { return s.conns.reset() }

// listener keeps the connections that it accepted.
type listener struct {
	net.Listener
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	conns []*net.TCPConn
}

func newListener(inner net.Listener) *listener {
	return &listener{Listener: inner, closed: make(chan struct{})}
}

// Close implements [net.Listener].
func (l *listener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { close(l.closed) })
	return err
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		l.mu.Lock()
		l.conns = append(l.conns, tcp)
		l.mu.Unlock()
	}
	return c, err
}

func (l *listener) reset() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, c := range l.conns {
		err := errors.Join(c.SetLinger(0), c.Close()) // Without lingering, Close sends RST.
		if !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	l.conns = nil
	return errors.Join(errs...)
}

type echoService struct{ echo.UnimplementedEchoServer }

// Say implements [echo.EchoServer].
func (echoService) Say(ctx context.Context, req *echo.SayRequest) (*echo.SayResponse, error) {
	delay := time.NewTimer(time.Duration(req.GetDelayMs()) * time.Millisecond)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	resp := &echo.SayResponse{Text: req.GetText()}
	if p, ok := peer.FromContext(ctx); ok {
		resp.Client = p.Addr.String()
	}
	return resp, nil
}
