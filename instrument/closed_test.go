//go:build !race

package instrument_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/redial-dev/redial/instrument"
)

// closing makes channels and closes them in one state.
type closing struct {
	*environment
	address string // Of a server.
	silent  string // Of a listener that takes connections and says nothing.
	option  grpc.DialOption
	// reachable counts the channels of which something still is, by the state in which they were closed, and now is the
	// state of those that are made now.
	reachable map[string]*atomic.Int64
	now       string
}

// batch makes some channels.
func (c *closing) batch(n int, target string, opts ...grpc.DialOption) []*grpc.ClientConn {
	c.t.Helper()
	return c.batchWith(insecure.NewCredentials(), n, target, opts...)
}

func (c *closing) batchWith(
	creds credentials.TransportCredentials, n int, target string, opts ...grpc.DialOption,
) (all []*grpc.ClientConn) {
	c.t.Helper()
	for range n {
		own := &tracked{TransportCredentials: creds}
		runtime.AddCleanup(own, func(n *atomic.Int64) { n.Add(-1) }, c.reachable[c.now])
		cc, err := grpc.NewClient(target, append([]grpc.DialOption{grpc.WithTransportCredentials(own), c.option}, opts...)...)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, cc)
		c.reachable[c.now].Add(1)
	}
	return all
}

// connect makes channels, and waits until all have a state.
func (c *closing) connect(want connectivity.State, n int, target string, opts ...grpc.DialOption) []*grpc.ClientConn {
	c.t.Helper()
	all := c.batch(n, target, opts...)
	for _, cc := range all {
		cc.Connect()
	}
	for _, cc := range all {
		c.awaitUnobserved(cc, want)
	}
	return all
}

// counted returns a function that counts, and one that waits for a count.
func (c *closing) counted(what string) (count func(), await func(n int)) {
	var have atomic.Int64
	return func() { have.Add(1) }, func(n int) {
		wait(c.t, what, func() bool { return have.Load() == int64(n) })
	}
}

// watch opens a stream on each channel, which lives as long as its transport.
func (c *closing) watch(all []*grpc.ClientConn) {
	c.t.Helper()
	for _, cc := range all {
		stream, err := healthpb.NewHealthClient(cc).Watch(context.Background(), &healthpb.HealthCheckRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

// closingStates are those in which a channel may be closed. Each function returns so many that are in it, and what is
// to be done when they are closed.
var closingStates = map[string]func(c *closing, n int) (all []*grpc.ClientConn, then func()){
	"idle": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		return c.batch(n, c.address), func() {}
	},
	"before the resolver answered": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		all := c.batch(n, "slow:///never", (&slowResolver{}).option())
		for _, cc := range all {
			cc.Connect()
		}
		return all, func() {}
	},
	"while an RPC waits for the resolver": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		all := c.batch(n, "slow:///never", (&slowResolver{}).option())
		ended, await := c.counted("the RPCs are over")
		for _, cc := range all {
			go func() {
				if call(cc) == nil {
					c.t.Error("an RPC went well without an address")
				}
				ended()
			}()
		}
		for _, cc := range all {
			c.awaitUnobserved(cc, connectivity.Connecting)
		}
		return all, func() { await(n) }
	},
	"connecting": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		dialed, await := c.counted("all are dialed")
		all := c.connect(connectivity.Connecting, n, c.address,
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				dialed()
				<-ctx.Done()
				return nil, ctx.Err()
			}))
		await(n)
		return all, func() {}
	},
	"handshaking": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		begun, await := c.counted("all shake hands")
		all := c.batchWith(shaking{
			credentials.NewTLS(&tls.Config{ServerName: "S1", MinVersion: tls.VersionTLS12}), begun,
		}, n, c.silent)
		for _, cc := range all {
			cc.Connect()
		}
		await(n)
		return all, func() {}
	},
	"before the server's SETTINGS": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		return c.connect(connectivity.Connecting, n, c.silent), func() {}
	},
	"ready": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		return c.connect(connectivity.Ready, n, c.address), func() {}
	},
	"with an RPC in flight": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		all := c.connect(connectivity.Ready, n, c.address)
		c.watch(all)
		return all, func() {}
	},
	"backing off": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		slow := backoff.Config{BaseDelay: time.Minute, Multiplier: 1, MaxDelay: time.Minute}
		return c.connect(connectivity.TransientFailure, n, c.address,
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: slow}),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
				return nil, errors.New("nobody is there")
			})), func() {}
	},
	"draining": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		lis, srv := c.listen(), grpc.NewServer()
		healthpb.RegisterHealthServer(srv, health.NewServer())
		served := make(chan error, 1)
		go func() { served <- srv.Serve(lis) }()
		all := c.connect(connectivity.Ready, n, c.address, // The target is one for all.
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", lis.Addr().String())
			}))
		c.watch(all)
		go srv.GracefulStop()
		for _, cc := range all {
			c.awaitUnobserved(cc, connectivity.Idle)
		}
		return all, func() {
			if err := <-served; err != nil {
				c.t.Error(err)
			}
		}
	},
	"idle again": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		dialed, await := c.counted("all are dialed")
		all := c.batch(n, c.address, grpc.WithIdleTimeout(100*time.Millisecond),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				dialed()
				return new(net.Dialer).DialContext(ctx, "tcp", address)
			}))
		for _, cc := range all {
			cc.Connect()
		}
		await(n)
		for _, cc := range all {
			c.awaitUnobserved(cc, connectivity.Idle)
		}
		return all, func() {}
	},
	"with a policy that is not wrapped": func(c *closing, n int) ([]*grpc.ClientConn, func()) {
		return c.connect(connectivity.Ready, n, c.address, grpc.WithDefaultServiceConfig(
			`{"loadBalancingConfig":[{"test_unwrapped":{}}]}`)), func() {}
	},
}

// shaking are credentials that say when a handshake begins.
type shaking struct {
	credentials.TransportCredentials
	begun func()
}

func (s shaking) ClientHandshake(
	ctx context.Context, authority string, raw net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	s.begun()
	return s.TransportCredentials.ClientHandshake(ctx, authority, raw)
}

// listen listens at any port.
func (c *closing) listen() net.Listener {
	c.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	return lis
}

// takeInSilence takes connections and says nothing, until the listener is closed.
func takeInSilence(lis net.Listener) {
	for {
		conn, err := lis.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(io.Discard, conn) // Until the client closes, in whichever way.
			_ = conn.Close()
		}()
	}
}

// Nothing is left of 5000 channels, whatever they do when they are closed.
func TestMemoryOfClosedChannels(t *testing.T) {
	const (
		perState, perBatch = 450, 50
		most               = 100 // Bytes for each.
	)
	env := newEnvironment(t)
	env.onFault(func(err error) { t.Log(err) }) // A policy that is not wrapped is reported.
	redial := instrument.NewHandler(instrument.WithTracerProvider(nooptrace.NewTracerProvider()),
		instrument.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))
	open := &connections{}
	c := &closing{
		environment: env, address: env.serve("S1", grpc.StatsHandler(open)).address, option: redial.DialOption(),
		reachable: map[string]*atomic.Int64{},
	}
	silent := c.listen()
	defer silent.Close()
	go takeInSilence(silent)
	c.silent = silent.Addr().String()
	running := runtime.NumGoroutine()
	// closeAll closes channels in each state, and returns when nobody knows of them any more.
	closeAll := func() {
		for c.now = range closingStates {
			for range perState / perBatch {
				batch, then := closingStates[c.now](c, perBatch)
				for _, cc := range batch {
					if err := cc.Close(); err != nil {
						t.Fatal(err)
					}
				}
				then()
			}
		}
		wait(t, "no channel is left in the snapshot", func() bool { return len(redial.Channels()) == 0 })
		wait(t, "no goroutine is left", func() bool {
			return open.open.Load() == 0 && runtime.NumGoroutine() <= running
		})
		for name, left := range c.reachable {
			wait(t, "nothing holds on to channels that were closed "+name, func() bool {
				runtime.GC()
				return left.Load() == 0
			})
		}
	}
	for name := range closingStates {
		c.reachable[name] = new(atomic.Int64)
	}
	closeAll() // What stays for good, and is bounded, is there then.
	heap := liveHeap()
	closeAll()
	all := perState * len(closingStates)
	each := (liveHeap() - heap) / float64(all)
	t.Logf("%d closed channels leave %.0f bytes each", all, each)
	if each > most {
		t.Errorf("a closed channel leaves %.0f bytes, want %d at most", each, most)
	}
	if err := redial.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
