#!/usr/bin/env bash
# Every check of this repository, as the README and the continuous integration run it.
set -euo pipefail
cd "$(dirname "$0")"

unformatted=$(git ls-files -z '*.go' | xargs -0 gofmt -l)
if [ -n "$unformatted" ]; then
  printf 'not gofmt-clean:\n%s\n' "$unformatted" >&2
  exit 1
fi
echo "vet"
go vet ./...
for os in darwin windows; do # The tests build for this system.
  echo "build for $os"
  GOOS=$os CGO_ENABLED=0 go build -o /dev/null ./...
done
echo "staticcheck"
go tool -modfile=tools/go.mod staticcheck ./...
go test -race ./...
go test -run Allocations ./... # The race detector allocates by itself.
go -C e2e test -race .
