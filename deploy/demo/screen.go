package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

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

const (
	// refresh is the time after which the progress line is drawn anew.
	refresh = 100 * time.Millisecond
	// defaultWidth is that of lines that go to no terminal.
	defaultWidth = 80
	// narrowest is the least width that lines are fitted to.
	narrowest = 20
)

// screen writes lines that fit its width, and on a terminal a progress line below them. Its methods may be called
// from any goroutine; after close they do nothing.
type screen struct {
	start    time.Time
	terminal bool
	colours  bool
	width    func() int

	mu       sync.Mutex
	w        io.Writer
	progress func(now time.Time) string // Nil while there is nothing to wait for.
	closed   bool

	done, stopped chan struct{}
}

func newScreen(out *checked) *screen {
	s := &screen{
		start: time.Now(), w: out, width: func() int { return defaultWidth },
		done: make(chan struct{}), stopped: make(chan struct{}),
	}
	if f, ok := out.w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		s.terminal = true
		s.colours = os.Getenv("NO_COLOR") == "" // https://no-color.org
		s.width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width == 0 {
				return defaultWidth
			}
			return max(width, narrowest)
		}
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
	s.closed = true
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
	s.write(c, s.clock(at), fmt.Sprintf(format, args...))
}

// text writes a line without a time. A line feed before it is kept, spaces before it indent all of it.
func (s *screen) text(c colour, format string, args ...any) {
	s.write(c, "", fmt.Sprintf(format, args...))
}

func (s *screen) clock(at time.Time) string { return fmt.Sprintf("%7.3f ", at.Sub(s.start).Seconds()) }

// write writes text after a prefix, below which its further lines are indented.
func (s *screen) write(c colour, prefix, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.erase()
	for rest, ok := strings.CutPrefix(text, "\n"); ok; rest, ok = strings.CutPrefix(text, "\n") {
		text = rest
		fmt.Fprintln(s.w)
	}
	for _, line := range wrap(prefix, text, s.width()) {
		if s.colours && c != plain {
			line = fmt.Sprintf("\x1b[%sm%s\x1b[0m", c, line)
		}
		fmt.Fprintln(s.w, line)
	}
	s.draw()
}

// hanging is how much further a line's continuation is indented.
const hanging = 2

// wrap breaks text between its words into lines of the width, prefix included. A word that is longer than a line stays
// whole.
func wrap(prefix, text string, width int) (lines []string) {
	words := strings.TrimLeft(text, " ")
	line := prefix + text[:len(text)-len(words)]
	indent := strings.Repeat(" ", utf8.RuneCountInString(line)+hanging)
	separator, first := "", true
	for word := range strings.SplitSeq(words, " ") {
		if !first && utf8.RuneCountInString(line+separator+word) > width {
			lines = append(lines, line)
			line, separator = indent, ""
		}
		line += separator + word
		separator, first = " ", false
	}
	return append(lines, line)
}

// wait sets what the progress line shows, or nil for nothing.
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

// draw draws the progress line, cut to one line: more could not be erased.
func (s *screen) draw() {
	if !s.terminal || s.progress == nil || s.closed {
		return
	}
	s.erase()
	now := time.Now()
	line := []rune(s.clock(now) + "… " + s.progress(now))
	fmt.Fprint(s.w, string(line[:min(len(line), s.width()-1)]))
}
