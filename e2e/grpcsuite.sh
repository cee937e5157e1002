#!/usr/bin/env bash
# Runs grpc-go's own tests twice, in a copy of the module: as they are, and with redial's option on every channel. The lists
# of passes must be equal: the observed channel behaves as it would without redial.
#
#   e2e/grpcsuite.sh [packages]      by default those that a client is made of
#
# Nothing but the modules is fetched. It takes some 10 minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=(. ./test/... ./balancer/... ./xds/... ./internal/xds/... ./resolver/... ./internal/resolver/... ./health/...)

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
go -C e2e build -o "$work/passes-of" ./internal/passes
cp -r "$(go list -m -f '{{.Dir}}' google.golang.org/grpc)" "$work/grpc"
chmod -R u+w "$work/grpc"
cd "$work/grpc"
export GOFLAGS=-mod=mod
cat "$repo/go.sum" >>go.sum
go mod edit -require=github.com/redial-dev/redial@v0.0.0 -replace=github.com/redial-dev/redial="$repo"

# Of the list of global options itself, to which this script adds.
inapplicable='google.golang.org/grpc Test/AddGlobalDialOptions'

# passes writes the names of the tests that passed.
passes() {
  # Tests that fail are what is compared, so a failure is no error here.
  go test -count=1 -timeout=30m -json "${packages[@]}" >"$work/$1.json" || true
  "$work/passes-of" <"$work/$1.json" | grep -vxF "$inapplicable" | LC_ALL=C sort -u >"$work/$1.txt"
  echo "$1: $(wc -l <"$work/$1.txt") tests passed"
}

passes without

# One file in each package with tests gives redial's option to every channel. It is in the external test package, since
# package grpc imports some of these packages.
go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}} {{.Name}}{{end}}' "${packages[@]}" | while read -r dir name; do
  cat >"$dir/zz_redial_test.go" <<GO
package ${name}_test

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/internal"

	"github.com/redial-dev/redial/instrument"
)

func init() {
	internal.AddGlobalDialOptions.(func(...grpc.DialOption))(instrument.DialOption())
}
GO
done
passes with

# A test of grpc-go that is unsteady by itself gets two more chances in the run that it failed in.
again() {
  local list
  list=$(LC_ALL=C comm "$2" "$work/without.txt" "$work/with.txt")
  [ -n "$list" ] || return 0
  echo "to be run again ($1):"
  echo "$list"
  while read -r pkg name; do
    go test -count=3 -run "^${name//\//\$/^}\$" "$pkg" >"$work/again.log" 2>&1 || { cat "$work/again.log"; return 1; }
  done <<<"$list"
}
again "passed only without redial" -23
echo "every test that passes without redial passes with it"
