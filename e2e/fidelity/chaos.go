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
	// beat is the mean time between two acts of chaos.
	beat = 2 * time.Millisecond
	// away is how long a backend or proxy is away.
	away = 20 * time.Millisecond
	// connectTime is how long an attempt may take, and silence how long a proxy is silent.
	connectTime = 100 * time.Millisecond
	silence     = 200 * time.Millisecond
	// rpcTime is the deadline of each RPC, and rest the time between two of a channel.
	rpcTime = 100 * time.Millisecond
	rest    = 2 * time.Millisecond
)

// stage is what chaos plays on.
type stage struct {
	handler  *instrument.Handler
	random   *rand.Rand
	ledger   *ledger
	backends []*backend
	proxies  []*proxy
	clients  []*client
	// asides are what goes on beside: backends and proxies that come back.
	asides sync.WaitGroup

	mu   sync.Mutex
	acts map[string][]act // What was done to channels, by target.
	errs []error
}

// act is what this side did to a channel, and why its transports may end.
type act struct {
	at     time.Time
	causes []event.Cause
}

// backend is a gRPC server.
type backend struct {
	address string
	mu      sync.Mutex
	srv     *grpc.Server // Nil while it is away.
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

func newStage(seed uint64, h *instrument.Handler) (*stage, error) {
	s := &stage{handler: h, random: rand.New(rand.NewPCG(seed, 0)), ledger: &ledger{causes: map[string][]event.Cause{}}, acts: map[string][]act{}}
	for range backends {
		b := &backend{address: "127.0.0.1:0"}
		if err := b.start(); err != nil {
			return s, err
		}
		s.backends = append(s.backends, b)
	}
	for i := range proxies {
		p, err := newProxy(s.backends[i%backends].address, s.ledger)
		if err != nil {
			return s, err
		}
		s.proxies = append(s.proxies, p)
	}
	for range channels {
		c, err := s.newClient()
		if err != nil {
			return s, err
		}
		s.clients = append(s.clients, c)
	}
	return s, nil
}

var numbers struct {
	sync.Mutex
	n int
}

func (s *stage) newClient() (*client, error) {
	numbers.Lock()
	numbers.n++
	target := fmt.Sprintf("chaos:///%d", numbers.n)
	numbers.Unlock()
	c := &client{target: target, resolver: manual.NewBuilderWithScheme("chaos"), done: make(chan struct{})}
	c.resolver.InitialState(s.addresses())
	quick := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, Jitter: 0.2, MaxDelay: 50 * time.Millisecond}
	var err error
	c.cc, err = grpc.NewClient(target, grpc.WithTransportCredentials(handshakes[s.random.IntN(len(handshakes))]),
		grpc.WithStatsHandler(s.handler), grpc.WithResolvers(instrument.WrapResolver(c.resolver)),
		grpc.WithDefaultServiceConfig(policies[s.random.IntN(len(policies))]),
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
	tick := time.NewTicker(rest)
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
func (s *stage) addresses() (state resolver.State) {
	some := slices.Clone(s.proxies)
	s.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	for _, p := range some[:1+s.random.IntN(3)] {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: p.address}}})
	}
	return state
}

func (s *stage) note(target string, causes ...event.Cause) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acts[target] = append(s.acts[target], act{time.Now(), causes})
}

func (s *stage) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

// aside runs something that takes a while.
func (s *stage) aside(f func() error) {
	s.asides.Go(func() {
		if err := f(); err != nil {
			s.fail(err)
		}
	})
}

// act does one thing to somebody.
func (s *stage) act() {
	p := s.proxies[s.random.IntN(len(s.proxies))]
	c := s.clients[s.random.IntN(len(s.clients))]
	b := s.backends[s.random.IntN(len(s.backends))]
	switch dice := s.random.IntN(100); {
	case dice < 45:
		if conn := p.any(s.random); conn != nil {
			p.reset(conn)
		}
	case dice < 70:
		if conn := p.any(s.random); conn != nil {
			p.finish(conn)
		}
	case dice < 72:
		gracefully := dice == 71
		s.aside(func() error {
			err := b.stop(gracefully)
			time.Sleep(away)
			return errors.Join(err, b.start())
		})
	case dice < 76:
		s.aside(func() error {
			err := p.refuse()
			time.Sleep(away)
			return errors.Join(err, p.accept())
		})
	case dice < 77:
		s.aside(func() error {
			p.silence(true)
			time.Sleep(silence)
			p.silence(false)
			return nil
		})
	case dice < 85:
		s.note(c.target, event.CauseAddressRemoved, event.CauseLBPolicy)
		c.resolver.UpdateState(s.addresses())
	case dice < 97:
		c.cc.ResetConnectBackoff()
	default:
		s.replace(c)
	}
}

// replace closes a channel and makes another.
func (s *stage) replace(c *client) {
	s.closeClient(c)
	other, err := s.newClient()
	if err != nil {
		s.fail(err)
		return
	}
	s.clients[slices.Index(s.clients, c)] = other
}

func (s *stage) closeClient(c *client) {
	s.note(c.target, event.CauseChannelClosed)
	if err := c.cc.Close(); err != nil {
		s.fail(err)
	}
	c.stop()
	<-c.done
}

// play goes on until enough was witnessed.
func (s *stage) play(enough func() bool) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for !enough() {
		<-tick.C
		s.act()
	}
}

// close ends everything, and returns what went wrong.
func (s *stage) close() error {
	s.asides.Wait()
	for _, c := range s.clients {
		s.closeClient(c)
	}
	for _, b := range s.backends {
		if err := b.stop(false); err != nil {
			s.fail(err)
		}
	}
	for _, p := range s.proxies {
		if err := p.close(); err != nil {
			s.fail(err)
		}
	}
	return errors.Join(s.errs...)
}
