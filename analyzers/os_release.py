"""The operating system and what it says of itself: name, architecture, init, time zone, locale."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from importlib import resources

import yaml

from analyzers._elf import is_elf, read_elf
from analyzers._reading import Reader, assignments, meaningful
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Place, System, Trait

_NAME = "os_release"

# os-release's ID or a word of ID_LIKE → the family. ID comes first: Amazon Linux 2 is like "centos rhel fedora".
_FAMILIES = {
    "debian": "debian", "ubuntu": "debian", "raspbian": "debian", "devuan": "debian", "linuxmint": "debian",
    "rhel": "rhel", "fedora": "rhel", "centos": "rhel", "almalinux": "rhel", "rocky": "rhel", "ol": "rhel",
    "amzn": "rhel", "scientific": "rhel",
    "suse": "suse", "sles": "suse", "opensuse": "suse", "opensuse-leap": "suse", "opensuse-tumbleweed": "suse",
    "alpine": "alpine", "arch": "arch", "archlinux": "arch", "manjaro": "arch",
}  # fmt: skip

_RED_HATS = (("centos", "centos"), ("red hat", "rhel"), ("fedora", "fedora"), ("oracle", "ol"),
             ("scientific", "scientific"), ("alma", "almalinux"), ("rocky", "rocky"), ("amazon", "amzn"))  # fmt: skip

# Programs that every Linux has in one of these places; their ELF header says what the machine is.
_PROGRAMS = ("/bin/sh", "/usr/bin/sh", "/bin/busybox", "/sbin/init", "/usr/bin/env", "/usr/bin/coreutils")
_LOADERS = ("/lib*/ld-*.so*", "/lib/*/ld-*.so*", "/usr/lib*/ld-*.so*")


def family_of(ident: str, like: str) -> str:
    """Return the family for os-release's ID and ID_LIKE; `linux` where neither is known."""
    return next((_FAMILIES[word] for word in [ident, *like.split()] if word in _FAMILIES), "linux")


def parse_os_release(text: str, path: str) -> System:
    """Turn os-release(5) into a System; the defaults of the manual page stand in for what is missing."""
    fields = assignments(text)

    def field(name: str, default: str = "") -> str:
        return fields.get(name, (default, 0))[0]

    ident = field("ID", "linux")
    return System(
        seen_in=Place(path, fields["ID"][1] if "ID" in fields else None),
        family=family_of(ident, field("ID_LIKE")),
        id=ident,
        version=field("VERSION_ID"),
        name=field("PRETTY_NAME") or f"{field('NAME', 'Linux')} {field('VERSION')}".strip(),
        codename=field("VERSION_CODENAME"),
    )


def parse_old_release(text: str, path: str) -> System | None:
    """Read the files of systems from before os-release: /etc/debian_version, redhat-release and their like."""
    number, line = next(meaningful(text, comment=""), (0, ""))
    if not line:
        return None
    version = (re.search(r"\d[\w.]*", line) or [""])[0]
    name = path.rsplit("/", 1)[-1]
    if name == "debian_version":
        ident, line = "debian", f"Debian GNU/Linux {line}"
    elif name == "alpine-release":
        ident, line = "alpine", f"Alpine Linux {line}"
    elif name == "SuSE-release":
        ident = "sles" if "enterprise" in line.lower() else "opensuse"
    elif name == "arch-release":
        ident = "arch"
    else:
        ident = next((known for word, known in _RED_HATS if word in line.lower()), "rhel")
    return System(seen_in=Place(path, number), family=family_of(ident, ""), id=ident, version=version, name=line)


def _system(reader: Reader) -> System:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        if text := reader.optional(path):
            return parse_os_release(text, path)
    for name in (
        "centos-release",
        "redhat-release",
        "SuSE-release",
        "alpine-release",
        "arch-release",
        "debian_version",
    ):
        if (text := reader.optional(f"/etc/{name}")) and (found := parse_old_release(text, f"/etc/{name}")):
            return found
    reader.note("/etc/os-release", "there is none, nor any older file that names the distribution")
    issue = next(meaningful(reader.optional("/etc/issue") or "", comment="\\"), (None, "Linux"))
    where = Place("/etc/issue", issue[0]) if issue[0] else Place("/")
    return System(seen_in=where, family="linux", id="linux", version="", name=re.sub(r"\\\S", "", issue[1]).strip())


@functools.cache
def _support_ends() -> dict[str, dict[str, str]]:
    table = yaml.safe_load(resources.files("analyzers").joinpath("end_of_life.yaml").read_text("utf-8"))
    return {name: {version: str(day) for version, day in ends.items()} for name, ends in table.items()}


def end_of_life(system: System) -> str | None:
    """Return the day (ISO) on which support of this release ends or ended, or None where it is not known."""
    stream = system.id == "centos" and "stream" in system.name.lower()
    ends = _support_ends().get("centos-stream" if stream else system.id, {})
    parts = system.version.split(".")
    for length in range(len(parts), 0, -1):
        version = ".".join(parts[:length])
        if day := ends.get(version) or ends.get(f"{version}.0"):
            return day
    return None


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


def _init(guest: Guest) -> Trait | None:
    link = "/sbin/init"
    real = guest.resolve(link)
    if real is None:
        link, real = "/usr/lib/systemd/systemd", guest.resolve("/usr/lib/systemd/systemd")
        return None if real is None else Trait(seen_in=Place(link), key="init", value="systemd")
    if real.endswith("/systemd"):
        value = "systemd"
    elif guest.exists("/sbin/openrc"):
        value = "openrc"
    elif real.endswith("/busybox"):
        value = "busybox"
    elif guest.exists("/sbin/initctl") and guest.glob("/etc/init/*.conf"):
        value = "upstart"
    else:
        value = "sysvinit" if guest.exists("/etc/inittab") else real.rsplit("/", 1)[-1]
    return Trait(seen_in=Place(link), key="init", value=value)


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
    system = _system(reader)
    yield system
    if day := end_of_life(system):
        yield Trait(seen_in=system.seen_in, key="end_of_life", value=day)
    yield from _hostname(reader)
    if architecture := _architecture(reader):
        yield architecture
    if init := _init(guest):
        yield init
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
        "/etc/hostname", "/etc/HOSTNAME", "/etc/timezone", "/etc/default/locale", "/etc/locale.conf",
        "/etc/machine-id", "/etc/sysconfig/network", "/etc/sysconfig/clock", "/etc/sysconfig/i18n", "/bin/sh",
    ),
    analyze=analyze,
    source="os-release(5), localtime(5), locale.conf(5), machine-id(5), hostname(5)",
)  # fmt: skip
