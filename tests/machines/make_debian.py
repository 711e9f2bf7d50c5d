"""The machine forty: Debian 12 by mmdebstrap, with what its recipe's scripts do inside."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.disks import KEYS, as_owner
from tests.machines.build import OR_ONE, run

PROGRAMS = ("mmdebstrap", "dpkg")


def make(work: Path, recipe: Path) -> None:
    """Install the packages, and run the scripts inside."""
    tree = work / "tree"
    tree.mkdir()
    tree.chmod(0o777)
    lines = (line.partition("#")[0].strip() for line in (recipe / "packages.txt").read_text().splitlines())
    packages = ",".join(line for line in lines if line)
    places = (("debian", "bookworm"), ("debian", "bookworm-updates"), ("debian-security", "bookworm-security"))
    sources = "".join(f"deb [signed-by={KEYS}] http://deb.debian.org/{path} {suite} main\n" for path, suite in places)
    inside = 'chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 sh'
    run(
        *("mmdebstrap", f"--mode={'root' if os.geteuid() == 0 else 'unshare'}", "--format=directory"),
        *("--variant=apt", "--architectures=amd64", f"--include={packages}"),
        *("--skip=cleanup/apt/lists,cleanup/reproducible", '--aptopt=Acquire::Languages "none"'),
        f'--customize-hook=cp -r {recipe} "$1/tmp/forty"',
        f"--customize-hook={inside} /tmp/forty/system.sh",
        f"--customize-hook={inside} /tmp/forty/applications.sh",
        '--customize-hook=rm -r "$1/tmp/forty"',
        *("bookworm", tree, "-"),
        stdin=sources,
    )


def ask(tree: Path) -> str:
    """Return what `dpkg --verify` says: dpkg(1), one line for each path that is not as its md5sums have it."""
    return run(*as_owner(), *OR_ONE, "dpkg", f"--root={tree}", "--verify")
