#!/usr/bin/env bash
# Runs the tests of instrument/ with other versions of grpc-go than go.mod's, so that what redial knows of its insides
# (instrument/internal/hooks/grpcinternals) is tried on them.
#
#   e2e/grpcversions.sh [versions]      by default the minor version before go.mod's
#
# It fetches those modules. A version takes a minute or two on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(v1.84.0)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GOFLAGS=-mod=mod
for version in "${versions[@]}"; do
  cp go.mod go.sum "$work"
  go mod edit -replace "google.golang.org/grpc=google.golang.org/grpc@$version" "$work/go.mod"
  echo "grpc-go $version"
  go test -modfile="$work/go.mod" ./instrument/...
done
