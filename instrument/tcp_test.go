//go:build linux

package instrument_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/redial-dev/redial/instrument"
)

// The sockets are sampled while there are transports, and once more when one is lost.
func TestTCPMetrics(t *testing.T) {
	env := newEnvironment(t, instrument.WithTCPMetrics(10*time.Millisecond))
	srv := env.serve("S1")
	cc := env.dial(srv.address)
	env.connect(cc)
	deadline := time.Now().Add(patience)
	for env.collect()["grpc.tcp.min_rtt"] < 3 {
		if time.Now().After(deadline) {
			t.Fatalf("not sampled: %v", env.collect())
		}
	}
	const rpcs = 10
	for range rpcs {
		mustCall(t, cc)
	}
	env.closeAll() // The last sample sees what these RPCs sent.
	metrics := env.collect()
	env.shutdown()
	if sent := metrics["grpc.tcp.packets_sent"]; sent < rpcs {
		t.Errorf("%d packets were sent with %d RPCs", sent, rpcs)
	}
	if metrics["grpc.tcp.delivery_rate"] != metrics["grpc.tcp.min_rtt"] {
		t.Errorf("samples differ: %v", metrics)
	}
}

// Without the option nothing is sampled.
func TestNoTCPMetrics(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address)
	env.connect(cc)
	mustCall(t, cc)
	env.closeAll()
	for key := range env.collect() {
		if strings.HasPrefix(key, "grpc.tcp.") {
			t.Errorf("there is %s", key)
		}
	}
	env.shutdown()
}

// faultyConn is a connection of somebody's own, whose socket panics when it is asked about.
type faultyConn struct {
	*net.TCPConn
	faulty *atomic.Bool
}

func (c *faultyConn) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.TCPConn.SyscallConn()
	return faultyRaw{raw, c.faulty}, err
}

type faultyRaw struct {
	syscall.RawConn
	faulty *atomic.Bool
}

func (r faultyRaw) Control(f func(fd uintptr)) error {
	if r.faulty.Load() {
		panic("a socket's fault")
	}
	return r.RawConn.Control(f)
}

// What panics while a socket is read, by the clock or at a loss, is reported, and harms nothing.
func TestSocketPanics(t *testing.T) {
	env := newEnvironment(t, instrument.WithTCPMetrics(10*time.Millisecond))
	var reports atomic.Int64
	env.onFault(func(err error) {
		if reports.Add(1); !strings.Contains(err.Error(), "a socket's fault") {
			t.Errorf("reported to otel.Handle: %v", err)
		}
	})
	srv := env.serve("S1")
	var faulty atomic.Bool
	cc := env.dial(srv.address, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return &faultyConn{conn.(*net.TCPConn), &faulty}, nil
	}))
	env.connect(cc)
	faulty.Store(true)
	wait(t, "the sampler met the fault", func() bool { return reports.Load() > 0 })
	mustCall(t, cc)
	srv.stop()
	env.awaitUnobserved(cc, connectivity.Idle)
	faulty.Store(false)
	env.closeAll()
	env.shutdown()
}
