"""The operating system and what it says of itself: name, architecture, init, time zone, locale."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers._elf import is_elf, read_elf
from analyzers._families import parse_os_release, support, system_of
from analyzers._init import BOOT_LOADERS, init_of
from analyzers._reading import Reader, assignments, meaningful
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Place, System, Trait

_NAME = "os_release"
__all__ = ["ANALYZER", "analyze", "end_of_life", "parse_os_release"]

# Programs that every Linux has in one of these places; their ELF header says what the machine is.
_PROGRAMS = ("/bin/sh", "/usr/bin/sh", "/bin/busybox", "/sbin/init", "/usr/bin/env", "/usr/bin/coreutils")
_LOADERS = ("/lib*/ld-*.so*", "/lib/*/ld-*.so*", "/usr/lib*/ld-*.so*")


def end_of_life(system: System) -> str | None:
    """Return the day (ISO) on which general support of this release ends or ended, or None where it is not known."""
    release = support(system)
    return release.ends if release else None


def _support(system: System) -> Iterator[Trait]:
    release = support(system)
    if release is not None:
        yield Trait(seen_in=system.seen_in, key="end_of_life", value=release.ends)
        if release.extended:  # LTS, ESM, ELS, LTSS: some of it is bought, none of it covers everything
            yield Trait(seen_in=system.seen_in, key="end_of_extended_support", value=release.extended)


def _architecture(reader: Reader) -> Trait | None:
    guest = reader.guest
    paths = [*_PROGRAMS, *(path for pattern in _LOADERS for path in guest.glob(pattern))]
    for path in dict.fromkeys(guest.resolve(path) or "" for path in paths):
        if path and guest.is_file(path) and is_elf(data := reader.data(path, 64 << 20) or b""):
            try:
                return Trait(seen_in=Place(path), key="architecture", value=read_elf(data).machine)
            except ValueError as error:
                reader.note(path, str(error))
    reader.note("/bin/sh", "the architecture is not known: no program of the system could be read")
    return None


def _hostname(reader: Reader) -> Iterator[Trait]:
    for path in ("/etc/hostname", "/etc/HOSTNAME"):
        for number, line in meaningful(reader.optional(path) or ""):
            yield Trait(seen_in=Place(path, number), key="hostname", value=line)
            return
    if "HOSTNAME" in (fields := assignments(reader.optional("/etc/sysconfig/network") or "")):
        value, number = fields["HOSTNAME"]
        yield Trait(seen_in=Place("/etc/sysconfig/network", number), key="hostname", value=value)


def _timezone(reader: Reader) -> Iterator[Trait]:
    """localtime(5): the link is what counts; /etc/timezone and sysconfig/clock only where it is none."""
    entry = reader.guest.lstat("/etc/localtime")
    if entry is not None and entry.kind == "symlink" and "/zoneinfo/" in entry.target:
        value = entry.target.split("/zoneinfo/", 1)[1]
        yield Trait(seen_in=Place("/etc/localtime"), key="timezone", value=re.sub(r"^(posix|right)/", "", value))
        return
    for number, line in meaningful(reader.optional("/etc/timezone") or ""):
        yield Trait(seen_in=Place("/etc/timezone", number), key="timezone", value=line)
        return
    clock = assignments(reader.optional("/etc/sysconfig/clock") or "")
    for name in ("ZONE", "TIMEZONE"):
        if name in clock:
            yield Trait(seen_in=Place("/etc/sysconfig/clock", clock[name][1]), key="timezone", value=clock[name][0])
            return


def _locale(reader: Reader) -> Iterator[Trait]:
    for path in ("/etc/default/locale", "/etc/locale.conf", "/etc/sysconfig/i18n"):
        fields = assignments(reader.optional(path) or "")
        for name in ("LC_ALL", "LANG"):  # locale(7): LC_ALL goes over all others
            if fields.get(name, ("", 0))[0]:
                value, number = fields[name]
                yield Trait(seen_in=Place(path, number), key="locale", value=value)
                return


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield the System and the machine's traits."""
    reader = Reader(guest, _NAME)
    system = system_of(reader)
    yield system
    yield from _support(system)
    yield from _hostname(reader)
    if architecture := _architecture(reader):
        yield architecture
    if init := init_of(reader):
        yield Trait(seen_in=init.place, key="init", value=init.name)
    yield from _timezone(reader)
    yield from _locale(reader)
    machine_id = (reader.optional("/etc/machine-id") or "").strip()
    if guest.is_file("/etc/machine-id"):  # machine-id(5); the value itself is confidential
        value = "set" if re.fullmatch(r"[0-9a-f]{32}", machine_id) else "not set"
        yield Trait(seen_in=Place("/etc/machine-id"), key="machine_id", value=value)
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="The distribution and its release, architecture, init, host name, time zone and locale.",
    reads=(
        "/etc/os-release", "/usr/lib/os-release", "/etc/*-release", "/etc/debian_version", "/etc/issue",
        "/etc/devuan_version", "/etc/slackware-version", "/etc/openwrt_release", "/etc/system-release-cpe",
        "/sbin/init", "/etc/inittab", "/etc/init.d/rcS", *BOOT_LOADERS,
        "/etc/hostname", "/etc/HOSTNAME", "/etc/timezone", "/etc/default/locale", "/etc/locale.conf",
        "/etc/machine-id", "/etc/sysconfig/network", "/etc/sysconfig/clock", "/etc/sysconfig/i18n", "/bin/sh",
    ),
    analyze=analyze,
    source="os-release(5), localtime(5), locale.conf(5), machine-id(5), hostname(5), bootparam(7)",
)  # fmt: skip
