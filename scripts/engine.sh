#!/bin/bash
# Sees to it that a Docker engine answers: starts one where none does and waits for it.
#
#   scripts/engine.sh
#
# Through the host's init where there is one, else dockerd itself in the background (log: .cache/dockerd.log).
# An engine that answers is left alone.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
log=$project/.cache/dockerd.log

say() { echo "engine: $*" >&2; }
fail() { say "$*"; exit 1; }
answers() { timeout 20 docker version --format '{{.Server.Version}}' 2>/dev/null; }

command -v docker >/dev/null || fail "there is no docker command; run scripts/setup.sh test"
if version=$(answers); then
    say "Docker $version answers"
    exit 0
fi
if [[ $(docker version 2>&1) == *'permission denied'* ]]; then
    fail "an engine runs, and $(id -un) may not speak to it; run: sudo usermod -aG docker $(id -un), then log in again"
fi
case ${DOCKER_HOST-} in
    '' | unix://*) ;;
    *) fail "the engine at DOCKER_HOST=$DOCKER_HOST does not answer, and only one of this host can be started here" ;;
esac
command -v dockerd >/dev/null || PATH=$PATH:/usr/sbin:/sbin
command -v dockerd >/dev/null || fail "there is no dockerd; run scripts/setup.sh test"

root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "starting the engine needs root, and there is no sudo here"
    root=(sudo)
fi
if [ -d /run/systemd/system ]; then
    say "starting docker.service"
    "${root[@]}" systemctl start docker.service || fail "systemd could not start it: journalctl -u docker.service"
elif [ "$(cat /proc/1/comm)" = init ] && [ -x /etc/init.d/docker ]; then
    say "starting the service docker"
    "${root[@]}" service docker start || fail "it did not start: /var/log/docker.log"
else
    say "starting dockerd in the background, its log is $log"
    mkdir -p "$(dirname "$log")"
    "${root[@]}" setsid dockerd </dev/null >"$log" 2>&1 &
    dockerd=$!
fi

for _ in $(seq 60); do
    if version=$(answers); then
        say "Docker $version answers"
        exit 0
    fi
    if [ -n "${dockerd-}" ] && ! kill -0 "$dockerd" 2>/dev/null; then break; fi
    sleep 1
done
if [ -n "${dockerd-}" ]; then tail -n 20 "$log" >&2; fi
fail "no engine answers"
