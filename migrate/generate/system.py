"""Settings of the whole machine that every process on it has: time zone, locale, trusted authorities, host names."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from migrate.generate.envfile import parse_environment_file
from migrate.guest.protocol import Guest
from migrate.plan.model import Component, Plan

_ZONES = "/usr/share/zoneinfo/"
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_LOCALE_FILES = ("/etc/default/locale", "/etc/locale.conf")  # Debian's, and locale.conf(5)
_BUILT_IN = re.compile(r"(?i)c|posix|c\.utf-?8")
_AUTHORITIES = "/usr/local/share/ca-certificates"  # update-ca-certificates(8)
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class SystemSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every image gets: variables that systemd passes to each service, and the files they need."""

    environment: dict[str, str]
    files: tuple[str, ...]
    hosts: dict[str, str]


def system_settings(plan: Plan, guest: Guest) -> SystemSettings:
    """Return the machine's own settings, as far as a base image would not have them."""
    environment: dict[str, str] = {}
    files: list[str] = []
    zone = machine_zone(guest)
    if zone and zone not in {"UTC", "Etc/UTC"}:
        environment["TZ"] = zone
        files += [p for p in (f"{_ZONES}{zone}", "/etc/localtime", "/etc/timezone") if guest.exists(p)]
    language = _language(guest)
    if language:
        environment.update(language)
        files += [p for p in ("/usr/lib/locale/locale-archive", *_LOCALE_FILES) if guest.is_file(p)]
    if any(guest.glob(f"{_AUTHORITIES}/**/*.crt")) and guest.is_file(_BUNDLE):
        files += [_AUTHORITIES, _BUNDLE]
    return SystemSettings(environment=environment, files=tuple(files), hosts=_hosts(plan.components, guest))


def machine_zone(guest: Guest) -> str:
    """Return the machine's time zone by name (localtime(5): where the link leads), or an empty text."""
    entry = guest.lstat("/etc/localtime")
    if entry is not None and entry.kind == "symlink" and "zoneinfo/" in entry.target:
        zone = entry.target.rpartition("zoneinfo/")[2]
    elif guest.is_file("/etc/timezone"):
        zone = guest.text("/etc/timezone", 256).strip()
    else:
        return ""
    return zone if _ZONE.fullmatch(zone) else ""


def zone_files(zone: str, guest: Guest) -> list[str]:
    """Return the file of a time zone that one component has for itself."""
    path = f"{_ZONES}{zone}"
    return [path] if _ZONE.fullmatch(zone) and guest.is_file(path) else []


def _language(guest: Guest) -> dict[str, str]:
    for path in _LOCALE_FILES:
        if guest.is_file(path):
            settings = parse_environment_file(guest.text(path, 4096))
            found = {k: v for k, v in settings.items() if k == "LANG" or k.startswith("LC_")}
            if found and not all(_BUILT_IN.fullmatch(v) for v in found.values()):
                return found
    return {}


def host_of(external: str) -> str:
    """Return the host of an external of the plan: `smtp.corp.example:25` gives `smtp.corp.example`."""
    return external.rpartition(":")[0] or external


def _hosts(components: Sequence[Component], guest: Guest) -> dict[str, str]:
    """Return the names of externals that only the machine's own hosts(5) resolves, with their addresses."""
    wanted = {host_of(n.external) for c in components for n in c.needs if n.external}
    found: dict[str, str] = {}
    for line in guest.text("/etc/hosts", 1 << 20).splitlines() if guest.is_file("/etc/hosts") else ():
        address, *names = line.partition("#")[0].split() or [""]
        if re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:]+", address) and not address.startswith("127.") and address != "::1":
            found.update({name: address for name in names if name in wanted and name not in found})
    return dict(sorted(found.items()))
