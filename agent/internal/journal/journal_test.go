package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
)

var (
	begin   = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	sampled = trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4}, TraceFlags: trace.FlagsSampled,
	}))
)

func backoff(endpoint event.ID, at time.Time) event.Event {
	return event.BackoffEnded{
		Header: event.Header{
			Time: at, Target: "dns:///service.example:443", Channel: 1, Endpoint: endpoint, Subchannel: 2,
		},
		Start: at.Add(-time.Second), Outcome: event.OutcomeElapsed,
	}
}

func all(r *Reader) (entries []Entry) {
	for e, ok := r.Next(); ok; e, ok = r.Next() {
		entries = append(entries, e)
	}
	return entries
}

// A line is a JSON object with the keys of a log record.
func TestLine(t *testing.T) {
	j := New(DefaultSize)
	j.Handle(sampled, event.AttemptEnded{
		Header:  event.Header{Time: begin, Target: "dns:///service.example:443", Channel: 1, Endpoint: 7, Subchannel: 2},
		Episode: 8, Attempt: 9, Number: 3, Address: "10.0.0.1:443", Start: begin.Add(-250 * time.Millisecond), Outcome: event.OutcomeFailed,
		Phase: event.PhaseDial, Err: errors.New("\"quoted\" \\ \x01 \xff é"), ErrorType: "timeout",
	})
	entries := all(j.After(0))
	if len(entries) != 1 {
		t.Fatalf("%d entries", len(entries))
	}
	const want = `{"seq":1,"time":"2026-01-02T03:04:05.000000006Z","event":"attempt.ended","kind":"attempt",` +
		`"grpc.target":"dns:///service.example:443","redial.channel.id":1,"redial.endpoint.id":7,` +
		`"redial.subchannel.id":2,"redial.episode.id":8,"redial.attempt.id":9,` +
		`"duration":0.25,"redial.attempt.number":3,"server.address":"10.0.0.1","server.port":443,` +
		`"redial.outcome":"failed","redial.phase":"dial","error.type":"timeout",` +
		`"error.message":"\"quoted\" \\ \u0001 ` + "\uFFFD" + ` é",` +
		`"trace_id":"01020300000000000000000000000000"}`
	if have := string(entries[0].Line); have != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
	if !json.Valid(entries[0].Line) {
		t.Error("it is no JSON")
	}
	if e := entries[0]; e.Seq != 1 || e.Kind != event.KindAttempt || !e.Time.Equal(begin) {
		t.Errorf("the entry is %+v", e)
	}
}

// What is too long is cut off, and the line stays JSON.
func TestLongText(t *testing.T) {
	j := New(MinSize)
	long := strings.Repeat("é\n", 100_000)
	j.Handle(context.Background(), event.Resolved{
		Header: event.Header{Time: begin, Target: long},
		Start:  begin, Outcome: event.OutcomeFailed, Err: errors.New(long),
	})
	line := all(j.After(0))[0].Line
	if !json.Valid(line) || len(line) > 3*maxText {
		t.Errorf("%d bytes: %s", len(line), line)
	}
}

// The newest are kept, in order and without a gap, and what is gone is counted.
func TestOverwriting(t *testing.T) {
	j := New(MinSize)
	const n = 10_000
	for i := range n {
		j.Handle(context.Background(), backoff(1, begin.Add(time.Duration(i)*time.Second)))
	}
	entries := all(j.After(0))
	s := j.Stats()
	if s.Written != n || s.Overwritten != uint64(n-len(entries)) || len(entries) == 0 {
		t.Errorf("%+v, and %d entries", s, len(entries))
	}
	if s.Bytes > MinSize+2*endpointSegment {
		t.Errorf("it takes %d bytes, want %d at most", s.Bytes, MinSize+2*endpointSegment)
	}
	for i, e := range entries {
		if want := uint64(n - len(entries) + i + 1); e.Seq != want {
			t.Fatalf("entry %d has the number %d, want %d", i, e.Seq, want)
		}
	}
	if after := all(j.After(n - 3)); len(after) != 3 || after[0].Seq != n-2 {
		t.Errorf("after %d there are %d", n-3, len(after))
	}
}

// A noisy endpoint does not push out the last events of a quiet one, until that is gone.
func TestQuietEndpoint(t *testing.T) {
	j := New(MinSize)
	quiet := event.Header{Time: begin, Target: "quiet", Endpoint: 7, Subchannel: 70}
	j.Handle(context.Background(), event.SubchannelState{Header: quiet, To: event.StateIdle})
	j.Handle(context.Background(), event.TransportEnded{
		Header: quiet, Start: begin, Lost: begin, Gone: begin, Cause: event.CauseGoAway,
	})
	for i := range 10_000 {
		j.Handle(context.Background(), backoff(8, begin.Add(time.Duration(i)*time.Second)))
	}
	kept := all(j.Endpoint(7))
	if len(kept) != 1 || kept[0].Kind != event.KindTeardown || kept[0].Seq != 2 {
		t.Errorf("of the quiet endpoint are kept %+v", kept)
	}
	for _, e := range all(j.After(0)) {
		if e.Target == "quiet" {
			t.Error("the log of all events was not overwritten: the test shows nothing")
		}
	}
	j.Handle(context.Background(), event.SubchannelState{Header: quiet, From: event.StateIdle, To: event.StateShutdown})
	if kept := all(j.Endpoint(7)); len(kept) != 0 {
		t.Errorf("of an endpoint that is gone are kept %+v", kept)
	}
}

// Endpoints without end take memory within a bound: the least recent ones make room.
func TestManyEndpoints(t *testing.T) {
	j := New(MinSize)
	for id := range event.ID(10_000) {
		j.Handle(context.Background(), backoff(id+1, begin))
		j.Handle(context.Background(), backoff(1, begin)) // The first one is never quiet.
	}
	if limit := MinSize / share / (2 * endpointSegment); len(j.endpoints) != limit || j.recent.Len() != limit {
		t.Errorf("%d endpoints are kept, want %d", len(j.endpoints), limit)
	}
	for _, id := range []event.ID{1, 10_000} {
		if len(all(j.Endpoint(id))) == 0 {
			t.Errorf("nothing is kept of endpoint %d", id)
		}
	}
	if kept := all(j.Endpoint(5000)); len(kept) != 0 {
		t.Errorf("%d entries are kept of endpoint 5000", len(kept))
	}
}

// Eight writers and two readers: every number is there once, in order, and each line is whole.
func TestConcurrentUse(t *testing.T) {
	j := New(MinSize)
	const writers, each = 8, 2000
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				j.Handle(sampled, backoff(event.ID(w+1), begin.Add(time.Duration(i)*time.Second)))
			}
		})
	}
	for range 2 {
		reading.Go(func() {
			for {
				var last uint64
				for _, e := range all(j.After(0)) {
					if last != 0 && e.Seq != last+1 {
						t.Errorf("%d follows %d", e.Seq, last)
					}
					last = e.Seq
					if !strings.HasPrefix(string(e.Line), fmt.Sprintf(`{"seq":%d,`, e.Seq)) || !json.Valid(e.Line) {
						t.Errorf("entry %d is %s", e.Seq, e.Line)
					}
				}
				for _, e := range all(j.Endpoint(1)) {
					if !json.Valid(e.Line) {
						t.Errorf("entry %d of the endpoint is %s", e.Seq, e.Line)
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	if s := j.Stats(); s.Written != writers*each {
		t.Errorf("%d events were counted, want %d", s.Written, writers*each)
	}
}

func BenchmarkHandle(b *testing.B) {
	j := New(DefaultSize)
	e := backoff(1, begin)
	b.ReportAllocs()
	for b.Loop() {
		j.Handle(sampled, e)
	}
}

func BenchmarkHandleEightWriters(b *testing.B) {
	j := New(DefaultSize)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		e := backoff(1, begin)
		for pb.Next() {
			j.Handle(sampled, e)
		}
	})
}
