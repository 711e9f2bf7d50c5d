"""`python -m benchmarks`: make the disks where they are missing, measure, print."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.disks import DISKS, FOLDER, DiskKind, build, path_of
from benchmarks.measure import Measured, measure
from benchmarks.table import BASE, CONTENT, FLOOR, Outcome, Section, rows, text
from migrate.guest.libguestfs.appliance import needs_emulation

DIRECT, GUESTFS = "vm2c --reader direct", "vm2c --reader guestfs"
# Without comparing packaged files with their packages, which virt-inspector does not do either.
QUICK, GUESTFS_QUICK = "vm2c --quick --reader direct", "vm2c --quick --reader guestfs"
_ANALYSES = frozenset({DIRECT, GUESTFS, QUICK, GUESTFS_QUICK})
HASHED, HASHED_BY_GUESTFS = "every file's MD5, direct", "every file's MD5, guestfs"
_READERS = {HASHED: "direct", HASHED_BY_GUESTFS: "guestfs"}
_IN_APPLIANCE = frozenset({GUESTFS, GUESTFS_QUICK, HASHED_BY_GUESTFS, BASE})
_FORMATS = {".qcow2": "qcow2", ".vmdk": "vmdk"}
# Read in order by qemu's block layer, and every byte looked at once. `qemu-img convert -O raw` cannot write to a pipe
# ("file driver requires … to be a regular file", qemu 7.2); nbdcopy can, fastest in pieces of 1 MiB.
_FLOOR = 'nbdcopy --request-size=1048576 -- [ qemu-nbd --read-only -f "$1" "$2" ] - | md5sum'
_CONTENT = '"$1" -m benchmarks.content "$2" | md5sum'


def say(words: str) -> None:
    """Tell what is being done."""
    print(f"bench: {words}", file=sys.stderr, flush=True)


def command(tool: str, disk: Path, output: Path) -> list[str]:
    """Return how a tool is called on a disk; `output` is a folder that is not there yet."""
    if tool == FLOOR:
        return ["bash", "-o", "pipefail", "-c", _FLOOR, "floor", _FORMATS[disk.suffix], str(disk)]
    if tool == CONTENT:
        return ["bash", "-o", "pipefail", "-c", _CONTENT, "content", sys.executable, str(disk)]
    if tool in _READERS:
        return [sys.executable, "-m", "benchmarks.hashing", "--reader", _READERS[tool], str(disk)]
    if tool == BASE:
        return [BASE, "-a", str(disk)]
    options = [*tool.split()[1:], "--quiet", "-o", str(output)]
    return [sys.executable, "-m", "migrate", "analyze", *options, str(disk)]


def environment(tool: str, *, emulate: bool) -> dict[str, str]:
    """Return a tool's environment: modules are compiled once, as where vm2c is installed, and both or none use KVM.

    vm2c keeps its appliance from KVM by itself, by what it knows of KVM; virt-inspector must be told.
    """
    found = {**os.environ, "PYTHONPYCACHEPREFIX": str(FOLDER / "bytecode")}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    if tool == BASE and emulate:
        found |= {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
    return found


def run(tool: str, disk: Path, *, emulate: bool) -> Measured:
    """Run a tool once."""
    program = {FLOOR: "nbdcopy", BASE: BASE}.get(tool)
    if program is not None and shutil.which(program) is None:
        package = {FLOOR: "libnbd-bin", BASE: "libguestfs-tools"}[tool]
        return Measured(0, 0, 0, f"not measured: {program} is not installed (Debian: {package})")
    with tempfile.TemporaryDirectory(prefix="vm2c-bench.") as place:
        argv = command(tool, disk, Path(place) / "out")
        return measure(argv, environment(tool, emulate=emulate), (0, 3) if tool in _ANALYSES else (0,))


def section(kind: DiskKind, tools: Sequence[str], rounds: int, *, emulate: bool) -> Section:
    """Measure the tools on one disk, in turn. A first run that is not counted reads the disk into the host's memory."""
    disk = path_of(kind)
    runs: dict[str, list[Measured]] = {tool: [] for tool in tools}
    say(f"{kind.name}: once, uncounted")
    run(DIRECT, disk, emulate=emulate)
    for number in range(rounds):
        for tool in tools:
            if runs[tool] and runs[tool][-1].failed:
                continue
            say(f"{kind.name}, round {number + 1} of {rounds}: {tool}")
            runs[tool].append(run(tool, disk, emulate=emulate))
    return Section(disk=kind.name, says=kind.says, bytes=disk.stat().st_size, rows=rows(runs))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, build, measure, print. Returns the exit code: 1 where something could not be built or measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [kind.name for kind in DISKS]
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is run (3)")
    parser.add_argument("--only", choices=names, action="append", help="this disk; may be given several times")
    parser.add_argument("--skip-guestfs", action="store_true", help="leave out what vm2c reads with guestfs")
    parser.add_argument("--skip-appliance", action="store_true", help="leave all out that boots an appliance")
    parser.add_argument("--build", action="store_true", help="make the disks and measure nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error("at least one round")
    kinds = [kind for kind in DISKS if given.only is None or kind.name in given.only]
    try:
        build(kinds, say)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        say(f"the disks could not be made: {error}")
        return 1
    if given.build:
        return 0
    tools = [QUICK, GUESTFS_QUICK, BASE, DIRECT, GUESTFS, HASHED, HASHED_BY_GUESTFS, CONTENT, FLOOR]
    left_out = _IN_APPLIANCE if given.skip_appliance else _IN_APPLIANCE - {BASE} if given.skip_guestfs else frozenset()
    tools = [tool for tool in tools if tool not in left_out]
    emulate = bool(_IN_APPLIANCE.intersection(tools)) and (_forced() or needs_emulation(say))
    outcome = Outcome(
        processors=len(os.sched_getaffinity(0)),
        emulation=_conditions(tools, emulate=emulate),
        rounds=given.rounds,
        disks=tuple(section(kind, tools, given.rounds, emulate=emulate) for kind in kinds),
    )
    output = (
        msgspec.json.format(msgspec.json.encode(outcome), indent=2).decode() + "\n" if given.json else text(outcome)
    )
    sys.stdout.write(output)
    return int(any(row.failed for each in outcome.disks for row in each.rows))


def _conditions(tools: Sequence[str], *, emulate: bool) -> str:
    if not _IN_APPLIANCE.intersection(tools):
        return "Nothing that needs an appliance was run."
    if emulate:
        return "KVM is not used: appliances run under emulation, vm2c's and virt-inspector's alike."
    return "Appliances run under KVM, vm2c's and virt-inspector's alike."


def _forced() -> bool:
    return "force_tcg" in os.environ.get("LIBGUESTFS_BACKEND_SETTINGS", "")


if __name__ == "__main__":
    sys.exit(main())
