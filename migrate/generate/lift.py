"""An image out of the machine's own files: nothing is downloaded, so it works where no archive serves them any more.

On a system of dpkg: the packages asked for, what they depend on, and the Essential ones, as installed and
configured on the machine. On any other: its software directories, whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import msgspec

from migrate.errors import PlanError
from migrate.generate.payload import Collector
from migrate.generate.tar import Member
from migrate.guest.protocol import Guest
from migrate.text import show

STATUS = "/var/lib/dpkg/status"
"""dpkg's record of what is installed (dpkg(1), "FILES")."""
_INFO = "/var/lib/dpkg/info"
_ALTERNATIVES = "/var/lib/dpkg/alternatives"  # update-alternatives(1), "FILES"
_DEPENDENCY = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")
_DOCUMENTATION = re.compile(
    r"/usr/share/(?:man|info|locale|lintian|bug|doc-base|menu|gtk-doc|help)(?:/.*)?|/usr/share/doc(?:/[^/]+(?:/(?!copyright$).*)?)?"
)
_SOFTWARE = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/etc")
_NOT_SOFTWARE = re.compile(
    r"/usr/(?:local|src|lib/debug)(?:/.*)?|(?:/usr)?/lib/(?:modules|firmware)(?:/.*)?|/etc/systemd/.*"
)
_VAR_DEPTH = 4  # /var/lib/NAME/PART: what packages bring; deeper directories are data

_GENERATED = (
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/localtime",
    "/etc/timezone", "/etc/default/locale", "/usr/lib/locale/locale-archive", "/etc/ssl/certs", "/etc/mailcap",
)  # fmt: skip
"""What maintainer scripts, ldconfig(8), locale-gen(8) and update-ca-certificates(8) make: no package lists it."""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """An installed package: `depends` holds one tuple of alternatives for each dependency."""

    name: str
    architecture: str
    essential: bool
    depends: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]
    stanza: str


def parse_status(text: str) -> dict[str, Installed]:
    """Return the packages that dpkg's status file says are installed (deb-control(5), dpkg-query(1)); never raises.

    Where one name is installed for several architectures, the first one stands for it.
    """
    found: dict[str, Installed] = {}
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in {" ", "\t"}:
                if name:
                    fields[name] += line
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        package = fields.get("package", "")
        if not package or not fields.get("status", "").endswith(" installed"):
            continue
        parts = ",".join(fields.get(f, "") for f in ("pre-depends", "depends"))
        provides = (m[1] for p in fields.get("provides", "").split(",") if (m := _DEPENDENCY.match(p)))
        found.setdefault(
            package,
            Installed(
                name=package,
                architecture=fields.get("architecture", ""),
                essential=fields.get("essential", "") == "yes",
                depends=tuple(alternatives for part in parts.split(",") if (alternatives := _alternatives(part))),
                provides=tuple(provides),
                stanza=stanza.strip("\n"),
            ),
        )
    return found


def _alternatives(text: str) -> tuple[str, ...]:
    return tuple(m[1] for choice in text.split("|") if (m := _DEPENDENCY.match(choice)))


def closure(installed: dict[str, Installed], wanted: Iterable[str]) -> list[str]:
    """Return the wanted packages, the Essential ones and all they depend on, sorted.

    Of alternatives the first that is installed is taken, as dpkg has it. A dependency that nothing installed
    satisfies is passed over: the machine ran without it. Raises PlanError for a wanted one that is not installed.
    """
    providers: dict[str, str] = {}
    for package in installed.values():
        for name in package.provides:
            providers.setdefault(name, package.name)
    waiting = [p.name for p in installed.values() if p.essential]
    for name in wanted:
        if name not in installed:
            do = "correct the component's packages in plan.yaml"
            raise PlanError(f"lift the package {show(name)}", "it is not installed on the machine", do)
        waiting.append(name)
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for alternatives in installed[name].depends:
            present = (a if a in installed else providers.get(a, "") for a in alternatives)
            waiting.extend(filter(None, [next(filter(None, present), "")]))
    return sorted(found)


def add_lifted(collector: Collector, packages: Sequence[str]) -> None:
    """Add the machine's own software to an image. `packages` are `name` or `name=version`."""
    guest = collector.guest
    collector.lifting = True
    if guest.is_file(STATUS):
        _add_packages(collector, [p.partition("=")[0].partition(":")[0] for p in packages])
    else:
        _add_software(collector)
    for path in ("/tmp", "/var/tmp"):  # noqa: S108  # directories of the image
        collector.add_directory(path, 0, 0, 0o1777)
    collector.add_directory("/run", 0, 0, 0o755)
    for path in ("/var/run", "/var/lock"):  # base-files' postinst makes them
        entry = guest.lstat(path)
        if entry is not None and entry.kind == "symlink":
            collector.add_link(path, entry.target)
    collector.lifting = False


def _add_packages(collector: Collector, wanted: Sequence[str]) -> None:
    guest = collector.guest
    installed = parse_status(guest.text(STATUS, 64 << 20))
    names = closure(installed, wanted)
    lists = {name: _list_path(guest, installed[name]) for name in names}
    guest.prefetch([path for path in lists.values() if path])
    paths = {p for path in lists.values() if path for p in guest.text(path, 64 << 20).splitlines()}
    paths = {p for p in paths if p.startswith("/") and p != "/." and not _DOCUMENTATION.fullmatch(p)}
    guest.prefetch(sorted(paths))
    for path in sorted(paths):
        collector.add_lifted(path)
    for path in _GENERATED:
        collector.add_lifted(path)
        if guest.is_dir(path):
            for entry in guest.walk(path):
                collector.add_lifted(entry.path)
    for path in _links_of_alternatives(collector):
        collector.add_lifted(path)
    content = "".join(f"{installed[name].stanza}\n\n" for name in names).encode("utf-8", "surrogateescape")
    status = Member(path=STATUS, kind="file", mode=0o644, content=content, size=len(content))
    collector.members[STATUS] = status  # what is in the image, for scanners


def _list_path(guest: Guest, package: Installed) -> str:
    names = (f"{_INFO}/{package.name}.list", f"{_INFO}/{package.name}:{package.architecture}.list")
    return next((n for n in names if guest.is_file(n)), "")


def _links_of_alternatives(collector: Collector) -> Iterator[str]:
    """Yield the links of alternatives whose choice is in the image: `/usr/bin/NAME` and `/etc/alternatives/NAME`."""
    guest = collector.guest
    for name in guest.listdir(_ALTERNATIVES):
        file = f"{_ALTERNATIVES}/{name}"
        lines = guest.text(file, 1 << 20).split("\n") if guest.is_file(file) else []
        links = {name: lines[1]} if len(lines) > 1 else {}
        rest = iter(lines[2:])
        for slave in rest:
            if not slave:
                break
            links[slave] = next(rest, "")
        for each, link in links.items():
            choice = guest.resolve(f"/etc/alternatives/{each}")
            if choice in collector.members and link.startswith("/"):
                yield f"/etc/alternatives/{each}"
                yield link


def _add_software(collector: Collector) -> None:
    guest = collector.guest
    for top in _SOFTWARE:
        for entry in guest.walk(top):
            if not _DOCUMENTATION.fullmatch(entry.path) and not _NOT_SOFTWARE.fullmatch(entry.path):
                collector.add_lifted(entry.path)
    for entry in guest.walk("/var"):
        depth = len(PurePosixPath(entry.path).parts) - 1
        if entry.kind in {"directory", "symlink"} and depth <= _VAR_DEPTH:
            collector.add_lifted(entry.path)
