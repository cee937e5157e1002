#!/usr/bin/env bash
# The checks of this repository that need nothing but Go and git, as the README and the continuous integration run them.
set -euo pipefail
cd "$(dirname "$0")"

unformatted=$(git ls-files -z '*.go' | xargs -0 gofmt -l)
if [ -n "$unformatted" ]; then
  printf 'not gofmt-clean:\n%s\n' "$unformatted" >&2
  exit 1
fi
# compile builds packages, and says how far it is: Go builds for minutes without a word.
compile() {
  go build -v "$@" 2>&1 | awk '/^[^ :#]+$/ { if (++n % 40 == 0) { print "  " n " packages built"; fflush() } next } { print }'
}

step() { printf '%s  %s\n' "$(date +%T)" "$1"; }

step "1/6 build (the first time it takes minutes, and downloads)"
compile ./...
step "2/6 vet and staticcheck"
go vet ./...
go tool -modfile=tools/go.mod staticcheck ./...
step "3/6 build for the race detector (minutes, the first time)"
compile -race ./...
step "4/6 test with the race detector, and without it what that changes: allocations and memory"
go test -race ./...
go test -run 'Allocations|Memory' ./...
step "5/6 test beside other instrumentation"
go -C e2e test -race .
step "6/6 dashboards: what is committed is generated, and names only signals that there are"
go -C dashboards/generator test -count=1 ./... # They read files of other modules, which Go does not count in when it caches.
step "passed"
