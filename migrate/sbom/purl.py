"""Package URLs: github.com/package-url/purl-spec, types/*-definition.json. Pure.

A type that the specification does not define (opkg, portage, snap, flatpak) is `generic`, with the manager as a
qualifier, so that no scanner takes it for something else.
"""

from __future__ import annotations

from packageurl import PackageURL

from migrate.model import Package, System

_TYPES = {"dpkg": "deb", "rpm": "rpm", "apk": "apk", "pacman": "alpm"}
_VENDORS = {"rhel": "redhat", "amzn": "amazon", "ol": "oracle", "sles": "suse", "opensuse-leap": "opensuse"}
"""Namespaces that are not the os-release ID: as in the specification's own examples and what scanners match by."""


def package_purl(package: Package, system: System | None) -> str:
    """Return the URL of a distribution's package.

    The epoch of an rpm is a qualifier, of a deb a part of the version (rpm-definition.json, deb-definition.json).
    """
    kind = _TYPES.get(package.manager, "generic")
    version, qualifiers = package.version, {"arch": package.architecture}
    if kind == "rpm" and ":" in version:
        qualifiers["epoch"], _, version = version.partition(":")
    if kind == "generic":
        qualifiers["manager"] = package.manager
    elif system is not None and system.id:
        qualifiers["distro"] = f"{system.id}-{system.version}" if system.version else system.id
    if package.source and package.source != package.name:
        qualifiers["upstream"] = package.source
    namespace = _VENDORS.get(system.id, system.id) if system is not None and kind != "generic" else ""
    return _url(kind, namespace or package.manager * (kind != "generic"), package.name, version, qualifiers)


def language_purl(ecosystem: str, name: str, version: str) -> str:
    """Return the URL of a language's package; an empty text where the ecosystem has no type.

    >>> language_purl("npm", "@babel/core", "7.1.0")
    'pkg:npm/%40babel/core@7.1.0'
    >>> language_purl("maven", "org.slf4j:slf4j-api", "2.0.7")
    'pkg:maven/org.slf4j/slf4j-api@2.0.7'
    """
    if ecosystem not in {"pypi", "conda", "npm", "gem", "composer", "maven", "golang", "cargo", "nuget"}:
        return ""
    mark = ":" if ecosystem == "maven" else "/"
    namespace, _, last = (
        name.rpartition(mark) if ecosystem in {"npm", "composer", "maven", "golang"} else ("", "", name)
    )
    return _url(ecosystem, namespace, last, version, {})


def _url(kind: str, namespace: str, name: str, version: str, qualifiers: dict[str, str]) -> str:
    """Return the text, or nothing where the parts make none: they come from a disk."""
    kept = {key: _plain(value) for key, value in qualifiers.items() if value}
    try:
        return PackageURL(kind, _plain(namespace), _plain(name), _plain(version), kept).to_string()
    except (ValueError, TypeError):  # packageurl-python 0.17: TypeError for a name of slashes alone
        return ""


def _plain(text: str) -> str:
    """Return text that can be percent-encoded as UTF-8: names of files may hold bytes that are none."""
    return text.encode("utf-8", "replace").decode()
