package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// colour is an ANSI colour (ECMA-48, SGR).
type colour string

// The colours.
const (
	plain  colour = ""
	bold   colour = "1"
	grey   colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
)

// refresh is how often the progress line is drawn anew.
const refresh = 100 * time.Millisecond

// screen writes lines, and on a terminal a progress line below them. Its methods may be called from any goroutine.
type screen struct {
	start    time.Time
	terminal bool
	colours  bool

	mu       sync.Mutex
	w        io.Writer
	progress func(now time.Time) string // Nil while there is nothing to wait for.

	done, stopped chan struct{}
}

func newScreen(w io.Writer) *screen {
	s := &screen{start: time.Now(), w: w, done: make(chan struct{}), stopped: make(chan struct{})}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		s.terminal = true
		s.colours = os.Getenv("NO_COLOR") == "" // https://no-color.org
	}
	go s.redraw()
	return s
}

// close takes the progress line away. It may be called once.
func (s *screen) close() {
	close(s.done)
	<-s.stopped
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
}

// redraw keeps the progress line moving.
func (s *screen) redraw() {
	defer close(s.stopped)
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.mu.Lock()
			s.draw()
			s.mu.Unlock()
		case <-s.done:
			return
		}
	}
}

// line writes a line with the time at which it happened.
func (s *screen) line(at time.Time, c colour, format string, args ...any) {
	s.text(c, "%8.3f  %s", at.Sub(s.start).Seconds(), fmt.Sprintf(format, args...))
}

// text writes a line.
func (s *screen) text(c colour, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	text := fmt.Sprintf(format, args...)
	if s.colours && c != plain {
		text = fmt.Sprintf("\x1b[%sm%s\x1b[0m", c, text)
	}
	fmt.Fprintln(s.w, text)
	s.draw()
}

// wait sets what the progress line tells, or nil for nothing.
func (s *screen) wait(progress func(now time.Time) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = progress
	s.draw()
}

func (s *screen) erase() {
	if s.terminal {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
}

func (s *screen) draw() {
	if !s.terminal || s.progress == nil {
		return
	}
	s.erase()
	now := time.Now()
	fmt.Fprintf(s.w, "%8.3f  … %s", now.Sub(s.start).Seconds(), s.progress(now))
}
