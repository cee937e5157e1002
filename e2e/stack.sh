#!/usr/bin/env bash
# Builds a real OpenTelemetry Collector and a real Prometheus server from their modules, tests the rules of dashboards/, and
# runs the tests that query the servers. The versions and sums are pinned by the go.mod and go.sum of tools and collector.
set -euo pipefail
cd "$(dirname "$0")"
export GOFLAGS=-buildvcs=false
mkdir -p bin

echo "build the collector"
(cd collector && go tool -modfile=../tools/go.mod builder --config builder.yaml --skip-get-modules --skip-compilation --skip-strict-versioning)
cp collector/go.mod collector/go.sum collector/out
CGO_ENABLED=0 go -C collector/out build -o ../../bin/collector .

echo "build Prometheus"
# Without service discovery, which is most of its dependencies.
CGO_ENABLED=0 go -C tools build -tags remove_all_sd -o ../bin/ github.com/prometheus/prometheus/cmd/prometheus \
  github.com/prometheus/prometheus/cmd/promtool

bin/promtool check rules ../dashboards/rules/*.yaml
bin/promtool test rules ../dashboards/rules/tests/*.yaml
go test "$@" ./stack
