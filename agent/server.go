package agent

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redial-dev/redial/internal/report"
)

// The limits of the server. An answer takes as long as a scrape at most.
const (
	readTime  = 5 * time.Second
	writeTime = 30 * time.Second
	idleTime  = 15 * time.Second
	maxHeader = 16 << 10
	maxConns  = 64 // More than scrapers and people have, and few of the files that a process may have.
)

// ofServer is the kind of the reports of what goes wrong between the listener and a client.
const ofServer report.Kind = "server"

// server listens, and serves once there is something to serve.
type server struct {
	listener net.Listener
	conns    conns
	limiter  *report.Limiter
	http     http.Server
	done     chan error
}

func listen(ctx context.Context, address string, limiter *report.Limiter) (*server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q (REDIAL_LISTEN or WithListen): %w", address, err)
	}
	return &server{listener: listener, limiter: limiter, done: make(chan error, 1)}, nil
}

func (s *server) serve(h http.Handler) {
	s.http = http.Server{
		Handler: h, ReadTimeout: readTime, ReadHeaderTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ConnState: s.conns.changed, ErrorLog: log.New(s, "", 0),
	}
	go func() {
		err := s.http.Serve(s.listener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		if err != nil {
			s.limiter.Report(ofServer, fmt.Errorf("redial agent: serve on %s: %w", s.listener.Addr(), err))
		}
		s.done <- err
	}()
}

// Write takes a line of net/http's log. It implements io.Writer.
func (s *server) Write(line []byte) (int, error) {
	s.limiter.Report(ofServer, fmt.Errorf("redial agent: serve on %s: %s", s.listener.Addr(),
		strings.TrimSpace(string(line))))
	return len(line), nil
}

// shutdown answers what was requested, and closes what is left when the context is done.
func (s *server) shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	return errors.Join(err, <-s.done)
}

// conns bounds the connections of a server: a new one takes the place of the one that has rested longest, and is closed
// where none rests.
type conns struct {
	mu      sync.Mutex
	open    int
	resting []net.Conn // Those that have requested nothing yet or no more, oldest first.
}

// changed implements http.Server.ConnState.
func (c *conns) changed(conn net.Conn, state http.ConnState) {
	if surplus := c.record(conn, state); surplus != nil {
		_ = surplus.Close() // The client may have closed it.
	}
}

// record notes the state of a connection, and returns one that is to be closed.
func (c *conns) record(conn net.Conn, state http.ConnState) (surplus net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resting = slices.DeleteFunc(c.resting, func(r net.Conn) bool { return r == conn })
	switch state {
	case http.StateNew:
		if c.open++; c.open > maxConns {
			if len(c.resting) == 0 {
				return conn
			}
			surplus, c.resting = c.resting[0], c.resting[1:]
		}
		c.resting = append(c.resting, conn)
	case http.StateIdle:
		c.resting = append(c.resting, conn)
	case http.StateHijacked, http.StateClosed:
		c.open--
	}
	return surplus
}
