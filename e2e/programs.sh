#!/usr/bin/env bash
# Builds programs of others into bin, each from its Go modules, which a go.mod and go.sum pin: programs.sh NAME...
set -euo pipefail
cd "$(dirname "$0")"
export GOFLAGS=-buildvcs=false CGO_ENABLED=0
mkdir -p bin
for name in "$@"; do
  echo "build $name"
  case $name in
    collector)
      (cd collector && go tool -modfile=../tools/go.mod builder --config builder.yaml --skip-get-modules --skip-compilation --skip-strict-versioning)
      cp collector/go.mod collector/go.sum collector/out
      go -C collector/out build -ldflags=-s -o ../../bin/collector .
      ;;
    prometheus) # Without service discovery, which is most of its dependencies.
      go -C tools build -tags remove_all_sd -ldflags=-s -o ../bin/ github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus/cmd/promtool
      ;;
    fill) go -C tools build -tags remove_all_sd -ldflags=-s -o ../bin/fill ./fill ;;
    jaeger) go -C tools/jaeger build -ldflags=-s -o ../../bin/jaeger github.com/jaegertracing/jaeger/cmd/jaeger ;;
    docker-compose) go -C tools/compose build -ldflags=-s -o ../../bin/docker-compose github.com/docker/compose/v5/cmd ;;
    *)
      echo "programs.sh: no program $name" >&2
      exit 2
      ;;
  esac
done
