"""A container image as a guest: what its layers make together is a machine's root.

Read are archives of `docker save`, old (`manifest.json`, layers by name) and new (an OCI layout with it), OCI archives
and OCI layout directories; an archive may be compressed as a whole. Nothing is unpacked but compressed layers, to a
temporary file: the others are read where they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from migrate.errors import DiskError, GuestFileError
from migrate.guest.archives.ociformat import ImageConfig
from migrate.guest.archives.ocilayers import Layers
from migrate.guest.archives.ocipick import Picked, host_architecture, pick_oci, pick_saved
from migrate.guest.archives.ocistore import Depot, DirectoryStore, Store, TarStore, Unpacker, read_document
from migrate.guest.archives.tarball import Archive, TarGuest
from migrate.guest.archives.tarindex import MAX_PROBLEMS, Budget, TarIndex
from migrate.guest.digests import Answer, Job, hashed_in_order
from migrate.guest.mounting.root import MARKS, check_root
from migrate.guest.progress import Notify, Progress, silent
from migrate.guest.protocol import Disk, Entry, FileSystem, Problem, Source
from migrate.guest.tree import Tree, TreeGuest
from migrate.text import show


def is_image(names: Collection[str]) -> bool:
    """Tell whether what has these names at its top is a container image, and not the root of a system.

    >>> is_image({"oci-layout", "index.json", "blobs"}), is_image({"manifest.json", "usr", "etc"})
    (True, False)
    """
    if any(mark in names for mark in MARKS):
        return False
    old = "repositories" in names and any(len(name) == 64 for name in names)  # a layer's name, in hexadecimal
    return old or "manifest.json" in names or {"oci-layout", "index.json"} <= set(names)


def is_image_directory(path: Path) -> bool:
    """Tell whether a directory holds a container image; one that cannot be looked at does not."""
    try:
        return is_image({each.name for each in path.iterdir()})
    except OSError:
        return False


def open_archive(path: Path, progress: Progress = silent, notify: Notify = silent) -> TarGuest | OciGuest:
    """Open a tar archive, which is decompressed and indexed once: a container image's, or a root's.

    Raises as `OciGuest` and `TarGuest` do.
    """
    archive = Archive(path, progress)
    if is_image(archive.names()):
        return OciGuest(path, progress, notify, archive)
    return TarGuest(path, progress, archive)


class OciGuest(TreeGuest):
    """A guest whose files are a container image's, in an archive or a directory. `config` is how it says it is run.

    `progress` is told what is being done, `notify` which image was chosen where there were several platforms.
    `archive` is the same one where it was opened before; it is closed with the guest, or where that cannot be made.
    Raises DiskError for what is no image, or a damaged one, and NoSystemError where it holds no root.
    """

    def __init__(
        self, path: Path, progress: Progress = silent, notify: Notify = silent, archive: Archive | None = None
    ) -> None:
        attempted = f"read the image {show(str(path))}"
        self._depot = Depot()
        self._indexes: list[TarIndex] = []
        self._store = _store(path, progress, archive, attempted, self._depot)
        try:
            picked = _pick(self._store, attempted)
            for sentence in picked.said:
                notify(sentence)
            layers = self._apply(picked, attempted, progress)
            tree = Tree(layers.entries())
            check_root(tree, f"the image {show(str(path))}")
            problems = [Problem(path=str(path), why=why) for why in picked.problems]
            odd = [problem for index in self._indexes for problem in index.problems] + layers.problems
            untold = layers.untold + max(0, len(odd) - MAX_PROBLEMS)
            more = [Problem(path="/", why=f"{untold} more names cannot be read")] if untold else []
            super().__init__(tree, _source(path, picked.format, tree), [*problems, *odd[:MAX_PROBLEMS], *more])
        except OSError as error:
            self._let_go()
            raise DiskError(attempted, error.strerror or str(error)) from error
        except BaseException:
            self._let_go()
            raise
        self.config: ImageConfig = picked.config
        self._origins = layers.origins()

    def _apply(self, picked: Picked, attempted: str, progress: Progress) -> Layers:
        unpacker = Unpacker(self._store, self._depot, attempted, progress)
        layers, budget = Layers(), Budget()
        for number, layer in enumerate(picked.layers):
            blob = unpacker.layer(layer)
            progress(f"indexing {layer.title}")
            index = TarIndex(
                blob.file,
                f"{attempted.removeprefix('read the image ')}, {layer.title}",
                device=number,
                window=(blob.start, blob.size),
                layer=True,
                budget=budget,
            )
            layers.apply(number, index.entries, index.outside)
            index.entries, index.outside = {}, {}
            self._indexes.append(index)
        return layers

    def _let_go(self) -> None:
        self._depot.close()
        self._store.close()

    def close(self) -> None:
        """Close the archive or directory; what was unpacked is gone with that."""
        if not self._closed:
            self._let_go()
        super().close()

    def _pieces(self, entry: Entry, length: int) -> Iterator[bytes]:
        try:
            yield from self._indexes[entry.inode[0]].pieces(self._origins.get(entry.path, entry.path), length)
        except OSError as error:
            raise GuestFileError(f"read {show(entry.path)}", error.strerror or str(error)) from error

    def _hashed(self, jobs: Sequence[Job]) -> Sequence[Answer]:
        """Hash in threads, layer by layer in the order of each."""

        def place(entry: Entry) -> tuple[int, int]:
            layer = entry.inode[0]
            return layer, self._indexes[layer].start(self._origins.get(entry.path, entry.path))

        return hashed_in_order(jobs, [place(job.entry) for job in jobs], self._digest)


def _store(path: Path, progress: Progress, archive: Archive | None, attempted: str, depot: Depot) -> Store:
    if archive is None and path.is_dir():
        return DirectoryStore(path, attempted)
    return TarStore(archive or Archive(path, progress), attempted, depot)


def _pick(store: Store, attempted: str) -> Picked:
    names = store.names()

    def read(name: str) -> bytes | None:
        return read_document(store, name)

    if {"oci-layout", "index.json"} <= names:
        picked = pick_oci(read, attempted, host_architecture())
        if picked is not None:
            return picked
        if "manifest.json" not in names:
            raise DiskError(attempted, "its index.json lists no image")
    if "manifest.json" in names:
        return pick_saved(read, attempted)
    if "repositories" in names:
        do = "load it into a Docker of today and save it again"
        raise DiskError(attempted, "it is an image as Docker before 1.10 saved it, without digests", do)
    raise DiskError(attempted, "it is no container image: there is neither an index.json nor a manifest.json in it")


def _source(path: Path, kind: str, tree: Tree) -> Source:
    sizes = {entry.inode: entry.allocated for entry in tree.walk() if entry.kind == "file"}
    disk = Disk(path=str(path), format=kind, virtual_bytes=sum(sizes.values()))
    system = FileSystem(device=str(path), type="oci", mountpoint="/")
    return Source(disks=(disk,), filesystems=(system,), reader="oci")
