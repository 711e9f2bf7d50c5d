"""Whether a log is clean, as xfs_logprint tells it of the same image and as records written here say."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError
from migrate.guest.filesystems.xfslog import BLOCK, LogState, log_state
from migrate.guest.filesystems.xfssuper import inspect, probe
from tests.guest.filesystems.test_xfs import made, mounted, opened, reader
from tests.guest.made import needs, run, sparse_file

UNCLEAN = "its log must be replayed: it was not unmounted cleanly"


def copied(image: Path, target: Path) -> Path:
    run("cp", "--sparse=always", str(image), str(target))
    return target


def said(image: Path) -> bool:
    """Return whether xfs_logprint calls the log clean; it uses the kernel's own code for it."""
    needs("xfs_logprint")
    return "<CLEAN>" in run("xfs_logprint", "-t", str(image))


def state(image: Path) -> LogState:
    return inspect(*reader(image))[1]


@pytest.mark.parametrize("options", [(), ("-m", "crc=0"), ("-m", "crc=0", "-l", "version=1"), ("-l", "su=64k")])
def test_a_file_system_that_was_never_mounted(tmp_path: Path, options: tuple[str, ...]) -> None:
    image = made(tmp_path / "image", *options)
    assert said(image)
    found = probe(*reader(image))
    assert found is not None
    assert found.why_not == ""


def test_a_disk_that_was_in_use(tmp_path: Path) -> None:
    """A copy made while the file system is mounted is what a crash leaves; unmounted, it is clean again."""
    image = made(tmp_path / "image", "-m", "rmapbt=1")
    for number in range(3):
        with mounted(image) as place:
            with (place / f"file{number}").open("wb") as file:
                file.write(b"kept" * 5000)
                os.fsync(file.fileno())
            crash = copied(image, tmp_path / "crash")
        assert not said(crash)
        assert state(crash).why_not == UNCLEAN
        with pytest.raises(DiskError, match="its log must be replayed"):
            opened(crash)
        assert said(image)
        assert state(image).why_not == ""
        assert len(list(opened(image).entries())) == number + 2


def test_a_disk_that_was_shut_down(tmp_path: Path) -> None:
    needs("xfs_io")
    image = made(tmp_path / "image")
    with mounted(image) as place:
        (place / "directory").mkdir()
        run("xfs_io", "-x", "-c", "shutdown -f", str(place))
    assert not said(image)
    assert state(image).why_not == UNCLEAN


def test_a_frozen_disk_is_not_clean(tmp_path: Path) -> None:
    """So are snapshots made: xfs_freeze(8) leaves a log that is to be replayed for files deleted while open."""
    needs("fsfreeze")
    image = made(tmp_path / "image")
    with mounted(image) as place:
        (place / "file").write_bytes(b"x")
        run("fsfreeze", "-f", str(place))
        try:
            frozen = copied(image, tmp_path / "frozen")
        finally:
            run("fsfreeze", "-u", str(place))
    assert said(frozen) == (not state(frozen).why_not)
    assert state(frozen).why_not == UNCLEAN


def test_a_log_that_went_round(tmp_path: Path) -> None:
    """At many points of a log that is overwritten several times; -o wsync writes each change to it."""
    needs("mkfs.xfs")
    image = sparse_file(tmp_path / "image", 64)
    run("mkfs.xfs", "-q", "--unsupported", "-l", "size=2560b", str(image))
    answers = set()
    rounds = []
    for number in range(4):
        with mounted(image, "rw,wsync") as place:
            for each in range(1200):
                path = place / f"{number % 2}{each:04}{'n' * 200}"
                if path.exists():
                    path.unlink()
                else:
                    path.touch()
            crash = copied(image, tmp_path / "crash")
        for path in (crash, image):
            found = state(path)
            assert said(path) == (not found.why_not)
            answers.add(found.why_not)
            rounds.append(found.lsn >> 32)
    assert answers == {"", UNCLEAN}
    assert rounds == sorted(rounds)
    assert rounds[-1] > 2  # it began in the first


def test_a_log_without_a_record_of_the_unmount(tmp_path: Path) -> None:
    image = made(tmp_path / "image")
    with mounted(image) as place:
        (place / "file").touch()
    found, log = inspect(*reader(image))
    assert found is not None
    assert log.why_not == ""
    start, (head, count) = (
        found.place(found.log_start),
        (log.lsn & 0xFFFFFFFF, found.log_blocks * found.block_size // BLOCK),
    )
    with image.open("r+b") as file:  # as if the last write, a sector of it, had not reached the disk
        file.seek(start + (head - 1) % count * BLOCK)
        file.write(bytes(BLOCK))
    assert not said(image)
    assert state(image).why_not


# ---------------------------------------------------------------- written here

BLOCKS = 6000


class Ring:
    """A log as the kernel writes it: records of so many blocks, each block with its round in front."""

    def __init__(self, blocks: int = BLOCKS) -> None:
        self.data = bytearray(blocks * BLOCK)
        self.blocks = blocks
        self.cycle, self.at = 1, 0

    def put(self, blocks: int, operations: int = 5, flags: int = 0) -> None:
        lsn = self.cycle << 32 | self.at
        header = struct.pack(">IIIIQQIII", 0xFEEDBABE, self.cycle, 2, (blocks - 1) * BLOCK, lsn, lsn, 0, 0, operations)
        self._block(header.ljust(320, b"\0") + struct.pack(">I", 32768))
        for _ in range(blocks - 1):
            self._block(struct.pack(">IIBB", self.cycle, 8, 0x69, flags))

    def _block(self, content: bytes) -> None:
        content = content.ljust(BLOCK, b"\0")
        if self.at == 0 and content[:4] != b"\xfe\xed\xba\xbe":
            content = struct.pack(">I", self.cycle) + content[4:]
        self.data[self.at * BLOCK : (self.at + 1) * BLOCK] = content
        self.at += 1
        if self.at == self.blocks:
            self.at, self.cycle = 0, self.cycle + 1

    def state(self) -> LogState:
        return log_state(lambda offset, length: bytes(self.data[offset : offset + length]), 0, len(self.data), 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 500), min_size=1, max_size=80), st.booleans(), st.integers(0, 3))
def test_records_of_any_length(lengths: list[int], clean: bool, torn: int) -> None:
    ring = Ring()
    for length in lengths:
        ring.put(length)
    if clean:
        ring.put(2, operations=1, flags=0x20)
    end = ring.cycle << 32 | ring.at
    found = ring.state()
    assert found == LogState(why_not="" if clean else UNCLEAN, lsn=end)
    if torn:  # the start of a record after it, which was never written whole
        ring._block(struct.pack(">IIIIQQIII", 0xFEEDBABE, ring.cycle, 2, 100 * BLOCK, 0, 0, 0, 0, 9))
        for _ in range(torn - 1):
            ring._block(struct.pack(">IIBB", ring.cycle, 8, 0x69, 0))
        assert ring.state() == found


def test_an_unmount_that_something_follows() -> None:
    ring = Ring()
    for _ in range(30):
        ring.put(300)
        assert ring.state().why_not == UNCLEAN
        ring.put(2, operations=1, flags=0x20)
        assert ring.state().why_not == ""
        ring.put(2)
        assert ring.state().why_not == UNCLEAN


@pytest.mark.parametrize("end", range(-3, 4))
def test_a_log_that_ends_where_it_begins(end: int) -> None:
    """The record of the unmount before the last block, around it and after it."""
    ring = Ring()
    while ring.at < BLOCKS + end - 300 or not ring.at:
        ring.put(200)
    ring.put((BLOCKS + end - 2 - ring.at) % BLOCKS)
    ring.put(2, operations=1, flags=0x20)
    assert ring.at == end % BLOCKS
    assert ring.state() == LogState(why_not="", lsn=ring.cycle << 32 | ring.at)
    ring.put(200)
    assert ring.state().why_not == UNCLEAN


def test_logs_written_here_as_xfs_logprint_reads_them(tmp_path: Path) -> None:
    """Whole ones, and ones with blocks that were never written or are of another round, where the head is."""
    needs("mkfs.xfs", "xfs_logprint")
    image = sparse_file(tmp_path / "image", 64)
    run("mkfs.xfs", "-q", "--unsupported", "-l", "size=2560b", str(image))
    found, _ = inspect(*reader(image))
    assert found is not None
    start, blocks = found.place(found.log_start), found.log_blocks * found.block_size // BLOCK
    generator = random.Random(3)
    answers = []
    for number in range(40):
        ring = Ring(blocks)
        rounds = generator.choice([0.3, 1.0, 1.5, 2.2])
        while ring.at + (ring.cycle - 1) * blocks < rounds * blocks:
            ring.put(generator.choice([2, 3, 50, 65, 400]))
        if generator.random() < 0.8:
            ring.put(2, operations=1, flags=0x20)
        for _ in range(number % 4):
            at = (ring.at + generator.randrange(-20, 600)) % blocks
            cycle = ring.cycle + generator.choice([-1, 0, 0])
            struct.pack_into(">I", ring.data, at * BLOCK, cycle)
        with image.open("r+b") as file:
            os.pwrite(file.fileno(), ring.data, start)
        done = subprocess.run(["xfs_logprint", "-t", str(image)], capture_output=True, text=True, check=False)
        theirs = re.search(r"head: (\d+) state: <(\w+)>", done.stdout)
        mine = log_state(*reader(image)[:1], start, blocks * BLOCK, 2)
        if theirs is None:
            assert mine.why_not == "its log is damaged", done
        else:
            assert (theirs[2] == "CLEAN", int(theirs[1])) == (not mine.why_not, mine.lsn & 0xFFFFFFFF), done
        answers.append(mine.why_not)
    assert {"", UNCLEAN} <= set(answers)


def test_an_empty_log_and_none() -> None:
    assert Ring().state() == LogState(why_not="", lsn=1 << 32)
    assert Ring(100).state().why_not == "its log is smaller than any"
    ring = Ring()
    ring.data[:] = b"x" * len(ring.data)
    assert ring.state().why_not == "its log is damaged"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_hostile_logs_raise_nothing(data: st.DataObject) -> None:
    ring = Ring(1024)
    for _ in range(data.draw(st.integers(1, 12))):
        ring.put(data.draw(st.integers(2, 200)))
    ring.put(2, operations=1, flags=0x20)
    for _ in range(data.draw(st.integers(1, 20))):
        at = data.draw(st.integers(0, 1023)) * BLOCK + data.draw(st.sampled_from([0, 1, 3, 7, 9, 11, 15, 43, 321, 323]))
        ring.data[at] = data.draw(st.integers(0, 255))
    assert isinstance(ring.state().why_not, str)
