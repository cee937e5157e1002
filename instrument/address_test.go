package instrument_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/connectivity"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

// Handler.Dialer without a dialer of the user's does what gRPC's own does, and records each address.
func TestDialer(t *testing.T) {
	t.Run("TCP", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1")
		env.connect(env.dial(srv.address, grpc.WithContextDialer(env.handler.Dialer(nil))))
		env.golden()
	})
	t.Run("Refused", func(t *testing.T) {
		env := newEnvironment(t)
		env.failOnce(env.freeAddress("DEAD"), grpc.WithContextDialer(env.handler.Dialer(nil)))
	})
	t.Run("Unix", func(t *testing.T) {
		env := newEnvironment(t)
		path := env.name(filepath.Join(t.TempDir(), "s"), "S1")
		env.serveOn("unix", path)
		env.connect(env.dial("unix://"+path, grpc.WithContextDialer(env.handler.Dialer(nil))))
		env.golden()
	})
	t.Run("Abstract", func(t *testing.T) {
		env := newEnvironment(t)
		name := filepath.Base(t.TempDir()) + "abstract"
		env.name("@"+name, "S1")
		env.serveOn("unix", "@"+name)
		env.connect(env.dial("unix-abstract:"+name, grpc.WithContextDialer(env.handler.Dialer(nil))))
		env.golden()
	})
	t.Run("Own", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1")
		own := func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
		env.connect(env.dial(srv.address, grpc.WithContextDialer(env.handler.Dialer(own))))
		env.golden()
	})
	t.Run("NotOfGRPC", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1")
		c, err := env.handler.Dialer(nil)(context.Background(), srv.address)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		env.golden()
	})
}

// proxy is an HTTP CONNECT proxy that reaches a server whatever the name that it is asked for.
func (env *environment) proxy(server string) (address string, asked func() []string) {
	var mu sync.Mutex
	var targets []string
	address = env.raw("PROXY", func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			env.t.Error(err)
			return
		}
		mu.Lock()
		targets = append(targets, req.Method+" "+req.Host)
		mu.Unlock()
		up, err := net.Dial("tcp", server)
		if err != nil {
			env.t.Error(err)
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			env.t.Error(err)
		}
		var both sync.WaitGroup
		both.Go(func() { pipe(up, r) })
		both.Go(func() { pipe(c, up) })
		both.Wait()
		if err := errors.Join(up.Close(), c.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
			env.t.Error(err)
		}
	})
	return address, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return targets
	}
}

// pipe copies until either side ends, and passes the end on. Whether that fails does not matter: both are closed next.
func pipe(to net.Conn, from io.Reader) {
	_, copied := io.Copy(to, from)
	_ = errors.Join(copied, to.(*net.TCPConn).CloseWrite())
}

// proxied are the ways to a server behind the proxy of the environment.
var proxied = map[string]struct {
	target string
	opts   func(*environment) []grpc.DialOption
}{
	// gRPC's own dialer: the proxy resolves the name.
	"GRPC": {"dns:///behind.test:443", func(*environment) []grpc.DialOption { return nil }},
	// redial's dialer for detail.
	"Dialer": {"passthrough:///behind.test:443", func(env *environment) []grpc.DialOption {
		return []grpc.DialOption{grpc.WithContextDialer(env.handler.Dialer(nil))}
	}},
}

// childEnv has the address of the proxy in a process that runs a test again. The environment is read once in a process,
// so each way is one.
const childEnv = "REDIAL_TEST_PROXIED"

// again runs the test again in a process with a proxy.
func again(t *testing.T, proxy, user string) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$")
	if *update {
		child.Args = append(child.Args, "-update")
	}
	child.Env = append(os.Environ(), childEnv+"="+proxy, "HTTPS_PROXY=http://"+user+proxy, "NO_PROXY=")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// The proxy of the environment is used as ever.
func TestProxy(t *testing.T) {
	for name, way := range proxied {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			if proxy := os.Getenv(childEnv); proxy != "" {
				env.name(proxy, "PROXY")
				cc := env.dial(way.target, way.opts(env)...)
				env.connect(cc)
				mustCall(t, cc)
				env.golden()
				return
			}
			srv := env.serve("S1")
			proxy, asked := env.proxy(srv.address)
			again(t, proxy, "user:secret@")
			if have := asked(); len(have) != 1 || have[0] != "CONNECT behind.test:443" {
				t.Errorf("the proxy was asked for %q", have)
			}
			env.shutdown()
		})
	}
}

// Nobody listens at the proxy: that is the proxy's failure, and no refusal of the server's, which the attempt names
// beside the proxy.
func TestNobodyAtTheProxy(t *testing.T) {
	for name, way := range proxied {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			if proxy := os.Getenv(childEnv); proxy != "" {
				env.name(proxy, "PROXY")
				env.failOnce(way.target, way.opts(env)...)
				return
			}
			again(t, env.freeAddress("PROXY"), "")
			env.shutdown()
		})
	}
}

// several is a policy that makes one subchannel of all addresses, as gRPC's own pick_first once did.
type several struct {
	balancer.Balancer
	cc balancer.ClientConn
}

type severalBuilder struct{}

func (severalBuilder) Name() string { return "test_several" }

func (severalBuilder) Build(cc balancer.ClientConn, _ balancer.BuildOptions) balancer.Balancer {
	return &several{cc: cc}
}

func (b *several) UpdateClientConnState(s balancer.ClientConnState) error {
	var sc balancer.SubConn
	//lint:ignore SA1019 Policies of users make subchannels of several addresses still.
	sc, err := b.cc.NewSubConn(s.ResolverState.Addresses, balancer.NewSubConnOptions{
		StateListener: func(s balancer.SubConnState) {
			picker := base.NewErrPicker(balancer.ErrNoSubConnAvailable)
			switch s.ConnectivityState {
			case connectivity.Ready:
				picker = picked{balancer.PickResult{SubConn: sc}}
			case connectivity.TransientFailure:
				picker = base.NewErrPicker(s.ConnectionError)
			}
			b.cc.UpdateState(balancer.State{ConnectivityState: s.ConnectivityState, Picker: picker})
		},
	})
	if err == nil {
		sc.Connect()
	}
	return err
}

func (*several) ResolverError(error) {}

func (*several) ExitIdle() {}

func (*several) Close() {}

func init() { balancer.Register(instrument.WrapBalancer(severalBuilder{})) }

// transportReady returns the first transport that is reported as READY.
func (env *environment) transportReady() (made event.TransportReady) {
	env.t.Helper()
	env.await(1, "a READY transport", func(e event.Event) bool {
		ready, ok := e.(event.TransportReady)
		if ok {
			made = ready
		}
		return ok
	})
	return made
}

// Of a subchannel with several addresses the one that is connected is reported, and not the first.
func TestSeveralAddressesOfASubchannel(t *testing.T) {
	severalPolicy := grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"test_several":{}}]}`)
	for name, opts := range map[string]func(*environment) []grpc.DialOption{
		"Connected": func(*environment) []grpc.DialOption { return nil },
		"ConnectedDialer": func(env *environment) []grpc.DialOption {
			return []grpc.DialOption{grpc.WithContextDialer(env.handler.Dialer(nil))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			_, option := addresses(env.freeAddress("DEAD"), env.serve("S1").address, env.serve("S2").address)
			cc := env.dial("static:///several", append(opts(env), option, severalPolicy)...)
			env.connect(cc)
			mustCall(t, cc)
			made := env.transportReady()
			if shown := env.handler.Channels()[0].Endpoints[0].Subchannels[0].Address; shown != made.Address {
				t.Errorf("the snapshot shows %s, and %s is connected", shown, made.Address)
			}
			env.golden()
		})
	}
	// Two names that are resolved by the dialer, and nothing by which they differ.
	t.Run("Unknown", func(t *testing.T) {
		env := newEnvironment(t)
		_, port, err := net.SplitHostPort(env.serve("S1").address)
		if err != nil {
			t.Fatal(err)
		}
		_, option := addresses(net.JoinHostPort("localhost", port), net.JoinHostPort("127.0.0.2", port))
		env.connect(env.dial("static:///several", option, severalPolicy))
		if made := env.transportReady(); made.Address != "" {
			t.Errorf("%s is connected, says the event", made.Address)
		}
		env.closeAll()
		env.shutdown()
	})
	// gRPC reports the error of the first.
	t.Run("AllFail", func(t *testing.T) {
		env := newEnvironment(t)
		_, option := addresses(env.freeAddress("DEAD"), env.serve("S1").address)
		env.failOnce("static:///several", option, severalPolicy,
			grpc.WithTransportCredentials(newAuthority(t).client("server.test")))
	})
}
