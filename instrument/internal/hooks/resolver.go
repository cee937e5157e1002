package hooks

//lint:file-ignore SA1019 A wrapper passes on all that gRPC still uses, what it deprecated too.

import (
	"sync"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// WrapResolver returns a builder whose resolvers are observed in the channels that have an observer.
func WrapResolver(inner resolver.Builder) resolver.Builder {
	b := &resolverBuilder{inner}
	if overrider, ok := inner.(resolver.AuthorityOverrider); ok {
		// The wrapper has OverrideAuthority exactly where the inner builder has it: it decides ":authority".
		return struct {
			*resolverBuilder
			resolver.AuthorityOverrider
		}{b, overrider}
	}
	return b
}

type resolverBuilder struct{ resolver.Builder }

func (b *resolverBuilder) Build(target resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions) (resolver.Resolver, error) {
	var wrapped []*resolverConn
	for _, o := range observing(opts.MetricsRecorder) {
		r := &resolverConn{ClientConn: cc, channel: o.channel(opts.MetricsRecorder, target.String())}
		r.open()
		wrapped = append(wrapped, r)
		cc = r
	}
	res, err := b.Builder.Build(target, cc, opts)
	for _, r := range wrapped {
		if err != nil {
			r.close()
			continue
		}
		res = &observedResolver{Resolver: res, conn: r}
	}
	return res, err
}

// resolverConn stands between a resolver and its channel.
type resolverConn struct {
	resolver.ClientConn
	channel *channel
	life    *lifecycle.Resolver
	closing sync.Once
}

func (r *resolverConn) open() {
	r.channel.do(func(at time.Time) {
		r.life = r.channel.life.OpenResolver()
		r.life.Asked(at)
		r.channel.resolvers++
	})
}

// UpdateState implements [resolver.ClientConn].
func (r *resolverConn) UpdateState(s resolver.State) error {
	addresses := addressesOf(s)
	r.answered(func(at time.Time) { r.life.Answered(at, addresses, nil) })
	err := r.ClientConn.UpdateState(s)
	r.channel.do(func(time.Time) { r.channel.release() })
	return err
}

// ReportError implements [resolver.ClientConn].
func (r *resolverConn) ReportError(err error) {
	r.answered(func(at time.Time) { r.life.Answered(at, nil, err) })
	r.ClientConn.ReportError(err)
	r.channel.do(func(time.Time) { r.channel.release() })
}

// NewAddress implements [resolver.ClientConn].
func (r *resolverConn) NewAddress(addrs []resolver.Address) {
	addresses := addressesOf(resolver.State{Addresses: addrs})
	r.answered(func(at time.Time) { r.life.Answered(at, addresses, nil) })
	r.ClientConn.NewAddress(addrs)
	r.channel.do(func(time.Time) { r.channel.release() })
}

// answered tells an answer once the channel is known by its id, which is while the answer is being handed on.
func (r *resolverConn) answered(input func(at time.Time)) {
	if r.life != nil {
		r.channel.hold(input)
	}
}

func (r *resolverConn) close() {
	r.closing.Do(func() {
		r.channel.do(func(at time.Time) {
			r.channel.release()
			r.life.Close(at)
			r.channel.resolvers--
		})
		r.channel.observer.forgetIfFinished(r.channel)
	})
}

type observedResolver struct {
	resolver.Resolver
	conn *resolverConn
}

// ResolveNow implements [resolver.Resolver].
func (r *observedResolver) ResolveNow(opts resolver.ResolveNowOptions) {
	r.conn.channel.do(func(at time.Time) { r.conn.life.Asked(at) })
	r.Resolver.ResolveNow(opts)
}

// Close implements [resolver.Resolver].
func (r *observedResolver) Close() {
	r.Resolver.Close()
	r.conn.close()
}

// unwrappedAnswer tells of an answer that only the balancers saw. An error reaches all of them: one speaks.
func (p *policy) unwrappedAnswer(s resolver.State, err error) {
	ch := p.channel
	ch.do(func(at time.Time) {
		if ch.resolvers == 0 && ch.policies[0] == p {
			ch.life.OpenResolver().Answered(at, addressesOf(s), err)
		}
	})
}

func addressesOf(s resolver.State) (all []string) {
	for _, e := range s.Endpoints {
		for _, a := range e.Addresses {
			all = append(all, a.Addr)
		}
	}
	if len(s.Endpoints) > 0 {
		return all
	}
	for _, a := range s.Addresses {
		all = append(all, a.Addr)
	}
	return all
}
