"""The benchmark makes disks that are disks, and its table says what was measured. No time is held against anything."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest

from benchmarks import disks, table
from benchmarks.__main__ import HASHED, command
from benchmarks.disks import DISKS, DiskKind
from benchmarks.measure import Measured, measure
from migrate.guest.open import open_guest
from tests.guest.made import needs

PROJECT = Path(__file__).parent.parent


def _system(work: Path) -> None:
    for name, content in (("etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n"), ("etc/os-release", "ID=debian\n")):
        path = work / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (work / "tree" / "usr").mkdir()


def test_a_disk_of_the_recipe_is_one_that_is_read_directly(tmp_path: Path) -> None:
    needs("mke2fs", "sfdisk", "qemu-img", "qemu-nbd", "mmdebstrap", "tar")
    _system(tmp_path)
    disks.fill(tmp_path / "tree", 1003)
    first, other = tmp_path / "tiny.qcow2", tmp_path / "tiny.vmdk"
    disks.make_disk(tmp_path, 48, 4096, first)
    options = next(kind.options for kind in DISKS if kind.name == "vmdk")
    disks.convert(first, options, other)
    for disk in (first, other):
        with open_guest([disk], reader="direct") as guest:
            assert len(guest.listdir("/srv/media/000")) == 1000
            assert guest.text("/srv/media/001/001002.jpg") == "picture 1002\n" * 4
            found = guest.lstat("/srv/media/001/001002.jpg")
            assert found is not None
            assert (found.uid, found.mode, found.size) == (33, 0o644, 52)


def test_a_disk_is_made_once_and_again_by_another_recipe(tmp_path: Path) -> None:
    made: list[str] = []

    def make(target: Path) -> None:
        made.append(target.name)
        target.write_bytes(b"a disk")

    kind = DiskKind(name="one", file="one.qcow2", says="")
    assert not disks._is_current(kind, tmp_path)
    disks._finished(kind, tmp_path, make)
    assert disks._is_current(kind, tmp_path)
    (tmp_path / "one.qcow2.recipe").write_text("another")
    assert not disks._is_current(kind, tmp_path)
    assert made == ["one.qcow2.new"]
    assert not (tmp_path / "one.qcow2.new").exists()


def test_further_files_are_as_many_as_asked_for_and_the_same_each_time() -> None:
    made = list(disks.further_files(2001))
    assert sum(info.type == tarfile.REGTYPE for info, _ in made) == 2001
    assert [info.name for info, _ in made if info.type == tarfile.DIRTYPE] == [f"srv/media/00{n}" for n in range(3)]
    assert all(info.size == len(content) for info, content in made)
    assert [info.name for info, _ in made] == [info.name for info, _ in disks.further_files(2001)]


def test_memory_is_that_of_all_processes_of_a_command() -> None:
    hold = "import time; held = bytearray(64 << 20); time.sleep(0.6)"
    two = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}]); {hold}"
    found = measure([sys.executable, "-c", hold], {})
    both = measure(
        [
            sys.executable,
            "-c",
            f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {hold!r}]);\n{hold}; p.wait()",
        ],
        {},
    )
    assert 64 << 20 < found.memory < 128 << 20
    assert both.memory > 128 << 20
    assert measure([sys.executable, "-c", two], {}).memory < 192 << 20
    assert found.appliance == 0
    assert found.failed == ""


def test_a_failure_is_told_by_its_last_line() -> None:
    failing = [sys.executable, "-c", "import sys; print('what is wrong', file=sys.stderr); sys.exit(3)"]
    assert measure(failing, {}).failed == "what is wrong"
    assert measure(failing, {}, (0, 3)).failed == ""
    assert "No such file" in measure(["/no/such/program"], {}).failed


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("mke2fs", "sfdisk", "qemu-img", "qemu-nbd", "mmdebstrap", "tar")
    place = tmp_path_factory.mktemp("tiny")
    _system(place)
    disks.fill(place / "tree", 1003)
    disks.make_disk(place, 48, 4096, place / "tiny.qcow2")
    return place / "tiny.qcow2"


def test_every_file_is_hashed(tiny: Path) -> None:
    argv = command(HASHED, tiny, tiny.parent / "out")
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=PROJECT)
    size = sum(path.stat().st_size for path in (tiny.parent / "tree").rglob("*") if path.is_file())
    assert done.stdout == f"1005 of 1005 files, {size} bytes\n"
    failing = subprocess.run([*argv[:-1], str(tiny.parent)], capture_output=True, text=True, cwd=PROJECT)
    assert failing.returncode == 1
    assert failing.stderr.startswith("error: ")


def test_the_second_floor_is_what_is_not_empty(tiny: Path) -> None:
    raw = tiny.parent / "tiny.raw"
    disks.convert(tiny, ("-O", "raw"), raw)
    argv = [sys.executable, "-m", "benchmarks.content", str(tiny)]
    content = subprocess.run(argv, capture_output=True, check=True, cwd=PROJECT).stdout
    assert 0 < len(content) < 48 << 20
    blocks = {content[at : at + 4096] for at in range(0, len(content), 4096)}
    whole = raw.read_bytes()
    assert blocks | {bytes(4096)} == {whole[at : at + 4096] for at in range(0, len(whole), 4096)} | {bytes(4096)}
    done = subprocess.run(
        command(table.CONTENT, tiny, tiny.parent / "out"), capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert done.stdout.split()[0] == hashlib.md5(content).hexdigest()


def _outcome() -> table.Outcome:
    runs = {
        "vm2c --reader direct": [Measured(2.0, 100 << 20, 0), Measured(1.5, 120 << 20, 0), Measured(4.0, 90 << 20, 0)],
        "vm2c --reader guestfs": [Measured(9.0, 1, 1), Measured(0.1, 0, 0, "error: " + "too long " * 30)],
        table.FLOOR: [Measured(6.0, 1, 0)],
        table.CONTENT: [Measured(1.2, 1, 0), Measured(1.0, 1, 0)],
        table.BASE: [Measured(30.0, 200 << 20, 500 << 20), Measured(33.0, 200 << 20, 600 << 20)],
    }
    section = table.Section(disk="debian", says="a disk", bytes=742 << 20, rows=table.rows(runs))
    return table.Outcome(processors=2, emulation="KVM is not used.", rounds=3, disks=(section,))


def test_best_median_and_ratio() -> None:
    direct, guestfs, floor, content, base = _outcome().disks[0].rows
    assert (direct.best, direct.median, direct.ratio, direct.memory) == (1.5, 2.0, 0.05, 120 << 20)
    assert (base.best, base.median, base.ratio, base.appliance) == (30.0, 31.5, 1.0, 600 << 20)
    assert guestfs.best is guestfs.ratio is guestfs.of_floor is guestfs.of_content is None
    assert (direct.of_floor, direct.of_content) == (0.25, 1.5)
    assert (floor.of_floor, floor.of_content, content.of_floor, base.of_content) == (1.0, 6.0, 0.1667, 30.0)
    assert guestfs.failed.startswith("error: too long")
    alone = table.rows({"floor": [Measured(1.0, 1, 0)]})[0]
    assert alone.ratio is alone.of_floor is alone.of_content is None


def test_the_table_fits_and_the_json_holds_the_same() -> None:
    lines = table.text(_outcome()).splitlines()
    assert max(map(len, lines)) <= table.WIDTH
    row = next(line for line in lines if "direct" in line)
    assert row.split() == [
        "vm2c",
        "--reader",
        "direct",
        "1.50",
        "2.00",
        "0.050",
        "20.0",
        "0.25",
        "1.50",
        "120",
        "MiB",
        "-",
    ]
    found = json.loads(msgspec.json.encode(_outcome()))
    assert found["disks"][0]["rows"][0]["seconds"] == [2.0, 1.5, 4.0]


def test_the_command_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    readme = (PROJECT / "benchmarks" / "README.md").read_text()
    for option in ("--rounds", "--only", "--skip-guestfs", "--skip-appliance", "--json", "--build"):
        assert option in done.stdout
        assert option in readme
