package agent_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/instrument/event"
)

// secret is planted wherever a user has one.
const secret = "hunter2-redial"

type credential struct{}

func (credential) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + secret}, nil
}
func (credential) RequireTransportSecurity() bool { return false }

// output is a buffer for several goroutines.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// child marks the process that has a proxy in its environment, which net/http reads once.
const child = "TEST_OF_SECRETS"

// No credential, header value or user data appears in any output: spans, metrics, log, journal, API, reports. The
// exporter's own headers go to the collector and nowhere else.
func TestSecrets(t *testing.T) {
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSecrets$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1", "HTTPS_PROXY=http://user:"+secret+"@"+freeAddress(t), "NO_PROXY=")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestSecrets")) {
			t.Errorf("%v:\n%s", err, out)
		}
		return
	}
	quickly(t)
	reports := newReports(t)
	c := collect(t, "127.0.0.1:0")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+c.address)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key="+secret)
	var log output
	logger := slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	a, err := agent.Start(t.Context(), agent.WithLogger(logger))
	if err != nil {
		t.Fatal(err)
	}
	refuse := grpc.UnaryInterceptor(func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
		return nil, status.Error(codes.Unavailable, "the database's password is "+secret)
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "token", secret)
	up := dial(t, a, backend(t, refuse), grpc.WithPerRPCCredentials(credential{}), grpc.WithUserAgent("agent/"+secret))
	down := dial(t, a, freeAddress(t), grpc.WithPerRPCCredentials(credential{}))
	proxied := dial(t, a, "dns:///behind.test:443") // Through a proxy that is down, and whose password gRPC has.
	for _, cc := range []*grpc.ClientConn{up, down, proxied} {
		_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{Service: secret})
		if status.Code(err) != codes.Unavailable {
			t.Errorf("RPC: %v", err)
		}
	}
	for _, cc := range []*grpc.ClientConn{up, down, proxied} {
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
	outputs := map[string]string{}
	eventually(t, "the end of the proxied channel", func() bool {
		ended := a.Events(agent.Query{Kind: event.KindConnect, Target: "behind.test"})
		return len(ended) == 2 && strings.Contains(string(ended[1].Line), "channel_closed")
	})
	for _, path := range []string{"/metrics", "/debug/redial/api/v1/channels", "/debug/redial/api/v1/dump"} {
		w := get(a.Handler(), path, "Authorization", "Bearer "+secret)
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: %d", path, w.Code)
		}
		outputs[path] = w.Body.String()
	}
	shutdown(t, a)
	log.mu.Lock()
	outputs["the log"] = log.b.String()
	log.mu.Unlock()
	c.mu.Lock()
	sent := c.raw.String()
	c.mu.Unlock()
	if !strings.Contains(sent, "Api-Key: "+secret) {
		t.Error("the exporter's header was not sent: the test shows nothing")
	}
	outputs["what was exported"] = strings.ReplaceAll(sent, "Api-Key: "+secret, "")
	for _, err := range reports.all() {
		outputs["a report"] += err.Error()
	}
	encoded := base64.StdEncoding.EncodeToString([]byte("user:" + secret))
	for where, text := range outputs {
		for _, s := range []string{secret, encoded} {
			if i := strings.Index(text, s); i >= 0 {
				t.Errorf("a secret is in %s: …%s…", where, text[max(0, i-200):i])
			}
		}
	}
}
