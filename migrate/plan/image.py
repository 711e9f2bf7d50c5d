"""What goes into a component's image: base, packages with their versions, files of the machine."""

from __future__ import annotations

from collections.abc import Iterable

from migrate.bases.store import own_digest
from migrate.facts import Facts, is_below
from migrate.join import Candidate
from migrate.model import System
from migrate.plan.model import Component, Image, Strategy

LIFT_BASE = "scratch"
_NOT_INSTALLED_BY_NAME = frozenset({"snap", "flatpak"})  # by the distribution's own manager, in an image


def base_image(system: System | None) -> str:
    """Return the official image of the machine's distribution and release, or `scratch` where there is none."""
    if system is None:
        return LIFT_BASE
    if system.id == "debian" and system.version.isdigit() and int(system.version) >= 10:  # served
        return f"debian:{system.version}-slim"
    if system.id == "ubuntu" and system.version:
        return f"ubuntu:{system.version}"
    return LIFT_BASE


def image_of(facts: Facts, candidate: Candidate, component: Component, data: Iterable[str]) -> Image:
    """Return how the image is made. A distribution that serves no packages by version is lifted.

    `data` are the directories that hold data of any component: none of it goes into an image.
    """
    base = base_image(facts.system)
    code = candidate.paths("code")
    unpackaged = bool(candidate.program) and not candidate.package
    own = unpackaged or any(is_below(candidate.program, path) for path in code)
    strategy: Strategy = "app" if own else "packages"
    if base == LIFT_BASE:
        strategy = "lift"
    config = [p for p in candidate.paths("config") if p not in {f.path for f in component.environment_files}]
    files = {*config, *code}
    if unpackaged and facts.guest.is_file(candidate.program):
        files.add(candidate.program)
    secret = {s.seen_in.path for s in facts.secrets}
    files = {p for p in files if facts.guest.exists(p) and p not in secret}
    tops = sorted(p for p in files if not any(p != q and is_below(p, q) for q in files))
    kept_out = {*data, *(d.path for d in component.directories), *component.logs}
    return Image(
        strategy=strategy,
        base=base,
        base_inventory=_base_inventory(base, facts.trait("architecture")),
        packages=_packages(facts, candidate),
        files=tops,
        exclude=sorted(p for p in kept_out if any(is_below(p, t) for t in tops)),
        remove=_remove(facts, tops),
    )


def _base_inventory(base: str, architecture: str) -> str:
    """Return the digest of the user's own inventory of a base image, or an empty text.

    Only of an image that an engine of the user's had: those that vm2c brings are made in the same way as the
    official images and are none of them, so that a plan that counted on one could fail where it is built.
    """
    return own_digest(base, architecture) if base != LIFT_BASE else ""


def _packages(facts: Facts, candidate: Candidate) -> list[str]:
    names = {r.package for r in candidate.requires} | {candidate.package}
    owner = facts.owner(candidate.program) if candidate.program else ""
    names.add(owner)
    found = []
    for name in sorted(names):
        package = facts.packages.get(name)
        if package is not None and package.priority != "required" and package.manager not in _NOT_INSTALLED_BY_NAME:
            found.append(f"{package.name}={package.version}")
    return found


def _remove(facts: Facts, files: list[str]) -> list[str]:
    """Return the configuration trees that are taken whole: what a package puts there must not stay."""
    return [
        path
        for path in files
        if (entry := facts.guest.lstat(path)) is not None
        and entry.kind == "directory"
        and path.count("/") > 1  # never /etc itself
        and any(facts.owns(e.path) for e in facts.guest.walk(path))
    ]
