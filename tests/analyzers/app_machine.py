"""A machine in memory that runs an application: what packages, services and jobs the other analyzers would find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from analyzers import programs
from migrate.discover import run_analyzers
from migrate.model import (
    Analyzer,
    Fact,
    Finding,
    Job,
    Package,
    PackageFiles,
    Place,
    Requires,
    Service,
    User,
    Uses,
    Variable,
)
from tests.analyzers.fake import Content, FakeGuest, File

F = TypeVar("F", bound=Fact)

HERE = Place("/x", 1)
UNIT = "/etc/systemd/system/shop.service"
USERS = (
    User(seen_in=HERE, name="shop", uid=996, gid=996, home="/home/shop", shell="/bin/sh"),
    User(seen_in=HERE, name="www-data", uid=33, gid=33, home="/var/www", shell="/bin/sh"),
    User(seen_in=HERE, name="root", uid=0, gid=0, home="/root", shell="/bin/sh"),
)
ELF = File("\x7fELF", mode=0o755)


def package(name: str, *paths: str) -> list[Finding]:
    """Return an installed package with its files."""
    return [
        Package(seen_in=HERE, name=name, version="1", architecture="amd64", manager="dpkg", chosen=True),
        PackageFiles(seen_in=HERE, package=name, paths=paths),
    ]


def service(*command: str, directory: str = "", user: str = "shop", ident: str = "shop", **variables: str) -> Service:
    """Return a unit that runs a command."""
    return Service(
        seen_in=Place(UNIT, 3),
        id=ident,
        manager="systemd",
        enabled=True,
        unit=UNIT,
        command=command,
        user=user,
        working_directory=directory,
        environment=tuple(Variable(name, value, Place(UNIT, 1)) for name, value in variables.items()),
    )


def job(line: str, user: str = "shop") -> Job:
    """Return a line of cron."""
    return Job(
        seen_in=Place("/etc/cron.d/shop", 1),
        id="night",
        manager="cron",
        enabled=True,
        schedule="0 1 * * *",
        original="",
        command=(line,),
        shell=True,
        user=user,
    )


def run(analyzer: Analyzer, files: Mapping[str, Content], *findings: Finding) -> list[Finding]:
    """Run an analyzer together with `programs`, on a machine where others found `findings`."""
    others = Analyzer(name="others", says="", reads=(), analyze=lambda _guest: [*USERS, *findings])
    return run_analyzers(FakeGuest(files), [others, programs.ANALYZER, analyzer])


def of(kind: type[F], found: Sequence[Finding]) -> list[F]:
    """Return the findings of one type."""
    return [finding for finding in found if isinstance(finding, kind)]


def code(found: Sequence[Finding], ident: str = "shop") -> set[str]:
    """Return what a service's code is."""
    return {f.path for f in of(Uses, found) if f.role == "code" and f.service == ident}


def required(found: Sequence[Finding], ident: str = "shop") -> set[str]:
    """Return the packages that a service requires."""
    return {f.package for f in of(Requires, found) if f.service == ident}
