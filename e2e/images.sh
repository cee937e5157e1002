#!/usr/bin/env bash
# Makes the images of compose.offline.yaml, for a machine that can pull none: each FROM scratch around a program that is built
# from its Go modules. It needs Go and a Docker engine. Afterwards
#
#   e2e/bin/docker-compose -f compose.yaml -f e2e/compose.offline.yaml up --wait
#
# starts the stack without Grafana, and `go -C e2e test ./compose -timeout 40m -v` tries all that it promises.
set -euo pipefail
cd "$(dirname "$0")"
export GOFLAGS=-buildvcs=false CGO_ENABLED=0
mkdir -p bin
./programs.sh collector prometheus jaeger docker-compose
echo "build the stack's own program"
go build -C .. -trimpath -ldflags "-s -w -X main.version=offline" -o e2e/bin/stack ./deploy/stack

# image NAME PROGRAM...: the programs are handed over as an archive, since bin as a whole is large.
image() {
  echo "build the image redial-offline/$1"
  tar -c -C images "$1.Dockerfile" -C ../bin "${@:2}" | DOCKER_BUILDKIT=0 docker build --quiet \
    --tag "redial-offline/$1" --file "$1.Dockerfile" - 2>"bin/$1.log" || { cat "bin/$1.log" >&2; exit 1; }
}
image stack stack
image collector collector
mkdir -p bin/data
image prometheus prometheus promtool data
image jaeger jaeger
