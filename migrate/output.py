"""The one place that writes results: beside their destination first, then moved in whole.

    DIR/.vm2c/OWNER.new/      what is being written; nobody looks at it
    DIR/.vm2c/commit.json     what remains to be moved, once all of it is on the disk
    DIR/.vm2c/OWNER.json      what this command wrote last, with digests: only that is ever replaced or removed

A run killed before `commit.json` exists leaves the earlier result as it was. One killed while moving is
finished by the next command that calls `recover` or `write`: each step can be done twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import msgspec

from migrate.errors import Vm2cError
from migrate.text import show

Content: TypeAlias = "bytes | Callable[[], Iterable[bytes]]"
"""Bytes, or a function that gives them in pieces (the same ones at every call)."""

_STATE = ".vm2c"
_OWNER = re.compile(r"[a-z][a-z0-9-]*")


class File(msgspec.Struct, frozen=True):
    """One file to write. `content` may come in pieces; `mode` is its permission bits.

    `merged` says that a person's edits of the file are in the content already, so no `.yours` is kept of it.
    """

    content: Content
    mode: int = 0o644
    merged: bool = False

    def pieces(self) -> Iterable[bytes]:
        """Return the content in pieces."""
        return (self.content,) if isinstance(self.content, bytes) else self.content()


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a call of `write` did: paths below DIR, sorted.

    `kept` were changed or made by somebody else and stand in the way of nothing; `saved` were too, and are
    now beside the new file, their names ending in `.yours`.
    """

    changed: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    saved: tuple[str, ...]


class _Manifest(msgspec.Struct):
    files: dict[str, str]


class _Commit(msgspec.Struct):
    """What is left to do. `save` and `put` are pairs (from, to), all paths relative to DIR."""

    owner: str
    save: list[tuple[str, str]]
    put: list[tuple[str, str]]
    remove: list[str]


def write(files: Mapping[str, File], folder: Path, owner: str) -> Written:
    """Make `folder` hold `files` (relative paths), and nothing that `owner` wrote earlier and no longer names.

    A file that a person changed since is saved as `NAME.yours`; one that vm2c did not write is never
    removed. Raises Vm2cError where the folder cannot be written, and whatever a content's pieces raise:
    the earlier result then stands untouched.
    """
    if not _OWNER.fullmatch(owner):
        raise ValueError(f"no name for a manifest: {owner!r}")
    names = sorted(files)
    _check_names(names)
    with _locked(folder), _told(folder):
        _recover(folder)
        return _write({name: files[name] for name in names}, folder, owner)


def recover(folder: Path) -> None:
    """Finish what a killed run had begun to move in, and throw away what it had not finished writing."""
    if (folder / _STATE).is_dir():
        with _locked(folder), _told(folder):
            _recover(folder)


def _write(files: Mapping[str, File], folder: Path, owner: str) -> Written:
    state = folder / _STATE
    stage = state / f"{owner}.new"
    before = _read_manifest(state / f"{owner}.json")
    digests = {name: _stage(file, stage / name) for name, file in files.items()}
    commit = _Commit(owner=owner, save=[], put=[], remove=[])
    kept: list[str] = []
    for name, digest in digests.items():
        there = _digest(folder / name)
        if there == digest and (folder / name).stat().st_mode & 0o7777 == files[name].mode:
            continue
        if there is not None and there not in {digest, before.get(name)} and not files[name].merged:
            commit.save.append((name, f"{name}.yours"))
        commit.put.append((str((stage / name).relative_to(folder)), name))
    for name in sorted(before.keys() - digests.keys()):
        there = _digest(folder / name)
        if there == before[name]:
            commit.remove.append(name)
        elif there is not None:
            kept.append(name)
    manifest = msgspec.json.format(msgspec.json.encode(_Manifest(files=dict(sorted(digests.items())))), indent=1)
    _stage(File(manifest + b"\n"), stage / ".manifest")
    _put_whole(state / "commit.json", msgspec.json.encode(commit))
    _finish(folder, commit)
    return Written(
        changed=tuple(name for _, name in commit.put),
        removed=tuple(commit.remove),
        kept=tuple(kept),
        saved=tuple(name for _, name in commit.save),
    )


def _recover(folder: Path) -> None:
    state = folder / _STATE
    commit_path = state / "commit.json"
    if commit_path.exists():
        _finish(folder, msgspec.json.decode(commit_path.read_bytes(), type=_Commit))
    for left in state.glob("*.new"):
        shutil.rmtree(left)


def _finish(folder: Path, commit: _Commit) -> None:
    """Move what is staged to its place. Doing it again after any interruption gives the same."""
    state = folder / _STATE
    stage = state / f"{commit.owner}.new"
    saved = dict(commit.save)
    for staged, name in commit.put:
        if not (folder / staged).exists():
            continue  # moved before the interruption
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name in saved and target.exists():
            os.replace(target, folder / saved[name])  # noqa: PTH105
        os.replace(folder / staged, target)  # noqa: PTH105
    for name in commit.remove:
        (folder / name).unlink(missing_ok=True)
        _remove_empty(folder, name)
    if (stage / ".manifest").exists():
        os.replace(stage / ".manifest", state / f"{commit.owner}.json")  # noqa: PTH105
    _sync_folder(folder)
    (state / "commit.json").unlink(missing_ok=True)
    shutil.rmtree(stage, ignore_errors=True)


def _remove_empty(folder: Path, name: str) -> None:
    for parent in PurePosixPath(name).parents:
        if str(parent) == ".":
            return
        try:
            (folder / parent).rmdir()
        except OSError:
            return  # not empty, or gone already


# ---------------------------------------------------------------- one file


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        path = PurePosixPath(name)
        clean = bool(name) and not path.is_absolute() and str(path) == name and ".." not in path.parts
        if not clean or "\0" in name or path.parts[0] == _STATE:
            raise Vm2cError(f"write {show(name)}", "it is no plain path inside the output folder")


def _stage(file: File, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for piece in file.pieces():
            digest.update(piece)
            stream.write(piece)
        stream.flush()
        os.fchmod(stream.fileno(), file.mode)
        os.fsync(stream.fileno())
    return digest.hexdigest()


def _put_whole(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.part")
    _stage(File(content), beside)
    os.replace(beside, path)  # noqa: PTH105
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(path: Path) -> str | None:
    """Return the SHA-256 (hex) of a file, or None where there is none."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_manifest(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Manifest).files
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise Vm2cError(f"read {path}", str(error), "remove it: what was written earlier is then kept") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with _told(folder):
        (folder / _STATE).mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _STATE / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = show(str(error.filename)) if error.filename else str(folder)
        raise Vm2cError(f"write {where}", error.strerror or str(error)) from error
