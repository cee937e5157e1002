package main

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/stats"

	"github.com/redial-dev/redial/deploy/demo/echo"
)

// handler is what gRPC calls: a stats.Handler that takes gRPC's metrics too.
type handler interface {
	stats.Handler
	estats.MetricsRecorder
}

// timed is a handler whose hooks are timed where gRPC calls them by the handler.
type timed struct {
	handler
	clock clock
}

func (t *timed) TagConn(ctx context.Context, info *stats.ConnTagInfo) (tagged context.Context) {
	t.clock.time("real: connection tagged", func() { tagged = t.handler.TagConn(ctx, info) })
	return tagged
}

func (t *timed) HandleConn(ctx context.Context, s stats.ConnStats) {
	kind := "real: connection ends"
	if _, ok := s.(*stats.ConnBegin); ok {
		kind = "real: connection begins"
	}
	t.clock.time(kind, func() { t.handler.HandleConn(ctx, s) })
}

func (t *timed) RecordInt64Count(m *estats.Int64CountHandle, n int64, labels ...string) {
	if m != disconnections {
		t.handler.RecordInt64Count(m, n, labels...)
		return
	}
	t.clock.time("real: loss", func() { t.handler.RecordInt64Count(m, n, labels...) })
}

// again is the backoff of real channels.
const again = 100 * time.Millisecond

// channels makes real channels to the server, and RPCs on each, until the context is done.
func channels(ctx context.Context, n int, address string, h stats.Handler) (wait func(), err error) {
	var callers sync.WaitGroup
	for range n {
		cc, err := grpc.NewClient(address, grpc.WithStatsHandler(h), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: again, Multiplier: 1, MaxDelay: again}}))
		if err != nil {
			return callers.Wait, err
		}
		callers.Go(func() {
			defer cc.Close()
			client := echo.NewEchoClient(cc)
			for ctx.Err() == nil {
				_, _ = client.Say(ctx, &echo.SayRequest{Text: "storm"}, grpc.WaitForReady(true)) // Some die with their transport.
				rest(ctx, *life/2)
			}
		})
	}
	return callers.Wait, nil
}

// rest waits for a random time, this long on average, or until the context is done.
func rest(ctx context.Context, mean time.Duration) {
	select {
	case <-time.After(time.Duration(rand.Float64() * 2 * float64(mean))):
	case <-ctx.Done():
	}
}

// shortLived is a listener whose connections are cut after a random time, some of them by a RST.
type shortLived struct{ net.Listener }

func (l shortLived) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	time.AfterFunc(time.Duration(rand.Float64()*2*float64(*life)), func() { // Where gRPC has closed it already both fail.
		if rand.IntN(3) == 0 {
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
		_ = conn.Close()
	})
	return conn, nil
}
