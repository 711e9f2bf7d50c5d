"""The reader that opens everything Linux can mount: libguestfs, a small machine of its own that holds the disks.

The disks are attached under an overlay, so that even a journal's replay changes nothing on them; the appliance
has no network, and a hostile file system meets its kernel, not the host's. This is the only module that imports
`guestfs`, and it does so when a disk is opened.

The overlay is our own, not the library's (`readonly=1`): its overlay is given to qemu without a format for what
lies in it, and qemu then looks into the guest's disk for one. A guest that has written a qcow2 header to its
first sector, with /etc/shadow as backing file, would so be shown the host's (seen with libguestfs 1.48 and qemu 7.2;
lib/launch-direct.c is the same in 1.61), and a disk that starts with LUKS keeps the appliance from starting.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from migrate.errors import DiskError, GuestFileError
from migrate.guest.archives.tarindex import TarIndex
from migrate.guest.digests import Answer, Job
from migrate.guest.images.image import ImageInfo, make_overlay, notes_of, source_of
from migrate.guest.libguestfs import appliance
from migrate.guest.libguestfs.bulk import Fetch, plan_fetches, wanted_files
from migrate.guest.libguestfs.handle import BINDING_ERRORS, Handle, must_live, reason
from migrate.guest.libguestfs.hashing import ALGORITHMS, plan_sums, sums_below
from migrate.guest.libguestfs.kept import LARGEST, Kept
from migrate.guest.libguestfs.leftovers import private_place
from migrate.guest.libguestfs.sweep import Sweep, tar_pattern
from migrate.guest.mounting.keys import Key
from migrate.guest.mounting.mounts import Mounter
from migrate.guest.progress import Notify, Progress, silent
from migrate.guest.protocol import Entry
from migrate.guest.spool import reopened, spool
from migrate.guest.tree import Tree, TreeGuest
from migrate.text import show

if TYPE_CHECKING:
    import guestfs

PIECE = 2 << 20
"""How much is read in one call: a message of the library holds less than 4 MiB (guestfs(3), pread)."""


_PAGE = 4096
_KEY_MEMORY = 2048
"""MiB for the appliance that opens a LUKS2 volume: its Argon2 takes up to 1 GiB (cryptsetup(8), --pbkdf-memory)."""


def version() -> str | None:
    """Return the version of libguestfs, or None where its Python bindings cannot be imported."""
    try:
        handle = _new_handle()
    except DiskError:
        return None
    try:
        parts = handle.version()
        return f"{parts['major']}.{parts['minor']}.{parts['release']}"
    finally:
        handle.close()


def _new_handle() -> guestfs.GuestFS:
    try:
        module = importlib.import_module("guestfs")
    except ImportError as error:
        found = f"Python finds no libguestfs here ({error})"
        raise DiskError("open a disk image", found, appliance.bindings_advice()) from error
    handle: guestfs.GuestFS = module.GuestFS(python_return_dict=True)
    return handle


class _Machine:
    """The launched appliance of one machine's disks; `memory` is what it gets, in MiB, if it needs more than usual.

    `servers` are what serves it those disks that cannot be said by a name; they must outlive it.
    """

    def __init__(self, disks: Sequence[ImageInfo], notify: Notify, progress: Progress, memory: int = 0) -> None:
        self._disks = disks
        self._memory = memory
        self.servers = contextlib.ExitStack()
        self.labels = [_label(number) for number in range(len(disks))]
        emulate = appliance.needs_emulation(notify)
        progress("starting the appliance")
        try:
            self.handle = self._launch(emulate=emulate)
        except BINDING_ERRORS as error:
            if emulate or appliance.known_kvm().state == "absent":
                raise self._failed() from error
            notify("the appliance does not start under KVM; trying once more under emulation")
            try:
                self.handle = self._launch(emulate=True)
            except BINDING_ERRORS:
                raise self._failed() from error
            appliance.remember(appliance.Kvm("broken", "the appliance starts only without it"))

    def _launch(self, *, emulate: bool, log: Callable[[str], object] | None = None) -> guestfs.GuestFS:
        # The overlays' names are removed as soon as qemu has them open; so they are gone however it ends.
        with private_place() as place, contextlib.ExitStack() as servers:
            handle = _new_handle()
            try:
                handle.set_autosync(False)
                handle.set_network(False)
                if "LIBGUESTFS_TMPDIR" not in os.environ:
                    handle.set_tmpdir(place)  # used until it is launched; a killed process would leave it there
                if self._memory and "LIBGUESTFS_MEMSIZE" not in os.environ:
                    handle.set_memsize(self._memory)
                if "LIBGUESTFS_BACKEND" not in os.environ:
                    handle.set_backend("direct")
                if emulate:
                    handle.set_backend_setting("force_tcg", "1")
                if log is not None:
                    handle.set_verbose(True)
                    handle.set_event_callback(lambda _event, _id, text, _numbers: log(text), _events())
                for disk, label in zip(self._disks, self.labels, strict=True):
                    overlay = Path(place) / f"{label}.qcow2"
                    make_overlay(disk, overlay, servers)
                    handle.add_drive_opts(str(overlay), format="qcow2", label=label, cachemode="unsafe")
                handle.launch()
            except BaseException:
                handle.close()
                raise
            self.servers = servers.pop_all()
            return handle

    def _failed(self) -> DiskError:
        """Find out why there is no appliance. The library says so only to its log, so that is asked for now."""
        attempted = "start libguestfs' appliance"
        if appliance.readable_kernel() is None:
            return DiskError(attempted, "there is no kernel that may be read", appliance.kernel_advice())
        if not appliance.qemu_version():
            return DiskError(attempted, f"there is no {appliance.qemu_program()}", "install qemu")
        lines: list[str] = []
        error: BaseException | None = None
        try:
            self._launch(emulate=True, log=lines.append).close()
            self.servers.close()
        except BINDING_ERRORS as again:
            error = again
        said = [line for text in lines for line in text.splitlines() if _is_reason(line)]
        found = said[-1] if said else reason(error) if error else "it started only at the third try"
        return DiskError(attempted, show(found), "run libguestfs-test-tool, and `vm2c doctor`")


def _is_reason(line: str) -> bool:
    """Tell the line of a log that says why, among the hundreds that do not."""
    if line.startswith("qemu-system"):
        return "warning" not in line
    return (
        re.match(r"(supermin|libguestfs|qemu-img): .*\b(error|failed|cannot|denied|No space|suitable)\b", line)
        is not None
    )


def _events() -> int:
    module = importlib.import_module("guestfs")
    return int(module.EVENT_LIBRARY | module.EVENT_APPLIANCE | module.EVENT_WARNING)


def _label(number: int) -> str:
    """Return a disk's label: letters only (guestfs(3), add_drive)."""
    letters = ""
    while True:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
        if number < 0:
            return f"disk{letters}"


class GuestfsGuest(TreeGuest):
    """The disks of one machine, mounted together in an appliance.

    `root` is the device, UUID or label of the root to read where there are several; `keys` open what is encrypted.
    Raises DiskError where the appliance cannot be started, NoSystemError where no root is found, and UsageError
    where `root` is none.
    """

    def __init__(
        self,
        disks: Sequence[ImageInfo],
        root: str | None,
        notify: Notify,
        progress: Progress = silent,
        *,
        keys: Sequence[Key] = (),
    ) -> None:
        self._machine: guestfs.GuestFS | None = None
        self._servers = contextlib.ExitStack()
        self._odd: list[TarIndex] = []
        self._archives: list[TarIndex] = []
        self._fetched: dict[str, TarIndex] = {}
        self._kept = Kept()
        self._progress = progress
        with contextlib.ExitStack() as stack:
            machine = _Machine(disks, notify, progress, _KEY_MEMORY if keys else 0)
            stack.callback(machine.servers.close)
            stack.callback(_close, machine.handle)
            handle: Handle = machine.handle
            mounted = Mounter(handle, machine.labels, progress, keys, by_kernel=True).mount(root)
            sweep = Sweep(handle, progress, mounted.hidden)
            stack.callback(_close_all, sweep.odd)
            try:
                tree = Tree(sweep.entries())
            except BINDING_ERRORS as error:
                raise DiskError("read the metadata of the disk", reason(error)) from error
            notes = notes_of(disks)
            source = source_of(disks, mounted.filesystems, "guestfs")
            super().__init__(tree, source, [*notes, *mounted.problems, *sweep.problems])
            self._barred = frozenset([*mounted.hidden, *(problem.path for problem in sweep.problems)])
            self._machine, self._servers, self._odd = machine.handle, machine.servers, sweep.odd
            stack.pop_all()

    def close(self) -> None:
        """Stop the appliance; what was fetched is gone with it."""
        if self._machine is not None:
            _close(self._machine)
            self._machine = None
        self._servers.close()
        _close_all([*self._odd, *self._archives])
        self._odd, self._archives, self._fetched = [], [], {}
        self._kept.clear()
        super().close()

    def _index_of(self, path: str) -> TarIndex | None:
        if path in self._fetched:
            return self._fetched[path]
        return next((index for index in self._odd if path in index), None)

    def _pieces(self, entry: Entry, length: int) -> Iterator[bytes]:
        index = self._index_of(entry.path)
        try:
            if index is not None:
                yield from index.pieces(entry.path, length)
            else:
                yield from self._from_disk(entry, length)
        except (OSError, *BINDING_ERRORS) as error:
            if self._machine is not None:
                must_live(self._machine, error)
            raise GuestFileError(f"read {show(entry.path)}", reason(error)) from error

    def _from_disk(self, entry: Entry, length: int) -> Iterator[bytes]:
        """Read with pread: 0.4 ms a call and more, where download and read_file take 140 ms each (libguestfs 1.48).

        A few bytes cost as much as a page, and are mostly followed by a wish for the rest.
        """
        if length <= LARGEST:
            start = self._kept.get(entry.path, length)
            if start is None:
                start = b"".join(self._read(entry.path, max(length, min(entry.size, _PAGE))))
                self._kept.put(entry.path, start)
            yield start[:length]
        else:
            yield from self._read(entry.path, length)

    def _read(self, path: str, length: int) -> Iterator[bytes]:
        at = 0
        while at < length and self._machine is not None:
            piece = self._machine.pread(path, min(PIECE, length - at), at)
            if not piece:
                return
            at += len(piece)
            yield piece

    def _hashed(self, jobs: Sequence[Job]) -> Sequence[Answer]:
        """Hash in the appliance, directory by directory, where that is faster than to read each file."""
        wanted: dict[str, dict[str, int]] = {}
        for number, (entry, algorithm) in enumerate(jobs):
            if not self._has(entry.path):
                wanted.setdefault(algorithm, {})[entry.path] = number
        found: dict[int, Answer] = {}
        for algorithm, numbers in wanted.items():
            for path, digest in self._sums(algorithm, numbers):
                found[numbers[path]] = digest
        return [found.get(number) or self._digest(job) for number, job in enumerate(jobs)]

    def _sums(self, algorithm: str, wanted: Collection[str]) -> Iterator[tuple[str, str]]:
        """Yield those of the wanted files that are better hashed in the appliance, with their digests."""
        if self._machine is None or algorithm not in ALGORITHMS:
            return
        plan = plan_sums(self._tree, wanted, self._barred)
        for done, directory in enumerate(plan):
            self._progress(f"hashing {show(directory)}", done, len(plan))
            for path, digest in sums_below(self._machine, directory, algorithm):
                if path in wanted:
                    yield path, digest

    def prefetch(self, paths: Iterable[str]) -> None:
        """Fetch what is below these paths as few archives, as far as that is cheaper than reading on demand."""
        if self._machine is None:
            return
        wanted = wanted_files(self._tree, paths, self._has)
        plan = plan_fetches(self._tree, wanted)
        for done, fetch in enumerate(plan):
            self._progress(f"fetching {show(fetch.directory)}", done, len(plan))
            self._fetch(self._machine, fetch)

    def _has(self, path: str) -> bool:
        return self._index_of(path) is not None

    def _fetch(self, handle: guestfs.GuestFS, fetch: Fetch) -> None:
        """Take one archive. Where that fails half way, what came is used and the rest read on demand."""
        prefix = "" if fetch.directory == "/" else fetch.directory
        excludes = [tar_pattern(path[len(prefix) :]) for path in fetch.excludes]
        file = spool()
        try:
            try:
                handle.tar_out(fetch.directory, reopened(file), numericowner=True, excludes=excludes)
            except BINDING_ERRORS as error:
                must_live(handle, error)
            index = TarIndex(file, fetch.directory, prefix=prefix, may_be_cut=True)
        except BaseException:
            file.close()
            raise
        for path, entry in index.entries.items():
            known = self._tree.find(path, follow=False)
            if known is not None and entry.kind == known.kind == "file" and entry.size == known.size and path in index:
                self._fetched[known.path] = index
        index.entries = {}
        self._archives.append(index)


def _close_all(indexes: Iterable[TarIndex]) -> None:
    for index in indexes:
        index.close()


def _close(handle: guestfs.GuestFS) -> None:
    """Stop an appliance that may have stopped already; there is nothing on the disks to lose."""
    with contextlib.suppress(*BINDING_ERRORS):
        handle.shutdown()
    with contextlib.suppress(*BINDING_ERRORS):
        handle.close()
