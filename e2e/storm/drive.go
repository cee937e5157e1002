package main

//lint:file-ignore SA1019 A stand-in has every method that gRPC calls, those too that it deprecated.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/stats"

	"github.com/redial-dev/redial/instrument"
)

// driven is a subchannel of which only the callbacks exist: they are called as gRPC calls them, in the same order and
// with the same arguments, and nothing is connected. So there can be as many as the machine's memory holds, and what
// is measured is redial and nothing else.
type driven struct {
	handler  handler
	clock    clock
	target   string
	address  string
	listener func(balancer.SubConnState)
	creds    credentials.TransportCredentials
	conn     *socket
	ctx      context.Context
}

// disconnections is gRPC's metric that reports a loss.
var disconnections = (*estats.Int64CountHandle)(estats.DescriptorForMetric("grpc.subchannel.disconnections"))

// drive makes a channel of so many driven subchannels, and returns what closes it besides.
func drive(h handler, c clock, target string, n int) (all []*driven, done func(), err error) {
	cc := &clientConn{recorder: &recorder{handler: h}, target: target}
	inside := &standIn{}
	bal := instrument.WrapBalancer(inside).Build(cc, balancer.BuildOptions{
		DialCreds: insecure.NewCredentials(), Target: parsed(target),
	})
	for i := range n {
		d := &driven{handler: h, clock: c, target: target, address: fmt.Sprintf("10.0.%d.%d:443", i/256, i%256)}
		cc.made = d
		c.time("new subchannel", func() {
			_, err := inside.cc.NewSubConn([]resolver.Address{{Addr: d.address}},
				balancer.NewSubConnOptions{StateListener: func(balancer.SubConnState) {}})
			cc.err = errors.Join(cc.err, err)
		})
		all = append(all, d)
	}
	return all, bal.Close, cc.err
}

// connecting goes from IDLE to CONNECTING.
func (d *driven) connecting() { d.state(connectivity.Connecting, nil) }

// connect goes from IDLE to READY.
func (d *driven) connect() {
	d.connecting()
	d.conn = &socket{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}}
	d.clock.time("handshake", func() {
		_, _, _ = d.creds.ClientHandshake(context.Background(), d.address, d.conn) // The insecure one never fails.
	})
	d.clock.time("connection begins", func() {
		d.ctx = d.handler.TagConn(context.Background(), &stats.ConnTagInfo{LocalAddr: d.conn.addr, RemoteAddr: d.conn.addr})
		d.handler.HandleConn(d.ctx, &stats.ConnBegin{Client: true})
	})
	d.state(connectivity.Ready, nil)
}

// lose loses the transport.
func (d *driven) lose() {
	d.clock.time("loss", func() {
		disconnections.Record(d.handler, 1, d.target, "", "", "connection reset")
	})
	d.state(connectivity.Idle, nil)
	d.clock.time("connection ends", func() { d.handler.HandleConn(d.ctx, &stats.ConnEnd{Client: true}) })
}

var errRefused = errors.New(`connection error: desc = "transport: Error while dialing: ` +
	`dial tcp 10.0.0.1:443: connect: connection refused"`)

// refuse fails one attempt.
func (d *driven) refuse() {
	d.connecting()
	d.state(connectivity.TransientFailure, errRefused)
	d.state(connectivity.Idle, nil)
}

// eventsPerFlap is how many events a flap is: one refused attempt, a connection and its loss. There is no phase
// settings: redial finds that no goroutine of gRPC made the connection, reports that once, and does not see its begin.
const eventsPerFlap = 19

// flap is an episode and its end.
func (d *driven) flap(stay func()) {
	d.clock.control()
	d.refuse()
	d.connect()
	stay()
	d.lose()
}

func (d *driven) state(s connectivity.State, err error) {
	d.clock.time("state", func() { d.listener(balancer.SubConnState{ConnectivityState: s, ConnectionError: err}) })
}

// socket is a connection that goes nowhere.
type socket struct {
	net.Conn
	addr *net.TCPAddr
}

func (s *socket) LocalAddr() net.Addr  { return s.addr }
func (s *socket) RemoteAddr() net.Addr { return s.addr }

// standIn is the policy that redial wraps: it does nothing.
type standIn struct{ cc balancer.ClientConn }

func (*standIn) Name() string { return "stand_in" }

func (s *standIn) Build(cc balancer.ClientConn, _ balancer.BuildOptions) balancer.Balancer {
	s.cc = cc
	return idle{}
}

type idle struct{ balancer.Balancer }

func (idle) Close() {}

// clientConn stands for gRPC below redial: it keeps what redial gives to it.
type clientConn struct {
	balancer.ClientConn
	recorder *recorder
	target   string
	made     *driven
	err      error
}

func (c *clientConn) MetricsRecorder() estats.MetricsRecorder { return c.recorder }
func (c *clientConn) Target() string                          { return c.target }

func (c *clientConn) NewSubConn(_ []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	c.made.listener, c.made.creds = opts.StateListener, insecure.NewCredentials()
	if opts.CredsBundle != nil {
		c.made.creds = opts.CredsBundle.TransportCredentials()
	}
	return &subConn{id: subConns.Add(1)}, nil
}

var subConns atomic.Int64

type subConn struct {
	balancer.SubConn
	id int64
}

func (s *subConn) String() string { return fmt.Sprintf("SubConn(id:%d)", s.id) }

// recorder is a channel's list of handlers, with the one.
type recorder struct {
	estats.UnimplementedMetricsRecorder
	handler handler
}

func (r *recorder) RecordInt64Count(m *estats.Int64CountHandle, n int64, labels ...string) {
	r.handler.RecordInt64Count(m, n, labels...)
}

func parsed(target string) (t resolver.Target) {
	t.URL.Scheme, t.URL.Path = "driven", "/"+target
	return t
}
