#!/bin/bash
# Makes this host ready: the distribution's packages that vm2c and its example need, then the environment .venv.
#
#   scripts/setup.sh demo     what `make demo` needs (the default)
#   scripts/setup.sh test     that, and what the tests need: a Docker engine, a browser, the linters
#
# For Debian 12 and 13 and Ubuntu 24.04 (22.04 with a python3.11 of its own), as root or through sudo.
# What is there already is not touched; a second run takes a second.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
level=${1:-demo}
python=${VM2C_PYTHON:-/usr/bin/python3}

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

case $level in
    demo | test) ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) say "unknown level $level; it is demo or test"; exit 2 ;;
esac

as_root() {
    if [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        fail "not root and no sudo here; run as root: $*"
    fi
}
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
offered() { [[ $(apt-cache policy "$1" 2>/dev/null) == *$'\n  Candidate: '[^\(]* ]]; }
has_engine() { command -v dockerd >/dev/null || { command -v docker >/dev/null && timeout 20 docker version >/dev/null 2>&1; }; }
# libguestfs boots a kernel of the host in its appliance, with that kernel's own modules.
has_kernel() {
    local image
    for image in /boot/vmlinuz-*; do
        [ -d "/lib/modules/${image#/boot/vmlinuz-}" ] && return 0
    done
    return 1
}

command -v dpkg-query >/dev/null || fail "this host has no dpkg; on Debian and Ubuntu this script installs what is
needed, elsewhere install by hand: python >= 3.11 with venv, libguestfs with its Python bindings, qemu-img, qemu-nbd,
qemu-system-x86_64, mmdebstrap, mke2fs, sfdisk (and for tests docker, chromium), then
'python3 -m venv --system-site-packages .venv && .venv/bin/pip install -e \".[dev]\"'"
# shellcheck source=/dev/null
. /etc/os-release
case ${ID-}-${VERSION_ID-} in
    debian-12 | debian-13 | ubuntu-22.04 | ubuntu-24.04) ;;
    *) say "${PRETTY_NAME:-this system} has not been tried; going on as for Debian" ;;
esac

# Alternatives are written a|b: the first one that the distribution offers.
wanted=(python3 python3-venv python3-guestfs libguestfs-tools 'libguestfs-xfs?' qemu-utils qemu-system-x86
    e2fsprogs fdisk util-linux mmdebstrap debian-archive-keyring uidmap make zstd)
has_kernel || wanted+=('linux-image-amd64|linux-image-generic')
if [ "$level" = test ]; then
    # What makes the disks that the readers are tested with.
    wanted+=(xfsprogs dosfstools exfatprogs mtools ntfs-3g lvm2 btrfs-progs cryptsetup-bin mdadm parted rpm db5.3-util xz-utils)
    # nbdcopy, for the floor that benchmarks/ measures.
    wanted+=('libnbd-bin?')
    has_engine || wanted+=(docker.io 'docker-cli?')
    docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || wanted+=('docker-compose-v2|docker-compose?')
    command -v kubectl >/dev/null || wanted+=('kubernetes-client?')
    command -v chromium >/dev/null || command -v google-chrome >/dev/null || wanted+=('chromium?')
fi
maybe=()
for want in "${wanted[@]}"; do
    installed "${want%%[?|]*}" || maybe+=("$want")
done

if [ ${#maybe[@]} -gt 0 ]; then
    # An optional package that the last look did not find is no reason to ask the archive again.
    needed=()
    for want in "${maybe[@]}"; do
        case $want in *\?) ;; *) needed+=("$want") ;; esac
    done
    if [ ${#needed[@]} -gt 0 ] || ! offered bash; then
        say "asking the distribution for its list of packages"
        as_root apt-get -qq update
    fi
    install=()
    for want in "${maybe[@]}"; do
        found=
        IFS='|' read -ra names <<<"${want%\?}"
        for name in "${names[@]}"; do
            if [ -z "$found" ] && offered "$name"; then found=$name; fi
        done
        if [ -n "$found" ]; then
            # Ubuntu's chromium is a snap, which no container and few servers can install.
            if [ "$found" = chromium ] && [ "${ID-}" = ubuntu ]; then continue; fi
            install+=("$found")
        elif [ "$want" = "${want%\?}" ]; then
            fail "${PRETTY_NAME:-this system} offers no package ${want//|/ or }; vm2c needs it"
        fi
    done
    if [ ${#install[@]} -gt 0 ]; then
        say "installing ${install[*]}"
        as_root apt-get -qq install --yes --no-install-recommends "${install[@]}" >/dev/null
    fi
fi

[ -x "$python" ] || fail "there is no $python; VM2C_PYTHON names another interpreter"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "vm2c needs Python 3.11 or newer and $python is $version.
Ubuntu 22.04 has 3.10: use Ubuntu 24.04 or Debian 12, or set VM2C_PYTHON to a python3.11
(the guestfs reader is then missing: its bindings are the distribution's, made for $version)"

# --system-site-packages: the bindings of libguestfs come from the distribution only.
venv=$project/.venv
if ! "$venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "making $venv with $python ($version)"
    "$python" -m venv --clear --system-site-packages "$venv"
fi
stamp=$venv/.vm2c-setup
extra=
[ "$level" = demo ] || extra='[dev]'
state="$(sha256sum <"$project/pyproject.toml" | cut -d' ' -f1) $project"
if ! grep -qxF "$state [dev]" "$stamp" 2>/dev/null && ! grep -qxF "$state $extra" "$stamp" 2>/dev/null; then
    say "installing vm2c$extra into .venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$project$extra"
    echo "$state $extra" >"$stamp"
fi

"$venv/bin/python" -c 'import guestfs' 2>/dev/null ||
    say "note: $venv cannot import guestfs; directories and tars can be read, disk images cannot"
if [ "$(id -u)" != 0 ] && ! cat /boot/vmlinuz-* >/dev/null 2>&1; then
    # https://bugs.launchpad.net/ubuntu/+source/linux/+bug/759725
    say "note: the kernel in /boot can be read by root only (Ubuntu's choice) and libguestfs cannot start;
    mend it with: sudo chmod 0644 /boot/vmlinuz-*"
fi
say "ready for $level"
