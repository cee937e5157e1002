package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/otel"
)

// The limits of the server. An answer takes as long as a scrape at most.
const (
	readTime  = 5 * time.Second
	writeTime = 30 * time.Second
	idleTime  = 2 * time.Minute
	maxHeader = 16 << 10
)

// server listens, and serves once there is something to serve.
type server struct {
	listener net.Listener
	http     http.Server
	done     chan error
}

func listen(ctx context.Context, address string) (*server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q (REDIAL_LISTEN or WithListen): %w", address, err)
	}
	return &server{listener: listener, done: make(chan error, 1)}, nil
}

func (s *server) serve(h http.Handler) {
	s.http = http.Server{
		Handler: h, ReadTimeout: readTime, ReadHeaderTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader,
	}
	go func() {
		err := s.http.Serve(s.listener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		if err != nil {
			otel.Handle(fmt.Errorf("redial agent: serve on %s: %w", s.listener.Addr(), err))
		}
		s.done <- err
	}()
}

// shutdown answers what was asked, and closes what is left when the context is done.
func (s *server) shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	return errors.Join(err, <-s.done)
}
