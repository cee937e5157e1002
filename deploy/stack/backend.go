package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/redial-dev/redial/deploy/demo/echo"
	"github.com/redial-dev/redial/deploy/internal/fault"
)

// The ports of a backend.
const (
	plainPort   = ":50051"
	tlsPort     = ":50052"
	controlPort = ":8081"
)

// longestFault bounds how long a backend stays broken.
const longestFault = 5 * time.Minute

// backend serves echo, with and without TLS, and can be broken.
type backend struct {
	names []string

	mu      sync.Mutex
	servers []*server
	expired bool // Whether certificates have expired.
	fault   string
}

// server is a gRPC server at a port that can be replaced.
type server struct {
	port     string
	creds    credentials.TransportCredentials // Nil without TLS.
	listener *fault.Listener
	grpc     *grpc.Server
}

// backendProgram runs a backend until the context is done. What breaks it is asked for by POST
// /fault?kind=KIND&for=DURATION.
func backendProgram(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("backend", flag.ContinueOnError)
	names := flags.String("names", "localhost", "names of its certificate, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := &backend{names: strings.Split(*names, ",")}
	b.servers = []*server{{port: plainPort}, {port: tlsPort, creds: credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: b.certificate,
	})}}
	if err := b.each(func(s *server) error { return s.start(ctx, math.MaxUint32) }); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("POST /fault", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.FormValue("for"))
		if err != nil || d < 0 || d > longestFault {
			http.Error(w, fmt.Sprintf("for=%q: want a duration up to %v", r.FormValue("for"), longestFault), http.StatusBadRequest)
			return
		}
		kind := r.FormValue("kind")
		if faults[kind] == nil {
			http.Error(w, fmt.Sprintf("kind=%q: there is no such fault", kind), http.StatusBadRequest)
			return
		}
		if !b.begin(kind) {
			http.Error(w, "another fault goes on", http.StatusConflict)
			return
		}
		go func() {
			defer b.end()
			if err := faults[kind](ctx, b, d); err != nil && ctx.Err() == nil {
				logger.Error("fault failed", "kind", kind, "error", err)
			}
		}()
		w.WriteHeader(http.StatusAccepted)
	})
	logger.Info("backend serves", "plain", plainPort, "tls", tlsPort, "control", controlPort)
	err := serveHTTP(ctx, controlPort, mux)
	return errors.Join(err, b.each(func(s *server) error { s.grpc.Stop(); return nil }))
}

func (b *backend) begin(kind string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != "" {
		return false
	}
	b.fault = kind
	logger.Info("fault begins", "kind", kind)
	return true
}

func (b *backend) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	logger.Info("fault ends", "kind", b.fault)
	b.fault = ""
}

// faults are what can be done to a backend, for a while where it lasts.
var faults = map[string]func(ctx context.Context, b *backend, d time.Duration) error{
	// The process is gone, and comes back.
	"restart": func(ctx context.Context, b *backend, d time.Duration) error {
		if err := b.each(func(s *server) error { s.grpc.Stop(); return nil }); err != nil {
			return err
		}
		sleep(ctx, d)
		return b.each(func(s *server) error { return s.start(ctx, math.MaxUint32) })
	},
	// A rolling deployment: GOAWAY, and a new server at once.
	"goaway": func(ctx context.Context, b *backend, _ time.Duration) error {
		return b.each(func(s *server) error { return s.replace(ctx, math.MaxUint32) })
	},
	// A firewall that has forgotten the connections.
	"reset": func(ctx context.Context, b *backend, _ time.Duration) error {
		return b.each(func(s *server) error { return s.listener.Reset() })
	},
	// Packets vanish.
	"silence": func(ctx context.Context, b *backend, d time.Duration) error {
		if err := b.each(func(s *server) error { return s.listener.Silence(true) }); err != nil {
			return err
		}
		sleep(ctx, d)
		return b.each(func(s *server) error { return s.listener.Silence(false) })
	},
	// The certificate expires, and is renewed.
	"expired": func(ctx context.Context, b *backend, d time.Duration) error {
		b.expire(true)
		defer b.expire(false)
		if err := b.each(func(s *server) error { return s.listener.Reset() }); err != nil {
			return err
		}
		sleep(ctx, d)
		return nil
	},
	// The server allows one RPC at a time on a connection.
	"streams": func(ctx context.Context, b *backend, d time.Duration) error {
		if err := b.each(func(s *server) error { return s.replace(ctx, 1) }); err != nil {
			return err
		}
		sleep(ctx, d)
		return b.each(func(s *server) error { return s.replace(ctx, math.MaxUint32) })
	},
}

func (b *backend) expire(expired bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expired = expired
}

// certificate makes one for a handshake.
func (b *backend) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	until := time.Now().AddDate(0, 3, 0) // Longer than RedialCertificateExpiring waits for.
	if b.expired {
		until = time.Now().Add(-time.Minute)
	}
	return certificate(b.names, until)
}

// each does something to both servers. Only the fault that goes on calls it.
func (b *backend) each(do func(*server) error) error {
	var errs []error
	for _, s := range b.servers {
		errs = append(errs, do(s))
	}
	return errors.Join(errs...)
}

// start begins to serve, so many RPCs at a time on a connection.
func (s *server) start(ctx context.Context, streams uint32) (err error) {
	if s.listener, err = fault.Listen(ctx, s.port); err != nil {
		return fmt.Errorf("serve gRPC: %w", err)
	}
	opts := []grpc.ServerOption{
		grpc.MaxConcurrentStreams(streams),
		// Clients may ping each 5 s, to notice a path that is dead.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
	if s.creds != nil {
		opts = append(opts, grpc.Creds(s.creds))
	}
	s.grpc = grpc.NewServer(opts...)
	echo.RegisterEchoServer(s.grpc, echo.Server{})
	go func(g *grpc.Server, l *fault.Listener) {
		if err := g.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			logger.Error("gRPC server ended", "port", s.port, "error", err)
		}
	}(s.grpc, s.listener)
	return nil
}

// replace stops the server gracefully, which says GOAWAY and lets the RPCs end, and starts another meanwhile.
func (s *server) replace(ctx context.Context, streams uint32) error {
	old, listener := s.grpc, s.listener
	go old.GracefulStop()
	<-listener.Closed()
	return s.start(ctx, streams)
}
