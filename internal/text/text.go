// Package text makes what a peer, a proxy, a certificate or a user's code says fit for signals: valid UTF-8, without
// control characters, bounded, and without the secrets of a channel's target. One text that is not would make a
// collector refuse a whole batch.
//
// It imports nothing that package google.golang.org/grpc does not import: see package register.
package text

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// Limit bounds a text, in bytes.
	Limit = 1024
	// NameLimit bounds a target and an address, in bytes.
	NameLimit = 255
)

// ellipsis stands for what is cut off.
const ellipsis = "…"

// redacted stands for a secret.
const redacted = "***"

// Cleaner cleans the texts of one channel. Its zero value knows no secrets. It may be used by any goroutine.
type Cleaner struct{ secrets []string }

// NewCleaner returns a cleaner that leaves out secrets, the longest of which should come first.
func NewCleaner(secrets []string) Cleaner { return Cleaner{secrets} }

// Text returns a text of [Limit] bytes at most. The rest is cut off.
func (c Cleaner) Text(s string) string {
	s = valid(c.redact(s))
	if len(s) <= Limit {
		return s
	}
	return cut(s, Limit-len(ellipsis)) + ellipsis
}

// Address returns an address of [NameLimit] bytes at most. A longer one ends in a hash of the whole. A unix socket in
// the abstract name space, whose name begins with NUL, begins with @.
func (c Cleaner) Address(s string) string {
	if name, ok := strings.CutPrefix(s, "\x00"); ok {
		s = "@" + name
	}
	return Name(c.redact(s))
}

// Error returns the error, with a clean text if its own is not, and whether it is not. It unwraps to the original.
func (c Cleaner) Error(err error) (clean error, changed bool) {
	if err == nil {
		return nil, false
	}
	original := err.Error() // Once: a long one takes its time.
	text := c.Text(original)
	if text == original {
		return err, false
	}
	return &cleaned{text, err}, true
}

// cleaned is an error with another text.
type cleaned struct {
	text string
	err  error
}

// Error returns the clean text.
func (e *cleaned) Error() string { return e.text }

// Unwrap returns the original error.
func (e *cleaned) Unwrap() error { return e.err }

func (c Cleaner) redact(s string) string {
	for _, secret := range c.secrets {
		if strings.Contains(s, secret) {
			s = strings.ReplaceAll(s, secret, redacted)
		}
	}
	return s
}

// Name returns a name of [NameLimit] bytes at most. A longer one ends in a hash of the whole, so that two stay two.
func Name(s string) string {
	clean := valid(s)
	if len(clean) <= NameLimit {
		return clean
	}
	hash := strconv.FormatUint(fnv(s), 16)
	return cut(clean, NameLimit-len(ellipsis)-len(hash)) + ellipsis + hash
}

// valid returns a text of valid UTF-8 without control characters but tabs and newlines, which become U+FFFD.
func valid(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || bad(rune(c)) {
			return replaceBad(s)
		}
	}
	return s
}

func replaceBad(s string) string {
	return strings.Map(func(r rune) rune { // What is not UTF-8 is U+FFFD here.
		if bad(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// bad reports whether a rune is a control character: a terminal might obey it.
func bad(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' || r >= 0x7f && r < 0xa0
}

// cut returns the first bytes of a text, whole runes only.
func cut(s string, n int) string {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// fnv is the 64-bit FNV-1a hash of a text.
func fnv(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
