#!/usr/bin/env bash
# Runs Grafana's dashboard-linter on all dashboards. linter/rules.yaml says which of its rules do not fit, and why.
set -euo pipefail
cd "$(dirname "$0")"
for dashboard in *.json; do
  echo "lint $dashboard"
  go -C linter tool dashboard-linter lint --strict --config rules.yaml "../$dashboard"
done
