package hooks

import (
	"google.golang.org/grpc/balancer"

	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/record"
)

// WrapPickFirst returns a builder whose balancers are observed in the channels that have an observer: all their
// subchannels are ways to one endpoint.
func WrapPickFirst(inner balancer.Builder) balancer.Builder {
	return wrapBuilder(inner, record.PickFirst)
}

// WrapPolicy is [WrapPickFirst] for a policy that makes a subchannel for each endpoint.
func WrapPolicy(inner balancer.Builder) balancer.Builder {
	return wrapBuilder(inner, record.EndpointEach)
}

func wrapBuilder(inner balancer.Builder, kind record.Kind) balancer.Builder {
	b := &builder{Builder: inner, kind: kind}
	if parser, ok := inner.(balancer.ConfigParser); ok {
		return struct {
			*builder
			balancer.ConfigParser
		}{b, parser}
	}
	return b
}

type builder struct {
	balancer.Builder
	kind record.Kind
}

// Build implements [balancer.Builder].
func (b *builder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	var policies []*record.Policy
	recorder := cc.MetricsRecorder()
	for _, a := range record.AttachmentsOf(recorder) {
		p := guard.Value(a.Observer().Guard(), nil, func() *record.Policy {
			return a.Channel(recorder, opts.Target).OpenPolicy(b.kind, opts.ChannelzParent)
		})
		if p != nil {
			policies = append(policies, p)
			cc = &policyConn{ClientConn: cc, policy: p, dialCreds: opts.DialCreds, credsBundle: opts.CredsBundle}
		}
	}
	bal := b.Builder.Build(cc, opts)
	for _, p := range policies {
		if bal == nil { // gRPC takes a balancer that is nil for an error.
			p.Guard().Run(p.Close)
			continue
		}
		bal = &observedBalancer{Balancer: bal, policy: p}
	}
	return bal
}
