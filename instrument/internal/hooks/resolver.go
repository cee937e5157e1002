package hooks

//lint:file-ignore SA1019 A wrapper passes on all that gRPC still uses, what it deprecated too.

import (
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/record"
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

// Build implements [resolver.Builder].
func (b *resolverBuilder) Build(
	target resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions,
) (resolver.Resolver, error) {
	var records []*record.Resolver
	channel := cc
	for _, a := range record.AttachmentsOf(opts.MetricsRecorder) {
		r := guard.Value(a.Observer().Guard(), nil, func() *record.Resolver {
			return a.Channel(opts.MetricsRecorder, target).OpenResolver(b.Scheme(), channel)
		})
		if r != nil {
			records = append(records, r)
			cc = &resolverConn{cc, r}
		}
	}
	res, err := b.Builder.Build(target, cc, opts)
	for _, r := range records {
		if err != nil || res == nil { // gRPC takes a resolver that is nil for none.
			r.Guard().Run(r.Failed)
			continue
		}
		res = &observedResolver{res, r}
	}
	return res, err
}

// resolverConn stands between a resolver and its channel.
type resolverConn struct {
	resolver.ClientConn
	record *record.Resolver
}

func (c *resolverConn) answered(s resolver.State, err error) {
	c.record.Guard().Run(func() { c.record.Answered(s, err) })
}

func (c *resolverConn) taken(err error) { c.record.Guard().Run(func() { c.record.Taken(err) }) }

// UpdateState implements [resolver.ClientConn].
func (c *resolverConn) UpdateState(s resolver.State) error {
	c.answered(s, nil)
	err := c.ClientConn.UpdateState(s)
	c.taken(err)
	return err
}

// ReportError implements [resolver.ClientConn].
func (c *resolverConn) ReportError(err error) {
	c.answered(resolver.State{}, err)
	c.ClientConn.ReportError(err)
	c.taken(nil)
}

// NewAddress implements [resolver.ClientConn].
func (c *resolverConn) NewAddress(addrs []resolver.Address) {
	c.answered(resolver.State{Addresses: addrs}, nil)
	c.ClientConn.NewAddress(addrs)
	c.taken(nil)
}

// observedResolver is a resolver whose questions and end are seen.
type observedResolver struct {
	resolver.Resolver
	record *record.Resolver
}

// ResolveNow implements [resolver.Resolver].
func (r *observedResolver) ResolveNow(opts resolver.ResolveNowOptions) {
	r.record.Guard().Run(r.record.Asked)
	r.Resolver.ResolveNow(opts)
}

// Close implements [resolver.Resolver].
func (r *observedResolver) Close() {
	r.Resolver.Close()
	r.record.Guard().Run(r.record.Close)
}
