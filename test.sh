#!/usr/bin/env bash
# The checks of this repository that need nothing but Go and git, as the README and the continuous integration run them.
set -euo pipefail
cd "$(dirname "$0")"

unformatted=$(git ls-files -z '*.go' | xargs -0 gofmt -l)
if [ -n "$unformatted" ]; then
  printf 'not gofmt-clean:\n%s\n' "$unformatted" >&2
  exit 1
fi
echo "vet"
go vet ./...
echo "staticcheck"
go tool -modfile=tools/go.mod staticcheck ./...
go test -race ./...
go test -run 'Allocations|Memory' ./... # The race detector takes memory by itself.
go -C e2e test -race .
go -C dashboards/generator test ./... # What is committed is generated, and names only signals that there are.
