#!/bin/bash
# Sees to it that the base images of the generated Dockerfiles exist: pulled where a registry can be reached,
# else made from Debian's archive.
#
#   scripts/base-images.sh [IMAGE...]     debian:12 and debian:12-slim
#
# A made image is Debian 12's minimal system from the same packages; it is larger than the pulled one (slim:
# no documentation is left out), and nothing in vm2c depends on the difference.
set -euo pipefail

say() { echo "base-images: $*" >&2; }
fail() { say "$*"; exit 1; }

has() { docker image inspect "$1" >/dev/null 2>&1; }
make_image() {
    command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; run scripts/setup.sh demo"
    local signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]' mode=unshare
    [ "$(id -u)" != 0 ] || mode=root
    mmdebstrap --quiet --mode="$mode" --variant=minbase --include=ca-certificates bookworm "$work/root.tar" - <<EOF
deb $signed http://deb.debian.org/debian bookworm main
deb $signed http://deb.debian.org/debian bookworm-updates main
deb $signed http://deb.debian.org/debian-security bookworm-security main
EOF
    docker import --change 'CMD ["bash"]' "$work/root.tar" "$1" >/dev/null
}

images=("$@")
[ ${#images[@]} -gt 0 ] || images=(debian:12 debian:12-slim)
work=$(mktemp -d "${TMPDIR:-/tmp}/vm2c-base.XXXXXX")
trap 'rm -rf "$work"' EXIT
made=
for name in "${images[@]}"; do
    if has "$name"; then
        say "$name is there"
        continue
    fi
    if timeout 300 docker pull --quiet "$name" >/dev/null 2>&1; then
        say "$name is pulled"
        continue
    fi
    case $name in
        debian:12 | debian:12-slim | debian:bookworm | debian:bookworm-slim) ;;
        *) fail "$name cannot be pulled, and only Debian 12's images can be made here" ;;
    esac
    if [ -z "$made" ]; then
        say "$name cannot be pulled; making it from Debian's archive"
        make_image "$name"
        made=$name
    else
        docker tag "$made" "$name"
    fi
    say "$name is made"
done
