package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/deploy/demo/echo"
	"github.com/redial-dev/redial/e2e/internal/child"
	"github.com/redial-dev/redial/e2e/internal/cpu"
)

// workload is what is measured.
type workload struct {
	name     string
	what     string
	size     int // Of a message.
	callers  int
	policy   string
	backends int // Of which each has a subchannel.
	// op prepares a caller, and returns what makes one operation.
	op func(context.Context, *client, *echo.SayRequest) (once func() error, err error)
}

const (
	pickFirst  = `{}`
	roundRobin = `{"loadBalancingConfig":[{"round_robin":{}}]}`
)

var workloads = []workload{
	{"Unary", "an RPC of 10 bytes, 1 caller", 10, 1, pickFirst, 1, unary},
	{"Unary64KiB", "an RPC of 64 KiB, 1 caller", 64 << 10, 1, pickFirst, 1, unary},
	{"Stream", "a message of 10 bytes and its answer on a stream, 1 caller", 10, 1, pickFirst, 1, streaming},
	{"Unary64Callers", "an RPC of 10 bytes, 64 callers", 10, 64, pickFirst, 1, unary},
	{"RoundRobin64Callers", "an RPC of 10 bytes, 64 callers, round_robin over 8", 10, 64, roundRobin, 8, unary},
	{"Redial", "a transport that is lost, the redial, and an RPC", 10, 1, pickFirst, 1, redialing},
}

// client is a channel of a candidate.
type client struct {
	cc *grpc.ClientConn
	mu sync.Mutex
	// newest is the connection that was dialed last.
	newest net.Conn
}

func newClient(c candidate, w workload, address string) (*client, error) {
	made := &client{}
	r := manual.NewBuilderWithScheme("bench")
	var state resolver.State
	for i := range w.backends {
		a := resolver.Address{Addr: fmt.Sprint("backend:", i)}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{a}})
	}
	r.InitialState(state)
	var err error
	made.cc, err = grpc.NewClient("bench:///"+c.name, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(r),
		grpc.WithDefaultServiceConfig(w.policy), grpc.WithIdleTimeout(0),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			made.mu.Lock()
			defer made.mu.Unlock()
			made.newest = conn
			return conn, err
		}),
	}, c.options...)...)
	return made, err
}

func unary(ctx context.Context, c *client, req *echo.SayRequest) (func() error, error) {
	e := echo.NewEchoClient(c.cc)
	return func() error {
		_, err := e.Say(ctx, req, grpc.WaitForReady(true))
		return err
	}, nil
}

func streaming(ctx context.Context, c *client, req *echo.SayRequest) (func() error, error) {
	stream, err := child.Chat(ctx, c.cc, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	var answer echo.SayRequest
	return func() error {
		if err := stream.SendMsg(req); err != nil {
			return err
		}
		return stream.RecvMsg(&answer)
	}, nil
}

// redialing makes gRPC's reader fail, as it does when a peer is gone.
func redialing(ctx context.Context, c *client, req *echo.SayRequest) (func() error, error) {
	e := echo.NewEchoClient(c.cc)
	return func() error {
		lost := c.connection()
		if lost != nil {
			if err := lost.SetReadDeadline(time.Unix(1, 0)); err != nil {
				return err
			}
		}
		for {
			// The RPC may still get the transport that is about to be lost.
			_, err := e.Say(ctx, req, grpc.WaitForReady(true))
			if err != nil && status.Code(err) != codes.Unavailable {
				return err
			}
			if err == nil && c.connection() != lost {
				return nil
			}
		}
	}, nil
}

func (c *client) connection() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest
}

// sample is one measurement, of one operation.
type sample struct{ time, p99, cpu, bytes, allocs float64 }

// results are the samples of each candidate, round by round.
type results map[string][]sample

func (w workload) measure(address string) (results, error) {
	all := slices.DeleteFunc(candidates(), func(c candidate) bool { return *solo != "" && c.name != *solo })
	clients := map[string]*client{}
	for _, c := range all {
		made, err := newClient(c, w, address)
		if err != nil {
			return nil, err
		}
		defer made.cc.Close()
		clients[c.name] = made
		if _, err := w.run(made, *moment); err != nil { // To warm up.
			return nil, err
		}
	}
	r := results{}
	for range *rounds {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, c := range all {
			s, err := w.run(clients[c.name], *moment)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			r[c.name] = append(r[c.name], s)
		}
	}
	return r, nil
}

// run makes operations for a while, from all callers at once.
func (w workload) run(c *client, d time.Duration) (sample, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var stop atomic.Bool
	var callers sync.WaitGroup
	took, errs, ops := make([][]float64, w.callers), make([]error, w.callers), make([]func() error, w.callers)
	for i := range ops {
		var err error
		if ops[i], err = w.op(ctx, c, &echo.SayRequest{Text: strings.Repeat("x", w.size)}); err != nil {
			return sample{}, err
		}
		took[i] = make([]float64, 0, 1<<16)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	spent, begin := cpu.Time(), time.Now()
	for i, op := range ops {
		callers.Go(func() {
			for !stop.Load() {
				start := time.Now()
				if errs[i] = op(); errs[i] != nil {
					return
				}
				took[i] = append(took[i], float64(time.Since(start)))
			}
		})
	}
	time.Sleep(d)
	stop.Store(true)
	callers.Wait()
	elapsed := time.Since(begin)
	spent = cpu.Time() - spent
	runtime.ReadMemStats(&after)
	for _, err := range errs {
		if err != nil {
			return sample{}, err
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	n := float64(len(all))
	return sample{
		time: float64(elapsed) / n, p99: all[len(all)*99/100], cpu: float64(spent) / n,
		bytes: float64(after.TotalAlloc-before.TotalAlloc) / n, allocs: float64(after.Mallocs-before.Mallocs) / n,
	}, nil
}
