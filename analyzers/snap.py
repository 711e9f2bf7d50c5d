"""Snaps: name, revision and channel from snapd's state, or from the names of its files where that is lost.

A snap is a squashfs file that is mounted when the machine runs; on the disk its content is not unpacked. Where it
is, `meta/snap.yaml` gives the version; else the revision, which is what the store itself goes by, stands for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from analyzers._packages import MAX_PACKAGES, MAX_PATHS, Database, Names, is_version, lines
from analyzers._reading import Reader, unquote
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Package, PackageFiles, Place

_NAME = "snap"
_STATE = "/var/lib/snapd/state.json"
_SNAPS = "/var/lib/snapd/snaps"
_MOUNTS = ("/snap", "/var/lib/snapd/snap")  # the second on distributions that keep to the FHS
_UNITS = "/etc/systemd/system"
_MAX_STATE = 16 << 20  # a busy server's is some 2 MB
_MAX_YAML = 1 << 20
_SNAP_NAME = re.compile(r"(?=.{1,51}\Z)[a-z0-9]+(?:-[a-z0-9]+)*(?:_[a-z0-9]{1,10})?")  # with an instance's key
_REVISION = re.compile(r"x?[1-9][0-9]{0,9}")
_FILE = re.compile(r"(.+)_(x?[1-9][0-9]{0,9})\.snap")
_MOUNT_UNIT = re.compile(r"(?:snap|var-lib-snapd-snap)-(.+)-x?\d+\.mount")
_SCALAR = re.compile(r"([a-z][a-z-]*):\s+([^#\[{|>&*!].*?)\s*(?:#.*)?")
_BASES = re.compile(r"core\d*|bare|snapd|ubuntu-core|pc|pc-kernel")


class _Revision(msgspec.Struct, frozen=True):
    revision: str = ""
    id: str = msgspec.field(name="snap-id", default="")
    channel: str = ""


class _Snap(msgspec.Struct, frozen=True):
    type: str = ""
    current: str = ""
    channel: str = ""
    tracking: str = msgspec.field(name="tracking-channel", default="")
    sequence: tuple[_Revision, ...] = ()


class _Connection(msgspec.Struct, frozen=True):
    interface: str = ""


class _Data(msgspec.Struct, frozen=True):
    snaps: dict[str, msgspec.Raw] = {}
    conns: dict[str, msgspec.Raw] = {}


class _State(msgspec.Struct, frozen=True):
    data: _Data = _Data()


class Snap(msgspec.Struct, frozen=True):
    """An installed snap. `type` is app, base, os, kernel, gadget or snapd; `store` whether it is from the store."""

    name: str
    revision: str
    channel: str = ""
    type: str = "app"
    store: bool = True


class State(msgspec.Struct, frozen=True):
    """What snapd's state says: the snaps, who takes content of whom, and what was not understood."""

    snaps: tuple[Snap, ...] = ()
    content: tuple[tuple[str, str], ...] = ()
    wrong: tuple[str, ...] = ()


def parse_state(data: bytes) -> State:
    """Return what is installed by snapd's state.json. Raises ValueError where it is none.

    The file holds the machine's session with the store as well: nothing of that is kept.
    """
    try:
        state = msgspec.json.decode(data, type=_State).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is no state of snapd: {error}") from None
    snaps, wrong = [], []
    for name, raw in list(state.snaps.items())[:MAX_PACKAGES]:
        try:
            each = msgspec.json.decode(raw, type=_Snap)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            wrong.append(f"a snap that is not described as snapd does: {error}")
            continue
        if not _SNAP_NAME.fullmatch(name) or not _REVISION.fullmatch(each.current):
            wrong.append("a snap with no valid name and revision")
            continue
        now = next((r for r in each.sequence if r.revision == each.current), _Revision())
        channel = each.tracking or each.channel or now.channel
        store = bool(now.id) and not each.current.startswith("x")
        snaps.append(Snap(name, each.current, channel, each.type or "app", store))
    return State(tuple(snaps), tuple(_content(state.conns)), tuple(wrong))


def _content(connections: Mapping[str, msgspec.Raw]) -> Iterator[tuple[str, str]]:
    """Yield (who takes, who gives) of the connections `SNAP:PLUG SNAP:SLOT` that share content."""
    for ends, raw in list(connections.items())[:MAX_PACKAGES]:
        try:
            if msgspec.json.decode(raw, type=_Connection).interface != "content":
                continue
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        plug, _, slot = ends.partition(" ")
        yield plug.partition(":")[0], slot.partition(":")[0]


def parse_yaml(text: str) -> dict[str, str]:
    """Return the plain scalars at the top level of a snap.yaml, by hand.

    Four keys of it are asked for, all written on one line; a YAML reader would have to be kept from nesting,
    anchors and tags of a hostile file for them.
    """
    found: dict[str, str] = {}
    for _, line in lines(text):
        if len(line) < 4096 and (match := _SCALAR.fullmatch(line)):
            found.setdefault(match[1], unquote(match[2]))
    return found


def _of_files(guest: Guest) -> Iterator[Snap]:
    """Yield what the files' names say: for each snap the revision that `current` leads to, or else the last."""
    revisions: dict[str, list[str]] = {}
    for name in guest.listdir(_SNAPS)[:MAX_PACKAGES]:
        match = _FILE.fullmatch(name)
        if match and _SNAP_NAME.fullmatch(match[1]):
            revisions.setdefault(match[1], []).append(match[2])
    for name, known in sorted(revisions.items()):
        links = (guest.lstat(f"{mount}/{name}/current") for mount in _MOUNTS)
        current = next((link.target.rpartition("/")[2] for link in links if link and link.kind == "symlink"), "")
        last = max(known, key=lambda revision: (len(revision), revision))
        revision = current if current in known else last
        base = _BASES.fullmatch(name) is not None
        yield Snap(name, revision, "", "base" if base else "app", not revision.startswith("x"))


def _state(reader: Reader) -> tuple[str, State]:
    """Return what is installed, and the path that says so."""
    guest = reader.guest
    if guest.is_file(_STATE) and (data := reader.data(_STATE, _MAX_STATE)) is not None:
        try:
            state = parse_state(data)
        except ValueError as error:
            reader.note(_STATE, str(error))
        else:
            for why in state.wrong[:10]:
                reader.note(_STATE, why)
            return _STATE, state
    return "", State(tuple(_of_files(guest)))


class _Files:
    """What of each snap lies on the disk: its files, and what snapd made for it outside its own folder."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._left = MAX_PATHS
        self._by_name: dict[str, list[str]] = {}
        for name in guest.listdir(_SNAPS):
            if match := _FILE.fullmatch(name):
                self._add(match[1], f"{_SNAPS}/{name}")
        for name in guest.listdir(_UNITS):
            if match := _MOUNT_UNIT.fullmatch(name):
                self._add(match[1].replace("\\x2d", "-"), f"{_UNITS}/{name}")  # systemd.unit(5), escaping of paths
            elif name.startswith("snap."):
                self._add(name.split(".", 2)[1], f"{_UNITS}/{name}")
        for mount in _MOUNTS:
            for name in guest.listdir(f"{mount}/bin"):
                self._add(name.partition(".")[0], f"{mount}/bin/{name}")

    def _add(self, name: str, path: str) -> None:
        self._by_name.setdefault(name, []).append(path)

    def of(self, name: str) -> tuple[str, ...]:
        """Return the paths of one snap, where they are: /snap may be a link."""
        found = set()
        for path in self._by_name.get(name, ()):
            if (entry := self._guest.lstat(path)) is not None:
                found.add(entry.path)
        for mount in _MOUNTS:
            top = self._guest.lstat(f"{mount}/{name}")
            for entry in self._guest.walk(top.path) if top is not None else ():
                found.add(entry.path)
                self._left -= 1
                if self._left <= 0:
                    break
        return tuple(sorted(found))


def _described(reader: Reader, snap: Snap) -> dict[str, str]:
    """Return what meta/snap.yaml says, where the snap is unpacked on the disk."""
    for mount in _MOUNTS:
        text = reader.optional(f"{mount}/{snap.name}/{snap.revision}/meta/snap.yaml", _MAX_YAML)
        if text:
            return parse_yaml(text)
    return {}


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield a Package and its PackageFiles for each snap, by name. `section` is the channel.

    A base, snapd itself, and what only gives content to others was pulled in by them; all else somebody chose.
    """
    reader = Database(guest, _NAME)
    path, state = _state(reader)
    snaps = sorted(state.snaps, key=lambda snap: snap.name)
    names = Names()
    for snap in snaps:
        names.add(snap.name, ())
    takes: dict[str, list[str]] = {}
    for taker, giver in state.content:
        takes.setdefault(taker, []).append(giver)
    givers = {giver for taker, giver in state.content if giver != taker}
    files = _Files(guest)
    for snap in snaps:
        said = _described(reader, snap)
        version = said.get("version", "")
        base = said.get("base", "core" if said and snap.type == "app" else "")
        where = path or f"{_SNAPS}/{snap.name}_{snap.revision}.snap"
        yield Package(
            seen_in=Place(where),
            name=snap.name,
            version=version if is_version(version) else snap.revision,
            architecture="",
            manager=_NAME,
            chosen=snap.type == "app" and snap.name not in givers,
            origin="third-party" if snap.store else "local",
            source=snap.name.partition("_")[0],
            section=snap.channel,
            depends=names.resolve([base, *takes.get(snap.name, ())], snap.name),
        )
        yield PackageFiles(seen_in=Place(where), package=snap.name, paths=files.of(snap.name))
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Snaps: revisions and channels, their bases, and the files that snapd made for them.",
    reads=(_STATE, *(f"{mount}/*/*/meta/snap.yaml" for mount in _MOUNTS)),
    analyze=analyze,
    source="snapd 2.34 to 2.66 overlord/snapstate (state.json), snapcraft.yaml's snap.yaml, systemd.unit(5)",
)
