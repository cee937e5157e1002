package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/snapshot"
)

// api serves metrics, health and what the agent has seen. docs/agent.md describes it.
type api struct{ agent *Agent }

// maxChannels bounds the answer that lists channels.
const maxChannels = 1000

func newAPI(a *Agent, hosts allowedHosts) http.Handler {
	all, answers, w := http.NewServeMux(), http.NewServeMux(), &api{a}
	all.HandleFunc("GET /healthz", w.health)
	if a.prometheus != nil {
		all.Handle("GET /metrics", hosts.guarded(limited(maxAnswers, a.prometheus.Handler())))
	}
	const prefix = "GET /debug/redial/api/v1/"
	answers.HandleFunc(prefix+"channels", w.channels)
	answers.HandleFunc(prefix+"events", w.events)
	answers.HandleFunc(prefix+"dump", w.dump)
	all.Handle("/debug/redial/", hosts.guarded(limited(maxAnswers, answers)))
	return private(all)
}

func (w *api) health(rw http.ResponseWriter, _ *http.Request) {
	if !w.agent.running() {
		http.Error(rw, "shut down", http.StatusServiceUnavailable)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(rw, "ok")
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

func (w *api) channels(rw http.ResponseWriter, r *http.Request) {
	p := params{values: r.URL.Query()}
	target := p.text("target")
	if err := p.err(); err != nil {
		fail(rw, http.StatusBadRequest, err)
		return
	}
	channels := slices.DeleteFunc(w.agent.Channels(), func(c snapshot.Channel) bool {
		return !strings.Contains(c.Target, target)
	})
	a := channelsAnswer{
		Time: time.Now().UTC(), Version: instrument.Version, Journal: w.agent.JournalStats(), Channels: channels,
	}
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

func (w *api) events(rw http.ResponseWriter, r *http.Request) {
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
func (w *api) dump(rw http.ResponseWriter, r *http.Request) {
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
