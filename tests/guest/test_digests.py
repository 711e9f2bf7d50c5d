"""Many digests at once: the same as hashlib's of the real content, whatever reads, and whatever becomes of it."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from migrate.errors import DiskError
from migrate.guest import digests, workers
from migrate.guest.direct import DirectGuest
from migrate.guest.directory import DirectoryGuest
from migrate.guest.images.image import describe
from migrate.guest.open import open_guest
from migrate.guest.protocol import Entry, Guest
from migrate.guest.workers import Workers, workers_for
from tests.guest.made import needs, run, sparse_file
from tests.guest.test_direct import _children, _descriptors
from tests.guest.test_killed import gone, started_with

SMALL = 3000
GONE = "one of 3 processes that hash files is gone: it was killed (SIGKILL); its files are hashed by the others"
MIXED = ("md5", "sha1", "sha256", "sha512", "blake2b", "sha3_256")


def fill(root: Path) -> Path:
    """A root with what is awkward to hash, and thousands of small files."""
    chance = random.Random(4)
    for name in ("etc", "usr/bin", "srv/many", "srv/odd"):
        (root / name).mkdir(parents=True)
    (root / "etc" / "os-release").write_text("ID=test\n")
    for number in range(SMALL):
        size = chance.choice((0, 1, 59, 60, 61, 700, 4095, 4096, 4097, 9000))
        (root / "srv" / "many" / f"{number:04}").write_bytes(chance.randbytes(size))
    odd = root / "srv" / "odd"
    (odd / "large").write_bytes(chance.randbytes(digests.BYTES + 12345))
    (odd / "long").write_bytes(chance.randbytes((1 << 20) + 1))
    (odd / "empty").touch()
    for name, parts in {
        "holes": (0, 40960, 90000),
        "all-hole": (),
        "end-hole": (8192,),
        "wide": (0, 300 << 20),
    }.items():
        with (odd / name).open("wb") as file:
            for at in parts:
                file.seek(at)
                file.write(chance.randbytes(5000))
            file.truncate({"wide": (400 << 20) + 1}.get(name, 200_000))
    for name in ("hard1", "hard2", "hard3"):
        os.link(odd / "long", odd / name)
    (odd / "line\nbreak\\").write_bytes(b"odd name")
    (odd / "caf\udce9").write_bytes(b"no UTF-8")
    (odd / "link").symlink_to("/srv/odd/long")
    (odd / "dangling").symlink_to("nothing")
    os.mkfifo(odd / "fifo")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("hashed") / "root")


@pytest.fixture(scope="module")
def disk(root: Path) -> Path:
    needs("mke2fs", "qemu-img", "qemu-nbd", "setpriv")
    raw, disk = sparse_file(root.parent / "raw", 768), root.parent / "disk.qcow2"
    run("mke2fs", "-q", "-t", "ext4", "-N", "8192", "-d", root, raw)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk)
    raw.unlink()
    return disk


@pytest.fixture(scope="module")
def truth(root: Path) -> dict[str, tuple[str, str]]:
    """Of each path that leads to a file an algorithm and the digest by it."""
    found = {}
    algorithms = itertools.cycle(MIXED)
    for path in sorted(root.rglob("*")):
        if path.is_symlink() and path.name == "link":
            digest = hashlib.sha256((root / "srv/odd/long").read_bytes()).hexdigest()
            found["/srv/odd/link"] = "sha256", digest
        elif path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                algorithm = next(algorithms)
                found[f"/{path.relative_to(root)}"] = algorithm, hashlib.file_digest(file, algorithm).hexdigest()
    return found


def check(guest: Guest, truth: dict[str, tuple[str, str]]) -> None:
    wanted = {path: algorithm for path, (algorithm, _) in truth.items()}
    nothing = dict.fromkeys(("/srv/odd/fifo", "/srv/odd/dangling", "/srv", "/no/such", ""), "md5")
    assert guest.digests(wanted | nothing) == {path: digest for path, (_, digest) in truth.items()}
    assert not [problem for problem in guest.problems if problem.path.startswith("/srv")]
    assert guest.digests({}) == {}


@pytest.fixture(params=["alone", "workers"])
def manner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the direct reader hashes, whatever this machine has."""
    manner: str = request.param
    monkeypatch.setattr(workers, "_WORTH", 0 if manner == "workers" else 1e9)
    monkeypatch.setattr(workers, "processors", lambda: 3)
    return manner


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_WORTH", 0)
    monkeypatch.setattr(workers, "processors", lambda: 3)


def test_a_disk(disk: Path, truth: dict[str, tuple[str, str]], manner: str) -> None:
    seen = []
    before = _descriptors(), _children()
    with DirectGuest([describe(disk)], None, lambda words, *_: seen.append((words, len(_children())))) as guest:
        check(guest, truth)
    assert (_descriptors(), _children()) == before
    most = max(count for words, count in seen if words == "hashing files") - len(before[1])
    assert (most == 1) == (manner == "alone")  # its server; otherwise three workers and their servers too


@pytest.mark.parametrize("processors", [1, 4])
def test_a_directory(
    root: Path, truth: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    monkeypatch.setattr(digests, "processors", lambda: processors)
    with open_guest([root]) as guest:
        check(guest, truth)


@pytest.mark.parametrize("processors", [1, 4])
def test_an_archive(
    root: Path, truth: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    needs("tar")
    archive = root.parent / "root.tar"
    if not archive.exists():
        run("tar", "-C", root, "--sparse", "-cf", archive, ".")
    monkeypatch.setattr(digests, "processors", lambda: processors)
    with open_guest([archive]) as guest:
        check(guest, truth)


def test_an_algorithm_that_is_none(root: Path) -> None:
    with open_guest([root]) as guest:
        for name in ("md6", "shake_128", "", "MD5"):
            with pytest.raises(ValueError, match="no such digest"):
                guest.digests({"/etc/os-release": name})


def test_hard_links_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    opens = DirectoryGuest._opened

    def noting(guest: DirectoryGuest, directory: int, entry: Entry) -> object:
        read.append(entry.inode)
        return opens(guest, directory, entry)

    monkeypatch.setattr(DirectoryGuest, "_opened", noting)
    with DirectoryGuest(root) as guest:
        wanted = dict.fromkeys(("/srv/odd/hard1", "/srv/odd/hard2", "/srv/odd/long", "/srv/odd/link"), "md5")
        assert len(set(guest.digests(wanted).values())) == 1
        assert len(read) == 1
        assert len(guest.digests({"/srv/odd/hard1": "md5", "/srv/odd/hard2": "sha1", "/srv/odd/link": "sha1"})) == 3
        assert len(read) == 3


def test_a_closed_guest(root: Path) -> None:
    with open_guest([root]) as guest:
        pass
    assert guest.digests({"/etc/os-release": "md5"}) == {}
    assert ("/etc/os-release", "the guest was closed") in [(each.path, each.why) for each in guest.problems]


# ---------------------------------------------------------------- what cannot be read


@pytest.fixture(scope="module")
def bad(root: Path) -> set[str]:
    """A small file with content, and the largest that is no hole."""
    many = sorted((root / "srv" / "many").iterdir())
    return {f"/srv/many/{next(path.name for path in many if path.stat().st_size > 60)}", "/srv/odd/large"}


@pytest.fixture(scope="module")
def damaged(disk: Path, bad: set[str]) -> Path:
    """The disk, with two files whose maps are none: their inodes are as they should be."""
    needs("debugfs")
    raw, target = sparse_file(disk.parent / "damaged.raw", 1), disk.parent / "damaged.qcow2"
    run("qemu-img", "convert", "-O", "raw", disk, raw)
    for path in bad:
        run("debugfs", "-w", "-R", f"sif {path} block[0] 0", raw)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, target)
    raw.unlink()
    return target


def test_a_damaged_file_is_told_and_all_others_are_hashed(
    damaged: Path, truth: dict[str, tuple[str, str]], bad: set[str], manner: str
) -> None:
    with DirectGuest([describe(damaged)], None) as guest:
        found = guest.digests({path: algorithm for path, (algorithm, _) in truth.items()})
        problems = {problem.path: problem.why for problem in guest.problems if problem.path.startswith("/srv")}
    assert found == {path: digest for path, (_, digest) in truth.items() if path not in bad}
    assert problems.keys() == bad
    assert all("the extents of inode" in why for why in problems.values())


def test_a_damaged_file_is_hashed_by_the_other_reader(
    damaged: Path, root: Path, truth: dict[str, tuple[str, str]], bad: set[str], manner: str
) -> None:
    said: list[str] = []
    asked: list[dict[str, str]] = []

    class Other(DirectoryGuest):
        def digests(self, wanted: object) -> dict[str, str]:
            asked.append(dict(wanted))  # type: ignore[call-overload]
            return super().digests(asked[-1])

    with DirectGuest([describe(damaged)], None, notify=said.append, instead=lambda: Other(root)) as guest:
        check(guest, truth)
        assert [each[:28] for each in said] == ["reading on through libguestf"]
        assert [len(each) for each in asked] == [1]  # the first was read to find out
        check(guest, truth)
    assert {path for each in asked[1:] for path in each} == bad


def test_a_file_that_was_exchanged_neither_blocks_nor_leads_out(root: Path, tmp_path: Path) -> None:
    top = tmp_path / "root"
    for name in ("etc", "usr", "srv/a", "srv/b"):
        (top / name).mkdir(parents=True)
    for name in ("etc/fifo", "etc/link", "etc/cut", "etc/whole", "srv/a/file", "srv/b/file"):
        (top / name).write_text("the guest's\n")
    (tmp_path / "secret").write_text("the host's\n")
    with DirectoryGuest(top) as guest:
        wanted = {each.path: "md5" for each in guest.walk() if each.kind == "file"}
        (top / "etc" / "fifo").unlink()
        os.mkfifo(top / "etc" / "fifo")
        (top / "etc" / "link").unlink()
        (top / "etc" / "link").symlink_to(tmp_path / "secret")
        os.truncate(top / "etc" / "cut", 3)
        (top / "srv" / "a").rename(tmp_path / "away")
        (top / "srv" / "a").symlink_to(tmp_path / "away")
        right = hashlib.md5(b"the guest's\n").hexdigest()
        assert guest.digests(wanted) == {"/etc/whole": right, "/srv/b/file": right}
        why = {problem.path: problem.why for problem in guest.problems}
    assert why["/etc/cut"] == "it ended after 3 of 12 bytes"
    assert why["/etc/fifo"] == why["/etc/link"] == "another file stands there since it was opened"
    assert "/srv/a/file" in why


# ---------------------------------------------------------------- workers that end


def test_workers_that_never_begin(
    disk: Path, truth: dict[str, tuple[str, str]], forced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_RUN", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    said: list[str] = []
    with DirectGuest([describe(disk)], None, notify=said.append) as guest:
        check(guest, truth)
    assert said == [GONE] * 3


def test_a_worker_that_is_killed_half_way(disk: Path, truth: dict[str, tuple[str, str]], forced: None) -> None:
    said: list[str] = []
    killed: list[int] = []

    def kill(text: str, done: float | None = None, total: float | None = None) -> None:
        if text == "hashing files" and not killed:
            mine = [int(pid) for pid in _children() if b"migrate.guest.worker" in _command(pid)]
            assert len(mine) == 3
            killed.append(mine[0])
            os.kill(mine[0], signal.SIGKILL)

    before = _descriptors(), _children()
    with DirectGuest([describe(disk)], None, kill, notify=said.append) as guest:
        check(guest, truth)
    assert (_descriptors(), _children()) == before
    assert said in ([], [GONE])
    assert len(killed) == 1


def test_a_worker_whose_server_is_gone_ends(disk: Path, truth: dict[str, tuple[str, str]], forced: None) -> None:
    """What it had in hand is no trouble of the files."""
    said: list[str] = []
    killed: list[str] = []

    def kill(text: str, done: float | None = None, total: float | None = None) -> None:
        if text == "hashing files" and not killed:
            killed.extend(pid for pid in _children() - before if _command(pid).startswith(b"qemu-nbd\0"))
            os.kill(int(killed[0]), signal.SIGKILL)

    with DirectGuest([describe(disk)], None, kill, notify=said.append) as guest:
        before = _children()
        check(guest, truth)
    assert len(killed) == 3
    assert said in ([], [GONE.replace("it was killed (SIGKILL)", "it ended with status 1")])


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_workers_that_cannot_be_started(
    disk: Path, truth: dict[str, tuple[str, str]], forced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> list[str]:
        raise DiskError("start it", "there is no room")

    monkeypatch.setattr(workers, "_server", failing)
    said: list[str] = []
    with DirectGuest([describe(disk)], None, notify=said.append) as guest:
        check(guest, truth)
    assert said == ["files are hashed in one process: there is no room"]


def test_no_worker_outlives_who_started_it(disk: Path, tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from migrate.guest import workers
from migrate.guest.open import open_guest
workers._WORTH, workers.processors = 0, lambda: 2
done = []
def told(words, *_):
    if words == "hashing files" and not done:
        done.append(1)
        print("hashing", flush=True)
guest = open_guest([Path(sys.argv[1])], reader="direct", progress=told)
files = {entry.path: "md5" for entry in guest.walk() if entry.kind == "file"}
while True:
    guest.digests(files)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(disk)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=Path(__file__).resolve().parents[2],
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "hashing\n"
        there = started_with(str(tmp_path))
        process.kill()
        process.wait()
    assert sum("migrate.guest.worker" in line for line in there) == 2
    assert gone(str(tmp_path)), started_with(str(tmp_path))


def test_what_is_left_when_the_asking_ends_early(disk: Path, forced: None) -> None:
    before = _descriptors(), _children()

    def stop(text: str, done: float | None = None, total: float | None = None) -> None:
        if text == "hashing files":
            raise KeyboardInterrupt

    with DirectGuest([describe(disk)], None, stop) as guest:
        with pytest.raises(KeyboardInterrupt):
            guest.digests({entry.path: "md5" for entry in guest.walk()})
        assert len(_children() - before[1]) == 1
    assert (_descriptors(), _children()) == before


def test_a_small_set_takes_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "processors", lambda: 4)
    assert workers_for(17_000, 700 << 20) == 4
    assert workers_for(500_000, 500_000) == 4
    assert workers_for(100, 10 << 20) == workers_for(1, 100 << 20) == 0
    monkeypatch.setattr(workers, "processors", lambda: 64)
    assert workers_for(17_000, 700 << 20) == workers.MOST
    monkeypatch.setattr(workers, "processors", lambda: 1)
    assert workers_for(17_000, 700 << 20) == 0


def test_a_worker_that_talks_nonsense_is_no_worker(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with a status, and nothing that it left undone is missed."""
    monkeypatch.setattr(workers, "_RUN", "raise SystemExit(7)")
    with Workers([describe(disk)], ["/dev/sda"], 2) as some:
        assert list(some.run([[], []])) == []
        assert some.ended == ["it ended with status 7"] * 2


# ---------------------------------------------------------------- how much, and in what order


def test_batches_keep_the_order_and_the_bounds() -> None:
    chance = random.Random(1)
    sizes = [chance.choice((1, 4096, 5 << 20, 15 << 20, 64 << 20, 9 << 30)) for _ in range(2000)]
    order = list(range(2000))
    chance.shuffle(order)
    found = digests.batches(order, sizes)
    assert sorted(itertools.chain.from_iterable(found)) == list(range(2000))
    early = [number for part in found for number in part if sizes[number] >= 64 << 20]
    assert early == list(itertools.chain.from_iterable(found))[: len(early)]
    assert sizes[early[0]] == 9 << 30
    late = [number for part in found for number in part if sizes[number] < 64 << 20]
    assert late == [number for number in order if sizes[number] < 64 << 20]
    assert all(len(part) <= digests.FILES for part in found)
    assert all(len(part) == 1 or sum(sizes[number] for number in part) <= digests.BYTES for part in found)
    assert digests.batches([], []) == []


def test_more_than_the_disks_can_hold_is_not_hashed() -> None:
    assert digests.too_much([1 << 30] * 60, 1 << 30) == set()
    assert digests.too_much([1 << 44, 5, 1 << 40], 1 << 30) == {0, 2}
    many = digests.too_much([1 << 35] * 10, 1 << 30)
    assert many == {2, 3, 4, 5, 6, 7, 8, 9}


def test_a_file_of_terabytes_of_nothing_is_told(root: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr").mkdir()
    (tmp_path / "etc" / "motd").write_text("hello\n")
    os.truncate(tmp_path / "etc" / "motd", 6)
    with (tmp_path / "usr" / "lastlog").open("wb") as file:
        file.truncate(1 << 42)
    with open_guest([tmp_path]) as guest:
        found = guest.digests({"/usr/lastlog": "md5", "/etc/motd": "md5"})
        why = {problem.path: problem.why for problem in guest.problems}
    assert found == {"/etc/motd": hashlib.md5(b"hello\n").hexdigest()}
    assert why["/usr/lastlog"].startswith(f"it has {1 << 42} bytes: with all others that is more than")


def test_threads_pass_on_what_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "processors", lambda: 3)

    def work(part: Sequence[int]) -> Iterator[tuple[int, str]]:
        yield part[0], ""
        if part[0]:
            raise DiskError("read", "it stopped")

    with pytest.raises(DiskError):
        digests.in_threads([[0], [1], [2]], work, 3)
