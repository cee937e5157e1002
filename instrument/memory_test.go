//go:build !race

package instrument_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"

	"github.com/redial-dev/redial/instrument"
)

// memoryPerSubchannel is what docs/performance.md says that a READY subchannel takes at most, its channel's share included;
// the spans that are open, which belong to the SDK, are not.
const memoryPerSubchannel = 2 << 10

// liveHeap returns the size of what is reachable.
func liveHeap() float64 {
	runtime.GC()
	runtime.GC() // The first leaves what was in a sync.Pool.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// crowd is many subchannels to one server.
type crowd struct {
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

func (c *crowd) dial(target string, h stats.Handler, opts ...grpc.DialOption) *grpc.ClientConn {
	c.t.Helper()
	creds := &tracked{TransportCredentials: insecure.NewCredentials()}
	runtime.AddCleanup(creds, func(n *atomic.Int64) { n.Add(1) }, &c.freed)
	cc, err := grpc.NewClient(target, append(opts, grpc.WithStatsHandler(h), grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", c.address)
		}))...)
	if err != nil {
		c.t.Fatal(err)
	}
	return cc
}

// channels makes as many channels, of one subchannel each.
func (c *crowd) channels(h stats.Handler) (all []*grpc.ClientConn) {
	for range c.n {
		all = append(all, c.dial("passthrough:///crowd", h))
	}
	return all
}

// roundRobin makes one channel.
func (c *crowd) roundRobin(h stats.Handler) []*grpc.ClientConn {
	r := manual.NewBuilderWithScheme("crowd")
	var state resolver.State
	for i := range c.n {
		a := resolver.Address{Addr: fmt.Sprint("way:", i)}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{a}})
	}
	r.InitialState(state)
	return []*grpc.ClientConn{c.dial("crowd:///", h, grpc.WithResolvers(r), grpc.WithDefaultServiceConfig(roundRobin))}
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

// A subchannel that is READY and quiet takes no more memory than the docs say, and no goroutine; and when its channel is
// closed nothing holds on to it.
func TestMemoryOfSubchannels(t *testing.T) {
	const rounds = 5
	for name, open := range map[string]func(*crowd, stats.Handler) []*grpc.ClientConn{
		"Channels": (*crowd).channels, "RoundRobin": (*crowd).roundRobin,
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			count := &connections{}
			c := &crowd{t: t, address: s.serve("S1", grpc.StatsHandler(count)).address, n: 500}
			redial := instrument.NewHandler(instrument.WithTracerProvider(nooptrace.NewTracerProvider()),
				instrument.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))
			closed := 0
			// measure returns the memory and the goroutines that each subchannel takes.
			measure := func(h stats.Handler) (memory float64, goroutines int) {
				heap, running := liveHeap(), runtime.NumGoroutine()
				all := open(c, h)
				for _, cc := range all {
					cc.Connect()
				}
				ways := map[net.Addr]bool{}
				wait(t, "each subchannel has carried an RPC", func() bool {
					for _, cc := range all {
						var way peer.Peer
						mustCall(t, cc, grpc.WaitForReady(true), grpc.Peer(&way))
						ways[way.LocalAddr] = true
					}
					return len(ways) == c.n
				})
				clear(ways)
				if err := redial.Drain(t.Context()); err != nil {
					t.Fatal(err)
				}
				memory, goroutines = (liveHeap()-heap)/float64(c.n), runtime.NumGoroutine()-running
				for _, cc := range all {
					if err := cc.Close(); err != nil {
						t.Fatal(err)
					}
				}
				closed += len(all)
				clear(all)
				wait(t, "nothing holds on to a closed channel", func() bool {
					runtime.GC()
					return c.freed.Load() == int64(closed)
				})
				wait(t, "the connections are gone", func() bool { return count.open.Load() == 0 && runtime.NumGoroutine() <= running })
				return memory, goroutines
			}
			measure(doNothing{}) // To warm up.
			measure(redial)
			without, with := math.Inf(1), math.Inf(1) // Whatever else happens in the process can only add to them.
			for range rounds {
				memory, goroutines := measure(doNothing{})
				without = min(without, memory)
				memory, goroutinesWith := measure(redial)
				with = min(with, memory)
				if goroutinesWith != goroutines {
					t.Errorf("%d goroutines with redial, %d with a handler that does nothing", goroutinesWith, goroutines)
				}
			}
			t.Logf("a READY subchannel takes %.0f bytes more than with a handler that does nothing", with-without)
			if with-without > memoryPerSubchannel {
				t.Errorf("a READY subchannel takes %.0f bytes more than with a handler that does nothing, want at most %d",
					with-without, memoryPerSubchannel)
			}
			if err := redial.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
