"""Images that are compressed, in parts, or somewhere in an archive."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import itertools
import lzma
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError
from migrate.guest.compression import ERRORS, decompressed
from migrate.guest.images import packed
from migrate.guest.images.blockgraph import look
from migrate.guest.images.image import ImageInfo, describe, describe_stored, make_overlay
from migrate.guest.images.nbd import NbdDisk
from migrate.guest.images.packed import Unpacked, unpack
from migrate.guest.images.parts import Part, Stored
from migrate.guest.progress import silent
from migrate.guest.spool import reopened, spool
from tests.guest.made import needs, run

SIZE = 3 << 20
CONTENT = bytes(512) + random.Random(1).randbytes(SIZE - 512 - (1 << 20)) + bytes((1 << 20) - 512) + b"\x01" * 512
KINDS = ["gzip", "bzip2", "xz", "zstd"]


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc1"], input=data, capture_output=True, check=True).stdout


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstd,
}


@pytest.fixture(autouse=True)
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    needs("zstd")
    place = tmp_path / "spools"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    assert list(place.iterdir()) == []


def pieces_of(data: bytes, size: int = 1000) -> Iterable[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


# ---------------------------------------------------------------- decompressing


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 1 << 16, 1 << 30])
def test_what_is_compressed_in_pieces_of_any_size(kind: str, size: int) -> None:
    content = CONTENT if size > 1000 else CONTENT[:3000]
    found = list(decompressed(pieces_of(PACK[kind](content), size), kind))
    assert b"".join(found) == content
    assert max(map(len, found)) <= 1 << 20


@pytest.mark.parametrize("kind", KINDS)
def test_streams_after_each_other_are_one(kind: str) -> None:
    both = PACK[kind](CONTENT[:5000]) + PACK[kind](b"") + PACK[kind](CONTENT[5000:9000])
    for size in (1, 1 << 20):
        assert b"".join(decompressed(pieces_of(both, size), kind)) == CONTENT[:9000]


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("after", [b"\0" * 512, b"\n", b"garbage" * 100, b"\0\0\0\0garbage"])
def test_what_comes_after_it_is_left_out(kind: str, after: bytes) -> None:
    data = PACK[kind](CONTENT[:9000]) + after
    for size in (1, 1 << 20):
        assert b"".join(decompressed(pieces_of(data, size), kind)) == CONTENT[:9000]


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_stream_that_is_damaged_is_not_left_out(kind: str) -> None:
    good, damaged = PACK[kind](CONTENT[:9000]), bytearray(PACK[kind](CONTENT[:9000]))
    damaged[4000:4100] = bytes(100)
    with pytest.raises(ERRORS):
        b"".join(decompressed([good, bytes(damaged)], kind))
    with pytest.raises(ERRORS):
        b"".join(decompressed([good, good[:4000]], kind))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(KINDS), st.integers(0, 120), st.binary(max_size=20))
def test_nothing_else_is_raised(content: bytes, kind: str, at: int, noise: bytes) -> None:
    data = PACK[kind](content)
    try:
        for _ in decompressed(pieces_of(data[:at] + noise + data[at + len(noise) :], 50), kind):
            pass
    except ERRORS:
        pass


def test_a_dictionary_of_gigabytes_is_refused() -> None:
    header = bytearray(lzma.compress(b"x" * 100, preset=9))
    body = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    assert header[:6] == body[:6]
    with pytest.raises(lzma.LZMAError, match="Memory usage limit"):
        list(decompressed([body], "xz"))


def test_stopping_half_way_leaves_no_program() -> None:
    pieces = decompressed(itertools.repeat(zstd(CONTENT)), "zstd")
    assert next(pieces)
    pieces.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_without_zstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zstd(CONTENT)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DiskError, match="there is no zstd program here; install zstd"):
        list(decompressed([data], "zstd"))


# ---------------------------------------------------------------- to a temporary file


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_take_no_room(tmp_path: Path, kind: str) -> None:
    (tmp_path / "bomb").write_bytes(PACK[kind](bytes(64 << 20)))
    with unpack([look(tmp_path / "bomb")], kind, Unpacked("bomb", silent)) as file:
        status = os.fstat(file.fileno())
        assert (status.st_size, status.st_blocks) == (64 << 20, 0)


def test_a_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb").write_bytes(gzip.compress(b"A" * (8 << 20)))
    window = look(tmp_path / "bomb")
    with pytest.raises(DiskError, match="cannot unpack bomb: it holds more than the 4194304 bytes that it may have"):
        unpack([window], "gzip", Unpacked("bomb", silent, 4 << 20))
    monkeypatch.setattr(packed, "free_room", lambda file: 2 << 20)
    with pytest.raises(DiskError, match=r"bytes are needed, and 2097152 are free in .*; set TMPDIR to"):
        unpack([window], "gzip", Unpacked("bomb", silent))


def test_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "disk.gz").write_bytes(PACK["gzip"](CONTENT))
    told: list[tuple[str, float | None, float | None]] = []

    def progress(text: str, done: float | None = None, total: float | None = None) -> None:
        told.append((text, done, total))

    window = look(tmp_path / "disk.gz")
    unpack([window], "gzip", Unpacked("disk.gz", progress)).close()
    assert list(told[0]) == ["decompressing disk.gz", 0, window.size]
    assert [done for _, done, _ in told] == list(range(0, window.size, 1 << 20))


# ---------------------------------------------------------------- images


def digest(image: ImageInfo) -> str:
    with closing(NbdDisk(image)) as disk:
        assert disk.size == image.virtual_bytes
        return hashlib.sha256(disk.read(0, disk.size)).hexdigest()


WANTED = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    needs("qemu-img", "qemu-nbd")
    (tmp_path / "raw").write_bytes(CONTENT)
    return tmp_path / "raw"


def qcow2(raw: Path) -> Path:
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, raw.parent / "disk.qcow2")
    return raw.parent / "disk.qcow2"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_a_compressed_image(raw: Path, tmp_path: Path, kind: str, form: str) -> None:
    image = raw if form == "raw" else qcow2(raw)
    path = tmp_path / "image,\udcff"
    path.write_bytes(PACK[kind](image.read_bytes()))
    with ExitStack() as stack:
        info = describe(path, stack=stack)
        assert (info.path, info.format, info.virtual_bytes) == (path, form, SIZE)
        assert digest(info) == WANTED
        make_overlay(info, tmp_path / "over", stack)
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", tmp_path / "over", tmp_path / "read")
        assert (tmp_path / "read").read_bytes() == CONTENT


def test_names_in_a_compressed_image_are_those_beside_it(raw: Path, tmp_path: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "raw", tmp_path / "top")
    (tmp_path / "top.gz").write_bytes(gzip.compress((tmp_path / "top").read_bytes()))
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", tmp_path / "bad", "1M")
    (tmp_path / "bad.gz").write_bytes(gzip.compress((tmp_path / "bad").read_bytes()))
    with ExitStack() as stack:
        info = describe(tmp_path / "top.gz", stack=stack)
        assert info.files == (raw,)
        assert digest(info) == WANTED
        with pytest.raises(DiskError, match="it names /etc/shadow, which is outside"):
            describe(tmp_path / "bad.gz", stack=stack)


def test_a_snapshot_in_a_compressed_image(raw: Path, tmp_path: Path) -> None:
    image = qcow2(raw)
    run("qemu-img", "snapshot", "-c", "then", image)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", image)
    (tmp_path / "disk.zst").write_bytes(zstd(image.read_bytes()))
    with ExitStack() as stack:
        assert digest(describe(tmp_path / "disk.zst", stack=stack, snapshot="then")) == WANTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(CONTENT)[:-100_000], "compressed with gzip and cannot be decompressed: it ends too early"),
        (gzip.compress(gzip.compress(CONTENT)), "it is compressed with gzip and then with gzip"),
        (gzip.compress(b""), "it is empty"),
        (gzip.compress(b"text\n" * 1000), "it is 5000 bytes of text"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "cannot be decompressed: zstd says: "),
        (b"BZh9" + bytes(600), "cannot be decompressed: "),
    ],
)
def test_what_is_no_compressed_image(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "disk").write_bytes(content)
    with ExitStack() as stack, pytest.raises(DiskError, match=message) as caught:
        describe(tmp_path / "disk", stack=stack)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- in an archive


def archive(tmp_path: Path, **members: bytes) -> dict[str, Part]:
    """Make a tar of members; return where they are in it."""
    path = tmp_path / "box.ova"
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with tarfile.open(path) as tar:
        return {each.name: Part(path, each.offset_data, each.size) for each in tar}


def stored(*parts: Part, packed: str = "", capacity: int | None = None) -> Stored:
    return Stored(name="disk.vmdk", parts=parts, packed=packed, capacity=capacity)


@pytest.mark.parametrize("form", ["raw", "qcow2", "vmdk", "vpc", "stream"])
def test_an_image_in_an_archive_is_read_where_it_is(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    options = {"stream": ["vmdk", "-o", "subformat=streamOptimized"], "vpc": ["vpc", "-o", "subformat=fixed"]}
    run("qemu-img", "convert", "-f", "raw", "-O", *options.get(form, [form]), raw, tmp_path / "disk")
    content = (tmp_path / "disk").read_bytes()
    places = archive(tmp_path, before=b"x" * 1000, disk=content, after=b"conectix" * 1000)
    monkeypatch.setattr("migrate.guest.images.image.unpack", None)
    with ExitStack() as stack:
        given = str(tmp_path / "box.ova" / "disk.vmdk")
        info = describe_stored(stored(places["disk"], capacity=SIZE), given, stack=stack)
        assert (info.given, info.path) == (given, Path(given))
        with closing(NbdDisk(info)) as disk:
            assert disk.size == info.virtual_bytes
            assert disk.read(0, SIZE) == CONTENT
        make_overlay(info, tmp_path / "over", stack)
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", tmp_path / "over", tmp_path / "read")
        assert (tmp_path / "read").read_bytes()[:SIZE] == CONTENT


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_parts_are_joined_and_decompressed(raw: Path, tmp_path: Path, kind: str) -> None:
    content = qcow2(raw).read_bytes()
    content = PACK[kind](content) if kind else content
    places = archive(tmp_path, a=content[:1000], b=content[1000:99_999], c=content[99_999:])
    with ExitStack() as stack:
        info = describe_stored(stored(*places.values(), packed=kind, capacity=SIZE), "box.ova", stack=stack)
        assert (info.format, info.notes) == ("qcow2", ())
        assert digest(info) == WANTED
        odd = describe_stored(stored(*places.values(), packed=kind, capacity=SIZE + 512), "box.ova", stack=stack)
        assert odd.notes == (f"its disk has {SIZE} bytes, and the machine's description says {SIZE + 512}",)


def test_one_compressed_part(raw: Path, tmp_path: Path) -> None:
    places = archive(tmp_path, a=b"x", disk=gzip.compress(qcow2(raw).read_bytes()))
    with ExitStack() as stack:
        for kind in ("gzip", ""):  # by its description, and by its first bytes
            assert digest(describe_stored(stored(places["disk"], packed=kind), "box.ova", stack=stack)) == WANTED


def test_a_file_beside_the_description_may_name_others(raw: Path, tmp_path: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "raw", tmp_path / "top")
    size = (tmp_path / "top").stat().st_size
    places = archive(tmp_path, disk=(tmp_path / "top").read_bytes())
    with ExitStack() as stack:
        info = describe_stored(stored(Part(tmp_path / "top", 0, size)), "box.ovf", stack=stack)
        assert info.path == tmp_path / "top"
        assert digest(info) == WANTED
        with pytest.raises(DiskError, match="it is in an archive, and names a file beside it: raw"):
            describe_stored(stored(places["disk"]), "box.ova", stack=stack)


def test_an_archive_that_was_itself_unpacked(raw: Path, tmp_path: Path) -> None:
    """It has no name then but that of our own descriptor, and nothing lies beside it."""
    content = qcow2(raw).read_bytes()
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "raw", tmp_path / "top")
    with ExitStack() as stack:
        archive, whole = stack.enter_context(spool()), stack.enter_context(spool())
        archive.write(b"x" * 512 + content)
        info = describe_stored(stored(Part(Path(reopened(archive)), 512, len(content))), "box.ova.gz/disk", stack=stack)
        assert info.path == Path.cwd() / "box.ova.gz" / "disk"
        assert digest(info) == WANTED
        make_overlay(info, tmp_path / "over", stack)
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", tmp_path / "over", tmp_path / "read")
        assert (tmp_path / "read").read_bytes() == CONTENT
        whole.write((tmp_path / "top").read_bytes())
        with pytest.raises(DiskError, match="it is in an archive, and names a file beside it"):
            describe_stored(stored(Part(Path(reopened(whole)), 0, whole.tell())), "box.ova.gz/disk", stack=stack)


def test_parts_that_are_not_there(raw: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        with pytest.raises(DiskError, match="has no content"):
            describe_stored(stored(), "box.ova", stack=stack)
        with pytest.raises(DiskError, match="is to be 999 bytes from 3145728 on, and ends before that"):
            describe_stored(stored(Part(raw, SIZE, 999)), "box.ova", stack=stack)
        with pytest.raises(DiskError, match=r"cannot open box\.ova: there is no such file"):
            describe_stored(stored(Part(tmp_path / "gone", 0, 1)), "box.ova", stack=stack)


def test_more_than_the_description_says_is_a_bomb(tmp_path: Path) -> None:
    (tmp_path / "disk.gz").write_bytes(gzip.compress(bytes(200 << 20), 1))
    part = Part(tmp_path / "disk.gz", 0, (tmp_path / "disk.gz").stat().st_size)
    with ExitStack() as stack, pytest.raises(DiskError, match=r"cannot unpack box\.ova: it holds more than the"):
        describe_stored(stored(part, packed="gzip", capacity=1 << 20), "box.ova", stack=stack)


def test_a_size_that_is_no_multiple_of_a_sector(raw: Path, tmp_path: Path) -> None:
    content = qcow2(raw).read_bytes() + b"xyz"
    places = archive(tmp_path, a=b"x", disk=content)
    with ExitStack() as stack:
        assert digest(describe_stored(stored(places["disk"]), "box.ova", stack=stack)) == WANTED


# ---------------------------------------------------------------- whatever happens


def test_a_process_that_is_killed_leaves_nothing(raw: Path, tmp_path: Path, spools: Path) -> None:
    """Neither a server nor a file, when a compressed image with a snapshot is open in both ways."""
    image = qcow2(raw)
    run("qemu-img", "snapshot", "-c", "then", image)
    (tmp_path / "disk.gz").write_bytes(gzip.compress(image.read_bytes(), 1))
    (tmp_path / "overlays").mkdir()
    script = (
        "import os, signal, sys; from contextlib import ExitStack; from pathlib import Path\n"
        "from migrate.guest.images.image import describe, make_overlay; from migrate.guest.images.nbd import NbdDisk\n"
        "stack = ExitStack(); image = describe(Path(sys.argv[1]), stack=stack, snapshot='then')\n"
        "make_overlay(image, Path(sys.argv[2]) / 'over', stack); disk = NbdDisk(image)\n"
        "assert len(disk.read(0, 1 << 20)) == 1 << 20\n"
        "print(Path(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read_text(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parents[3]
    argv: list[str | Path] = [sys.executable, "-c", script, tmp_path / "disk.gz", tmp_path / "overlays"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, cwd=root)
    assert done.returncode == -signal.SIGKILL
    servers = done.stdout.split()
    assert len(servers) == 2
    end = time.monotonic() + 10
    while time.monotonic() < end and any(_is_alive(each) for each in servers):
        time.sleep(0.02)
    assert not any(_is_alive(each) for each in servers)
    assert list(spools.iterdir()) == []


def _is_alive(pid: str) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
