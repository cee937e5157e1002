package agent_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/snapshot"
)

// The tree shows a channel with a stream on its transport, and one that backs off while an RPC waits.
func TestChannels(t *testing.T) {
	a := start(t)
	ctx, cancel := context.WithCancel(context.Background())
	up, down := dial(t, a, backend(t)), dial(t, a, freeAddress(t))
	stream, err := healthpb.NewHealthClient(up).Watch(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := healthpb.NewHealthClient(down).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		done <- err
	}()
	var ready, failing snapshot.Channel
	eventually(t, "the two channels", func() bool {
		w := get(a.Handler(), "/debug/redial/api/v1/channels")
		var tree struct {
			Channels []snapshot.Channel `json:"channels"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &tree); err != nil || len(tree.Channels) != 2 {
			return false
		}
		ready, failing = tree.Channels[0], tree.Channels[1]
		return ready.State == event.StateReady && failing.State == event.StateTransientFailure && failing.Waiting == 1
	})
	cancel()
	<-done
	if len(ready.Endpoints) != 1 || len(failing.Endpoints) != 1 {
		t.Fatalf("%+v\n%+v", ready, failing)
	}
	sub := ready.Endpoints[0].Subchannels[0]
	if sub.State != event.StateReady || sub.InFlight != 1 || sub.Local == "" || sub.Address != sub.Remote ||
		ready.ID == 0 || sub.ID == 0 {
		t.Errorf("the subchannel that is READY: %+v", sub)
	}
	e := failing.Endpoints[0]
	if e.Episode == nil || e.Episode.Attempts < 1 || e.Episode.Trigger != event.TriggerFirst ||
		e.ErrorType != "connection_refused" || e.Error == "" {
		t.Errorf("the endpoint that is down: %+v", e)
	}
	if next := e.Subchannels[0].NextAttempt; next == nil || !next.After(e.Subchannels[0].Since) {
		t.Errorf("the next attempt: %v", next)
	}
	for _, cc := range []*grpc.ClientConn{up, down} {
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "no channels", func() bool { return len(a.Channels()) == 0 })
}

// Pages follow each other without a gap, and filters choose.
func TestEvents(t *testing.T) {
	a := start(t)
	one, two := backend(t), backend(t)
	session(t, a, one)
	session(t, a, two)
	eventually(t, "the ends of both", func() bool { return len(a.Events(agent.Query{Kind: event.KindTeardown})) == 2 })
	var all []line
	for after := uint64(0); ; {
		next, lines := events(t, a, "limit=7&after="+jsonNumber(after))
		if all = append(all, lines...); len(lines) == 0 {
			break
		}
		after = next
	}
	for i, l := range all {
		if l.Seq != uint64(i+1) {
			t.Fatalf("event %d has the number %d", i+1, l.Seq)
		}
	}
	_, ofOne := events(t, a, "limit=1000&target="+url.QueryEscape(one))
	_, ofTwo := events(t, a, "limit=1000&target="+url.QueryEscape(two))
	if len(ofOne)+len(ofTwo) != len(all) || len(ofOne) == 0 || len(ofTwo) == 0 {
		t.Errorf("%d and %d of %d events", len(ofOne), len(ofTwo), len(all))
	}
	if _, ready := events(t, a, "kind=ready"); len(ready) != 2 || ready[0].Kind != event.KindReady {
		t.Errorf("of the kind ready: %+v", ready)
	}
	w := get(a.Handler(), "/debug/redial/api/v1/dump")
	dumped := 0
	for scanner := bufio.NewScanner(w.Body); scanner.Scan(); dumped++ {
		if !json.Valid(scanner.Bytes()) {
			t.Errorf("no JSON: %s", scanner.Bytes())
		}
	}
	if dumped != len(all) {
		t.Errorf("%d events dumped, want %d", dumped, len(all))
	}
}

func jsonNumber(n uint64) string {
	b, err := json.Marshal(n)
	if err != nil {
		return ""
	}
	return string(b)
}

// A request that is wrong is answered with what is wrong about it.
func TestBadRequests(t *testing.T) {
	a := start(t, agent.WithAllowedHosts("redial.example"))
	const api = "/debug/redial/api/v1/"
	for _, c := range []struct {
		path, host string
		code       int
		want       string
	}{
		{api + "events?limit=0", "", http.StatusBadRequest, `limit=\"0\": want a whole number from 1 to 10000`},
		{api + "events?limit=1000000", "", http.StatusBadRequest, `parameter limit=`},
		{api + "events?after=-1&kind=sneeze", "", http.StatusBadRequest, `parameter kind=\"sneeze\": want one of`},
		{api + "events?color=red", "", http.StatusBadRequest, `parameter color: unknown`},
		{api + "events?kind=state&kind=phase", "", http.StatusBadRequest, `parameter kind: given 2 times`},
		{api + "channels?limit=1", "", http.StatusBadRequest, `parameter limit: unknown`},
		{api + "dump?a=b", "", http.StatusBadRequest, `parameter a: unknown`},
		{api + "channels", "evil.example", http.StatusForbidden, `host \"evil.example\": not allowed`},
		{api + "channels", "redial.example:9464", http.StatusOK, `"channels":[]`},
		{api + "channels", "[::1]:9464", http.StatusOK, `"channels":[]`},
		{"/metrics", "evil.example", http.StatusForbidden, `host \"evil.example\": not allowed`},
		{"/metrics", "redial.example", http.StatusOK, "redial_build_info"},
		{api + "events?limit=%zz", "", http.StatusBadRequest, `invalid URL escape`},
		{api + "events?limit=5;kind=state", "", http.StatusBadRequest, `invalid semicolon`},
		{"/metrics?a=%zz", "", http.StatusBadRequest, `invalid URL escape`},
	} {
		w := get(a.Handler(), c.path, "Host", map[bool]string{true: "localhost", false: c.host}[c.host == ""])
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s (host %q): %d %s, want %d %s", c.path, c.host, w.Code, w.Body, c.code, c.want)
		}
	}
}

// Nothing can be changed through the API.
func TestReadOnly(t *testing.T) {
	a := start(t)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		w := httptest.NewRecorder()
		a.Handler().ServeHTTP(w, httptest.NewRequest(method, "http://localhost/debug/redial/api/v1/events", nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s is answered with %d", method, w.Code)
		}
	}
}
