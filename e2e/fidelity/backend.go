package fidelity

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

// backend is a gRPC server.
type backend struct {
	address string
	// busy: it takes its time for an RPC, and allows each connection few at once.
	busy bool
	mu   sync.Mutex
	srv  *grpc.Server // Nil while it is down.
	done chan error
}

const (
	// streams are the RPCs that a busy backend allows at once.
	streams = 2
	// answerTime is what it takes for each.
	answerTime = time.Millisecond
)

func (b *backend) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.srv != nil {
		return nil
	}
	lis, err := net.Listen("tcp", b.address)
	if err != nil {
		return err
	}
	b.address = lis.Addr().String()
	opts := []grpc.ServerOption{grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 300 * time.Millisecond, MaxConnectionAgeGrace: 50 * time.Millisecond,
	})}
	if b.busy {
		opts = append(opts, grpc.MaxConcurrentStreams(streams), grpc.UnaryInterceptor(answerSlowly))
	}
	b.srv = grpc.NewServer(opts...)
	healthpb.RegisterHealthServer(b.srv, health.NewServer())
	srv, done := b.srv, make(chan error, 1)
	b.done = done
	go func() { done <- srv.Serve(lis) }()
	return nil
}

func answerSlowly(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	time.Sleep(answerTime)
	return handle(ctx, req)
}

// stop ends the server, at once or by GOAWAY.
func (b *backend) stop(gracefully bool) error {
	b.mu.Lock()
	srv, done := b.srv, b.done
	b.srv = nil
	b.mu.Unlock()
	if srv == nil {
		return nil
	}
	if gracefully {
		srv.GracefulStop()
	} else {
		srv.Stop()
	}
	if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
