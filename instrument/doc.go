// Package instrument makes visible what a grpc-go client does with its connections: every name resolution, dial,
// handshake, teardown (with its cause), backoff wait and redial, and every RPC that had to wait for a transport, as
// OpenTelemetry spans and metrics.
//
//	conn, err := grpc.NewClient(target, append(opts, instrument.DialOption())...)
//
// is all it takes, with any load balancing policy that is made of pick_first (all of grpc-go's own are), any
// credentials, proxy or dialer. The observed channel behaves as it would without: no connection is wrapped, no
// interceptor added, no decision changed. An RPC on a READY channel costs what a stats.Handler that does nothing
// costs. Channels without the option are not touched.
//
// Importing the package re-registers grpc's load balancing policy pick_first and its resolvers with wrappers that
// stand aside unless the channel has a [Handler]. A policy that makes subchannels by itself is observed if it is
// registered as [WrapBalancer] of itself, a resolver of a scheme of your own as [WrapResolver] of itself.
//
// The names of all spans, metrics and attributes are in docs/signals.md of the repository.
package instrument
