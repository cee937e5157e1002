package fidelity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

const (
	backends = 4
	proxies  = 6
	channels = 24
	// meanInterval is the mean time between two steps of chaos.
	meanInterval = 2 * time.Millisecond
	// downtime is how long a backend or proxy is down.
	downtime = 20 * time.Millisecond
	// connectTime is how long an attempt may take, and muteTime how long a proxy is silent.
	connectTime = 100 * time.Millisecond
	muteTime    = 200 * time.Millisecond
	// rpcTime is the deadline of each RPC, and rpcInterval the time between two of a channel.
	rpcTime     = 100 * time.Millisecond
	rpcInterval = 2 * time.Millisecond
)

// environment is what chaos acts on.
type environment struct {
	handler  *instrument.Handler
	random   *rand.Rand
	ledger   *ledger
	backends []*backend
	proxies  []*proxy
	clients  []*client
	// background are what goes on beside: backends and proxies that come back.
	background sync.WaitGroup

	mu            sync.Mutex
	interventions map[string][]intervention // What was done to channels, by target.
	errs          []error
}

// intervention is what this side did to a channel, and why its transports may end.
type intervention struct {
	at     time.Time
	causes []event.Cause
}

// backend is a gRPC server.
type backend struct {
	address string
	mu      sync.Mutex
	srv     *grpc.Server // Nil while it is down.
	done    chan error
}

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
	b.srv = grpc.NewServer(grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 300 * time.Millisecond, MaxConnectionAgeGrace: 50 * time.Millisecond,
	}))
	healthpb.RegisterHealthServer(b.srv, health.NewServer())
	srv, done := b.srv, make(chan error, 1)
	b.done = done
	go func() { done <- srv.Serve(lis) }()
	return nil
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

// client is a channel with an RPC after the other.
type client struct {
	target   string
	cc       *grpc.ClientConn
	resolver *manual.Resolver
	stop     context.CancelFunc
	done     chan struct{}
}

// handshakes: some clients speak TLS, to backends that do not.
var handshakes = []credentials.TransportCredentials{
	insecure.NewCredentials(), insecure.NewCredentials(), insecure.NewCredentials(), insecure.NewCredentials(),
	insecure.NewCredentials(), insecure.NewCredentials(), credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}),
}

var policies = []string{`{}`, `{"loadBalancingConfig":[{"round_robin":{}}]}`}

func newEnvironment(seed uint64, h *instrument.Handler) (*environment, error) {
	env := &environment{
		handler: h, random: rand.New(rand.NewPCG(seed, 0)), ledger: &ledger{causes: map[string][]event.Cause{}},
		interventions: map[string][]intervention{},
	}
	for range backends {
		b := &backend{address: "127.0.0.1:0"}
		if err := b.start(); err != nil {
			return env, err
		}
		env.backends = append(env.backends, b)
	}
	for i := range proxies {
		p, err := newProxy(env.backends[i%backends].address, env.ledger)
		if err != nil {
			return env, err
		}
		env.proxies = append(env.proxies, p)
	}
	for range channels {
		c, err := env.newClient()
		if err != nil {
			return env, err
		}
		env.clients = append(env.clients, c)
	}
	return env, nil
}

var numbers struct {
	sync.Mutex
	n int
}

func (env *environment) newClient() (*client, error) {
	numbers.Lock()
	numbers.n++
	target := fmt.Sprintf("chaos:///%d", numbers.n)
	numbers.Unlock()
	c := &client{target: target, resolver: manual.NewBuilderWithScheme("chaos"), done: make(chan struct{})}
	c.resolver.InitialState(env.addresses())
	quick := backoff.Config{
		BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, Jitter: 0.2, MaxDelay: 50 * time.Millisecond,
	}
	var err error
	c.cc, err = grpc.NewClient(target, grpc.WithTransportCredentials(handshakes[env.random.IntN(len(handshakes))]),
		env.handler.DialOption(), grpc.WithResolvers(instrument.WrapResolver(c.resolver)),
		grpc.WithDefaultServiceConfig(policies[env.random.IntN(len(policies))]),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: connectTime}))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	go func() {
		defer close(c.done)
		c.call(ctx)
	}()
	return c, nil
}

// call makes RPCs, whatever becomes of them.
func (c *client) call(ctx context.Context) {
	rpcs := healthpb.NewHealthClient(c.cc)
	tick := time.NewTicker(rpcInterval)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, rpcTime)
		_, _ = rpcs.Check(one, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// addresses returns those of some of the proxies.
func (env *environment) addresses() (state resolver.State) {
	some := slices.Clone(env.proxies)
	env.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	for _, p := range some[:1+env.random.IntN(3)] {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: p.address}}})
	}
	return state
}

func (env *environment) note(target string, causes ...event.Cause) {
	env.mu.Lock()
	defer env.mu.Unlock()
	env.interventions[target] = append(env.interventions[target], intervention{time.Now(), causes})
}

func (env *environment) fail(err error) {
	env.mu.Lock()
	defer env.mu.Unlock()
	env.errs = append(env.errs, err)
}

// inBackground runs something that takes a while.
func (env *environment) inBackground(f func() error) {
	env.background.Go(func() {
		if err := f(); err != nil {
			env.fail(err)
		}
	})
}

// step does one thing to a connection, proxy, backend or channel.
func (env *environment) step() {
	p := env.proxies[env.random.IntN(len(env.proxies))]
	c := env.clients[env.random.IntN(len(env.clients))]
	b := env.backends[env.random.IntN(len(env.backends))]
	switch dice := env.random.IntN(100); {
	case dice < 45:
		if conn := p.any(env.random); conn != nil {
			p.reset(conn)
		}
	case dice < 70:
		if conn := p.any(env.random); conn != nil {
			p.finish(conn)
		}
	case dice < 72:
		gracefully := dice == 71
		env.inBackground(func() error {
			err := b.stop(gracefully)
			time.Sleep(downtime)
			return errors.Join(err, b.start())
		})
	case dice < 76:
		env.inBackground(func() error {
			err := p.refuse()
			time.Sleep(downtime)
			return errors.Join(err, p.accept())
		})
	case dice < 77:
		env.inBackground(func() error {
			p.setMute(true)
			time.Sleep(muteTime)
			p.setMute(false)
			return nil
		})
	case dice < 85:
		env.note(c.target, event.CauseAddressRemoved, event.CauseLBPolicy)
		c.resolver.UpdateState(env.addresses())
	case dice < 97:
		c.cc.ResetConnectBackoff()
	default:
		env.replace(c)
	}
}

// replace closes a channel and makes another.
func (env *environment) replace(c *client) {
	env.closeClient(c)
	other, err := env.newClient()
	if err != nil {
		env.fail(err)
		return
	}
	env.clients[slices.Index(env.clients, c)] = other
}

func (env *environment) closeClient(c *client) {
	env.note(c.target, event.CauseChannelClosed)
	if err := c.cc.Close(); err != nil {
		env.fail(err)
	}
	c.stop()
	<-c.done
}

// run goes on until enough was witnessed.
func (env *environment) run(enough func() bool) {
	tick := time.NewTicker(meanInterval)
	defer tick.Stop()
	for !enough() {
		<-tick.C
		env.step()
	}
}

// close ends everything, and returns what went wrong.
func (env *environment) close() error {
	env.background.Wait()
	for _, c := range env.clients {
		env.closeClient(c)
	}
	for _, b := range env.backends {
		if err := b.stop(false); err != nil {
			env.fail(err)
		}
	}
	for _, p := range env.proxies {
		if err := p.close(); err != nil {
			env.fail(err)
		}
	}
	return errors.Join(env.errs...)
}
