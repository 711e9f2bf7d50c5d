"""What an image leaves to its base: files that the base image already has, and packages that it has installed.

Only what the finished image is certain to have with the same bytes, mode, owner and attributes is left out of
rootfs.tar, and only against the inventory that the plan names by its digest. Where packages are installed over the
base nothing is: `apt-get install X=V` upgrades what X depends on, dpkg replaces a conffile that nobody changed
(dpkg(1), --force-confold is about changed ones), and a maintainer script may write anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from migrate.bases.model import Base, BaseFile, BasePackage, LeftToBase, kept_xattrs
from migrate.bases.store import Known, inventory_of
from migrate.errors import PlanError
from migrate.facts import is_below
from migrate.generate.context import Context, Moving
from migrate.generate.envfile import parse_environment_file
from migrate.generate.known import FHS
from migrate.generate.lift import STATUS, parse_status
from migrate.generate.quoting import guest_path
from migrate.generate.tar import Member, member_of, sort_key
from migrate.guest.protocol import Guest
from migrate.plan.model import Component, Image
from migrate.text import show

ACCOUNT_FILES = ("/etc/passwd", "/etc/group", "/etc/shadow")
"""What the Dockerfile's first step writes to."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{12,64}")
_INSTALLS = "packages are installed over the base, and what that replaces cannot be known beforehand"
_NOTHING = "the base has nothing of what this image holds"


class Remainder(msgspec.Struct, frozen=True, kw_only=True):
    """What is left to copy, in order; and base.json. `gone` are the paths that have to be removed from the base."""

    members: tuple[Member, ...]
    left: LeftToBase
    gone: tuple[str, ...]


def leave(moving: Moving, context: Context) -> Remainder | None:
    """Return what an image copies and what it leaves to its base; None where the plan names no inventory of it.

    Raises PlanError for an inventory that is not known here, and for a base that is no base of this machine.
    """
    component, guest = moving.component, context.guest
    image = component.image
    assert image is not None  # noqa: S101  # the context has looked
    if not image.base_inventory:
        return None
    known = _inventory(image, moving.id, context.plan.source.architecture)
    base = known.base
    members = list(moving.payload.members)
    if image.strategy == "lift":
        _check_release(base, guest, moving.id)
        members = _on_base(members, base, guest, moving.id)
    have = base.by_path()
    packages = _installed(image, base)
    installs = image.strategy != "lift" and len(packages) < len(set(image.packages))
    gone = removed(component)
    if image.strategy == "lift":
        gone = [path for path in gone if any(is_below(each, path) for each in have)]
    touched = [*gone, *(ACCOUNT_FILES if image.strategy != "lift" else ())]
    found = {} if installs else _equal(members, moving.payload.digests, have, touched)
    left = LeftToBase(
        base=base.reference,
        architecture=base.architecture,
        inventory=known.digest,
        image_id=base.image_id,
        installs=installs,
        why=_INSTALLS if installs else "" if found else _NOTHING,
        bytes=sum(file.size for file in found.values()),
        packages=packages,
        database=have.get(STATUS) if packages and not installs and image.strategy != "lift" else None,
        files=tuple(found[path] for path in sorted(found, key=sort_key)),
        others=len(have.keys() - {m.path for m in members}) if image.strategy == "lift" else 0,
    )
    return Remainder(members=tuple(m for m in members if m.path not in found), left=left, gone=tuple(gone))


_EMPTY_IN_IMAGES = frozenset({"/home", "/srv", "/opt", "/root", "/var/mail", "/var/spool", "/var/opt"})
"""System directories that may be data as a whole (mail, homes): packages bring them empty, and none has to go."""


def removed(component: Component) -> list[str]:
    """Return the paths that are removed from what the base and its packages brought, before anything is copied.

    Raises PlanError for one that no system is without.
    """
    gone = [guest_path(p, "the path to remove") for p in (component.image.remove if component.image else ())]
    gone += [path for d in component.data if (path := guest_path(d.path, "the data")) not in _EMPTY_IN_IMAGES]
    for path in gone:
        if path in FHS:
            raise PlanError(f"remove {path} from the image of {component.id}", "the system needs it", "name its parts")
    return gone


def _inventory(image: Image, component_id: str, architecture: str) -> Known:
    attempted = f"leave to {show(image.base)} what it has, for the image of {component_id}"
    if not _DIGEST.fullmatch(image.base_inventory):
        found = f"'{show(image.base_inventory)}' is no digest of an inventory"
        raise PlanError(attempted, found, "write base_inventory as vm2c bases prints it, sha256:…")
    known = inventory_of(image.base, architecture, image.base_inventory)
    if known is None:
        base = show(image.base)
        raise PlanError(
            attempted,
            f"its inventory {show(image.base_inventory[:19])} for {show(architecture) or 'no'} processors is not here",
            f"run vm2c bases --refresh {base} and analyze again, or take base_inventory out of plan.yaml",
        )
    return known


# ---------------------------------------------------------------- files


def _equal(
    members: Sequence[Member], digests: Mapping[str, str], have: Mapping[str, BaseFile], touched: Sequence[str]
) -> dict[str, BaseFile]:
    """Return the members that the base has just so. The names of one file stay together: all are left, or none."""
    first = {m.path: m for m in members if m.kind == "file"}
    groups: dict[str, list[str]] = {}
    found: dict[str, BaseFile] = {}
    for member in members:
        source = first.get(member.target, member) if member.kind == "hardlink" else member
        groups.setdefault(source.path, []).append(member.path)
        file = have.get(member.path)
        same = file is not None and _as_base_file(source, member.path, digests) == file
        if file is not None and same and not any(is_below(member.path, t) for t in touched):
            found[member.path] = file
    for names in groups.values():
        if not all(name in found for name in names):
            for name in names:
                found.pop(name, None)
    return found


def _as_base_file(member: Member, path: str, digests: Mapping[str, str]) -> BaseFile | None:
    """Return what is compared of a member under one of its names; None for what is never left to a base."""
    if member.kind not in {"file", "directory", "symlink"}:
        return None
    sha256 = digests.get(member.path, "") if member.kind == "file" else ""
    if member.kind == "file" and not sha256:
        return None
    return BaseFile(
        path=path,
        kind=member.kind,
        mode=0o777 if member.kind == "symlink" else member.mode,
        uid=member.uid,
        gid=member.gid,
        size=member.size,
        sha256=sha256,
        target=member.target,
        xattrs=kept_xattrs(member.xattrs),
    )


# ---------------------------------------------------------------- packages


def _installed(image: Image, base: Base) -> tuple[str, ...]:
    """Return those of the plan's packages that the base has in that version, sorted."""
    have = [p for p in base.packages if p.manager == "dpkg"]
    return tuple(sorted(wanted for wanted in set(image.packages) if any(_is(wanted, p) for p in have)))


def _is(wanted: str, package: BasePackage) -> bool:
    name, _, version = wanted.partition("=")
    name, _, architecture = name.partition(":")
    return (
        name == package.name and version in {"", package.version} and architecture in {"", "any", package.architecture}
    )


# ---------------------------------------------------------------- a machine's own files on a base


def _check_release(base: Base, guest: Guest, component_id: str) -> None:
    """Raise PlanError where a base is another distribution's, or another release's: its libraries are others."""
    release = next((p for p in ("/etc/os-release", "/usr/lib/os-release") if guest.is_file(p)), "")
    fields = dict(parse_environment_file(guest.text(release, 1 << 16))) if release else {}
    machine = (fields.get("ID", ""), _release(fields.get("ID", ""), fields.get("VERSION_ID", "")))
    if machine != (base.system, _release(base.system, base.version)):
        raise PlanError(
            f"lift {component_id} onto {base.reference}",
            f"the base is {show(base.system)} {show(base.version)}, "
            f"and the machine {show(' '.join(filter(None, machine))) or 'says nothing of itself'}",
            "use the machine's own release as its base, or scratch without base_inventory",
        )


def _release(system: str, version: str) -> str:
    """Return the part of a version within which libraries stay compatible.

    >>> _release("debian", "12.5"), _release("alpine", "3.20.3"), _release("ubuntu", "22.04")
    ('12', '3.20', '22.04')
    """
    parts = 2 if system in {"alpine", "ubuntu", "opensuse-leap"} else 1
    return ".".join(version.split(".")[:parts])


def _on_base(members: Sequence[Member], base: Base, guest: Guest, component_id: str) -> list[Member]:
    """Return the members of a lifted image as they go onto a base: it says which packages are there besides."""
    have = base.by_path()
    found = {m.path: m for m in members}
    for path in sorted(FHS, key=sort_key):
        entry, other = guest.lstat(path), have.get(path)
        if entry is None or path in found:
            continue
        if other is None:
            member = member_of(entry)
            if entry.kind == "symlink" and member is not None:
                found[path] = member
        elif (entry.kind, entry.target.lstrip("/")) != (other.kind, other.target.lstrip("/")):
            raise PlanError(
                f"lift {component_id} onto {base.reference}",
                f"{path} is a {entry.kind} on the machine and a {other.kind} in the base",
                "use scratch without base_inventory",
            )
    status = found.get(STATUS)
    if status is not None and status.content is not None:
        content = status.content + _other_packages(status.content, base, guest)
        found[STATUS] = msgspec.structs.replace(status, content=content, size=len(content))
    return sorted(found.values(), key=lambda m: sort_key(m.path))


def _other_packages(status: bytes, base: Base, guest: Guest) -> bytes:
    """Return stanzas (deb-control(5)) of the base's packages that are not among the lifted: their files stay.

    One that the machine has in that version is told as the machine tells it, any other by what is known of it.
    """
    lifted = parse_status(status.decode("utf-8", "surrogateescape"))
    machine = parse_status(guest.text(STATUS, 64 << 20))

    def stanzas() -> Iterator[str]:
        for p in base.packages:
            if p.manager != "dpkg" or p.name in lifted:
                continue
            own = machine.get(p.name)
            if own is not None and f"Version: {p.version}" in own.stanza.split("\n"):
                yield f"{own.stanza}\n\n"
                continue
            fields = {
                "Package": p.name,
                "Status": "install ok installed",
                "Maintainer": "unknown",
                "Architecture": p.architecture,
                "Version": p.version,
                "Description": f"of the base image {base.reference}",
            }
            yield "".join(f"{k}: {show(v)}\n" for k, v in fields.items()) + "\n"

    return "".join(stanzas()).encode("utf-8", "surrogateescape")
