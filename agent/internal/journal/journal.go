// Package journal keeps the newest events in memory of a fixed size, as lines of JSON.
//
// All events share one log: a list of segments to which the journal only ever appends. A reader takes the list and
// reads while writers go on. Each endpoint that is alive has a small log of its own besides, so that a noisy endpoint
// does not push out the last events of a quiet one.
package journal

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"
	"unsafe"

	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
)

const (
	// DefaultSize holds some 10 000 events.
	DefaultSize = 4 << 20
	// MinSize is the smallest size of a journal.
	MinSize = 64 << 10
	// MaxSize keeps positions within a segment below 4 GiB.
	MaxSize = 1 << 30
	// maxText is the room that one text takes in a line at most; the rest of an error or address is cut off.
	maxText = 512
	// segments is into how many parts the log of all events is divided: one part is dropped at a time.
	segments = 16
	// endpointSegment is the size of each of the two segments of an endpoint's log. It takes one line of any length.
	endpointSegment = 1 << 10
	// share is the part of the size that the logs of the endpoints may take altogether.
	share = 4
)

// Entry is one event.
type Entry struct {
	// Seq numbers the events from 1, without a gap.
	Seq    uint64
	Kind   event.Kind
	Target string
	Time   time.Time
	// Line is the event as a JSON object, without a newline. It must not be changed.
	Line []byte
}

// Journal is a sink. Its methods may be called from any goroutine.
type Journal struct {
	size int

	mu        sync.Mutex
	seq       uint64
	all       log
	endpoints map[event.ID]*list.Element // Of recent.
	recent    *list.List                 // The endpoints' logs (*endpointLog), the one written to last at the front.
	scratch   []byte
	encoder   encoder
}

// endpointLog is the log of one endpoint.
type endpointLog struct {
	id  event.ID
	log log
	// subchannels counts those that are not shut down.
	subchannels int
}

// New returns an empty journal that takes no more than so many bytes for events, and no less than [MinSize].
func New(size int) *Journal {
	size = min(max(size, MinSize), MaxSize)
	return &Journal{
		size:      size,
		all:       log{size: size / segments, limit: segments},
		endpoints: map[event.ID]*list.Element{},
		recent:    list.New(),
	}
}

// Handle implements [event.Sink].
func (j *Journal) Handle(ctx context.Context, e event.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	h := e.EventHeader()
	entry := Entry{Seq: j.seq, Kind: e.Kind(), Target: h.Target, Time: h.Time}
	j.scratch = j.encoder.append(j.scratch[:0], j.seq, trace.SpanContextFromContext(ctx), e)
	j.all.add(entry, j.scratch)
	if h.Endpoint != 0 && !isDetail(e) {
		j.endpoint(h.Endpoint).log.add(entry, j.scratch)
	}
	j.track(h.Endpoint, e)
}

// isDetail reports whether an event only details another, and so does not belong into its endpoint's own log.
func isDetail(e event.Event) bool {
	switch e.Kind() {
	case event.KindPhase, event.KindState, event.KindPickWait:
		return true
	}
	return false
}

// track drops the log of an endpoint whose last subchannel is shut down.
func (j *Journal) track(id event.ID, e event.Event) {
	changed, ok := e.(event.SubchannelState)
	if !ok || id == 0 {
		return
	}
	switch l := j.endpoint(id); {
	case changed.From == "":
		l.subchannels++
	case changed.To == event.StateShutdown:
		if l.subchannels--; l.subchannels <= 0 {
			j.drop(j.endpoints[id])
		}
	}
}

// endpoint returns the log of an endpoint, which becomes the most recent one. A new one takes the place of the least
// recent one if there are too many.
func (j *Journal) endpoint(id event.ID) *endpointLog {
	if e, ok := j.endpoints[id]; ok {
		j.recent.MoveToFront(e)
		return e.Value.(*endpointLog)
	}
	if j.recent.Len() >= max(1, j.size/share/(2*endpointSegment)) {
		j.drop(j.recent.Back())
	}
	l := &endpointLog{id: id, log: log{size: endpointSegment, limit: 2, small: true}}
	j.endpoints[id] = j.recent.PushFront(l)
	return l
}

func (j *Journal) drop(e *list.Element) {
	delete(j.endpoints, j.recent.Remove(e).(*endpointLog).id)
}

// Stats says how much was written and how much of it is gone.
type Stats struct {
	// Written counts the events since the start; Overwritten those of them that the log of all events keeps no more.
	Written, Overwritten uint64
	// Bytes is the memory taken now. Size is what the log of all events may take; those of the endpoints may take a
	// quarter as much besides.
	Bytes, Size int
}

// Stats returns how much was written.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := Stats{Written: j.seq, Overwritten: j.seq, Size: j.size}
	for _, seg := range j.all.segments {
		s.Bytes += seg.bytes()
		s.Overwritten -= uint64(len(seg.heads))
	}
	for e := j.recent.Front(); e != nil; e = e.Next() {
		for _, seg := range e.Value.(*endpointLog).log.segments {
			s.Bytes += seg.bytes()
		}
	}
	return s
}

// After returns a reader of all events with a higher number, oldest first.
func (j *Journal) After(seq uint64) *Reader {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.reader(seq)
}

// Endpoint returns a reader of the last events of an endpoint that is alive, oldest first.
func (j *Journal) Endpoint(id event.ID) *Reader {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e, ok := j.endpoints[id]; ok {
		return e.Value.(*endpointLog).log.reader(0)
	}
	return &Reader{}
}

// log is a list of segments, oldest first.
type log struct {
	size  int // Of a segment, in bytes.
	limit int // Of segments.
	// small: the segments are used again and again, and copied for readers.
	small    bool
	segments []*segment
}

// segment holds lines, one after the other. What is written once never changes.
type segment struct {
	lines []byte
	heads []head
}

// head is what is known of a line without reading it.
type head struct {
	seq    uint64
	target string
	time   time.Time
	kind   event.Kind
	end    uint32
}

const (
	// typicalLine is the size of a line by which room for heads is made.
	typicalLine = 250
	headSize    = int(unsafe.Sizeof(head{}))
)

func newSegment(size int) *segment {
	heads := max(1, size/(typicalLine+headSize))
	return &segment{lines: make([]byte, 0, size-heads*headSize), heads: make([]head, 0, heads)}
}

// fits reports whether a line can be added without the segment growing. One that is too long for any may make it grow.
func (s *segment) fits(line []byte) bool {
	return len(s.heads) == 0 || len(s.heads) < cap(s.heads) && len(s.lines)+len(line) <= cap(s.lines)
}

func (s *segment) bytes() int { return cap(s.lines) + cap(s.heads)*headSize }

func (l *log) add(e Entry, line []byte) {
	var last *segment
	if n := len(l.segments); n > 0 {
		last = l.segments[n-1]
	}
	if last == nil || !last.fits(line) {
		last = l.grow()
	}
	last.lines = append(last.lines, line...)
	last.heads = append(last.heads, head{e.Seq, e.Target, e.Time, e.Kind, uint32(len(last.lines))})
}

// grow adds an empty segment, for which the oldest makes room.
func (l *log) grow() *segment {
	full := len(l.segments) == l.limit
	if full && l.small {
		s := l.segments[0]
		copy(l.segments, l.segments[1:])
		l.segments[l.limit-1] = s
		s.lines, s.heads = s.lines[:0], s.heads[:0]
		return s
	}
	if full {
		l.segments = slices.Delete(l.segments, 0, 1) // A slice of the rest would keep the first in memory.
	}
	s := newSegment(l.size)
	l.segments = append(l.segments, s)
	return s
}

func (l *log) reader(after uint64) *Reader {
	r := &Reader{after: after, parts: make([]segment, 0, len(l.segments))}
	for _, s := range l.segments {
		part := segment{s.lines, s.heads} // Their lengths are those of now.
		if l.small {
			part = segment{slices.Clone(s.lines), slices.Clone(s.heads)}
		}
		r.parts = append(r.parts, part)
	}
	return r
}

// Reader reads entries as they were when it was made. It is for one goroutine.
type Reader struct {
	after uint64
	parts []segment
	next  int
}

// Next returns the next entry, and whether there is one.
func (r *Reader) Next() (Entry, bool) {
	for len(r.parts) > 0 {
		part := &r.parts[0]
		if r.next == len(part.heads) || part.heads[len(part.heads)-1].seq <= r.after {
			r.parts, r.next = r.parts[1:], 0
			continue
		}
		h, start := part.heads[r.next], uint32(0)
		if r.next > 0 {
			start = part.heads[r.next-1].end
		}
		r.next++
		if h.seq > r.after {
			line := part.lines[start:h.end:h.end]
			return Entry{Seq: h.seq, Kind: h.kind, Target: h.target, Time: h.time, Line: line}, true
		}
	}
	return Entry{}, false
}
