// Package fidelity compares redial's record with an independent witness: gRPC's own log of what each subchannel did,
// and a ledger of what chaos did to each connection.
package fidelity

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// transition is one change of a subchannel's state.
type transition struct {
	at time.Time
	to event.State
}

// witness is a logger for gRPC (grpclog.LoggerV2 and DepthLoggerV2) that keeps the transitions of subchannels.
type witness struct {
	mu          sync.Mutex
	subchannels map[int64][]transition
}

func newWitness() *witness { return &witness{subchannels: map[int64][]transition{}} }

var changed = regexp.MustCompile(`SubChannel #(\d+)\]\s*Subchannel Connectivity change to (\w+)`)

func (w *witness) note(args ...any) {
	at := time.Now()
	text := fmt.Sprint(args...)
	match := changed.FindStringSubmatch(text)
	if match == nil {
		return
	}
	id, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subchannels[id] = append(w.subchannels[id], transition{at, event.State(strings.ToLower(match[2]))})
}

// take returns what was witnessed, and forgets it.
func (w *witness) take() map[int64][]transition {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.subchannels
	w.subchannels = map[int64][]transition{}
	return taken
}

func (w *witness) Info(args ...any)                 { w.note(args...) }
func (w *witness) Infoln(args ...any)               { w.note(args...) }
func (w *witness) Infof(format string, args ...any) { w.note(fmt.Sprintf(format, args...)) }
func (w *witness) InfoDepth(_ int, args ...any)     { w.note(args...) }
func (*witness) Warning(...any)                     {}
func (*witness) Warningln(...any)                   {}
func (*witness) Warningf(string, ...any)            {}
func (*witness) WarningDepth(int, ...any)           {}
func (*witness) Error(...any)                       {}
func (*witness) Errorln(...any)                     {}
func (*witness) Errorf(string, ...any)              {}
func (*witness) ErrorDepth(int, ...any)             {}
func (*witness) Fatal(...any)                       {}
func (*witness) Fatalln(...any)                     {}
func (*witness) Fatalf(string, ...any)              {}
func (*witness) FatalDepth(int, ...any)             {}
func (*witness) V(level int) bool                   { return level <= 0 }
