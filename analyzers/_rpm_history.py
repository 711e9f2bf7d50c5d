"""Who asked for an rpm package, and which repository it came from, as the package managers wrote it down.

yum: yumdb(8). dnf 4: libdnf, transaction/sql/create_tables.sql, Types.hpp, RPMItem.cpp. dnf 5: dnf5-system-state(7),
libdnf5/system/state.cpp. zypper: libzypp, target/SolvIdentFile.cc and the page ZyppHistory of its documentation.
tdnf: _rpm_tdnf.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from analyzers._reading import Reader, meaningful
from analyzers._rpm_header import DamagedError
from analyzers._rpm_sqlite import read_table
from analyzers._rpm_tdnf import TDNF, TDNF_LIST, parse_list, read_tdnf

YUMDBS = ("/var/lib/yum/yumdb", "/var/lib/dnf/yumdb")  # the second until dnf 2
DNF = "/var/lib/dnf/history.sqlite"
DNF5 = "/usr/lib/sysimage/libdnf5"
AUTO_INSTALLED = "/var/lib/zypp/AutoInstalled"
ZYPP_LOG = "/var/log/zypp/history"
_MAX_TOML = 32 << 20
_MAX_LOG = 256 << 20
_MAX_ROWS = 4_000_000  # of one table; each transaction of a machine adds a few
_MAX_SMALL = 4096  # bytes of one value of yumdb

_REMOVE = 8  # Types.hpp, TransactionItemAction
_LEAVES = frozenset((3, 5, 7, 10))  # downgraded, obsoleted, upgraded, reinstalled: what went, RPMItem.cpp
_REASONS = {1: False, 2: True, 4: False, 5: True}  # dependency, user, weak dependency, group; 0: not known
_WORDS = {
    "dependency": False, "weak-dependency": False, "dep": False, "weak": False, "user": True, "group": True,
}  # fmt: skip


class Spool(Protocol):
    """Makes a private copy of a database of the guest."""

    def __call__(self, path: str) -> Path | None:
        """Return the copy's path, or None, with a note, where it cannot be read."""
        ...


class History(msgspec.Struct):
    """What is known: (name, architecture) → chosen, and (name, full version, architecture) → repository.

    `automatic` are the names that zypper or tdnf pulled in, and then all others were chosen; None where nothing says.
    """

    chosen: dict[tuple[str, str], bool] = msgspec.field(default_factory=dict)
    repositories: dict[tuple[str, str, str], str] = msgspec.field(default_factory=dict)
    automatic: frozenset[str] | None = None

    def was_chosen(self, name: str, architecture: str) -> bool | None:
        """Tell whether a person asked for a package; None where nothing says."""
        known = self.chosen.get((name, architecture))
        return name not in self.automatic if known is None and self.automatic is not None else known


def full_version(epoch: object, version: str, release: str) -> str:
    """Return [EPOCH:]VERSION-RELEASE; an epoch of 0 is none, as databases write it."""
    return f"{epoch}:{version}-{release}" if epoch not in (None, "", "0", 0) else f"{version}-{release}"


def parse_auto_installed(text: str) -> frozenset[str]:
    """Return the names in zypper's list, one on a line; `#` begins a comment."""
    return frozenset(line for _, line in meaningful(text))


def parse_zypp_history(text: str) -> dict[tuple[str, str, str], str]:
    """Return (name, version, architecture) → repository alias of zypper's log; the last installation counts."""
    found = {}
    for _, line in meaningful(text):
        fields = line.split("|")
        if len(fields) >= 7 and fields[1].strip() == "install":
            name, version, architecture, _by, alias = fields[2:7]
            found[name, version, architecture] = alias
    return found


def parse_yumdb_name(name: str) -> tuple[str, str, str] | None:
    """Return (name, version-release, architecture) of a directory of yumdb: HASH-NAME-VERSION-RELEASE-ARCH."""
    parts = name.rsplit("-", 3)
    if len(parts) != 4 or "-" not in parts[0]:
        return None
    return parts[0].split("-", 1)[1], f"{parts[1]}-{parts[2]}", parts[3]


def _yumdb(reader: Reader, history: History) -> None:
    guest = reader.guest
    for folder in (folder for top in YUMDBS for folder in guest.glob(f"{top}/?/*")):
        package = parse_yumdb_name(folder.rsplit("/", 1)[1])
        if package is None:
            continue
        name, version, architecture = package
        reason = (reader.optional(f"{folder}/reason", _MAX_SMALL) or "").strip()
        if reason in _WORDS:
            history.chosen[name, architecture] = _WORDS[reason]
        if repository := (reader.optional(f"{folder}/from_repo", _MAX_SMALL) or "").strip():
            history.repositories[name, version, architecture] = repository


def _table(path: Path, table: str, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    for count, row in enumerate(read_table(path, table, columns)):
        if count >= _MAX_ROWS:
            raise DamagedError(f"table {table} has more than {_MAX_ROWS} rows")
        yield tuple(value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in row)


def read_dnf(path: Path, history: History) -> None:
    """Add what dnf 4 knows, from a private copy of its history. Raises DamagedError.

    As RPMItem.cpp resolves it: the last transaction that was done and that brought or kept the package tells.
    """
    done = {key for key, state in _table(path, "trans", ("id", "state")) if state == 1}
    repositories = dict(_table(path, "repo", ("id", "repoid")))
    packages = {
        row[0]: row[1:] for row in _table(path, "rpm", ("item_id", "name", "epoch", "version", "release", "arch"))
    }
    columns = ("trans_id", "id", "item_id", "repo_id", "action", "reason")
    items = [row for row in _table(path, "trans_item", columns) if row[0] in done and row[2] in packages]
    if any(not isinstance(value, int) for row in items for value in row[:2]):
        raise DamagedError("a transaction's number is no number")
    for _, _, item, repository, action, reason in sorted(items, key=lambda row: (row[0], row[1])):
        name, epoch, version, release, architecture = (str(value) for value in packages[item])
        if action in _LEAVES:
            continue
        if action == _REMOVE or reason not in _REASONS:
            history.chosen.pop((name, architecture), None)
        else:
            history.chosen[name, architecture] = _REASONS[reason]
        if action != _REMOVE and isinstance(repositories.get(repository), str):
            history.repositories[name, full_version(epoch, version, release), architecture] = repositories[repository]


def _entries(document: dict[str, Any], table: str, key: str) -> Iterator[tuple[str, Any]]:
    entries = document.get(table)
    for name, values in entries.items() if isinstance(entries, dict) else ():
        if isinstance(values, dict) and key in values:
            yield name, values[key]


def parse_toml(text: str) -> dict[str, Any]:
    """Return a TOML document. Raises DamagedError."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise DamagedError(f"it is no TOML: {error}") from error


def parse_dnf5_packages(text: str) -> dict[tuple[str, str], bool]:
    """Return (name, architecture) → chosen of dnf 5's packages.toml: `"bash.x86_64" = {reason = "User"}`."""
    found = {}
    for key, reason in _entries(parse_toml(text), "packages", "reason"):
        name, _, architecture = key.rpartition(".")
        word = str(reason).lower().replace(" ", "-")
        if word in _WORDS:
            found[name, architecture] = _WORDS[word]
    return found


def parse_dnf5_nevras(text: str) -> dict[tuple[str, str, str], str]:
    """Return (name, version, architecture) → repository of dnf 5's nevras.toml. Raises DamagedError."""
    found = {}
    for key, repository in _entries(parse_toml(text), "nevras", "from_repo"):
        rest, _, architecture = key.rpartition(".")
        parts = rest.rsplit("-", 2)
        if len(parts) == 3 and isinstance(repository, str):
            epoch, colon, version = parts[1].rpartition(":")
            found[parts[0], full_version(epoch if colon else "", version, parts[2]), architecture] = repository
    return found


def parse_dnf5_groups(text: str) -> frozenset[str]:
    """Return the names that dnf 5's groups.toml says an installed group brought. Raises DamagedError."""
    lists = (names for _, names in _entries(parse_toml(text), "groups", "packages") if isinstance(names, list))
    return frozenset(name for names in lists for name in names if isinstance(name, str))


def _dnf5(reader: Reader, history: History, installed: Sequence[tuple[str, str]]) -> None:
    for file in ("groups", "packages", "nevras"):
        path = f"{DNF5}/{file}.toml"
        text = reader.optional(path, _MAX_TOML)
        if text is None:
            continue
        try:
            if file == "groups":
                names = parse_dnf5_groups(text)
                history.chosen.update({key: True for key in installed if key[0] in names})
            elif file == "packages":  # a group's package that something depends on too stays the group's: state.cpp
                found = parse_dnf5_packages(text)
                history.chosen.update({key: value or history.chosen.get(key, False) for key, value in found.items()})
            else:
                history.repositories.update(parse_dnf5_nevras(text))
        except DamagedError as error:
            reader.note(path, str(error))


def _tdnf(reader: Reader, spool: Spool) -> frozenset[str] | None:
    """Return the names that tdnf pulled in; None where it says so of none."""
    found = parse_list(reader.optional(TDNF_LIST) or "")
    if reader.guest.is_file(TDNF) and (copy := spool(TDNF)):
        try:
            found |= read_tdnf(copy)
        except DamagedError as error:
            reader.note(TDNF, str(error))
    return found or None


def read_history(reader: Reader, spool: Spool, installed: Sequence[tuple[str, str]]) -> History:
    """Return what the managers wrote down, newer managers last; `installed` are (name, architecture)."""
    history = History()
    _yumdb(reader, history)
    if reader.guest.is_file(DNF) and (copy := spool(DNF)):
        try:
            read_dnf(copy, history)
        except DamagedError as error:
            reader.note(DNF, str(error))
    _dnf5(reader, history, installed)
    # An empty list is what an image builder leaves, and not a person who chose every package.
    if text := reader.optional(AUTO_INSTALLED):
        history.automatic = parse_auto_installed(text) or None
    history.automatic = history.automatic or _tdnf(reader, spool)
    if text := reader.optional(ZYPP_LOG, _MAX_LOG):
        history.repositories.update(parse_zypp_history(text))
    return history
