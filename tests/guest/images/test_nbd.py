"""The NBD client against servers that misbehave, and against qemu's own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError
from migrate.guest.images.blockgraph import Node, look
from migrate.guest.images.image import ImageInfo, describe
from migrate.guest.images.nbd import BLOCK, BlockCache, NbdClient, NbdDisk
from migrate.guest.images.nbdserver import Server
from tests.guest.made import needs, run

CONTENT = bytes(range(256)) * 1024 * 33  # 8.25 MiB
HELLO = struct.pack(">8sQH", b"NBDMAGIC", 0x49484156454F5054, 3)


def option_reply(kind: int, data: bytes = b"") -> bytes:
    return struct.pack(">QIII", 0x0003E889045565A9, 7, kind, len(data)) + data


EXPORT = option_reply(3, struct.pack(">HQH", 0, len(CONTENT), 1))
READY = HELLO + EXPORT + option_reply(3, struct.pack(">HIII", 3, 1, 4096, 32 << 20)) + option_reply(1)


def client_of(says: bytes) -> NbdClient:
    """Return a client of a server that says this, whatever it is asked, and then hangs up."""
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    theirs.sendall(says)
    theirs.shutdown(socket.SHUT_WR)
    try:
        client = NbdClient(ours, "disk")
    except BaseException:
        ours.close()
        theirs.close()
        raise
    threading.Thread(target=_drain, args=(theirs,), daemon=True).start()
    return client


def _drain(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while connection.recv(1 << 16):
            pass


def test_a_handshake_and_a_read() -> None:
    client = client_of(READY + struct.pack(">IIQ", 0x67446698, 0, 1) + b"abcd")
    assert client.size == len(CONTENT)
    assert client.read(4, 4) == b"abcd"
    client.close()


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (b"", "ended in the middle"),
        (HELLO[:10], "ended in the middle"),
        (b"SSH-2.0-OpenSSH_9.2\r\n....", "no fixed newstyle"),
        (struct.pack(">8sQH", b"NBDMAGIC", 0x0000420281861253, 1), "no fixed newstyle"),
        (HELLO + option_reply(0x80000006), "refuses to export it .NBD reply 0x80000006"),
        (HELLO + option_reply(1), "refuses to export it"),
        (HELLO + struct.pack(">QIII", 0x0003E889045565A9, 7, 3, 1 << 30), "answer to NBD_OPT_GO is none"),
        (HELLO + option_reply(3, b"\0"), "goes away"),
        (HELLO + EXPORT * 70, "never ends"),
        (HELLO + EXPORT + option_reply(3, struct.pack(">HIII", 3, 1, 1, 512)), "at once"),
    ],
)
def test_hostile_handshakes(says: bytes, message: str) -> None:
    with pytest.raises(DiskError, match=message):
        client_of(says)


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (b"", "ended in the middle"),
        (struct.pack(">IIQ", 0x67446698, 0, 1) + b"ab", "ended in the middle"),
        (struct.pack(">IIQ", 0x67446698, 0, 2) + b"abcd", "something else"),
        (struct.pack(">IIQ", 0x668E33EF, 0, 1) + b"abcd", "something else"),
        (struct.pack(">IIQ", 0x67446698, 5, 1), "Input/output error"),
    ],
)
def test_hostile_replies(says: bytes, message: str) -> None:
    client = client_of(READY + says)
    with pytest.raises(DiskError, match=message):
        client.read(0, 4)
    client.close()


WRITABLE = HELLO + option_reply(3, struct.pack(">HQH", 0, len(CONTENT), 1 | 1 << 6)) + option_reply(1)
DONE = struct.pack(">IIQ", 0x67446698, 0, 1)


def test_writing_is_answered_or_an_error() -> None:
    for does in ("write", "zeros", "flush"):
        for says, message in (
            (DONE, ""),
            (struct.pack(">IIQ", 0x67446698, 28, 1), "cannot be written: No space left on device"),
            (struct.pack(">IIQ", 0x67446698, 0, 7), "something else"),
            (b"", "ended in the middle"),
        ):
            client = client_of(WRITABLE + says)
            do = {"write": lambda c: c.write(5, b"ab"), "zeros": lambda c: c.write_zeros(5, 9), "flush": flush}[does]
            if message:
                with pytest.raises(DiskError, match=message):
                    do(client)
            else:
                do(client)
            client.close()


def flush(client: NbdClient) -> None:
    client.flush()


def test_writing_beyond_the_end() -> None:
    client = client_of(WRITABLE)
    with pytest.raises(DiskError, match="outside of its"):
        client.write(len(CONTENT) - 1, b"ab")
    with pytest.raises(DiskError, match="outside of its"):
        client.write_zeros(-1, 1)
    client.close()
    client = client_of(READY)
    with pytest.raises(DiskError, match="the server cannot write zeros"):
        client.write_zeros(0, 1)
    client.close()


def test_what_is_written_is_there(tmp_path: Path) -> None:
    needs("qemu-nbd", "qemu-img")
    run("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "disk", f"{8 << 20}")
    node = Node(format="qcow2", file=look(tmp_path / "disk"))
    (tmp_path / "place").mkdir()
    server = Server(node, "disk", tmp_path / "place", writable=True)
    client = server.connect()
    client.write(3, CONTENT[: 5 << 20])
    client.write_zeros(1000, 70_000)
    client.flush()
    assert client.read(0, 1000) == bytes(3) + CONTENT[:997]
    client.close()
    assert server.wait(10) == 0
    server.close()
    wanted = bytearray(bytes(3) + CONTENT[: 5 << 20]).ljust(8 << 20, b"\0")
    wanted[1000:71_000] = bytes(70_000)
    disk = NbdDisk(describe(tmp_path / "disk"))
    assert disk.read(0, disk.size) == wanted
    disk.close()


def test_beyond_the_end() -> None:
    client = client_of(READY)
    for offset, length in ((len(CONTENT), 1), (-1, 1), (0, -1), (1 << 70, 1)):
        with pytest.raises(DiskError, match="outside of its"):
            client.read(offset, length)
        with pytest.raises(DiskError, match="outside of its"):
            BlockCache(client).read(offset, length)
    client.close()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(READY)))
def test_no_server_raises_anything_else(noise: bytes, cut: int) -> None:
    try:
        client = client_of(READY[:cut] + noise)
    except DiskError:
        return
    with pytest.raises(DiskError):
        client.read(0, 300)
    client.close()


class Counting:
    """A client in memory that counts what it is asked."""

    size = len(CONTENT)

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return CONTENT[offset : offset + length]


def test_the_cache_reads_ahead_and_keeps_what_it_has() -> None:
    client = Counting()
    cache = BlockCache(client)  # type: ignore[arg-type]
    assert cache.read(10, 20) == CONTENT[10:30]
    assert cache.read(BLOCK - 5, 10) == CONTENT[BLOCK - 5 : BLOCK + 5]
    assert client.asked == [(0, BLOCK), (BLOCK, 2 * BLOCK)]
    step = 3 * BLOCK - 7
    assert b"".join(cache.read(at, min(step, len(CONTENT) - at)) for at in range(0, len(CONTENT), step)) == CONTENT
    assert len(client.asked) < 10
    count = len(client.asked)
    assert cache.read(len(CONTENT) - 1, 1) == CONTENT[-1:]
    assert len(client.asked) == count


def test_what_is_read_in_one_go_pushes_nothing_out() -> None:
    client = Counting()
    cache = BlockCache(client)  # type: ignore[arg-type]
    assert cache.read(5, 1) == CONTENT[5:6]
    assert cache.read(3, 1 << 20) == CONTENT[3 : 3 + (1 << 20)]
    assert client.asked == [(0, BLOCK), (3, 1 << 20)]
    assert len(cache._blocks) == 1


def test_the_cache_is_bounded() -> None:
    client = Counting()
    cache = BlockCache(client, limit=0)  # type: ignore[arg-type]
    for offset in range(0, len(CONTENT), BLOCK):
        assert cache.read(offset, 1) == CONTENT[offset : offset + 1]
        assert len(cache._blocks) <= 128
    cache.read(0, 1)
    assert client.asked[-1][0] == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT)), st.integers(0, 3 * BLOCK)), max_size=8))
def test_any_reads_in_any_order(reads: list[tuple[int, int]]) -> None:
    cache = BlockCache(Counting(), limit=0)  # type: ignore[arg-type]
    for offset, length in reads:
        length = min(length, len(CONTENT) - offset)
        assert cache.read(offset, length) == CONTENT[offset : offset + length]


# ---------------------------------------------------------------- qemu's own


@pytest.fixture(params=["raw", "qcow2", "backed"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> ImageInfo:
    needs("qemu-nbd", "qemu-img")
    raw = tmp_path / "a,b:c.raw"
    raw.write_bytes(CONTENT)
    if request.param == "raw":
        return describe(raw)
    first = tmp_path / "first.qcow2"
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, first)
    if request.param == "qcow2":
        return describe(first)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", first, tmp_path / "second.qcow2")
    return describe(tmp_path / "second.qcow2")


@pytest.fixture(autouse=True)
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / ("spools" * 15)  # longer than a socket's path may be
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    assert list(place.iterdir()) == []


def test_an_image_through_qemu(image: ImageInfo) -> None:
    before = image.path.read_bytes()
    disk = NbdDisk(image)
    try:
        assert disk.size == len(CONTENT)
        assert disk.read(0, disk.size) == CONTENT
    finally:
        disk.close()
        disk.close()
    assert disk._process.returncode == 0
    assert image.path.read_bytes() == before


def test_a_raw_disk_is_not_looked_into(tmp_path: Path) -> None:
    """A guest that writes a qcow2 header to its first sector is shown no file of the host."""
    needs("qemu-nbd", "qemu-img")
    (tmp_path / "secret").write_bytes(b"secret".ljust(1 << 20))
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", tmp_path / "secret", tmp_path / "disk", "1M")
    content = (tmp_path / "disk").read_bytes()
    disk = NbdDisk(ImageInfo(path=tmp_path / "disk", given="disk", format="raw", virtual_bytes=len(content)))
    assert disk.read(0, 4) == b"QFI\xfb"
    disk.close()


def test_why_it_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("qemu-nbd")
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    wrong = ImageInfo(path=tmp_path / "disk", given="disk", format="qcow2", virtual_bytes=1 << 20)
    with pytest.raises(DiskError, match=r"cannot open disk: .*not in qcow2 format"):
        NbdDisk(wrong)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DiskError, match=r"qemu-nbd cannot be run: .*apt-get install qemu-utils"):
        NbdDisk(wrong)


def test_one_that_does_not_listen_is_ended(image: ImageInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "qemu-nbd").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "bin" / "qemu-nbd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("migrate.guest.images.nbdserver.START_SECONDS", 0.3)
    with pytest.raises(DiskError, match="does not listen"):
        NbdDisk(image)


def test_a_server_that_dies_is_a_disk_error(image: ImageInfo) -> None:
    disk = NbdDisk(image)
    disk._process.kill()
    with pytest.raises(DiskError, match="through qemu-nbd"):
        disk.read(0, 1)
    disk.close()
    assert disk._process.returncode is not None


def test_a_reader_that_is_killed_leaves_no_server(image: ImageInfo, spools: Path) -> None:
    script = (
        "import sys, time, msgspec; from pathlib import Path; from migrate.guest.images.image import describe; "
        "from migrate.guest.images.nbd import NbdDisk; d = NbdDisk(describe(Path(sys.argv[1]))); "
        "print(d._process.pid, flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", script, image.path], stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while time.monotonic() < end and _alive(server):
        time.sleep(0.02)
    assert not _alive(server)


def _alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
