#!/bin/bash
# Builds the disk of the example machine shop01: a Debian 12 that boots from a plain BIOS.
#
#   examples/shop/build.sh [--force | --check] [OUT.qcow2]        (.cache/shop.qcow2)
#
# No root, no loop device, no mount: mmdebstrap makes the system's tree in a user namespace (or directly,
# where root calls), mke2fs copies it into a file system, sfdisk and dd put table and boot loader in front.
# A disk that was made from the same files is left as it is; --force makes it anew all the same, --check makes
# nothing and ends with 0 where the disk is up to date, with 1 where it is not.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin

ROOT_UUID=a1f36334-ab18-4544-8e10-4c4d7fd61ccd
DISK_ID=0x73686f70
HASH_SEED=f4229299-b6cd-48d1-9eb2-5aecb6310b0f
SIZE_MIB=4096

say() { echo "shop: $*" >&2; }
fail() { say "$*"; exit 1; }

force=
check=
case ${1-} in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --force) force=yes; shift ;;
    --check) check=yes; shift ;;
    -*) say "unknown option $1"; exit 2 ;;
esac
[ $# -le 1 ] || { say "one name for the disk at most"; exit 2; }
out=$(realpath -m "${1:-$project/.cache/shop.qcow2}")

# The digest of everything that ends up on the disk or says how: names, executable bits, contents.
inputs_digest() {
    (cd "$here" && find build.sh recipe files -name __pycache__ -prune -o -type f -print0 | LC_ALL=C sort -z |
        while IFS= read -r -d '' file; do
            if [ -x "$file" ]; then echo executable; fi
            sha256sum "$file"
        done | sha256sum | cut -d' ' -f1)
}

is_current() { [ -f "$out" ] && [ "$(cat "$out.inputs" 2>/dev/null)" = "$inputs" ]; }

inputs=$(inputs_digest)
if [ -n "$check" ]; then
    is_current && exit 0
    fail "$out is missing or was made from other files; make disk makes it"
fi
# One build at a time; whoever comes second finds it done.
mkdir -p "$(dirname "$out")"
exec 9>"$out.lock"
flock 9
if [ -z "$force" ] && is_current; then
    say "$out is up to date"
    exit 0
fi

missing=()
for tool in mmdebstrap mke2fs debugfs sfdisk qemu-img; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
[ ${#missing[@]} -eq 0 ] || fail "not installed: ${missing[*]}; run scripts/setup.sh demo"
[ -r /usr/share/keyrings/debian-archive-keyring.gpg ] ||
    fail "Debian's archive keys are missing; install the package debian-archive-keyring"
python=$project/.venv/bin/python
[ -x "$python" ] || python=python3
"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip; run scripts/setup.sh demo"

if [ "$(id -u)" = 0 ]; then
    mode=root
    as_owner=(env)
else
    mode=unshare
    as_owner=(mmdebstrap --unshare-helper)
fi

# The user namespace's root is a stranger to this user's home folder: everything it needs is copied here.
work=$(mktemp -d "${TMPDIR:-/tmp}/vm2c-shop.XXXXXX")
new=$out.new.$$
clean_up() {
    local code=$?
    "${as_owner[@]}" rm -rf --one-file-system "$work/tree" 2>/dev/null || true
    rm -rf --one-file-system "$work" "$new" || true
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP
chmod 0755 "$work"
cp -r "$here/recipe" "$here/files" "$work/"
chmod -R a+rX "$work"
chmod 0755 "$work/recipe/hook.sh"
start=$SECONDS

# Downloaded here and installed without a network there: nothing of this host's pip reaches the disk.
wheels=$(dirname "$out")/shop-wheels
mkdir -p "$wheels"
say "fetching the application's packages"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation=cp \
    --python-version=3.11 --platform=manylinux_2_28_x86_64 --platform=manylinux2014_x86_64 \
    --find-links="$wheels" --dest="$wheels" --requirement="$here/recipe/requirements.txt" ||
    fail "pip could not fetch what $here/recipe/requirements.txt names"
cp -r "$wheels" "$work/wheels"
chmod -R a+rX "$work/wheels"

say "installing Debian 12 ($mode mode, half of the time goes here)"
packages=$(sed 's/#.*//' "$here/recipe/packages.txt" | xargs | tr ' ' ,)
signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
settings=()
for name in http_proxy https_proxy no_proxy; do
    [ -z "${!name-}" ] || settings+=("$name=${!name}")
done
install -d -m 0777 "$work/tree"
# With its own environment: no variable of this host is seen by a maintainer script.
env -i "${settings[@]}" PATH="$PATH" HOME="${HOME:-/}" TMPDIR="${TMPDIR:-/tmp}" LC_ALL=C.UTF-8 ROOT_UUID="$ROOT_UUID" \
    mmdebstrap --mode="$mode" --format=directory --variant=apt --architectures=amd64 --include="$packages" \
    --skip=cleanup/apt/lists,cleanup/reproducible --aptopt='Acquire::Languages "none"' \
    --customize-hook="$work/recipe/hook.sh \"\$1\"" bookworm "$work/tree" - >"$work/log" 2>&1 <<EOF || {
deb $signed http://deb.debian.org/debian bookworm main
deb $signed http://deb.debian.org/debian bookworm-updates main
deb $signed http://deb.debian.org/debian-security bookworm-security main
EOF
    tail -n 40 "$work/log" >&2
    fail "mmdebstrap could not make the system; its last lines are above"
}

say "making the disk"
raw=$work/disk.raw
truncate -s "${SIZE_MIB}M" "$raw"
chmod 0666 "$raw"
echo "start=2048, type=83, bootable" | sfdisk --quiet --label=dos "$raw"
sfdisk --quiet --disk-id "$raw" "$DISK_ID"
# A user namespace cannot make device nodes; debugfs can, so that both ways give the same tree.
"${as_owner[@]}" find "$work/tree/dev" -xdev -mindepth 1 -delete
export MKE2FS_CONFIG=$work/recipe/mke2fs.conf
"${as_owner[@]}" mke2fs -q -F -t ext4 -L shop01 -U "$ROOT_UUID" -d "$work/tree" \
    -E "offset=1048576,hash_seed=$HASH_SEED,root_owner=0:0" "$raw" "$((SIZE_MIB - 1))M"
{
    echo "cd /dev"
    while read -r name major minor mode_bits; do
        echo "mknod $name c $major $minor"
        echo "set_inode_field $name mode 0$mode_bits"
    done <<'EOF'
null 1 3 20666
zero 1 5 20666
full 1 7 20666
random 1 8 20666
urandom 1 9 20666
tty 5 0 20666
console 5 1 20600
EOF
} | debugfs -w -f - "$raw?offset=1048576" >"$work/debugfs.log" 2>&1
grep -iE 'error|not found|invalid|unknown' "$work/debugfs.log" >&2 && fail "debugfs could not make the device nodes"

# boot.img reads sector 1 and core.img says it goes on at sector 2: the defaults of grub-mkimage(1)'s output.
grub=$work/tree/boot/grub/i386-pc
[ "$(stat -c %s "$grub/core.img")" -le $((2047 * 512)) ] || fail "GRUB's core.img does not fit before the partition"
dd if="$grub/boot.img" of="$raw" bs=1 count=440 conv=notrunc status=none
dd if="$grub/core.img" of="$raw" bs=512 seek=1 conv=notrunc status=none

qemu-img convert -f raw -O qcow2 "$raw" "$new"
rm -f "$out.inputs"
mv "$new" "$out"
echo "$inputs" >"$out.inputs"
say "$out is ready after $((SECONDS - start)) s"
