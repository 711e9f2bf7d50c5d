"""The disks that are measured: a real Debian, and what is made of it. Built once, without mounting anything.

As examples/shop/build.sh: mmdebstrap makes the system's tree in a user namespace (or directly, where root calls),
`mke2fs -d` copies it into a file system, sfdisk puts a partition table in front.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

PROJECT = Path(__file__).parent.parent
FOLDER = PROJECT / ".cache" / "bench"
CONFIG = PROJECT / "examples" / "shop" / "recipe" / "mke2fs.conf"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = (
    "systemd-sysv", "udev", "openssh-server", "cron", "logrotate", "rsyslog", "ca-certificates", "iproute2", "nginx",
    "postgresql", "redis-server", "python3-venv", "git", "vim", "sudo", "less", "locales",
)  # fmt: skip
FURTHER = 480_000
PER_FOLDER = 1000
_MTIME = 1_700_000_000
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

Say = Callable[[str], None]


class DiskKind(msgspec.Struct, frozen=True, kw_only=True):
    """One disk. `origin` is the disk it is another form of, with qemu-img's `options`, or empty.

    Otherwise it is made of the system and `further` files, `mebibytes` long and with room for `inodes`.
    """

    name: str
    file: str
    says: str
    mebibytes: int = 0
    inodes: int = 0
    further: int = 0
    origin: str = ""
    options: tuple[str, ...] = ()


DISKS = (
    DiskKind(
        name="debian",
        file="debian.qcow2",
        says="Debian 12 with nginx, PostgreSQL, redis, git: 18,000 files, ext4, GPT, qcow2",
        mebibytes=3072,
        inodes=200_000,
    ),
    DiskKind(
        name="many",
        file="many.qcow2",
        says="the same and 480,000 small files in /srv",
        mebibytes=4096,
        inodes=640_000,
        further=FURTHER,
    ),
    DiskKind(
        name="compressed",
        file="compressed.qcow2",
        says="the first one, compressed qcow2 (zstd)",
        origin="debian",
        options=("-c", "-O", "qcow2", "-o", "compression_type=zstd"),
    ),
    DiskKind(
        name="vmdk",
        file="stream.vmdk",
        says="the first one, VMDK streamOptimized",
        origin="debian",
        options=("-O", "vmdk", "-o", "subformat=streamOptimized"),
    ),
)


def recipe() -> str:
    """Return the digest of everything that says how the disks are made."""
    return hashlib.sha256(Path(__file__).read_bytes() + CONFIG.read_bytes()).hexdigest()


def path_of(kind: DiskKind, folder: Path = FOLDER) -> Path:
    """Return where a disk is."""
    return folder / kind.file


def build(wanted: Sequence[DiskKind], say: Say, folder: Path = FOLDER) -> None:
    """Make those of the disks that are missing or were made by another recipe.

    Raises RuntimeError where a program is missing, subprocess.CalledProcessError where one fails.
    """
    if not _missing(wanted, folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if missing := _missing(wanted, folder):  # who waited finds them made
            _build(missing, say, folder)


def _missing(wanted: Sequence[DiskKind], folder: Path) -> list[DiskKind]:
    """Return what is to be made: a disk, and before it the one that it is another form of."""
    missing = [kind for kind in wanted if not _is_current(kind, folder)]
    origins = [kind for kind in DISKS if kind.name in {each.origin for each in missing}]
    return list(dict.fromkeys([*(kind for kind in origins if not _is_current(kind, folder)), *missing]))


def _is_current(kind: DiskKind, folder: Path) -> bool:
    stamp = folder / f"{kind.file}.recipe"
    return path_of(kind, folder).is_file() and stamp.is_file() and stamp.read_text() == recipe()


def _build(kinds: Sequence[DiskKind], say: Say, folder: Path) -> None:
    needed = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "sfdisk": "fdisk", "qemu-img": "qemu-utils"}
    missing = [package for program, package in needed.items() if shutil.which(program, path=_PATH) is None]
    missing += [] if Path(KEYS).is_file() else ["debian-archive-keyring"]
    if missing:
        raise RuntimeError(f"to make the disks, install {', '.join(missing)}")
    with _workshop() as work:
        systems = sorted((kind for kind in kinds if not kind.origin), key=lambda kind: kind.further)
        if systems:
            say("installing Debian 12 (about a minute)")
            make_system(work)
        further = 0
        for kind in systems:
            if kind.further > further:
                say(f"making {kind.further} further files (about a minute)")
                fill(work / "tree", kind.further)
                further = kind.further
            say(f"making {kind.file}")
            _finished(kind, folder, functools.partial(make_disk, work, kind.mebibytes, kind.inodes))
        for kind in kinds:
            if kind.origin:
                say(f"making {kind.file}")
                origin = next(path_of(each, folder) for each in DISKS if each.name == kind.origin)
                _finished(kind, folder, functools.partial(convert, origin, kind.options))


def _finished(kind: DiskKind, folder: Path, make: Callable[[Path], None]) -> None:
    """Make a disk beside its place, and move it there whole."""
    new, stamp = folder / f"{kind.file}.new", folder / f"{kind.file}.recipe"
    try:
        make(new)
        stamp.unlink(missing_ok=True)
        new.replace(path_of(kind, folder))
    finally:
        new.unlink(missing_ok=True)
    stamp.write_text(recipe())


@contextlib.contextmanager
def _workshop() -> Iterator[Path]:
    """Give a folder that the user namespace's root can use too, and remove it, whoever owns what is in it."""
    work = Path(tempfile.mkdtemp(prefix="vm2c-bench."))
    try:
        work.chmod(0o755)
        yield work
    finally:
        _run(*as_owner(), "rm", "-rf", "--one-file-system", str(work / "tree"))
        shutil.rmtree(work)


def as_owner() -> list[str]:
    """Return what to put before a command that works on the tree: it belongs to root, in a namespace or really."""
    return [] if os.geteuid() == 0 else ["mmdebstrap", "--unshare-helper"]


def _run(*argv: str, stdin: str = "") -> None:
    environment = {**os.environ, "PATH": _PATH, "LC_ALL": "C.UTF-8", "MKE2FS_CONFIG": str(CONFIG)}
    subprocess.run(argv, check=True, input=stdin, text=True, env=environment)


def make_system(work: Path) -> None:
    """Install Debian 12 into `tree` below `work`."""
    tree = work / "tree"
    tree.mkdir()
    tree.chmod(0o777)
    passed = {name: os.environ[name] for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ}
    # With its own environment: no variable of this host is seen by a maintainer script.
    environment = {**passed, "PATH": _PATH, "HOME": "/", "LC_ALL": "C.UTF-8", "TMPDIR": str(work.parent)}
    mode = "root" if os.geteuid() == 0 else "unshare"
    argv = [
        *("mmdebstrap", f"--mode={mode}", "--format=directory", "--variant=apt", "--architectures=amd64", "--quiet"),
        f"--include={','.join(PACKAGES)}",
        # The lists that apt downloads are on every machine: 50 MB that analysis reads.
        *("--skip=cleanup/apt/lists,cleanup/reproducible", '--aptopt=Acquire::Languages "none"'),
        '--customize-hook=echo "/dev/sda1 / ext4 errors=remount-ro 0 1" >"$1/etc/fstab"',
        '--customize-hook=echo bench >"$1/etc/hostname"',
        *("bookworm", str(tree), "-"),
    ]
    places = (("debian", "bookworm"), ("debian", "bookworm-updates"), ("debian-security", "bookworm-security"))
    sources = "".join(f"deb [signed-by={KEYS}] http://deb.debian.org/{path} {suite} main\n" for path, suite in places)
    subprocess.run(argv, check=True, input=sources, text=True, env=environment)
    # mke2fs reads them as whoever owns them, in a namespace where there are no devices.
    _run(*as_owner(), "find", str(tree / "dev"), "-xdev", "-mindepth", "1", "-delete")


def further_files(count: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield `count` files of some 100 bytes in folders of a thousand, and the folders: /srv/media/NNN/NNNNNN.jpg."""
    for number in range(count):
        folder = f"srv/media/{number // PER_FOLDER:03}"
        if number % PER_FOLDER == 0:
            above = tarfile.TarInfo(folder)
            above.type, above.mode, above.mtime = tarfile.DIRTYPE, 0o755, _MTIME
            yield above, b""
        content = f"picture {number}\n".encode() * (1 + number % 9)
        info = tarfile.TarInfo(f"{folder}/{number:06}.jpg")
        info.size, info.mode, info.mtime, info.uid, info.gid = len(content), 0o644, _MTIME + number, 33, 33
        yield info, content


def fill(tree: Path, count: int) -> None:
    """Put `count` further files into a tree."""
    argv = [*as_owner(), "tar", "--extract", "--numeric-owner", f"--directory={tree}"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None  # noqa: S101 - PIPE above
        with tarfile.open(fileobj=process.stdin, mode="w|", format=tarfile.GNU_FORMAT) as archive:
            for info, content in further_files(count):
                archive.addfile(info, io.BytesIO(content))
        process.stdin.close()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv)


def make_disk(work: Path, mebibytes: int, inodes: int, target: Path) -> None:
    """Make a qcow2 of `tree` below `work`: GPT, one ext4 with room for so many inodes."""
    raw = work / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(mebibytes << 20)
    raw.chmod(0o666)
    _run("sfdisk", "--quiet", "--label=gpt", str(raw), stdin="start=2048, type=linux\n")
    _run(
        *(
            *as_owner(),
            "env",
            f"MKE2FS_CONFIG={_readable(work)}",
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-N",
            str(inodes),
        ),
        *("-d", str(work / "tree"), "-E", "offset=1048576,root_owner=0:0", str(raw), f"{mebibytes - 2}M"),
    )
    convert(raw, ("-f", "raw", "-O", "qcow2"), target)
    raw.unlink()


def _readable(work: Path) -> Path:
    """Return a copy of mke2fs' settings where the user namespace's root, a stranger to this folder, can read it."""
    copy = work / CONFIG.name
    copy.write_bytes(CONFIG.read_bytes())
    copy.chmod(0o644)
    return copy


def convert(source: Path, options: Sequence[str], target: Path) -> None:
    """Make another form of a disk."""
    _run("qemu-img", "convert", *options, str(source), str(target))
