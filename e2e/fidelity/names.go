package fidelity

import (
	"sync"
	"time"

	"google.golang.org/grpc/resolver"
)

// names is a resolver of one channel. Where it is slow, its first answer comes late, each time the channel wakes.
type names struct {
	delay time.Duration

	mu    sync.Mutex
	state resolver.State
	conn  resolver.ClientConn // Nil while the channel is idle.
	// answered: the channel has an answer, and later ones come at once.
	answered bool
}

// Scheme implements [resolver.Builder].
func (*names) Scheme() string { return "chaos" }

// Build implements [resolver.Builder].
func (n *names) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	n.mu.Lock()
	n.conn, n.answered = cc, false
	n.mu.Unlock()
	if n.delay == 0 {
		n.answer(cc)
	} else {
		time.AfterFunc(n.delay, func() { n.answer(cc) })
	}
	return asked{n, cc}, nil
}

// answer gives the first answer, if the channel still waits for it.
func (n *names) answer(cc resolver.ClientConn) {
	n.mu.Lock()
	wanted, state := n.conn == cc, n.state
	n.answered = n.answered || wanted
	n.mu.Unlock()
	if wanted {
		_ = cc.UpdateState(state) // The policy may not like it, which is no matter here.
	}
}

// update changes the answer.
func (n *names) update(state resolver.State) {
	n.mu.Lock()
	n.state = state
	cc, wanted := n.conn, n.answered
	n.mu.Unlock()
	if wanted {
		_ = cc.UpdateState(state)
	}
}

// asked is the resolver from one wake of the channel to its next idleness.
type asked struct {
	names *names
	conn  resolver.ClientConn
}

// ResolveNow implements [resolver.Resolver].
func (asked) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements [resolver.Resolver].
func (a asked) Close() {
	a.names.mu.Lock()
	defer a.names.mu.Unlock()
	if a.names.conn == a.conn {
		a.names.conn, a.names.answered = nil, false
	}
}
