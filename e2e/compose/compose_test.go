// Package compose brings compose.yaml up, with images that e2e/images.sh makes, and finds by query what a person
// would see.
package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// rpc is the operation of the client's RPCs.
const rpc = "redial.demo.echo.v1.Echo/Say"

// rarely are the metrics that the story has no reason to show, and why.
var rarely = map[string]string{
	"redial.targets.overflowed":     "there are fewer targets than REDIAL_MAX_TARGETS",
	"redial.transport.unattributed": "every transport has a subchannel",
	"redial.endpoint.unhealthy":     "no backend is ejected, and none is asked for its health",
	"redial.events.dropped":         "nothing is dropped",
	"redial.internals.failed":       "gRPC is as redial knows it",
	"redial.spans.suppressed":       "there are fewer spans than REDIAL_SPAN_RATE",
}

// documented returns the metrics that docs/signals.md lists.
func documented(t *testing.T) (names []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/signals.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "\n## Metrics\n")
	row := regexp.MustCompile("(?m)^\\| `(redial\\.[a-z0-9_.]+)`")
	for _, match := range row.FindAllStringSubmatch(table, -1) {
		names = append(names, match[1])
	}
	if !found || len(names) < 10 {
		t.Fatalf("docs/signals.md lists the metrics %v", names)
	}
	return names
}

// TestStack asks the stack that compose.yaml makes for all that its story shows, and does to it what may happen to one.
func TestStack(t *testing.T) {
	up(t)
	begin := time.Now()

	t.Run("every metric is in Prometheus", func(t *testing.T) {
		s := stack{t}
		s.eventually("every metric", func() error {
			var names struct {
				Data []string `json:"data"`
			}
			if err := get(s.address("prometheus", 9090), "/api/v1/label/__name__/values", nil, &names); err != nil {
				return err
			}
			var missing []string
			for _, name := range documented(t) {
				prefix := strings.ReplaceAll(name, ".", "_")
				has := slices.ContainsFunc(names.Data, func(have string) bool { return strings.HasPrefix(have, prefix) })
				if !has && rarely[name] == "" {
					missing = append(missing, name)
				}
			}
			if len(missing) > 0 {
				return fmt.Errorf("%s are not there", strings.Join(missing, ", "))
			}
			return nil
		})
	})
	t.Run("an alert fires", func(t *testing.T) {
		stack{t}.positive(`ALERTS{alertname="RedialTargetDisconnected",alertstate="firing"}`)
	})
	t.Run("an episode has attempts and backoff, and leads to its neighbours", func(t *testing.T) {
		s := stack{t}
		s.eventually("an episode", func() error { return s.episode(begin) })
	})
	t.Run("an RPC that waited leads to the episode", func(t *testing.T) {
		s := stack{t}
		s.eventually("a wait", func() error { return s.wait(begin) })
	})
	t.Run("a connection is stalled while packets vanish", func(t *testing.T) {
		s := stack{t}
		s.eventually("transport.stalled", s.stalled)
	})
	t.Run("the debug API answers", func(t *testing.T) {
		var answer struct {
			Channels []json.RawMessage `json:"channels"`
		}
		if err := get(stack{t}.address("client", 9464), "/debug/redial/api/v1/channels", nil, &answer); err != nil {
			t.Fatal(err)
		}
		if len(answer.Channels) != 4 {
			t.Errorf("the client has %d channels", len(answer.Channels))
		}
	})
	t.Run("clients go on without the Collector and Prometheus", func(t *testing.T) { stack{t}.unharmed() })
	t.Run("a killed client comes back", func(t *testing.T) {
		s := stack{t}
		before, killed := s.started("client"), time.Now()
		s.kill("client")
		s.eventually("the client's restart", func() error {
			if s.started("client") == before {
				return errors.New("it has not been started again")
			}
			return nil
		})
		s.eventually("metrics of the new process", func() error {
			start, found, err := s.value(`process_start_time_seconds{job="client"}`)
			if err == nil && (!found || start < float64(killed.Unix())) {
				err = fmt.Errorf("found %t, started at %v", found, start)
			}
			return err
		})
	})
}

// stalled finds a stalled transport in the client's journal.
func (s stack) stalled() error {
	var answer struct {
		Events []json.RawMessage `json:"events"`
	}
	err := get(s.address("client", 9464), "/debug/redial/api/v1/events", url.Values{"kind": {"stall"}}, &answer)
	if err == nil && len(answer.Events) == 0 {
		err = errors.New("the journal has none")
	}
	return err
}

// episode finds one with attempts and backoff in Jaeger, which links to the transport that was lost, and a transport
// that links to it.
func (s stack) episode(since time.Time) error {
	found, err := s.traces("client", "grpc.connect.backoff", since, 50)
	if err != nil {
		return err
	}
	transports, err := s.traces("client", "grpc.transport", since.Add(-time.Hour), 200)
	if err != nil {
		return err
	}
	lost, made := map[string]bool{}, map[string]bool{}
	for _, spans := range transports {
		for _, t := range spans {
			lost[t.SpanID] = true
			for _, id := range t.links() {
				made[id] = true
			}
		}
	}
	why := errors.New("there is no episode with backoff")
	for _, spans := range found {
		has := map[string]int{}
		var root span
		for _, s := range spans {
			has[s.Operation]++
			if s.Operation == "grpc.connect" {
				root = s
			}
		}
		if has["grpc.connect.attempt"] < 2 || has["grpc.connect.backoff"] < 1 || root.SpanID == "" {
			continue
		}
		why = errors.Join(why, fmt.Errorf("trace %s: %v; links to %v", root.TraceID, has, root.links()))
		if made[root.SpanID] && slices.ContainsFunc(root.links(), func(id string) bool { return lost[id] }) {
			return nil
		}
	}
	return why
}

// wait finds an RPC's span in Jaeger with a wait below it that links to an episode.
func (s stack) wait(since time.Time) error {
	found, err := s.traces("client", "grpc.pick.wait", since, 50)
	if err != nil {
		return err
	}
	why := errors.New("there is no wait")
	for _, spans := range found {
		for _, wait := range spans {
			if wait.Operation != "grpc.pick.wait" {
				continue
			}
			for _, r := range wait.References {
				var episode struct {
					Data []struct {
						Spans []span `json:"spans"`
					} `json:"data"`
				}
				if r.Type != "FOLLOWS_FROM" || !below(wait, spans, rpc) {
					why = errors.Join(why, fmt.Errorf("trace %s: %+v", wait.TraceID, wait.References))
					continue
				}
				if err := get(s.address("jaeger", 16686), "/api/traces/"+r.TraceID, nil, &episode); err != nil {
					return err
				}
				for _, d := range episode.Data {
					for _, s := range d.Spans {
						if s.SpanID == r.SpanID && s.Operation == "grpc.connect" {
							return nil
						}
					}
				}
			}
		}
	}
	return why
}

// below reports whether a span is a child of one of that operation.
func below(child span, spans []span, operation string) bool {
	for _, r := range child.References {
		for _, s := range spans {
			if r.Type == "CHILD_OF" && r.SpanID == s.SpanID && s.Operation == operation {
				return true
			}
		}
	}
	return false
}

// rpcs is what the clients' RPCs came to, as Prometheus has it: but for those through the proxy, which is the
// injector's.
type rpcs struct{ observed, plain, failed, plainFailed float64 }

func (s stack) rpcs() (n rpcs) {
	s.t.Helper()
	for _, of := range []struct {
		job         string
		all, failed *float64
	}{{"client", &n.observed, &n.failed}, {"client-plain", &n.plain, &n.plainFailed}} {
		for code, into := range map[string]*float64{`code=~".+"`: of.all, `code!="OK"`: of.failed} {
			sum, _, err := s.value(fmt.Sprintf(`stack_rpcs_total{job=%q,channel!="proxied",%s}`, of.job, code))
			if err != nil {
				s.t.Fatal(err)
			}
			*into = sum
		}
	}
	return n
}

// unharmed takes the Collector and then Prometheus away while the story rests: no RPC fails, of the client with
// redial as of the one without it. Their signals come back.
func (s stack) unharmed() {
	s.t.Helper()
	must := must(s.t)
	must(compose("stop", "injector"))
	defer func() { must(compose("start", "injector")) }()
	var before rpcs
	s.eventually("what was broken healed", func() error {
		failing, found, err := s.value(`sum(increase(stack_rpcs_total{channel!="proxied",code!="OK"}[20s]))`)
		if err != nil {
			return err
		}
		if before = s.rpcs(); !found || failing > 0 || before.observed == 0 || before.plain == 0 {
			return fmt.Errorf("%v RPCs fail, of %+v", failing, before)
		}
		return nil
	})
	// more waits until both clients have done many RPCs since.
	more := func(what string) {
		s.t.Helper()
		since := before
		s.eventually(what, func() error {
			now := s.rpcs()
			if now.observed < since.observed+300 || now.plain < since.plain+300 {
				return fmt.Errorf("%+v before, %+v now", since, now)
			}
			before = now
			return nil
		})
		if before.failed != since.failed || before.plainFailed != since.plainFailed {
			s.t.Errorf("%s: RPCs failed: %+v before, %+v after", what, since, before)
		}
	}

	must(compose("stop", "collector"))
	more("RPCs without the Collector")
	must(compose("start", "collector"))
	back := time.Now()
	s.eventually("spans with the Collector back", func() error {
		found, err := s.traces("client", rpc, back, 5)
		if err == nil && len(found) == 0 {
			err = errors.New("there are none")
		}
		return err
	})

	must(compose("stop", "prometheus"))
	time.Sleep(15 * time.Second) // Three scrapes: there is nobody to ask.
	must(compose("start", "prometheus"))
	s.eventually("Prometheus", func() error {
		_, found, err := s.value(`stack_rpcs_total{job="client"}`)
		if err == nil && !found {
			err = errors.New("it has no samples")
		}
		return err
	})
	more("RPCs with Prometheus back")
}
