"""All findings of one machine with the look-ups that the join, the rules and the planner need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import TypeVar

from migrate.addresses import is_loopback
from migrate.changes.model import Comparison
from migrate.digests import Recorded, conffiles
from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest
from migrate.model import (
    Fact,
    Finding,
    Group,
    HostName,
    Interface,
    Package,
    PackageFiles,
    Secret,
    System,
    Trait,
    User,
)
from migrate.redact import Redactor

F = TypeVar("F", bound=Fact)


class Facts:
    """Findings, indexed. Order is kept, so what is derived from it is the same for the same disk.

    `quick`: packaged files are not compared with their packages, which would read every one of them.
    """

    def __init__(self, findings: Iterable[Finding], guest: Guest, *, quick: bool = False) -> None:
        self.quick = quick
        self.findings: Sequence[Finding] = tuple(findings)
        self.guest = guest
        self._by_type: dict[type, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            self._by_type[type(finding)].append(finding)

    def of(self, kind: type[F]) -> list[F]:
        """Return all findings of one type, in order."""
        return list(self._by_type.get(kind, ()))  # type: ignore[arg-type]  # keyed by exactly that type

    def about(self, kind: type[F], ids: Iterable[str]) -> list[F]:
        """Return the findings of a type whose `service` is one of `ids`."""
        wanted = set(ids)
        return [f for f in self.of(kind) if getattr(f, "service", None) in wanted]

    def trait(self, key: str) -> str:
        """Return a property of the machine, or an empty text."""
        return next((t.value for t in self.of(Trait) if t.key == key), "")

    @cached_property
    def system(self) -> System | None:
        """The operating system, or None where nothing says what it is."""
        return next(iter(self.of(System)), None)

    @cached_property
    def packages(self) -> dict[str, Package]:
        """Installed packages by name (the first one where several architectures are installed)."""
        found: dict[str, Package] = {}
        for package in self.of(Package):
            found.setdefault(package.name, package)
        return found

    @cached_property
    def _owners(self) -> dict[str, str]:
        return {path: f.package for f in self.of(PackageFiles) for path in f.paths}

    @cached_property
    def conffiles(self) -> dict[str, Recorded]:
        """Configuration files of packages, by path."""
        return conffiles(self.of(PackageFiles))

    @cached_property
    def comparison(self) -> Comparison:
        """The disk compared with its package databases; reads all packaged files when it is first asked for."""
        if self.quick:
            return Comparison(done=False)
        from migrate.changes.compare import compare

        return compare(self)

    def owner(self, path: str) -> str:
        """Return the name of the package that owns a path, following links; empty where nobody's."""
        direct = self._owners.get(path)
        if direct:
            return direct
        real = self.guest.resolve(path)
        return self._owners.get(real, "") if real else ""

    def owns(self, path: str) -> bool:
        """Tell whether the path itself, not what it leads to, belongs to a package."""
        return path in self._owners

    def is_as_shipped(self, path: str) -> bool:
        """Tell whether a file is as its package brought it; only configuration has a digest to compare with."""
        recorded = self.conffiles.get(path)
        if recorded is None:
            return self.owns(path)
        try:
            return recorded.matches(self.guest.read(path))
        except GuestFileError:
            return False

    @cached_property
    def users(self) -> dict[str, User]:
        """Accounts by name."""
        return {u.name: u for u in reversed(self.of(User))}

    @cached_property
    def users_by_uid(self) -> dict[int, User]:
        """Accounts by uid; the first line wins, as getpwuid(3) has it."""
        return {u.uid: u for u in reversed(self.of(User))}

    @cached_property
    def groups(self) -> dict[str, Group]:
        """Groups by name."""
        return {g.name: g for g in reversed(self.of(Group))}

    @cached_property
    def groups_by_gid(self) -> dict[int, Group]:
        """Groups by gid; the first line wins."""
        return {g.gid: g for g in reversed(self.of(Group))}

    def user(self, name_or_uid: str) -> User | None:
        """Return an account by name or by number in text."""
        found = self.users.get(name_or_uid)
        return self.users_by_uid.get(int(name_or_uid)) if found is None and name_or_uid.isdigit() else found

    def group(self, name_or_gid: str) -> Group | None:
        """Return a group by name or by number in text."""
        found = self.groups.get(name_or_gid)
        return self.groups_by_gid.get(int(name_or_gid)) if found is None and name_or_gid.isdigit() else found

    @cached_property
    def own_names(self) -> frozenset[str]:
        """Every name and address under which the machine speaks of itself."""
        names = {"0.0.0.0", "::"}  # noqa: S104  # compared, not bound
        host = self.trait("hostname")
        if host:
            names |= {host, host.partition(".")[0]}
        names |= {a.partition("/")[0] for i in self.of(Interface) for a in i.addresses}
        names |= {h.name for h in self.of(HostName) if is_loopback(h.address)}
        return frozenset(n.lower() for n in names)

    def is_own(self, host: str) -> bool:
        """Tell whether a host name or address means this machine."""
        return is_loopback(host) or host.strip("[]").lower() in self.own_names

    def run_path(self, path: str) -> str:
        """Return `path` with /var/run written as /run, where the machine has the usual link."""
        link = self.guest.lstat("/var/run")
        if path.startswith("/var/run/") and (link is None or link.kind == "symlink"):
            return path.removeprefix("/var")
        return path

    @cached_property
    def redactor(self) -> Redactor:
        """What keeps this machine's secrets out of a text."""
        words = {*self.users, *self.groups, *self.packages, self.trait("hostname")}
        return Redactor(self.secrets, words)

    @cached_property
    def secrets(self) -> list[Secret]:
        """All secrets found."""
        return self.of(Secret)


def is_below(path: str, top: str) -> bool:
    """Tell whether `path` is `top` or below it."""
    return path == top or PurePosixPath(path).is_relative_to(PurePosixPath(top))
