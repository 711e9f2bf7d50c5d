#!/bin/bash
# Turns the bare system into shop01. mmdebstrap runs this with the machine's root folder as argument,
# as root or as the root of a user namespace; ROOT_UUID comes through the environment.
set -euo pipefail

root=$1
work=$(dirname "$(dirname "$(readlink -f "$0")")")

# ssh-keygen and make-ssl-cert write the host's name into what they make.
inside() {
    unshare --uts -- sh -c 'hostname shop01 && exec chroot "$@"' inside "$root" \
        /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        ROOT_UUID="$ROOT_UUID" "$@"
}

cp -r "$work/recipe" "$work/wheels" "$root/tmp/"
chmod -R a+rX "$root/tmp/recipe" "$root/tmp/wheels"

inside sh /tmp/recipe/system.sh
tar -C "$work/files" --owner=root:0 --group=root:0 --mode='u=rwX,go=rX' -c . | tar -C "$root" -x --no-overwrite-dir
inside sh /tmp/recipe/shop.sh
