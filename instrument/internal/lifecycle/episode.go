package lifecycle

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// episode is the time that an endpoint takes to become READY. A long one is reported in chapters.
type episode struct {
	id         event.ID // Of the chapter.
	trigger    event.Trigger
	start      time.Time
	chapter    time.Time // When the chapter began.
	attempts   int
	backoff    time.Duration
	rpcsWaited int
}

// connect begins an episode unless one is open.
func (e *endpoint) connect(at time.Time) {
	if e.episode != nil {
		return
	}
	if e.up != nil { // Its end is not reported yet: pick_first drops an address and tries the next at once.
		e.lose()
	}
	ch := e.policy.ch
	header := e.header(at)
	e.episode = &episode{
		id: ch.cfg.NextID(), trigger: event.TriggerFirst, start: header.Time, chapter: header.Time,
	}
	switch {
	case e.lost != 0:
		e.episode.trigger = event.TriggerRedial
	case e.woken:
		e.episode.trigger = event.TriggerWake
	}
	ch.emit(event.ConnectStarted{Header: header, Episode: e.episode.id, Trigger: e.episode.trigger, Lost: e.lost})
	e.lost = 0
	for w := range ch.waits {
		switch {
		case w.policy == nil && w.connecting == nil:
			w.connecting = e.episode
		case w.reported && w.policy == e.policy && w.episode == 0:
			w.join(e.episode)
		}
	}
}

func (e *endpoint) endEpisode(at time.Time, o event.Outcome) {
	p := e.episode
	if p == nil {
		return
	}
	e.episode = nil
	e.reportEnd(p, e.header(at), o)
}

func (e *endpoint) reportEnd(p *episode, header event.Header, o event.Outcome) {
	ended := event.ConnectEnded{
		Header: header, Episode: p.id, Trigger: p.trigger, Outcome: o, Start: p.start,
		Attempts: p.attempts, Backoff: p.backoff, RPCsWaited: p.rpcsWaited,
	}
	if o != event.OutcomeReady && e.failed != nil {
		ended.Err, ended.ErrorType = e.failed.err, e.failed.class
	}
	e.policy.ch.emit(ended)
}
