// Package target names the targets of channels in signals. A target is what a program dials: it may hold a password, an
// address in memory, or anything else.
package target

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/internal/text"
)

// etcd matches the targets of go.etcd.io/etcd/client/v3, which hold the address of a client in memory, another one at
// each start.
var etcd = regexp.MustCompile(`^etcd-endpoints://0x[0-9a-f]+/`)

// Rename returns a target without what differs at each start of a program, for the resolvers that are known to do that.
func Rename(target string) string { return etcd.ReplaceAllString(target, "etcd-endpoints:///") }

// redacted stands for a secret.
const redacted = "***"

// Redact returns a target without user, password, query and fragment.
func Redact(target string) string {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	scheme, rest, ok := strings.Cut(target, "://")
	switch {
	case !ok && !strings.HasPrefix(target, "unix"):
		return userinfo(target)
	case !ok || scheme == "unix" || scheme == "unix-abstract": // A path, which has no user.
		return target
	}
	authority, path, ok := strings.Cut(rest, "/")
	if authority = userinfo(authority); !ok {
		return scheme + "://" + authority
	}
	return scheme + "://" + authority + "/" + userinfo(path)
}

// A password may hold slashes, a user alone does not.
var (
	password = regexp.MustCompile(`[^/@]*:[^@]*@`)
	user     = regexp.MustCompile(`[^/@]+@`)
)

// userinfo replaces users and passwords.
func userinfo(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	return user.ReplaceAllLiteralString(password.ReplaceAllLiteralString(s, redacted+"@"), redacted+"@")
}

// Secrets returns the texts of a target that no signal may have, the longest first: error texts quote them.
func Secrets(t resolver.Target) (secrets []string) {
	add := func(s string) {
		if len(s) >= 3 && s != redacted { // A shorter one is everywhere, and no secret.
			secrets = append(secrets, s)
		}
	}
	if t.URL.User != nil {
		add(t.URL.User.String())
		add(t.URL.User.Username())
		word, _ := t.URL.User.Password()
		add(word)
	}
	add(t.URL.RawQuery)
	for _, values := range t.URL.Query() {
		for _, v := range values {
			add(v)
		}
	}
	add(t.URL.Fragment)
	endpoint, query, _ := strings.Cut(t.Endpoint(), "?")
	add(query)
	endpoint, fragment, _ := strings.Cut(endpoint, "#")
	add(fragment)
	if t.URL.Scheme != "unix" && t.URL.Scheme != "unix-abstract" {
		for _, match := range append(password.FindAllString(endpoint, -1), user.FindAllString(endpoint, -1)...) {
			match = strings.TrimSuffix(match, "@")
			add(match)
			if _, word, ok := strings.Cut(match[strings.LastIndex(match, "//")+1:], ":"); ok {
				add(word)
			}
		}
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(secrets)
}

// Clean returns the name of a target in signals, for a target that is not renamed: redacted, valid and bounded.
func Clean(target string) string { return text.Name(Redact(target)) }

// Canonical returns the forms of gRFC A66 that a target may have which was dialed as this: gRPC's own metrics name
// targets so. The scheme is left out where it is the default, which depends on the function that dialed.
func Canonical(dialed string) []string {
	if u, err := url.Parse(dialed); err == nil && u.Scheme != "" &&
		(strings.Contains(dialed, "://") || resolver.Get(u.Scheme) != nil) {
		return []string{resolver.Target{URL: *u}.String()}
	}
	var all []string
	for _, scheme := range []string{resolver.GetDefaultScheme(), "dns", "passthrough"} {
		if u, err := url.Parse(scheme + ":///" + dialed); err == nil {
			all = append(all, resolver.Target{URL: *u}.String())
		}
	}
	return all
}
