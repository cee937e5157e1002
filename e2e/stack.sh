#!/usr/bin/env bash
# Builds a real OpenTelemetry Collector and a real Prometheus server from their modules, tests the rules of dashboards/, and
# runs the tests that query the servers.
set -euo pipefail
cd "$(dirname "$0")"
./programs.sh collector prometheus fill
bin/promtool check rules ../dashboards/rules/*.yaml
bin/promtool test rules ../dashboards/rules/tests/*.yaml
go test "$@" ./stack ./dashboards
