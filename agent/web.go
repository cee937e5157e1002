package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/snapshot"
)

// web serves metrics, health and the API. docs/agent.md describes it.
type web struct {
	agent *Agent
	hosts []string
}

// maxChannels bounds the answer that lists channels.
const maxChannels = 1000

func newWeb(a *Agent, hosts []string) http.Handler {
	w := &web{agent: a, hosts: hosts}
	if a.server != nil {
		if host, _, err := net.SplitHostPort(a.server.listener.Addr().String()); err == nil {
			w.hosts = append(slices.Clone(hosts), host)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", w.health)
	if a.prometheus != nil {
		mux.Handle("GET /metrics", a.prometheus.Handler())
	}
	const api = "GET /debug/redial/api/v1/"
	mux.Handle(api+"channels", w.guarded(w.channels))
	mux.Handle(api+"events", w.guarded(w.events))
	mux.Handle(api+"dump", w.guarded(w.dump))
	return mux
}

func (w *web) health(rw http.ResponseWriter, _ *http.Request) {
	if !w.agent.running() {
		http.Error(rw, "shut down", http.StatusServiceUnavailable)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(rw, "ok")
}

// guarded refuses hosts that nobody allowed (DNS rebinding), and keeps answers out of caches and frames.
func (w *web) guarded(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !w.allowed(r.Host) {
			fail(rw, http.StatusForbidden, fmt.Errorf("host %q: not allowed (REDIAL_ALLOWED_HOSTS or WithAllowedHosts)", r.Host))
			return
		}
		rw.Header().Set("Cache-Control", "no-store")
		rw.Header().Set("X-Content-Type-Options", "nosniff")
		h(rw, r)
	})
}

func (w *web) allowed(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || net.ParseIP(host) != nil {
		return true
	}
	return slices.ContainsFunc(w.hosts, func(allowed string) bool {
		return allowed == "*" || strings.EqualFold(allowed, host)
	})
}

// problem is the answer to a request that is wrong.
type problem struct {
	Error string `json:"error"`
}

func fail(rw http.ResponseWriter, status int, err error) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	write(rw, problem{err.Error()})
}

// write answers in JSON. A client that went away is nobody's concern.
func write(rw http.ResponseWriter, v any) {
	_ = json.NewEncoder(rw).Encode(v)
}

func answer(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	write(rw, v)
}

// channelsAnswer is what the channels are doing.
type channelsAnswer struct {
	Time    time.Time    `json:"time"`
	Version string       `json:"version"`
	Journal JournalStats `json:"journal"`
	// LeftOut counts the channels that the answer has no room for.
	LeftOut  int                `json:"left_out"`
	Channels []snapshot.Channel `json:"channels"`
}

func (w *web) channels(rw http.ResponseWriter, r *http.Request) {
	p := params{values: r.URL.Query()}
	target := p.text("target")
	if err := p.err(); err != nil {
		fail(rw, http.StatusBadRequest, err)
		return
	}
	channels := slices.DeleteFunc(w.agent.Channels(), func(c snapshot.Channel) bool { return !strings.Contains(c.Target, target) })
	a := channelsAnswer{Time: time.Now().UTC(), Version: instrument.Version, Journal: w.agent.JournalStats(), Channels: channels}
	if len(channels) > maxChannels {
		a.LeftOut, a.Channels = len(channels)-maxChannels, channels[:maxChannels]
	}
	answer(rw, a)
}

// eventsAnswer is a page of events.
type eventsAnswer struct {
	// Next is the value of after for the page that follows.
	Next   uint64            `json:"next"`
	Events []json.RawMessage `json:"events"`
}

func (w *web) events(rw http.ResponseWriter, r *http.Request) {
	p := params{values: r.URL.Query()}
	q := Query{
		After: p.number("after", 0, 1<<63), Target: p.text("target"), Kind: p.kind("kind"),
		Endpoint: event.ID(p.number("endpoint", 0, 1<<63)), Limit: int(p.number("limit", defaultEntries, maxEntries)),
	}
	if err := p.err(); err != nil {
		fail(rw, http.StatusBadRequest, err)
		return
	}
	a := eventsAnswer{Next: q.After, Events: []json.RawMessage{}}
	for _, e := range w.agent.Events(q) {
		a.Next, a.Events = e.Seq, append(a.Events, e.Line)
	}
	answer(rw, a)
}

// dump writes all events that the journal keeps, a line each.
func (w *web) dump(rw http.ResponseWriter, r *http.Request) {
	p := params{values: r.URL.Query()}
	if err := p.err(); err != nil {
		fail(rw, http.StatusBadRequest, err)
		return
	}
	rw.Header().Set("Content-Type", "application/jsonl")
	out := bufio.NewWriter(rw)
	reader := w.agent.journal.After(0)
	for e, ok := reader.Next(); ok; e, ok = reader.Next() {
		if _, err := out.Write(append(e.Line, '\n')); err != nil {
			return // The client went away.
		}
	}
	_ = out.Flush()
}

// params reads the parameters of a request, and notes what is wrong with them.
type params struct {
	values url.Values
	known  []string
	errs   []error
}

func (p *params) text(name string) string {
	p.known = append(p.known, name)
	all := p.values[name]
	if len(all) > 1 {
		p.errs = append(p.errs, fmt.Errorf("parameter %s: given %d times, want it once", name, len(all)))
	}
	return p.values.Get(name)
}

// number reads a whole number from 1, or from 0 where that is the default.
func (p *params) number(name string, otherwise, most uint64) uint64 {
	text := p.text(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if least := min(1, otherwise); err != nil || n < least || n > most {
		p.errs = append(p.errs, fmt.Errorf("parameter %s=%q: want a whole number from %d to %d", name, text, least, most))
	}
	return n
}

func (p *params) kind(name string) event.Kind {
	kind := event.Kind(p.text(name))
	if kind != "" && !slices.Contains(event.Kinds, kind) {
		p.errs = append(p.errs, fmt.Errorf("parameter %s=%q: want one of %v", name, kind, event.Kinds))
	}
	return kind
}

// err returns what is wrong, with the parameters that nothing reads.
func (p *params) err() error {
	for name := range p.values {
		if !slices.Contains(p.known, name) {
			p.errs = append(p.errs, fmt.Errorf("parameter %s: unknown, want one of %v", name, p.known))
		}
	}
	return errors.Join(p.errs...)
}
