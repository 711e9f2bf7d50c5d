"""Machines that are made for the tests: a recipe in a folder of its own, its disk in `.cache/machines`.

A machine is a tree, made by the module `MAKERS` names; plant.py changes it as the recipe's truth.yaml says; then it
becomes a disk as in benchmarks/disks.py. Beside the disk stands what the distribution's own tool says of the tree
(`dpkg --verify`, `rpm -Va`): who wrote that knows nothing of vm2c. A disk is kept until its recipe changes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from benchmarks.disks import CONFIG, as_owner, make_disk

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".cache" / "machines"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

OR_ONE = ("sh", "-c", '"$@" || test $? -eq 1', "ask")
"""Put before a program that ends with 1 where it found something: mmdebstrap's helper has one code for all failures."""

Make = Callable[[Path, Path], None]
"""Makes `tree` below the first folder of the recipe in the second."""
Ask = Callable[[Path], str]
"""Asks the distribution's tool about a tree."""


class Kind(msgspec.Struct, frozen=True):
    """How a machine is made: see `MAKERS` of tests/machines/kinds.py.

    `sources` are files beside those of the recipe that it is made of; `programs` what must be installed.
    """

    name: str
    make: Make
    ask: Ask
    mebibytes: int
    inodes: int
    sources: tuple[Path, ...] = ()
    programs: tuple[str, ...] = ()
    network: bool = False

    @property
    def recipe(self) -> Path:
        """The folder of the recipe."""
        return HERE / self.name

    @property
    def disk(self) -> Path:
        """Where the disk is."""
        return FOLDER / f"{self.name}.qcow2"

    @property
    def reference(self) -> Path:
        """Where it stands what the distribution's tool said."""
        return FOLDER / f"{self.name}.reference"

    def lacks(self) -> list[str]:
        """Return what is missing here to make the disk."""
        wanted = ("mke2fs", "sfdisk", "qemu-img", *self.programs)
        missing = [program for program in wanted if shutil.which(program, path=PATH) is None]
        return [*missing, *(str(path) for path in self.sources if not path.is_file())]

    def digest(self) -> str:
        """Return the digest of everything that ends up on the disk: names and contents.

        Of truth.yaml that is what is done to which path; what is expected of it makes no other disk.
        """
        made = [(entry["path"], entry.get("do")) for entry in self.truth()["planted"]]
        parts = [json.dumps([self.mebibytes, self.inodes, made])]
        files = [p for p in sorted(self.recipe.rglob("*")) if p.is_file() and p.name != "truth.yaml"]
        files += [CONFIG, HERE / "plant.py", Path(inspect.getfile(self.make))]
        parts += [f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
        parts += [f"{path.name}\0{path.stat().st_size}" for path in self.sources if path.is_file()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def is_current(self) -> bool:
        """Tell whether the disk is there and was made by this recipe."""
        stamp = FOLDER / f"{self.name}.recipe"
        return self.disk.is_file() and stamp.is_file() and stamp.read_text() == self.digest()

    def truth(self) -> dict[str, Any]:
        """Return what is known of the machine: truth.yaml."""
        known: dict[str, Any] = yaml.safe_load((self.recipe / "truth.yaml").read_text())
        return known

    def build(self, say: Callable[[str], None]) -> None:
        """Make the disk where it is missing or was made by another recipe.

        Raises RuntimeError where something is missing here, subprocess.CalledProcessError where a program fails.
        """
        FOLDER.mkdir(parents=True, exist_ok=True)
        with (FOLDER / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.is_current():  # who waited finds it made
                return
            if missing := self.lacks():
                raise RuntimeError(f"to make the machine {self.name}, there must be {', '.join(missing)}")
            say(f"making the machine {self.name}")
            digest = self.digest()
            with workshop() as work:
                self._build(work)
            (FOLDER / f"{self.name}.recipe").write_text(digest)

    def _build(self, work: Path) -> None:
        tree, new = work / "tree", FOLDER / f"{self.name}.qcow2.new"
        shutil.copytree(self.recipe, work / "recipe", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "plant.py", work)
        (work / "truth.json").write_text(json.dumps(self.truth()))
        run("chmod", "-R", "a+rX", work)
        self.make(work, work / "recipe")
        run(*as_owner(), "/usr/bin/python3", work / "plant.py", tree, work / "truth.json")
        said = self.ask(tree)
        # mke2fs reads devices as whoever owns them, in a namespace where there are none.
        run(*as_owner(), "find", tree / "dev", "-xdev", "-mindepth", "1", "-delete")
        try:
            make_disk(work, self.mebibytes, self.inodes, new)
            (FOLDER / f"{self.name}.recipe").unlink(missing_ok=True)
            new.replace(self.disk)
        finally:
            new.unlink(missing_ok=True)
        self.reference.write_text(said)


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """Give a folder that the user namespace's root can use too, and remove it, whoever owns what is in it."""
    work = Path(tempfile.mkdtemp(prefix="vm2c-machine."))
    try:
        work.chmod(0o1777)
        yield work
    finally:
        run(*as_owner(), "rm", "-rf", "--one-file-system", work / "tree")
        shutil.rmtree(work)


def run(*argv: str | Path, stdin: str = "") -> str:
    """Run a program with an environment of its own and return what it printed.

    Raises subprocess.CalledProcessError, with the program's last words, where it fails.
    """
    passed = {name: os.environ[name] for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ}
    environment = {**passed, "PATH": PATH, "HOME": "/", "LC_ALL": "C.UTF-8", "TMPDIR": tempfile.gettempdir()}
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, errors="surrogateescape", env=environment, check=False
    )
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, [str(a) for a in argv], done.stdout, done.stderr)
        error.add_note((done.stdout + done.stderr)[-3000:])
        raise error
    return done.stdout
