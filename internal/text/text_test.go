package text_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/redial-dev/redial/internal/text"
)

// A text becomes valid UTF-8 without control characters, bounded, and without the secrets.
func TestText(t *testing.T) {
	c := text.NewCleaner([]string{"hunter2"})
	for in, want := range map[string]string{
		"":                                  "",
		"connection refused":                "connection refused",
		"Société: é\tà\n":                   "Société: é\tà\n",
		"boom \xff\xfe \x1b[31m\x00\u009b":  "boom \uFFFD\uFFFD \uFFFD[31m\uFFFD\uFFFD",
		"lookup hunter2@host: no such host": "lookup ***@host: no such host",
		strings.Repeat("x", 1024):           strings.Repeat("x", 1024),
		strings.Repeat("x", 1025):           strings.Repeat("x", 1021) + "…",
		strings.Repeat("é", 513):            strings.Repeat("é", 510) + "…",
	} {
		if have := c.Text(in); have != want {
			t.Errorf("%.40q: %q, want %q", in, have, want)
		}
	}
}

// A long name ends in a hash, so that two that begin alike stay two; an abstract socket begins with @.
func TestName(t *testing.T) {
	long := "passthrough:///" + strings.Repeat("é\xff", 64<<10)
	one, two := text.Name(long+"1"), text.Name(long+"2")
	if len(one) > 255 || len(two) > 255 || one == two || !utf8.ValidString(one) || one != text.Name(long+"1") {
		t.Errorf("%q and %q", one, two)
	}
	var c text.Cleaner
	for in, want := range map[string]string{
		"127.0.0.1:443": "127.0.0.1:443", "\x00socket": "@socket", "a\xffb": "a\uFFFDb",
		strings.Repeat("x", 255): strings.Repeat("x", 255),
	} {
		if have := c.Address(in); have != want {
			t.Errorf("%q: %q, want %q", in, have, want)
		}
	}
}

// An error keeps what it is, and what it wraps.
func TestError(t *testing.T) {
	c := text.NewCleaner([]string{"hunter2"})
	if err, changed := c.Error(nil); err != nil || changed {
		t.Errorf("nil becomes %v", err)
	}
	if have, changed := c.Error(io.EOF); have != io.EOF || changed {
		t.Errorf("io.EOF becomes %v", have)
	}
	dirty := errors.Join(errors.New("hunter2\xff"), io.EOF)
	if have, changed := c.Error(dirty); !changed || !errors.Is(have, io.EOF) || have.Error() != "***\uFFFD\nEOF" {
		t.Errorf("%q becomes %q", dirty, have)
	}
}

func FuzzText(f *testing.F) {
	f.Add("boom \xff", "secret")
	f.Fuzz(func(t *testing.T, s, secret string) {
		if secret == "" {
			t.Skip()
		}
		c := text.NewCleaner([]string{secret})
		for what, have := range map[string]string{"text": c.Text(s), "address": c.Address(s), "name": text.Name(s)} {
			if limit := map[bool]int{true: text.Limit, false: text.NameLimit}[what == "text"]; len(have) > limit ||
				!utf8.ValidString(have) || strings.ContainsAny(have, "\x00\x1b\x7f") {
				t.Errorf("%s of %q: %q", what, s, have)
			}
		}
	})
}
