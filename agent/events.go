package agent

import (
	"strings"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// Entry is one event of the journal.
type Entry struct {
	// Seq numbers the events from 1, without a gap.
	Seq uint64
	// Kind is what happened, Target the target of the channel, and Time when it happened.
	Kind   event.Kind
	Target string
	Time   time.Time
	// Line is the event as a JSON object, with the keys of a log record and without a newline. It must not be changed.
	Line []byte
}

// JournalStats says how much was written to the journal, and how much of it is gone.
type JournalStats struct {
	// Written counts the events since the start; Overwritten those of them that the log of all events keeps no more.
	Written     uint64 `json:"written"`
	Overwritten uint64 `json:"overwritten"`
	// Bytes is the memory taken now. Size is what the log of all events may take; those of the endpoints may take a
	// quarter as much besides.
	Bytes int `json:"bytes"`
	Size  int `json:"size"`
}

// Query chooses events. Its zero value chooses the oldest that the journal keeps.
type Query struct {
	// After is the number of the last event that is known already.
	After uint64
	// Target chooses the events of the targets that contain it, and Kind those of one kind. Empty ones choose all.
	Target string
	Kind   event.Kind
	// Endpoint chooses the last events of one endpoint that is alive, which the journal keeps when others have pushed
	// them out of the log of all events. Details are left out: phases, states and waits.
	Endpoint event.ID
	// Limit is how many events there may be; zero or less stands for 100.
	Limit int
}

const (
	defaultEntries = 100
	maxEntries     = 10_000
)

// Events returns events of the journal, oldest first.
func (a *Agent) Events(q Query) []Entry {
	if q.Limit <= 0 {
		q.Limit = defaultEntries
	}
	reader := a.journal.After(q.After)
	if q.Endpoint != 0 {
		reader = a.journal.Endpoint(q.Endpoint)
	}
	entries := []Entry{}
	for len(entries) < q.Limit {
		e, ok := reader.Next()
		if !ok {
			break
		}
		if e.Seq > q.After && strings.Contains(e.Target, q.Target) && (q.Kind == "" || q.Kind == e.Kind) {
			entries = append(entries, Entry(e))
		}
	}
	return entries
}

// JournalStats returns how much was written to the journal.
func (a *Agent) JournalStats() JournalStats { return JournalStats(a.journal.Stats()) }
