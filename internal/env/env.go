// Package env reads settings from environment variables. An error names the variable, its value and what is allowed. An
// empty value counts as unset, as the OpenTelemetry specification has it.
package env

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Lookup returns the value of a variable without the space around it, and whether it has one.
func Lookup(name string) (string, bool) {
	value := strings.TrimSpace(os.Getenv(name))
	return value, value != ""
}

// Bad returns the error of a variable with a value that is not allowed. The value may be left empty, where it can be a
// secret.
func Bad(name, value, want string) error {
	if value == "" {
		return fmt.Errorf("%s: want %s", name, want)
	}
	return fmt.Errorf("%s=%q: want %s", name, value, want)
}

// A Check says what is wrong with the value of a variable, or nil.
type Check func(name, value string) error

// OneOf allows some words.
func OneOf(words ...string) Check {
	return func(name, value string) error {
		if slices.Contains(words, value) {
			return nil
		}
		return Bad(name, value, "one of "+strings.Join(words, ", "))
	}
}

// AnyCase lets a check of words in lower case pass them in any case.
func AnyCase(check Check) Check {
	return func(name, value string) error {
		if check(name, strings.ToLower(value)) == nil {
			return nil
		}
		return check(name, value)
	}
}

// Bool allows true and false in any case.
func Bool(name, value string) error { return AnyCase(OneOf("true", "false"))(name, value) }

// MaxMilliseconds is the longest duration that a variable may set, a year: more would overflow a time.Duration.
const MaxMilliseconds = 365 * 24 * 3600 * 1000

// Whole allows whole numbers from a least to a greatest one.
func Whole(least, greatest int64, of string) Check {
	return func(name, value string) error {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < least || n > greatest {
			return Bad(name, value, fmt.Sprintf("a whole number of %s, from %d to %d", of, least, greatest))
		}
		return nil
	}
}

// Port allows a TCP port, or 0 for any that is free.
func Port(name, value string) error {
	if _, err := strconv.ParseUint(value, 10, 16); err != nil {
		return Bad(name, value, "a port, from 0 to 65535")
	}
	return nil
}

// Ratio allows numbers from 0 to 1.
func Ratio(name, value string) error {
	if n, err := strconv.ParseFloat(value, 64); err != nil || !(n >= 0 && n <= 1) {
		return Bad(name, value, "a number from 0 to 1")
	}
	return nil
}

// URL allows http and https URLs. Its error leaves a value out that may hold a user and a password.
func URL(name, value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		if strings.Contains(value, "@") {
			value = ""
		}
		return Bad(name, value, "a URL such as http://localhost:4318")
	}
	return nil
}

// Pairs allows lists of key=value, separated by commas, percent-encoded, in UTF-8. Its error leaves the value out,
// since headers are secrets.
func Pairs(name, value string) error {
	for i, pair := range strings.Split(value, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, v, ok := strings.Cut(pair, "=")
		decoded, err := url.PathUnescape(v)
		if err != nil || !ok || strings.TrimSpace(key) == "" || !utf8.ValidString(key+decoded) {
			return Bad(name, "", fmt.Sprintf(
				"key=value pairs separated by commas, percent-encoded UTF-8; pair %d is none", i+1))
		}
	}
	return nil
}

// UTF8 allows texts in UTF-8.
func UTF8(name, value string) error {
	if !utf8.ValidString(value) {
		return Bad(name, value, "a text in UTF-8")
	}
	return nil
}

// File allows the names of files that can be read.
func File(name, value string) error {
	f, err := os.Open(value)
	if err != nil {
		return fmt.Errorf("%s=%q: want a file that can be read: %w", name, value, err)
	}
	return f.Close()
}

// Variable is one that is read somewhere, and what it may be.
type Variable struct {
	Name  string
	Check Check
}

// Validate returns the errors of those variables that are set.
func Validate(all []Variable) (errs []error) {
	for _, v := range all {
		if value, ok := Lookup(v.Name); ok {
			if err := v.Check(v.Name, value); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// Milliseconds returns the duration that a variable sets, or a default. The variable must be valid.
func Milliseconds(name string, otherwise time.Duration) time.Duration {
	if value, ok := Lookup(name); ok {
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return time.Duration(n) * time.Millisecond
		}
	}
	return otherwise
}
