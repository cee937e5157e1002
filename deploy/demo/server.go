package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"github.com/redial-dev/redial/deploy/demo/echo"
	"github.com/redial-dev/redial/deploy/internal/fault"
)

// server is an echo server that can be stopped and started again at the same address, and whose connections can be cut.
type server struct {
	address string
	grpc    *grpc.Server
	done    chan error
	conns   *fault.Listener
}

// start begins to serve.
func (s *server) start() error {
	conns, err := fault.Listen(context.Background(), s.address)
	if err != nil {
		return fmt.Errorf("echo server: listen on %q (flag -server): %w", s.address, err)
	}
	s.address = conns.Addr().String()
	s.conns, s.done, s.grpc = conns, make(chan error, 1), grpc.NewServer()
	echo.RegisterEchoServer(s.grpc, echo.Server{})
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

// restart replaces the server by a new one as a rolling deployment does: the old one says GOAWAY and lets the RPCs
// that it has end. It returns when they have.
func (s *server) restart() error {
	old := *s
	go old.grpc.GracefulStop()
	<-old.conns.Closed()
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
func (s *server) cut() error { return s.conns.Reset() }
