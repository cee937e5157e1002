package fidelity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

const (
	backends = 4
	// proxies is how many there are, of which some speak TLS.
	proxies  = 9
	secured  = 3
	channels = 24
	// serverName is in the certificate of the proxies.
	serverName = "chaos.test"
	// meanInterval is the mean time between two steps of chaos.
	meanInterval = 1500 * time.Microsecond
	// downtime is how long a backend or proxy is down.
	downtime = 20 * time.Millisecond
	// connectTime is how long an attempt may take, and muteTime how long a proxy is silent.
	connectTime = 100 * time.Millisecond
	muteTime    = 200 * time.Millisecond
	// rpcTime is the deadline of each RPC, and rpcInterval the time between two of a channel.
	rpcTime     = 100 * time.Millisecond
	rpcInterval = 3 * time.Millisecond
	// crowd is how many RPCs some channels make at once: more than a busy backend allows.
	crowd = 2 * streams
	// wakeTime is how long a channel that naps makes RPCs, idleTime its idle timeout, and slowest how long its names take
	// to be resolved at most.
	wakeTime = 200 * time.Millisecond
	idleTime = 40 * time.Millisecond
	slowest  = 40 * time.Millisecond
)

// environment is what chaos acts on.
type environment struct {
	handler *instrument.Handler
	random  *rand.Rand
	ledger  *ledger
	rpcs    rpcs
	// serverTLS and clientTLS are of the proxies and channels that speak it.
	serverTLS, clientTLS *tls.Config

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

func newEnvironment(
	seed uint64, h *instrument.Handler, cert tls.Certificate, pool *x509.CertPool,
) (*environment, error) {
	env := &environment{
		handler: h, random: rand.New(rand.NewPCG(seed, 0)), ledger: &ledger{causes: map[ends][]event.Cause{}},
		serverTLS: &tls.Config{
			Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
		},
		clientTLS:     &tls.Config{RootCAs: pool, ServerName: serverName, MinVersion: tls.VersionTLS12},
		interventions: map[string][]intervention{},
	}
	for i := range backends {
		b := &backend{address: "127.0.0.1:0", busy: i == 0}
		if err := b.start(); err != nil {
			return env, err
		}
		env.backends = append(env.backends, b)
	}
	for i := range proxies {
		var config *tls.Config
		if i < secured {
			config = env.serverTLS
		}
		p, err := newProxy(env.backends[i%backends].address, env.ledger, config)
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

// addresses returns endpoints of one or two of the proxies each. A few are of those that do not speak as the channel
// does.
func (env *environment) addresses(c *client) (state resolver.State) {
	strange := env.oneOf(8)
	var some []resolver.Address
	for _, p := range env.proxies {
		if strange || c.secure == (p.tls != nil) {
			some = append(some, resolver.Address{Addr: p.address})
		}
	}
	env.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	for range 1 + env.random.IntN(3) {
		n := min(1+env.random.IntN(2), len(some))
		if n == 0 {
			break
		}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: some[:n]})
		some = some[n:]
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
	case dice < 60:
		end := []func(*pair){p.reset, p.reset, p.finish, p.cut}[env.random.IntN(4)]
		if conn := p.any(env.random); conn != nil {
			end(conn)
		}
	case dice < 70:
		env.inBackground(func() error {
			env.stopThenCall(c)
			return nil
		})
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
		c.names.update(env.addresses(c))
	case dice < 97:
		c.cc.ResetConnectBackoff()
	default:
		env.replace(c)
	}
}

// stopThenCall closes a channel's connection as a server does that stops, and makes an RPC at once.
func (env *environment) stopThenCall(c *client) {
	local := c.local.Load()
	if local == nil {
		return
	}
	for _, p := range env.proxies {
		if conn := p.of(*local); conn != nil {
			p.stop(conn)
			c.rpc(c.ctx)
		}
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
	c.all.Wait()
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
