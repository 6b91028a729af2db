#!/bin/sh
# Builds the image and runs it as Cloud Run would: PORT, memory and CPU limits, a read-only root, nobody's rights.
#   PORT        where it is reached on this machine (8080)
#   MEMORY CPU  its limits (1g, 1)
#   EXTRAS      `tensorflow` for every loader
# Variables of .env, if there is one, are the container's. Ctrl-C stops it as Cloud Run stops an instance.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "make deploy-local: $1" >&2
    exit 1
}

command -v docker >/dev/null 2>&1 || fail "Docker is not installed: https://docs.docker.com/get-docker/"
docker version >/dev/null 2>&1 || fail "no Docker engine answers: start it, or set DOCKER_HOST to one that runs"

port="${PORT:-8080}"
case "$port" in
    '' | *[!0-9]*) fail "PORT must be a number, not '$port'" ;;
esac

image=marquee:local
DOCKER_BUILDKIT=1 docker build --tag "$image" --build-arg "EXTRAS=${EXTRAS:-}" \
    --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || true)" .

set -- --read-only --tmpfs "/tmp:rw,nosuid,nodev,mode=1777" --cap-drop ALL --security-opt no-new-privileges \
    --memory "${MEMORY:-1g}" --memory-swap "${MEMORY:-1g}" --cpus "${CPU:-1}" --pids-limit 1024
if [ -f .env ]; then
    set -- "$@" --env-file .env
fi
# After .env, whose values for a laptop would not do in a container.
set -- "$@" --env "PORT=$port" --env HOST=0.0.0.0 --env LOCAL_MODEL_DIR=/tmp/marquee/models \
    --env STATE_DIR=/tmp/marquee/state --env K_SERVICE=local --env K_REVISION=local-1 --env LOG_FORMAT=text

name="marquee-local-$$"
stopped=
# 10 s from SIGTERM to SIGKILL.
stop() {
    stopped=yes
    docker stop --time 10 "$name" >/dev/null 2>&1 || true
}
trap stop INT TERM
docker run --rm --name "$name" --publish "127.0.0.1:$port:$port" "$@" "$image" &
server=$!
echo "http://127.0.0.1:$port once it is ready; Ctrl-C stops it"
status=0
wait "$server" || status=$?
if [ -n "$stopped" ]; then
    # The signal ended the wait, not the server.
    status=0
    wait "$server" || status=$?
fi
exit "$status"
