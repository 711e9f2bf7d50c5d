"""The values: what a base image holds, and what an image of ours leaves to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from migrate.generate.tar import kept_xattr
from migrate.guest.protocol import Entry

SCHEMA: Final = "vm2c.base-inventory/1"
LEFT_SCHEMA: Final = "vm2c.base/1"
NAME: Final = "base.json"
"""Where `LeftToBase` is written, in an image's folder."""
FileKind = Literal["file", "directory", "symlink"]


class BaseFile(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One name of a base image and all that is compared of it: times are not, as no content depends on them.

    `mode` has the permission bits, `size` is in bytes, `sha256` is hex and a regular file's alone, `target` a
    symbolic link's text. `xattrs` holds names and values (hex) of the attributes that a copy would keep.
    """

    path: str
    kind: FileKind
    mode: int
    uid: int
    gid: int
    size: int = 0
    sha256: str = ""
    target: str = ""
    xattrs: tuple[tuple[str, str], ...] = ()


class BasePackage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A package that is installed in a base image, in its manager's own words."""

    name: str
    version: str
    architecture: str
    manager: str


class Base(msgspec.Struct, frozen=True, kw_only=True, rename={"schema_": "schema"}, forbid_unknown_fields=True):
    """The inventory of one base image. `files` are sorted by path; those of odd names or kinds are not in it.

    `reference` is what FROM says; `architecture` is Go's word (amd64). `image_id` is the engine's id of the image
    it was made from, and empty where that was no engine's. `made_from` says in words what it was made from,
    `made_on` when that was made (an ISO date, never the time of running; empty where nobody knows).
    `system` and `version` are os-release's ID and VERSION_ID.
    """

    schema_: Literal["vm2c.base-inventory/1"] = SCHEMA
    reference: str
    architecture: str
    system: str
    version: str
    image_id: str = ""
    made_from: str
    made_on: str = ""
    packages: tuple[BasePackage, ...]
    files: tuple[BaseFile, ...]

    @property
    def bytes(self) -> int:
        """The bytes of all regular files."""
        return sum(file.size for file in self.files)

    def by_path(self) -> dict[str, BaseFile]:
        """Return the files by their path."""
        return {file.path: file for file in self.files}


class LeftToBase(msgspec.Struct, frozen=True, kw_only=True, rename={"schema_": "schema"}, forbid_unknown_fields=True):
    """images/ID/base.json: what one image leaves to its base. `build` holds the base image against it.

    `inventory` is the digest of the inventory it was compared with, `image_id` the image that inventory is of (or
    empty). `files` are not in rootfs.tar, as the base has them just so: `bytes` were saved. `packages` are those of
    the plan that the base has installed in that version; where `installs` is false that is all of them and nothing
    is installed, and `database` is then the record of the base's installer that has to be the same. `why` says why
    no file is left. `others` is how many names of the base are in a lifted image besides the machine's own.
    """

    schema_: Literal["vm2c.base/1"] = LEFT_SCHEMA
    base: str
    architecture: str
    inventory: str
    image_id: str = ""
    installs: bool = False
    why: str = ""
    bytes: int = 0
    packages: tuple[str, ...] = ()
    database: BaseFile | None = None
    files: tuple[BaseFile, ...] = ()
    others: int = 0

    def relied_on(self) -> tuple[BaseFile, ...]:
        """Return all that the base image must have just so."""
        return (*self.files, *((self.database,) if self.database else ()))


def encode(base: Base) -> bytes:
    """Return an inventory as it is stored: the same one gives the same bytes."""
    return msgspec.json.encode(base, order="deterministic")


def digest(base: Base) -> str:
    """Return what a plan names an inventory by: the SHA-256 of its stored form, `sha256:…`."""
    return f"sha256:{hashlib.sha256(encode(base)).hexdigest()}"


def base_file(entry: Entry, digests: Mapping[str, str]) -> BaseFile | None:
    """Return what is compared of an entry of a guest; None for what is never left to a base.

    That is a device, fifo or socket, a name that is not UTF-8, and a file whose digest is not among `digests`.
    """
    if entry.kind not in {"file", "directory", "symlink"} or not (_plain(entry.path) and _plain(entry.target)):
        return None
    sha256 = digests.get(entry.path, "") if entry.kind == "file" else ""
    if entry.kind == "file" and not sha256:
        return None
    return BaseFile(
        path=entry.path,
        kind=entry.kind,
        mode=0o777 if entry.kind == "symlink" else entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size if entry.kind == "file" else 0,
        sha256=sha256,
        target=entry.target,
        xattrs=kept_xattrs(entry.xattrs),
    )


def kept_xattrs(xattrs: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, str], ...]:
    """Return the attributes that a copy would keep, values in hex."""
    return tuple((name, value.hex()) for name, value in sorted(xattrs) if kept_xattr(name))


def _plain(text: str) -> bool:
    return text.isprintable()  # surrogates, control and bidirectional characters are not (Unicode, Cc Cf Cs)
