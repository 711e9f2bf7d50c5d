"""Where inventories are kept: those that vm2c brings, and the user's own, which go first.

    $XDG_DATA_HOME/vm2c/bases/debian%3A12-slim.amd64.json.xz      (basedir-spec; ~/.local/share where it is not set)

JSON compressed with xz: the 8,700 files of Debian 12's minimal system take 273 KiB, and 345 with gzip -9; their digests
alone are 232. Names of files are the reference, quoted as in an address: no two references share one.
"""

from __future__ import annotations

import lzma
import os
from collections.abc import Collection, Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from urllib.parse import quote

import msgspec

from migrate.bases.model import Base, BaseFile, digest, encode
from migrate.errors import Vm2cError
from migrate.naming import slug
from migrate.output import File, write
from migrate.text import show

SUFFIX = ".json.xz"
MAX_STORED = 64 << 20
"""Bytes of a stored file: a million files at the 32 bytes that each of the 8,700 above takes, twice."""
MAX_TEXT = 256 << 20
"""Bytes of an inventory once it is decompressed: twice a million files at 126 bytes."""
_LONGEST = 200  # characters of a name, of the 255 that a file system has (NAME_MAX)
_MOST_MEMORY = 128 << 20  # xz -9 needs 65 MiB to decompress (xz(1), "Memory usage")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """An inventory in the store: its digest, where it is, and whether the user made it."""

    base: Base
    digest: str
    place: str
    own: bool


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """All inventories, sorted by reference, the user's own before vm2c's; `problems` are those that are none."""

    known: tuple[Known, ...]
    problems: tuple[Vm2cError, ...]


def user_folder() -> Path:
    """Return the folder of the user's own inventories, which need not be there."""
    home = os.environ.get("XDG_DATA_HOME", "")
    data = Path(home) if home.startswith("/") else Path.home() / ".local/share"  # a relative one is to be ignored
    return data / "vm2c" / "bases"


def file_name(reference: str, architecture: str) -> str:
    """Return the name of the file that holds an inventory.

    >>> file_name("library/debian:12", "amd64")
    'library%2Fdebian%3A12.amd64.json.xz'
    """
    name = f"{quote(reference, safe='')}.{quote(architecture, safe='')}"
    return f"{name if len(name) <= _LONGEST else slug(name, _LONGEST)}{SUFFIX}"


def read_inventory(file: Traversable) -> Base:
    """Return the inventory in a file. Raises Vm2cError for one that cannot be read, is too large or is none."""
    attempted = f"read the inventory {show(str(file))}"
    do = "remove it, or make it anew with vm2c bases --refresh"
    try:
        with file.open("rb") as stream:
            stored = stream.read(MAX_STORED + 1)
    except OSError as error:
        raise Vm2cError(attempted, error.strerror or str(error)) from error
    if len(stored) > MAX_STORED:
        raise Vm2cError(attempted, f"it is longer than {MAX_STORED} bytes", do)
    try:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_MEMORY)
        text = decoder.decompress(stored, MAX_TEXT)
        if not decoder.eof:
            found = "it is cut short" if len(text) < MAX_TEXT else f"it holds more than {MAX_TEXT} bytes"
            raise Vm2cError(attempted, found, do)
        base = msgspec.json.decode(text, type=Base)
    except (lzma.LZMAError, msgspec.MsgspecError, RecursionError) as error:
        raise Vm2cError(attempted, f"it is no inventory: {show(str(error))}", do) from error
    if wrong := next((f for f in base.files if not _is_sound(f)), None):
        raise Vm2cError(attempted, f"{show(wrong.path)} is no name that a base image can have", do)
    return base


def _is_sound(file: BaseFile) -> bool:
    path = file.path
    normal = path == "/" or (path.startswith("/") and not set(path[1:].split("/")) & {"", ".", ".."})
    return normal and path.isprintable() and (file.kind != "file" or len(file.sha256) == 64)


def inventories(references: Collection[str] = ()) -> Listing:
    """Return every inventory that can be read, or those of some images."""
    known, problems = [], []
    for place, own in _places():
        try:
            names = sorted(each.name for each in place.iterdir() if each.name.endswith(SUFFIX))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problems.append(Vm2cError(f"read the inventories in {place}", error.strerror or str(error)))
            continue
        for name in names:
            try:
                found = _known(place.joinpath(name), own)
                known += [found] if not references or found.base.reference in references else []
            except Vm2cError as error:
                problems.append(error)
    known.sort(key=lambda k: (k.base.reference, k.base.architecture, not k.own))
    return Listing(known=tuple(known), problems=tuple(problems))


def inventory_of(reference: str, architecture: str, wanted: str = "") -> Known | None:
    """Return the inventory of a base image, or None: the user's own if there is one, else the one that vm2c brings.

    `wanted` is the digest that it must have, or how that begins. Raises Vm2cError for a file that is no inventory.
    """
    name = file_name(reference, architecture)
    for place, own in _places():
        file = place.joinpath(name)
        if file.is_file():
            found = _known(file, own)
            if found.base.reference == reference and found.digest.startswith(wanted):
                return found
    return None


def own_digest(reference: str, architecture: str) -> str:
    """Return the digest of the user's own inventory of an engine's image, or an empty text where there is none.

    A file that is no inventory counts as none: `vm2c bases` tells of it.
    """
    file = user_folder() / file_name(reference, architecture)
    try:
        state = file.stat()
        return _own_digest(file, state.st_mtime_ns, state.st_size)
    except (OSError, Vm2cError):
        return ""


@cache
def _own_digest(file: Path, _mtime: int, _size: int) -> str:
    base = read_inventory(file)
    return digest(base) if base.image_id else ""


def keep(base: Base, folder: Path | None = None) -> Path:
    """Write an inventory among the user's own, in whole or not at all, and return its path. Raises Vm2cError."""
    name = file_name(base.reference, base.architecture)
    place = folder or user_folder()
    write({name: File(stored(base), merged=True)}, place, f"bases-{slug(name)}")
    return place / name


def stored(base: Base) -> bytes:
    """Return an inventory's file: one stream of xz, with the settings named, so that they are the same everywhere."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    return lzma.compress(encode(base), lzma.FORMAT_XZ, lzma.CHECK_CRC64, filters=filters)


def _known(file: Traversable, own: bool) -> Known:
    base = read_inventory(file)
    return Known(base=base, digest=digest(base), place=str(file), own=own)


def _places() -> Iterator[tuple[Traversable, bool]]:
    yield user_folder(), True
    yield resources.files("migrate.bases").joinpath("data"), False
