"""In which aspects an entry of the disk is not what one package expects of its path. Pure."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping

import msgspec

from migrate.changes.capabilities import Capabilities, decode, parse
from migrate.changes.expected import Expected
from migrate.changes.model import Difference
from migrate.guest.protocol import Entry, Kind
from migrate.model import Group, Shipped, User

_KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block",
}  # fmt: skip
_PRIVILEGES = stat.S_ISUID | stat.S_ISGID
_CAPABILITY = "security.capability"


class Names(msgspec.Struct, frozen=True):
    """The machine's own numbers of users and groups; of two names with one number either is right."""

    users: Mapping[str, int]
    groups: Mapping[str, int]
    user_names: Mapping[int, str]
    group_names: Mapping[int, str]

    def user(self, uid: int) -> str:
        """Return a user's name, or the number where none has it."""
        return self.user_names.get(uid, str(uid))

    def group(self, gid: int) -> str:
        """Return a group's name, or the number where none has it."""
        return self.group_names.get(gid, str(gid))


def names_of(users: Mapping[str, User], groups: Mapping[str, Group]) -> Names:
    """Return the numbers and names of the machine's accounts; 0 is root's whatever the files say."""
    return Names(
        {**{u.name: u.uid for u in users.values()}, "root": 0},
        {**{g.name: g.gid for g in groups.values()}, "root": 0},
        {**{u.uid: u.name for u in reversed(list(users.values()))}, 0: "root"},
        {**{g.gid: g.name for g in reversed(list(groups.values()))}, 0: "root"},
    )


def kind_of(shipped: Shipped) -> Kind | None:
    """Return the type that a path was shipped with, or None where the database does not say."""
    return _KINDS.get(stat.S_IFMT(shipped.mode & 0xFFFF))


def octal(mode: int) -> str:
    """Return permission bits as four octal digits.

    >>> octal(0o104755)
    '4755'
    """
    return f"{mode & 0o7777:04o}"


def differences(
    expected: Expected, entry: Entry | None, followed: Entry | None, digest: str | None, names: Names
) -> tuple[Difference, ...]:
    """Return in what `entry` is not as expected; empty where it is.

    `followed` is what a symlink leads to, `digest` its content's by the expected algorithm (None: not known).
    """
    shipped = expected.shipped
    if entry is None:
        if "missingok" in shipped.flags or "ghost" in shipped.flags:
            return ()
        return (Difference("missing", kind_of(shipped) or "", ""),)
    kind = kind_of(shipped)
    if kind is not None and kind != entry.kind and "ghost" not in shipped.flags:
        return (Difference("type", _typed(kind, shipped.target), _typed(entry.kind, entry.target)),)
    if kind is None and expected.digest and (followed is None or followed.kind != "file"):
        return (Difference("type", "file", _typed(entry.kind, entry.target)),)
    return tuple(sorted((*_content(expected, entry, digest), *_inode(shipped, entry, names))))


def _typed(kind: str, target: str) -> str:
    return f"symlink to {target}" if kind == "symlink" and target else kind


def _content(expected: Expected, entry: Entry, digest: str | None) -> Iterator[Difference]:
    shipped, unchecked = expected.shipped, expected.shipped.unchecked
    if "ghost" in shipped.flags:  # owned and never shipped: only who may read it was said (rpm lib/verify.c)
        return
    if expected.digest and digest is not None and digest != expected.digest:
        yield Difference("content", f"{expected.algorithm}:{expected.digest}", f"{expected.algorithm}:{digest}")
    if "size" not in unchecked and entry.kind == "file" and entry.size != shipped.size:
        yield Difference("size", str(shipped.size), str(entry.size))
    if "target" not in unchecked and entry.kind == "symlink" and entry.target != shipped.target:
        yield Difference("target", shipped.target, entry.target)


def _inode(shipped: Shipped, entry: Entry, names: Names) -> Iterator[Difference]:
    unchecked = shipped.unchecked
    if "user" not in unchecked and not _is(shipped.user, entry.uid, names.users):
        yield Difference("user", shipped.user, names.user(entry.uid))
    if "group" not in unchecked and not _is(shipped.group, entry.gid, names.groups):
        yield Difference("group", shipped.group, names.group(entry.gid))
    if entry.kind == "symlink":
        return
    if "mode" not in unchecked and (entry.mode ^ shipped.mode) & 0o7777:
        yield Difference("mode", octal(shipped.mode), octal(entry.mode))
    if "capabilities" not in unchecked and entry.kind == "file":
        yield from _capabilities(shipped.capabilities, entry)


def _is(name: str, number: int, known: Mapping[str, int]) -> bool:
    if not name:
        return True
    found = known.get(name)
    if found is None and name.isascii() and name.isdigit() and len(name) < 11:
        found = int(name)
    return found == number


def capabilities(entry: Entry) -> Capabilities | None:
    """Return the capabilities of a file, or None where it has none or they are not valid."""
    return next((decode(value) for name, value in entry.xattrs if name == _CAPABILITY), None)


def _capabilities(text: str, entry: Entry) -> Iterator[Difference]:
    wanted, found = (parse(text) if text else Capabilities()), capabilities(entry) or Capabilities()
    if wanted is not None and wanted != found:
        nothing = Capabilities()
        yield Difference(
            "capabilities", "" if wanted == nothing else str(wanted), "" if found == nothing else str(found)
        )


def gives_privileges(difference: Difference) -> bool:
    """Tell whether a difference makes a program run with more rights than its package gave it.

    >>> gives_privileges(Difference("mode", "0755", "4755")), gives_privileges(Difference("mode", "4755", "0755"))
    (True, False)
    """
    if difference.aspect == "capabilities":
        return bool(difference.found)
    if difference.aspect != "mode":
        return False
    shipped = int(difference.shipped, 8) if difference.shipped.isdigit() else 0
    return bool(int(difference.found, 8) & ~shipped & _PRIVILEGES)
