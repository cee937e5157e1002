package causes

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds" // Registers outlier_detection.

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument/event"
)

// failing is a server that answers each RPC with an error.
type failing struct {
	healthpb.UnimplementedHealthServer
}

func (failing) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return nil, status.Error(codes.Unavailable, "overloaded")
}

// unhealthy calls a server until its READY transport gets no RPCs any more, and holds what is said of that and of the
// RPCs that it refuses.
func (env *environment) unhealthy(cc *grpc.ClientConn, errorType string) {
	env.t.Helper()
	refused := func() (e event.RPCRefused, ok bool) {
		env.mu.Lock()
		defer env.mu.Unlock()
		for _, e := range env.events {
			if e, ok := e.(event.RPCRefused); ok {
				return e, true
			}
		}
		return e, false
	}
	begin := time.Now()
	for {
		if e, ok := refused(); ok {
			if e.ErrorType != errorType {
				env.t.Errorf("%s: the type is %s", e, e.ErrorType)
			}
			break
		}
		if time.Since(begin) > testTimeout {
			env.t.Fatalf("no RPC was refused in %v", testTimeout)
		}
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
		cancel()
		if err == nil {
			time.Sleep(time.Millisecond)
		}
	}
	if e := await(env, func(event.TransportUnhealthy) bool { return true }); e.ErrorType != errorType {
		env.t.Errorf("%s: the type is %s", e, e.ErrorType)
	}
	endpoint := env.handler.Channels()[0].Endpoints[0]
	if endpoint.ErrorType != errorType || endpoint.State != event.StateTransientFailure {
		env.t.Errorf("the snapshot shows %s, %s", endpoint.State, endpoint.ErrorType)
	}
	if s := endpoint.Subchannels; len(s) != 1 || s[0].ID == 0 || s[0].State != event.StateReady {
		env.t.Errorf("the snapshot shows %+v", s)
	}
	recordType(errorType)
}

// A policy has no children to ask for a transport: no endpoint failed, and the policy refuses the RPC by itself.
func TestPolicyRefuses(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	cc := env.client("passthrough:///unused", grpc.WithDefaultServiceConfig(
		`{"loadBalancingConfig":[{"weighted_target_experimental":{"targets":{}}}]}`))
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if _, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}); err == nil {
		t.Error("an RPC was answered, and there is nobody to answer it")
	}
	if e := await(env, func(event.RPCRefused) bool { return true }); e.ErrorType != "lb_policy" {
		t.Errorf("%s: the type is %s", e, e.ErrorType)
	}
	recordType("lb_policy")
}

// Outlier detection ejects a server whose RPCs fail: its transport stays READY, and RPCs are refused for that.
func TestOutlierEjected(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	lis := loopback.Listen(t)
	srv := grpc.NewServer()
	healthpb.RegisterHealthServer(srv, failing{})
	go func() { _ = srv.Serve(lis) }() // Until Stop.
	t.Cleanup(srv.Stop)
	env.unhealthy(env.client(lis.Addr().String(), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[
		{"outlier_detection_experimental":{"interval":"0.1s","baseEjectionTime":"60s","maxEjectionPercent":100,
		"failurePercentageEjection":{"threshold":50,"enforcementPercentage":100,"minimumHosts":1,"requestVolume":3},
		"childPolicy":[{"round_robin":{}}]}}]}`)), "outlier_ejected")
}

// A server says that it does not serve: its transport stays READY, and RPCs are refused for that.
func TestHealthCheckFailed(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	lis := loopback.Listen(t)
	srv, service := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(srv, service)
	go func() { _ = srv.Serve(lis) }() // Until Stop.
	t.Cleanup(srv.Stop)
	cc := env.client(lis.Addr().String(), grpc.WithDefaultServiceConfig(
		`{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":""}}`))
	cc.Connect()
	env.ready()
	service.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	env.unhealthy(cc, "health_check_failed")
}
