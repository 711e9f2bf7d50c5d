"""What programs of the system did to packaged paths, found in the files by which they know what they did."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migrate.changes.alternatives import groups
from migrate.changes.aspects import Names
from migrate.changes.explain import Case
from migrate.changes.settings import Lines
from migrate.errors import GuestFileError
from migrate.model import Place

if TYPE_CHECKING:
    from migrate.guest.protocol import Guest

_ALTERNATIVES = "/etc/alternatives/"
_PRELINK = "/etc/prelink.cache"
_MAX_CACHE = 16 << 20
_CACHED = re.compile(r"(?P<folder>.*/)__pycache__/(?P<name>[^/]+?)\.[^/.]+(?:\.opt-[^/.]+)?\.pyc", re.DOTALL)
_HEADERS = {16: (8, 12), 12: (4, 8), 8: (4, None)}
_NO_DISKS = frozenset({"tar", "oci", "directory"})
_TMPFILES = ("/etc/tmpfiles.d/*.conf", "/run/tmpfiles.d/*.conf", "/usr/lib/tmpfiles.d/*.conf")


def source_of(path: str) -> str:
    """Return the path of the source that a file of Python's byte code is made from (PEP 3147, PEP 488).

    >>> source_of("/usr/lib/p/__pycache__/m.cpython-311.opt-1.pyc"), source_of("/usr/lib/p/m.pyc")
    ('/usr/lib/p/m.py', '/usr/lib/p/m.py')
    """
    match = _CACHED.fullmatch(path)
    return f"{match['folder']}{match['name']}.py" if match else f"{path[:-1]}"


class ByteCode:
    """Tells whether byte code was made from its source as that is on the disk."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def __call__(self, case: Case) -> Place | None:
        """Return the source whose time and size the header names (PEP 552, and as it was until 3.6 and 3.2)."""
        source = self._guest.stat(source_of(case.path))
        if source is None or source.kind != "file":
            return None
        try:
            head = self._guest.read(case.path, 16)
        except GuestFileError:
            return None
        for length, (time, size) in _HEADERS.items():
            if len(head) < length or (length == 16 and any(head[4:8])):
                continue
            same = _number(head, time) == source.mtime & 0xFFFFFFFF
            if same and (size is None or _number(head, size) == source.size & 0xFFFFFFFF):
                return Place(source.path)
        return None


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


class Prelinked:
    """Tells whether prelink(8) has a program or library in its cache: it rewrites what is there."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._paths: frozenset[str] | None = None

    def __call__(self, case: Case) -> Place | None:
        """Return the cache where it names the path."""
        if self._paths is None:
            try:
                data = self._guest.read(_PRELINK, _MAX_CACHE) if self._guest.is_file(_PRELINK) else b""
            except GuestFileError:
                data = b""
            texts = (part.decode("utf-8", "surrogateescape") for part in data.split(b"\0") if part[:1] == b"/")
            self._paths = frozenset(texts)
        return Place(_PRELINK) if case.path in self._paths else None


class AlternativeLink:
    """Tells whether a path is a link that update-alternatives(1) keeps."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._links: dict[str, str] | None = None

    def __call__(self, case: Case) -> Place | None:
        """Return the file of the group whose link the path is, where it leads there or is missing."""
        if case.entry is not None and not case.entry.target.startswith(_ALTERNATIVES):
            return None
        if self._links is None:
            self._links = {link: path for path, group in groups(self._guest) for link in group.links}
        path = self._links.get(case.path) or self._links.get(case.path.removeprefix("/usr"))
        return Place(path) if path else None


class TemporaryFiles:
    """Tells whether tmpfiles.d(5) gives a path the mode or owner that it has."""

    def __init__(self, lines: Lines) -> None:
        self._read = lines
        self._lines: dict[str, list[tuple[Place, list[str]]]] | None = None

    def __call__(self, case: Case) -> Place | None:
        """Return the line that says so."""
        column = {"mode": 2, "user": 3, "group": 4}[case.difference.aspect]
        for place, fields in self._of(case.path):
            said = fields[column].lstrip(":~") if len(fields) > column else "-"
            found = case.difference.found
            if said == found or (column == 2 and said.lstrip("0") == found.lstrip("0")) or (
                said in {"-", "0"} and found == "root"
            ):  # fmt: skip
                return place
        return None

    def _of(self, path: str) -> list[tuple[Place, list[str]]]:
        if self._lines is None:
            self._lines = {}
            for place, line in self._read.below(*_TMPFILES):
                fields = line.split(None, 5)
                if len(fields) > 1 and fields[0][:1] in set("dDevqQfFpLcbzZ"):
                    named = fields[1].replace("/var/run/", "/run/", 1).rstrip("/")
                    self._lines.setdefault(named, []).append((place, fields))
        return self._lines.get(path, [])


class Owners:
    """What becomes of files whose owner the machine does not know by name."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def _known(self, case: Case) -> bool:
        known = self._names.users if case.difference.aspect == "user" else self._names.groups
        return not case.difference.shipped or case.difference.shipped in known or case.difference.shipped.isdigit()

    def to_root(self, case: Case) -> Place | None:
        """Return the database's place where rpm gave the file to root, as there was no such user (rpm lib/fsm.c)."""
        return None if self._known(case) or case.difference.found != "root" else case.expected.seen_in

    def elsewhere(self, case: Case) -> Place | None:
        """Return the database's place where neither name nor number is in the machine's own files."""
        return None if self._known(case) or not case.difference.found.isdigit() else case.expected.seen_in


class Attributes:
    """Tells whether an archive or unpacked tree was made without extended attributes."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._lost: bool | None = None

    def all_of_them(self) -> bool:
        """Tell whether it is no disk and no file has any: tar(1) leaves them out unless it is told `--xattrs`."""
        if self._lost is None:
            no_disk = self._guest.source.reader in _NO_DISKS
            self._lost = no_disk and not any(entry.xattrs for entry in self._guest.walk("/"))
        return self._lost


def unpacked_by(guest: Guest) -> int | None:
    """Return the user whose whole tree it is, where that is not root: who unpacked it could give nothing away."""
    tops = [entry for name in guest.listdir("/") if (entry := guest.lstat(f"/{name}")) is not None]
    users = {entry.uid for entry in tops}
    return next(iter(users)) if len(tops) > 2 and len(users) == 1 and users != {0} else None


def no_kernel(guest: Guest) -> bool:
    """Tell whether nothing on the disk could be booted: a container's image."""
    places = ("/boot/vmlinuz*", "/boot/kernel*", "/usr/lib/modules/*/vmlinuz", "/usr/lib/modules/*/modules.dep",
              "/lib/modules/*/modules.dep")  # fmt: skip
    return not any(guest.glob(place) for place in places)
