package dashboards_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/internal/selfsigned"
)

const patience = 2 * time.Minute

// play is a client with channels to servers that are stopped, and worse.
type play struct {
	t       *testing.T
	options []grpc.DialOption // By which each agent observes.
}

// channel is a channel, and its target as the metrics name it.
type channel struct {
	*grpc.ClientConn
	t *testing.T
}

// What is played on the target cart, which the test compares with what the dashboards show.
const (
	goaways = 3
	killed  = 12
	refused = 5
)

func (p *play) dial(target string, opts ...grpc.DialOption) *channel {
	p.t.Helper()
	cc, err := grpc.NewClient(target, append(append([]grpc.DialOption{}, p.options...), opts...)...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := cc.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return &channel{cc, p.t}
}

// plain is a channel that is READY to a server without TLS.
func (p *play) plain(address string, opts ...grpc.DialOption) *channel {
	p.t.Helper()
	c := p.dial(address, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	c.call()
	return c
}

// call calls and waits for the answer.
func (c *channel) call() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := healthpb.NewHealthClient(c).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
		c.t.Fatal(err)
	}
}

// await waits for the state, and connects where the channel is IDLE and another state is wanted.
func (c *channel) await(state connectivity.State) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for have := c.GetState(); have != state; have = c.GetState() {
		if have == connectivity.Idle { // Else it may become IDLE before Connect, which would end what is waited for.
			c.Connect()
		}
		if !c.WaitForStateChange(ctx, have) {
			c.t.Fatalf("the channel stays %v", have)
		}
	}
}

// watch opens a stream that stays open.
func (c *channel) watch() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.t.Cleanup(cancel)
	stream, err := healthpb.NewHealthClient(c).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// certified is a channel to a server whose certificate is valid until then, for RPCs that may fail.
func (p *play) certified(until time.Time) *channel {
	p.t.Helper()
	cert, pool := selfsigned.Certificate(p.t, "localhost", func(c *x509.Certificate) { c.NotAfter = until })
	server := loopback.Serve(p.t, "127.0.0.1:0", grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	p.t.Cleanup(server.Halt)
	return p.dial(server.Address, grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(pool, "localhost")))
}

// streamLimit lets RPCs wait for a stream, and returns the target. Since channels share their options, each agent sees
// it only while a channel of its own is not READY.
func (p *play) streamLimit() string {
	server := loopback.Serve(p.t, "127.0.0.1:0", grpc.MaxConcurrentStreams(1))
	p.t.Cleanup(server.Halt)
	c := p.plain(server.Address)
	c.watch()
	ctx, cancel := context.WithCancel(context.Background())
	p.t.Cleanup(cancel)
	for range 2 {
		go func() {
			_, _ = healthpb.NewHealthClient(c).Check(ctx, &healthpb.HealthCheckRequest{}) // It waits until the end.
		}()
	}
	return c.CanonicalTarget()
}

// patient is a channel to a server that is gone, whose RPCs wait for longer than a second, again and again. It returns
// the target.
func (p *play) patient() string {
	server := loopback.Serve(p.t, "127.0.0.1:0")
	c := p.plain(server.Address)
	server.Halt()
	ctx, cancel := context.WithCancel(context.Background())
	p.t.Cleanup(cancel)
	go func() {
		for ctx.Err() == nil {
			ctx, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
			_, _ = healthpb.NewHealthClient(c).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
			cancel()
		}
	}()
	return c.CanonicalTarget()
}

// several is a channel to all servers of a name, by the service config.
func (p *play) several(scheme, config string, addresses ...string) *channel {
	r := manual.NewBuilderWithScheme(scheme)
	var state resolver.State
	for _, a := range addresses {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: a})
	}
	r.InitialState(state)
	c := p.dial(scheme+":///stock", grpc.WithResolvers(r), grpc.WithDefaultServiceConfig(config),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	c.Connect()
	return c
}

// half is a channel to two servers, of which one is not there, and returns the target.
func (p *play) half() string {
	server := loopback.Serve(p.t, "127.0.0.1:0")
	p.t.Cleanup(server.Halt)
	c := p.several("half", `{"loadBalancingConfig":[{"round_robin":{}}]}`, server.Address, loopback.FreeAddress(p.t))
	c.await(connectivity.Ready)
	return c.CanonicalTarget()
}

// unhealthy is a channel to a server that does not serve, as it says itself.
func (p *play) unhealthy() {
	server := loopback.Serve(p.t, "127.0.0.1:0")
	p.t.Cleanup(server.Halt)
	p.several("unhealthy", `{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"stock"}}`,
		server.Address).await(connectivity.TransientFailure)
}

// tooManyPings lets a server complain of keepalive pings: the third within its time.
func (p *play) tooManyPings() {
	server := loopback.Serve(p.t, "127.0.0.1:0",
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Hour}))
	p.t.Cleanup(server.Halt)
	p.plain(server.Address,
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true}))
}

// stalled is a channel whose packets vanish since it was READY, and on which an RPC died of that. It returns the
// target.
func (p *play) stalled() string {
	server := loopback.Serve(p.t, "127.0.0.1:0")
	p.t.Cleanup(server.Halt)
	dialed := make(chan *net.TCPConn, 1)
	c := p.plain(server.Address, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			dialed <- conn.(*net.TCPConn)
		}
		return conn, err
	}))
	loopback.Deafen(p.t, <-dialed)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := healthpb.NewHealthClient(c).Check(ctx, &healthpb.HealthCheckRequest{})
	if status.Code(err) != codes.DeadlineExceeded {
		p.t.Fatalf("the RPC ended with %v", err)
	}
	return c.CanonicalTarget()
}

// names is a resolver that fails, and another that does not answer.
func (p *play) names() {
	for _, builder := range []nameServer{{"failing", errors.New("no such host")}, {"silent", nil}} {
		c := p.dial(builder.scheme+":///stock", grpc.WithResolvers(instrument.WrapResolver(builder)),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		c.Connect()
	}
}

// nameServer answers each question by an error, or not at all.
type nameServer struct {
	scheme string
	err    error
}

func (n nameServer) Scheme() string { return n.scheme }

func (n nameServer) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	a := answers{n.err, cc, make(chan struct{})}
	if n.err != nil {
		go a.run()
	}
	return a, nil
}

// answers reports an error every second, as a resolver that tries again.
type answers struct {
	err  error
	cc   resolver.ClientConn
	stop chan struct{}
}

func (a answers) run() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		a.cc.ReportError(a.err)
		select {
		case <-tick.C:
		case <-a.stop:
			return
		}
	}
}

func (answers) ResolveNow(resolver.ResolveNowOptions) {}

func (a answers) Close() { close(a.stop) }

// goAways lets a server say GOAWAY and come back, again and again, and returns the target.
func (p *play) goAways() string {
	server := loopback.Serve(p.t, "127.0.0.1:0")
	c := p.plain(server.Address)
	for range goaways {
		server.GracefulStop()
		c.await(connectivity.Idle)
		server.Halt()
		server = loopback.Serve(p.t, server.Address)
		c.await(connectivity.Ready)
	}
	p.t.Cleanup(server.Halt)
	return c.CanonicalTarget()
}
