package instrument_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"
)

// manyChannels is many subchannels to one server.
type manyChannels struct {
	t       *testing.T
	address string
	n       int
	// freed counts the channels of which nothing is reachable any more.
	freed atomic.Int64
}

// tracked are credentials of one channel, by which it is seen whether anything still holds on to the channel.
type tracked struct {
	credentials.TransportCredentials
	_ [8]byte
}

func (c *tracked) Clone() credentials.TransportCredentials { return c }

func (many *manyChannels) dial(target string, h stats.Handler, opts ...grpc.DialOption) *grpc.ClientConn {
	many.t.Helper()
	creds := &tracked{TransportCredentials: insecure.NewCredentials()}
	runtime.AddCleanup(creds, func(n *atomic.Int64) { n.Add(1) }, &many.freed)
	cc, err := grpc.NewClient(target, append(opts, grpc.WithStatsHandler(h), grpc.WithTransportCredentials(creds),
		grpc.WithIdleTimeout(0), // Its timer, once stopped, holds on to the channel until the runtime removes it.
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", many.address)
		}))...)
	if err != nil {
		many.t.Fatal(err)
	}
	return cc
}

// channels makes as many channels, of one subchannel each.
func (many *manyChannels) channels(h stats.Handler) (all []*grpc.ClientConn) {
	for range many.n {
		all = append(all, many.dial("passthrough:///many", h))
	}
	return all
}

// roundRobin makes one channel.
func (many *manyChannels) roundRobin(h stats.Handler) []*grpc.ClientConn {
	r := manual.NewBuilderWithScheme("many")
	var state resolver.State
	for i := range many.n {
		a := resolver.Address{Addr: fmt.Sprint("way:", i)}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{a}})
	}
	r.InitialState(state)
	return []*grpc.ClientConn{many.dial("many:///", h, grpc.WithResolvers(r), grpc.WithDefaultServiceConfig(roundRobin))}
}

// connections counts those that a server has.
type connections struct {
	doNothing
	open atomic.Int64
}

func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.open.Add(1)
	case *stats.ConnEnd:
		c.open.Add(-1)
	}
}

// wait waits until a condition holds.
func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v until %s", patience, what)
		}
	}
}
