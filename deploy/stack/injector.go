package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The ports of the injector.
const (
	pagePort  = ":8080"
	proxyPort = ":3128"
	namesPort = ":5353"
)

// step is a fault of the story.
type step struct {
	Name    string
	Expect  string // What redial shows of it.
	Lasts   time.Duration
	do, end func(ctx context.Context, i *injection) error // end may be nil.
}

// rest is the time between two steps, in which what was broken heals.
const rest = 15 * time.Second

// firstRest is that before the first step.
const firstRest = 5 * time.Second

// outage is long enough for RedialTargetDisconnected to fire: 30 s without a connection, seen by the rules at each
// minute, and that for a minute.
const outage = 3 * time.Minute

// story is what is played, in a loop. In a step that lasts the backend heals by itself.
var story = []step{
	{
		Name: "backend-1 crashes and is back after 3 min", Lasts: outage,
		Expect: "pick-first: connection_refused, backoff, RPCs refused; RedialTargetDisconnected fires. " +
			"round-robin: one endpoint disconnected, no RPC refused.",
		do: breakBackend("restart", outage, 0),
	}, {
		Name: "backend-3 is replaced, and says GOAWAY", Lasts: 5 * time.Second,
		Expect: "round-robin and proxied: a teardown with the cause goaway, no RPC killed, a redial within milliseconds.",
		do:     breakBackend("goaway", 0, 2),
	}, {
		Name: "the connections to backend-1 are reset", Lasts: 5 * time.Second,
		Expect: "pick-first and round-robin: connection_reset, RPCs killed, a redial at once.",
		do:     breakBackend("reset", 0, 0),
	}, {
		Name: "all packets to backend-3 vanish for 40 s", Lasts: 40 * time.Second,
		Expect: "round-robin: a stalled transport, after 10 s timed_out, then dials that time out. proxied: keepalive_timeout, " +
			"since the proxy goes on to acknowledge.",
		do: breakBackend("silence", 40*time.Second, 2),
	}, {
		Name: "the certificate of backend-2 has expired, for 20 s", Lasts: 20 * time.Second,
		Expect: "tls: attempts that fail in the handshake with tls_certificate_expired.",
		do:     breakBackend("expired", 20*time.Second, 1),
	}, {
		Name: "the name server does not answer for 40 s, while backend-2 is replaced", Lasts: 40 * time.Second,
		Expect: "round-robin: name resolution fails with timeout; the connections go on with the addresses that are known.",
		do: func(ctx context.Context, i *injection) error {
			i.names.silent.Store(true)
			return breakBackend("goaway", 0, 1)(ctx, i)
		},
		end: func(_ context.Context, i *injection) error {
			i.names.silent.Store(false)
			return nil
		},
	}, {
		Name: "backend-1 allows one RPC at a time on a connection, for 20 s", Lasts: 20 * time.Second,
		Expect: "pick-first: RPCs wait for the stream quota, and no connection is lost.",
		do:     breakBackend("streams", 20*time.Second, 0),
	}, {
		Name: "the proxy opens no tunnels for 15 s, and backend-3 is replaced", Lasts: 15 * time.Second,
		Expect: "proxied: attempts that fail with proxy.",
		do: func(ctx context.Context, i *injection) error {
			i.proxy.closed.Store(true)
			return breakBackend("goaway", 0, 2)(ctx, i)
		},
		end: func(_ context.Context, i *injection) error {
			i.proxy.closed.Store(false)
			return nil
		},
	},
}

// breakBackend asks a backend, by its index, to break itself for a while.
func breakBackend(kind string, d time.Duration, backend int) func(context.Context, *injection) error {
	return func(ctx context.Context, i *injection) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		form := url.Values{"kind": {kind}, "for": {d.String()}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+i.names.backends[backend]+controlPort+"/fault",
			strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := i.control.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			return fmt.Errorf("%s answers %s", req.URL, resp.Status)
		}
		return nil
	}
}

// injection plays the story.
type injection struct {
	names   *nameServer
	proxy   *proxy
	control *http.Client // Of the backends.

	mu    sync.Mutex
	step  int       // The one that is played now or is next.
	on    bool      // Whether it is played now.
	until time.Time // When that ends, or the rest before it.
	loops int
	err   error // Why the last step failed.
}

// injector plays the story until the context is done, shows on a page what it does, and serves what lies between the
// client and the backends: names and a proxy.
func injector(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("injector", flag.ContinueOnError)
	backends := flags.String("backends", "backend-1,backend-2,backend-3",
		"names of the three backends, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	i := &injection{names: &nameServer{name: "backends.stack.test.", backends: strings.Split(*backends, ",")},
		proxy: &proxy{}, control: &http.Client{}}
	if len(i.names.backends) != 3 {
		return fmt.Errorf("-backends %s: want three names", *backends)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /status", i.status)
	mux.HandleFunc("GET /{$}", i.page)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	services := []func() error{
		func() error { return i.names.serve(ctx, namesPort) },
		func() error { return serveHTTP(ctx, proxyPort, i.proxy) },
		func() error { return serveHTTP(ctx, pagePort, mux) },
		func() error { i.play(ctx); return nil },
	}
	ended := make(chan error, len(services))
	for _, serve := range services {
		go func() { ended <- serve() }()
	}
	err := <-ended // One that fails ends all.
	stop()
	for range len(services) - 1 {
		err = errors.Join(err, <-ended)
	}
	return err
}

// play plays the story until the context is done.
func (i *injection) play(ctx context.Context) {
	i.next(firstRest)
	for sleep(ctx, time.Until(i.until)) {
		s := story[i.step]
		i.mu.Lock()
		i.on, i.until = true, time.Now().Add(s.Lasts)
		i.mu.Unlock()
		logger.Info("fault", "what", s.Name, "for", s.Lasts, "expect", s.Expect)
		err := s.do(ctx, i)
		sleep(ctx, time.Until(i.until))
		if s.end != nil {
			err = errors.Join(err, s.end(ctx, i))
		}
		if err != nil {
			logger.Error("fault failed", "what", s.Name, "error", err)
		}
		i.mu.Lock()
		i.step, i.err = (i.step+1)%len(story), err
		if i.step == 0 {
			i.loops++
		}
		i.mu.Unlock()
		i.next(rest)
	}
}

// next rests before the next step.
func (i *injection) next(after time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.on, i.until = false, time.Now().Add(after)
	logger.Info("no fault", "for", after, "next", story[i.step].Name)
}

// state is what the page shows, and /status answers.
type state struct {
	Now       string  `json:"now"` // Empty while nothing is broken.
	Expect    string  `json:"expect,omitempty"`
	Next      string  `json:"next"`
	Remaining float64 `json:"remaining_seconds"`
	Step      int     `json:"step"`
	Loops     int     `json:"loops"`
	Error     string  `json:"error,omitempty"`
	Story     []step  `json:"-"`
}

func (i *injection) state() state {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := state{Remaining: max(0, time.Until(i.until).Seconds()), Step: i.step, Loops: i.loops,
		Next: story[i.step].Name, Story: story}
	if i.on {
		s.Now, s.Expect, s.Next = story[i.step].Name, story[i.step].Expect, story[(i.step+1)%len(story)].Name
	}
	if i.err != nil {
		s.Error = i.err.Error()
	}
	return s
}

func (i *injection) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(i.state()) // A client that is gone needs no answer.
}

func (i *injection) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, i.state())
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>redial demo: what is broken</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
.now { border-left: .4rem solid #d33; padding-left: 1rem } .calm { border-left: .4rem solid #3a3; padding-left: 1rem }
li.on { font-weight: bold } small { opacity: .8; font-weight: normal }
</style></head><body>
<h1>What is broken now</h1>
{{if .Now}}<div class="now"><p><b>{{.Now}}</b>, for {{printf "%.0f" .Remaining}} s more</p><p>{{.Expect}}</p></div>
{{else}}<div class="calm"><p><b>Nothing.</b> In {{printf "%.0f" .Remaining}} s: {{.Next}}</p></div>{{end}}
{{if .Error}}<p>The last step failed: {{.Error}}</p>{{end}}
<p>See it in <a href="http://127.0.0.1:3000/d/redial-overview">Grafana</a>,
<a href="http://127.0.0.1:9090/alerts">Prometheus</a>, <a href="http://127.0.0.1:16686/search?service=client">Jaeger</a>,
and what <a href="http://127.0.0.1:9464/debug/redial/api/v1/channels">the client</a> is doing.</p>
<h2>The story, in a loop</h2>
<ol>{{$s := .}}{{range $n, $step := .Story}}<li{{if and $s.Now (eq $n $s.Step)}} class="on"{{end}}>{{.Name}}<br><small>{{.Expect}}</small></li>
{{end}}</ol></body></html>
`))
