"""What stands in a bill of materials, before either format: one value for each thing that is installed. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from migrate.facts import Facts
from migrate.model import Application, LanguagePackage, Package
from migrate.redact import Redactor
from migrate.sbom.purl import language_purl, package_purl
from migrate.text import show


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Something installed. `key` is unique in the document, and the same on every analysis; `needs` are others' keys.

    `kind` is package (a distribution's), library (a language's) or application (nobody's). `purl` is empty where
    the specification has no type for it. `properties` are what neither format has a field for.
    """

    key: str
    kind: str
    name: str
    version: str
    purl: str
    path: str
    line: int | None
    properties: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, its operating system and all that is on it, in one order."""

    name: str
    system: str
    system_id: str
    system_version: str
    parts: tuple[Part, ...]


def parts(facts: Facts, redact: Redactor) -> Machine:
    """Return what is installed on a machine. Texts are fit to be shown, and hold no secret."""

    def text(value: str) -> str:
        return show(redact(value))

    found: dict[str, Part] = {}
    for part in (*_packages(facts), *_libraries(facts), *_applications(facts)):
        clean = msgspec.structs.replace(
            part,
            name=text(part.name),
            version=text(part.version),
            purl=redact(part.purl),
            path=text(part.path),
            properties=tuple((name, text(value)) for name, value in part.properties if value),
        )
        found.setdefault(part.key, clean)
    short = {key: hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16] for key in found}
    system = facts.system
    return Machine(
        name=text(facts.trait("hostname")) or "machine",
        system=text(system.name or system.id) if system else "Linux",
        system_id=text(system.id) if system else "linux",
        system_version=text(system.version) if system else "",
        parts=tuple(
            msgspec.structs.replace(
                found[key], key=short[key], needs=tuple(short[need] for need in found[key].needs if need in found)
            )
            for key in sorted(found)
        ),
    )


def _packages(facts: Facts) -> Iterator[Part]:
    packages = facts.of(Package)
    keys = {package.name: _key(package) for package in reversed(packages)}
    for package in packages:
        yield Part(
            key=_key(package),
            kind="package",
            name=package.name,
            version=package.version,
            purl=package_purl(package, facts.system),
            path=package.seen_in.path,
            line=package.seen_in.line,
            properties=(
                ("manager", package.manager),
                ("architecture", package.architecture),
                ("origin", package.origin),
                ("chosen", "true" if package.chosen else "false"),
            ),
            needs=tuple(keys[name] for name in package.depends if name in keys and name != package.name),
        )


def _libraries(facts: Facts) -> Iterator[Part]:
    for each in facts.of(LanguagePackage):
        yield Part(
            key=_joined("library", each.ecosystem, each.name, each.version, each.location),
            kind="library",
            name=each.name,
            version=each.version,
            purl=language_purl(each.ecosystem, each.name, each.version),
            path=each.seen_in.path,
            line=each.seen_in.line,
            properties=(("ecosystem", each.ecosystem), ("location", each.location)),
        )


def _applications(facts: Facts) -> Iterator[Part]:
    keys = {package.name: _key(package) for package in reversed(facts.of(Package))}
    for each in facts.of(Application):
        yield Part(
            key=_joined("application", each.root, each.ecosystem, each.name),
            kind="application",
            name=each.name,
            version=each.version,
            purl="",
            path=each.seen_in.path,
            line=each.seen_in.line,
            properties=(
                ("ecosystem", each.ecosystem),
                ("location", each.root),
                ("interpreter", each.interpreter),
                ("libraries", " ".join(each.libraries)),
            ),
            needs=tuple(keys[name] for name in each.runtime if name in keys),
        )


def _key(package: Package) -> str:
    return _joined("package", package.manager, package.name, package.architecture, package.version)


def _joined(*words: str) -> str:
    return "\0".join(words)
