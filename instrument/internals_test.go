package instrument_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/channelz"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/resolver/manual"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/internal/signal"
)

// changed is an environment in which gRPC is not as redial knows it.
type changed struct {
	*environment
	mu      sync.Mutex
	reports []string
}

// newChanged returns an environment whose handler meets a change of gRPC.
func newChanged(t *testing.T, change func()) *changed {
	t.Helper()
	trace, channel, subConn := grpcinternals.TraceNames, grpcinternals.ChannelNames, grpcinternals.SubConnName
	disconnection, texts := grpcinternals.DisconnectionNames, grpcinternals.ErrorTexts
	stream, late := grpcinternals.StreamNames, grpcinternals.RegisteredLate
	t.Cleanup(func() {
		grpcinternals.TraceNames, grpcinternals.ChannelNames, grpcinternals.SubConnName = trace, channel, subConn
		grpcinternals.DisconnectionNames, grpcinternals.ErrorTexts = disconnection, texts
		grpcinternals.StreamNames, grpcinternals.RegisteredLate = stream, late
	})
	change()
	env := &changed{}
	env.environment = newEnvironmentWith(t, func(err error) {
		env.mu.Lock()
		defer env.mu.Unlock()
		env.reports = append(env.reports, err.Error())
	})
	return env
}

// awaitFailed waits until it is counted that a fact did not hold, and checks that this is reported once, with the
// remedy, and nothing else.
func (env *changed) awaitFailed(fact grpcinternals.Fact) {
	env.t.Helper()
	wait(env.t, fmt.Sprintf("a count of failed %s", fact), func() bool {
		counted := false
		env.eachSeries(func(name string, of attribute.Set, n int64) {
			value, _ := of.Value(signal.Fact)
			counted = counted || name == signal.InternalsFailed && value.AsString() == string(fact) && n > 0
		})
		return counted
	})
	reports := func() []string {
		env.mu.Lock()
		defer env.mu.Unlock()
		return slices.DeleteFunc(slices.Clone(env.reports), func(report string) bool {
			return strings.Contains(report, "belongs to no observed subchannel")
		})
	}
	wait(env.t, "a report", func() bool { return len(reports()) > 0 })
	all := reports()
	if len(all) != 1 {
		env.t.Errorf("%d reports, want one: %q", len(all), all)
	}
	for _, part := range []string{
		string(fact), grpc.Version, instrument.Version, fact.Unknown(), "newer redial", "/issues",
	} {
		if !strings.Contains(all[0], part) || part == "" {
			env.t.Errorf("the report does not say %q: %s", part, all[0])
		}
	}
}

// transportsEnded returns how the transports of an address ended.
func (env *environment) transportsEnded(address string) (all []event.TransportEnded) {
	for _, e := range env.recorded() {
		if e, ok := e.(event.TransportEnded); ok && e.Address == address {
			all = append(all, e)
		}
	}
	return all
}

// awaitForgotten waits until no channel is known, once all are closed.
func (env *environment) awaitForgotten() {
	env.t.Helper()
	wait(env.t, "closed channels are forgotten", func() bool {
		env.collect()
		return len(env.handler.Channels()) == 0
	})
}

// lose connects two channels, stops the server of one, and closes both. It returns how each lost its transport.
func (env *environment) lose() (stopped, closed event.TransportEnded) {
	env.t.Helper()
	a, b := env.serve("A"), env.serve("B")
	ofA, ofB := env.dial(a.address), env.dial(b.address)
	for _, cc := range []*grpc.ClientConn{ofA, ofB} {
		cc.Connect()
		env.awaitUnobserved(cc, connectivity.Ready)
	}
	awaitKind[event.TransportReady](env, 2)
	a.stop()
	env.awaitUnobserved(ofA, connectivity.Idle)
	awaitKind[event.TransportEnded](env, 1)
	if all := env.transportsEnded(b.address); len(all) > 0 {
		env.t.Errorf("the loss of A is recorded as that of B: %v", all)
	}
	env.closeAll()
	env.awaitForgotten()
	ofA1, ofB1 := env.transportsEnded(a.address), env.transportsEnded(b.address)
	if len(ofA1) != 1 || len(ofB1) != 1 {
		env.t.Fatalf("want a loss of A and one of B; there were:\n%s", env.eventText())
	}
	return ofA1[0], ofB1[0]
}

// Where stack traces are not as redial knows them, no loss is taken for that of another channel.
func TestGoroutinesChanged(t *testing.T) {
	names := &grpcinternals.TraceNames
	for name, change := range map[string]func(){
		"where gRPC connects":  func() { names.Connecting = "grpc.connect(" },
		"the transport's own":  func() { names.Reader, names.Keepalive = "transport.read(", "transport.ping(" },
		"who starts them":      func() { names.StartedBy = "\nstarted by goroutine " },
		"numbers are no digit": func() { names.StartedBy = names.StartedBy[:len(names.StartedBy)-1] },
	} {
		t.Run(name, func(t *testing.T) {
			env := newChanged(t, change)
			stopped, closed := env.lose()
			if stopped.Cause != event.CauseUnknown || closed.Cause != event.CauseChannelClosed {
				t.Errorf("the causes are %s and %s, want unknown and channel_closed", stopped.Cause, closed.Cause)
			}
			env.awaitFailed(grpcinternals.Goroutines)
			env.shutdown()
		})
	}
}

// Where gRPC counts disconnections by other names, no cause is concluded.
func TestDisconnectionsChanged(t *testing.T) {
	names := &grpcinternals.DisconnectionNames
	t.Run("the metric", func(t *testing.T) {
		env := newChanged(t, func() { names.Metric = "grpc.subchannel.lost" })
		stopped, closed := env.lose()
		if stopped.Cause != event.CauseUnknown || closed.Cause != event.CauseUnknown {
			t.Errorf("the causes are %s and %s, want unknown", stopped.Cause, closed.Cause)
		}
		env.awaitFailed(grpcinternals.Disconnections)
		env.shutdown()
	})
	t.Run("the label", func(t *testing.T) {
		env := newChanged(t, func() { names.Error = "grpc.lost.reason" })
		stopped, closed := env.lose()
		if stopped.Cause != event.CauseUnknown || stopped.DisconnectError != "" || closed.Cause != event.CauseChannelClosed {
			t.Errorf("lost for %s, %q; closed for %s", stopped.Cause, stopped.DisconnectError, closed.Cause)
		}
		env.awaitFailed(grpcinternals.Disconnections)
		env.shutdown()
	})
}

// Where gRPC's record of a channel is elsewhere, ClientConn.Close is nothing else, and every channel is forgotten.
func TestChannelRecordChanged(t *testing.T) {
	names := &grpcinternals.ChannelNames
	for name, change := range map[string]func(){
		"the record": func() { names.Record, names.ID, names.Metrics = "record", "Number", "Metrics" },
		"the id":     func() { names.ID = "Number" },
		"the state":  func() { names.State = "Connectivity" },
		"another":    func() { names.State = "Target" },
	} {
		t.Run(name, func(t *testing.T) {
			env := newChanged(t, change)
			for range 100 { // Closed before they connect.
				cc := env.dial("127.0.0.1:1")
				cc.Connect()
				if err := cc.Close(); err != nil {
					t.Error(err)
				}
			}
			_, closed := env.lose()
			if closed.Cause != event.CauseUnknown {
				t.Errorf("the channel was closed, and the cause is %s", closed.Cause)
			}
			env.awaitFailed(grpcinternals.ChannelRecord)
			env.shutdown()
		})
	}
}

// changedPolicy is pick_first, built with what a test changes.
const changedPolicy = `{"loadBalancingConfig":[{"test_changed":{}}]}`

type changedBuilder struct{}

// changes is what the test that runs changes of what a policy is built with.
var changes atomic.Pointer[func(balancer.ClientConn, *balancer.BuildOptions) balancer.ClientConn]

func init() { balancer.Register(changedBuilder{}) }

func (changedBuilder) Name() string { return "test_changed" }

func (changedBuilder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	cc = (*changes.Load())(cc, &opts)
	return balancer.Get(pickfirst.Name).Build(cc, opts)
}

// frozen is what gRPC's own record of a channel would be if it kept the state elsewhere, and not there.
type frozen struct {
	channelz.Identifier
	ID             int64
	ChannelMetrics struct {
		State atomic.Pointer[connectivity.State]
	}
}

// The state of a channel that stays as it was when the channel connected is not believed.
func TestChannelStateFrozen(t *testing.T) {
	record, state := &frozen{ID: 1 << 40}, connectivity.Connecting
	record.ChannelMetrics.State.Store(&state)
	env := newChanged(t, func() {
		build := func(cc balancer.ClientConn, opts *balancer.BuildOptions) balancer.ClientConn {
			record.Identifier, opts.ChannelzParent = opts.ChannelzParent, record
			return cc
		}
		changes.Store(&build)
	})
	srv := env.serve("S1")
	r := manual.NewBuilderWithScheme("static")
	r.InitialState(endpoints(srv.address))
	cc := env.dial("static:///", grpc.WithResolvers(r), grpc.WithDefaultServiceConfig(changedPolicy))
	mustCall(t, cc)
	env.closeAll()
	if all := env.transportsEnded(srv.address); len(all) != 1 || all[0].Cause != event.CauseUnknown {
		t.Errorf("the channel was closed: %v", all)
	}
	env.awaitForgotten()
	env.awaitFailed(grpcinternals.ChannelRecord)
	env.shutdown()
}

// recording is a ClientConn with the metrics recorder of another.
type recording struct {
	balancer.ClientConn
	recorder estats.MetricsRecorder
}

func (c recording) MetricsRecorder() estats.MetricsRecorder { return c.recorder }

// Where channels share a metrics recorder, nothing of one is recorded as the other's.
func TestRecordersShared(t *testing.T) {
	env := newChanged(t, func() {
		var first atomic.Pointer[recording]
		build := func(cc balancer.ClientConn, opts *balancer.BuildOptions) balancer.ClientConn {
			if first.CompareAndSwap(nil, &recording{recorder: cc.MetricsRecorder()}) {
				return cc
			}
			return recording{cc, first.Load().recorder}
		}
		changes.Store(&build)
	})
	a, b := env.serve("A"), env.serve("B")
	mustCall(t, env.dial(a.address, grpc.WithDefaultServiceConfig(changedPolicy)))
	awaitKind[event.TransportReady](env.environment, 1)
	ofB := env.dial(b.address, grpc.WithDefaultServiceConfig(changedPolicy))
	mustCall(t, ofB)
	b.stop()
	env.awaitUnobserved(ofB, connectivity.Idle)
	env.awaitFailed(grpcinternals.Recorders)
	env.awaitPassedOn()
	for _, e := range env.recorded() {
		if e, ok := e.(event.TransportEnded); ok {
			t.Errorf("the loss of B is recorded: %v", e)
		}
	}
	env.closeAll()
	env.awaitForgotten()
	env.shutdown()
}

// Where a SubConn writes itself otherwise, its id is not known.
func TestSubConnNamesChanged(t *testing.T) {
	env := newChanged(t, func() { grpcinternals.SubConnName.Before = "SubConn(number:" })
	mustCall(t, env.dial(env.serve("S1").address))
	env.awaitFailed(grpcinternals.SubConnNames)
	env.closeAll()
	for _, e := range env.recorded() {
		if id := e.EventHeader().Subchannel; id != 0 {
			t.Errorf("the id of a subchannel is %d", id)
		}
	}
	env.shutdown()
}

// Below a policy that stands before gRPC's SubConns with its own, as outlier_detection does, subchannels have their
// ids.
func TestWrappedSubConn(t *testing.T) {
	env := newEnvironment(t)
	f := &fault{mode: panics}
	target, opts := policies(ofText)(f, env.serve("S1").address, env.handler)
	mustCall(t, env.dial(target, opts...))
	awaitKind[event.TransportReady](env, 1)
	for _, e := range env.recorded() {
		if ready, ok := e.(event.TransportReady); ok && ready.Subchannel == 0 {
			t.Error("the id of a subchannel is not known")
		}
	}
	if n := f.hits.Load(); n > 0 {
		t.Errorf("the text of a SubConn that is not gRPC's was asked %d times", n)
	}
	env.closeAll()
	env.shutdown()
}

// Where gRPC's errors have other texts, an RPC that dies with its transport is not counted as something else.
func TestRPCErrorsChanged(t *testing.T) {
	t.Run("transport", func(t *testing.T) {
		env := newChanged(t, func() { grpcinternals.ErrorTexts.TransportLost = []string{"lost: "} })
		address := env.raw("S1", h2(t, 1, func(c net.Conn, _ *http2.Framer) error { return c.(*net.TCPConn).CloseWrite() }))
		cc := env.dial(address)
		env.connect(cc)
		wantCode(t, call(cc), codes.Unavailable)
		env.awaitFailed(grpcinternals.RPCErrors)
		env.closeAll()
		if all := env.transportsEnded(address); len(all) != 1 || all[0].InFlight != 1 || all[0].Retried != 0 {
			t.Errorf("an RPC died with its transport: %v", all)
		}
		env.shutdown()
	})
	t.Run("channel", func(t *testing.T) {
		env := newChanged(t, func() { grpcinternals.ErrorTexts.ChannelClosed = []string{"closed"} })
		env.awaitFailed(grpcinternals.RPCErrors)
		env.shutdown()
	})
}

// Where gRPC waits for a stream at a place that redial does not know, no wait is recorded.
func TestStreamWaitsChanged(t *testing.T) {
	env := newChanged(t, func() { grpcinternals.StreamNames.Waiting += "WithContext" })
	_, free := env.outOfStreams()
	env.awaitFailed(grpcinternals.StreamWaits)
	free()
	env.closeAll()
	if all := env.waitsFor(event.WaitStreamQuota); len(all) > 0 {
		t.Errorf("waits for a stream: %v", all)
	}
	env.shutdown()
}

// Where package grpc was initialised first, a handler says so when it is made.
func TestRegisteredLate(t *testing.T) {
	env := newChanged(t, func() { grpcinternals.RegisteredLate = true })
	env.awaitFailed(grpcinternals.InitOrder)
	env.shutdown()
}

var triedOn = regexp.MustCompile("Tried on grpc-go .*")

// Each fact was tried on the gRPC of go.mod, where the environment of every test fails if one does not hold, and its
// file says so. e2e/grpcversions.sh tries others.
func TestTriedVersions(t *testing.T) {
	minor := grpc.Version[:strings.LastIndex(grpc.Version, ".")]
	files, err := filepath.Glob("internal/hooks/grpcinternals/*.go")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || filepath.Base(file) == "grpcinternals.go" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if says := triedOn.FindString(string(text)); !strings.Contains(says, minor) {
			t.Errorf("%s says %q: try it on grpc-go %s, and say so", file, says, minor)
		}
	}
}
