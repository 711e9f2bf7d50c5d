"""Quadlets: podman's generator turns `NAME.container` into the unit `NAME.service` at each boot."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._addresses import port_number
from analyzers._containers import Bind, Container, Port, Variable
from analyzers._expand import Specifiers, SplitError, split_words
from analyzers._reading import Reader, absolute, assignments
from analyzers._unit import UnitError, UnitName, parse, parse_name
from migrate.model import Place, Setting

# podman-systemd.unit(5): what is found first hides the others of its name. /run is empty on a disk at rest.
SYSTEM = ("/etc/containers/systemd", "/usr/share/containers/systemd")
_MAX_FILES = 500
_MAX_RANGE = 64  # ports of one line
_PUBLISHED = re.compile(
    r"(?:(?P<ip>\[[0-9A-Fa-f:.]+\]|[0-9]+(?:\.[0-9]+){3}):)?(?:(?P<host>[0-9]+(?:-[0-9]+)?)?:)?(?P<port>[0-9]+(?:-[0-9]+)?)(?:/(?P<protocol>\w+))?"
)
_KINDS = {"container": "Container", "kube": "Kube", "pod": "Pod"}
_SHOWN = ("Network", "Pod", "Restart", "User", "Group", "Yaml", "Secret", "HealthCmd", "AutoUpdate")


class Line(msgspec.Struct, frozen=True):
    """An assignment of a file or its drop-ins, with the place it stands at; specifiers are resolved."""

    section: str
    key: str
    value: str
    place: Place


class Quadlet(msgspec.Struct, frozen=True):
    """A file of podman's generator: `kind` is its suffix, `unit` the service that is made of it."""

    path: str
    kind: str
    unit: UnitName
    lines: tuple[Line, ...]

    def all(self, key: str, section: str = "") -> list[Line]:
        """Return the assignments of a key in force; an empty one takes back those before it."""
        found: list[Line] = []
        for line in self.lines:
            if line.key == key and line.section == (section or _KINDS.get(self.kind, self.kind.capitalize())):
                found = [*found, line] if line.value else []
        return found

    def last(self, key: str, section: str = "") -> Line | None:
        """Return the last assignment of a key, or None."""
        return next(reversed(self.all(key, section)), None)

    def value(self, key: str, default: str = "", section: str = "") -> str:
        """Return the value in force of a key."""
        line = self.last(key, section)
        return line.value if line is not None else default

    @property
    def service(self) -> str:
        """The name of the service that is made of it, without the suffix (quadlet's GetUnitServiceName)."""
        suffix = {"container": "", "kube": ""}.get(self.kind, f"-{self.kind}")
        return self.value("ServiceName") or f"{self.unit.stem}{suffix}"


class Folder:
    """The quadlets of one service manager: the system's, or one user's (`home` is that user's)."""

    def __init__(self, reader: Reader, tops: Sequence[str], home: str = "/root") -> None:
        self.reader, self.home = reader, home
        self.specifiers = Specifiers(reader.guest)
        self.found: dict[str, Quadlet] = {}
        for path in self._paths(tops):
            name = posixpath.basename(path)
            if name not in self.found and (quadlet := self._load(path)) is not None:
                self.found[name] = quadlet

    def _paths(self, tops: Sequence[str]) -> Iterator[str]:
        guest, count = self.reader.guest, 0
        for top in tops:
            real = guest.resolve(top)
            for entry in guest.walk(real) if real else ():
                users = entry.path.startswith("/etc/containers/systemd/users/") and top == SYSTEM[0]
                if users or not entry.path.endswith((".container", ".volume", ".network", ".pod", ".kube")):
                    continue
                if not guest.is_file(entry.path):
                    continue
                count += 1
                if count > _MAX_FILES:
                    self.reader.note(entry.path, f"only {_MAX_FILES} quadlets are read")
                    return
                yield entry.path

    def _load(self, path: str) -> Quadlet | None:
        stem, _, kind = posixpath.basename(path).rpartition(".")
        unit = parse_name(f"{stem}.service")
        if unit is None:
            self.reader.note(path, "its name is no unit's")
            return None
        if unit.is_template:  # only an instance is started
            default = next((v for s, k, v in self._plain(path) if (s, k) == ("Install", "DefaultInstance")), "")
            unit = parse_name(f"{stem}{default}.service")
            if not default or unit is None:
                self.reader.note(path, "a template, and no link or DefaultInstance= makes an instance of it")
                return None
        tops = (posixpath.dirname(path),)
        dropins = sorted(
            {p for top in tops for p in self.reader.guest.glob(f"{top}/{stem}.{kind}.d/*.conf")}, key=posixpath.basename
        )
        lines = [line for each in (path, *dropins) for line in self._lines(each, unit)]
        return Quadlet(path, kind, unit, tuple(lines))

    def _plain(self, path: str) -> Iterator[tuple[str, str, str]]:
        text = self.reader.text(path, 256 << 10) or ""
        try:
            yield from ((a.section, a.key, a.value) for a in parse(text)[0])
        except UnitError:
            return

    def _lines(self, path: str, unit: UnitName) -> Iterator[Line]:
        try:
            found, faults = parse(self.reader.text(path, 256 << 10) or "")
        except UnitError as error:
            self.reader.note(path, error.why, error.line)
            return
        for fault in faults[:10]:
            self.reader.note(path, fault.why, fault.line)
        for each in found:
            value = self.specifiers.resolve(each.value.replace("%h", self.home), unit, path)
            yield Line(each.section, each.key, value, Place(path, each.line))


def parse_publish(text: str) -> list[tuple[int, int, str, str]]:
    """Return (port of the machine, of the container, protocol, address) of a PublishPort= (podman-run(1), --publish).

    >>> parse_publish("127.0.0.1:8080:80"), parse_publish("80"), parse_publish("53:53/udp")
    ([(8080, 80, 'tcp', '127.0.0.1')], [], [(53, 53, 'udp', '*')])
    """
    match = _PUBLISHED.fullmatch(text)
    if match is None or not match["host"]:  # podman chooses a port at each start
        return []
    sides = []
    for side in (match["host"], match["port"]):
        first, _, last = side.partition("-")
        low, high = port_number(first), port_number(last or first)
        if low is None or high is None or not 0 <= high - low < _MAX_RANGE:
            return []
        sides.append(range(low, high + 1))
    if len(sides[0]) != len(sides[1]):
        return []
    protocol, address = match["protocol"] or "tcp", (match["ip"] or "*").strip("[]")
    return [(host, port, protocol, address) for host, port in zip(*sides, strict=True)]


class _Maker:
    """Makes the container of one quadlet."""

    def __init__(self, folder: Folder, quadlet: Quadlet, storage: str) -> None:
        self.folder, self.quadlet, self.storage, self.reader = folder, quadlet, storage, folder.reader

    def ports(self) -> Iterator[Port]:
        pod = self.folder.found.get(self.quadlet.value("Pod"))
        for line in (*self.quadlet.all("PublishPort"), *(pod.all("PublishPort") if pod else ())):
            found = parse_publish(line.value)
            if not found:
                self.reader.note(line.place.path, f"PublishPort={line.value}: no port of the machine", line.place.line)
            for port, within, protocol, address in found:
                yield Port(port, within, protocol, address, line.place)

    def binds(self) -> Iterator[Bind]:
        for line in self.quadlet.all("Volume"):
            source, _, rest = line.value.partition(":")
            target, _, options = rest.partition(":")
            if target:
                yield from self.bind(source, target, "ro" not in options.split(","), line.place)
        for line in self.quadlet.all("Mount"):
            given = dict(part.partition("=")[::2] for part in line.value.split(","))
            source = given.get("source", given.get("src", ""))
            target = given.get("destination", given.get("target", given.get("dst", "")))
            if given.get("type", "volume") in ("bind", "volume") and source and target:
                writes = not {"ro", "readonly"} & given.keys() or given.get("readonly", given.get("ro")) == "false"
                yield from self.bind(source, target, writes, line.place)

    def bind(self, source: str, target: str, writes: bool, place: Place) -> Iterator[Bind]:
        target = absolute(target, "/")
        if source.startswith(("/", ".")):
            yield Bind(absolute(source, posixpath.dirname(self.quadlet.path)), target, writes, place)
            return
        volume = source
        if source.endswith(".volume"):
            named = self.folder.found.get(source)
            default = f"systemd-{source.removesuffix('.volume')}"
            volume = named.value("VolumeName", default) if named else default
        if re.fullmatch(r"[A-Za-z0-9][\w.-]*", volume):
            yield Bind(f"{self.storage}/volumes/{volume}/_data", target, writes, place, volume)

    def variables(self) -> Iterator[Variable]:
        for line in self.quadlet.all("EnvironmentFile"):
            path = absolute(line.value.removeprefix("-"), posixpath.dirname(self.quadlet.path))
            for name, (value, number) in assignments(self.reader.optional(path) or "").items():
                yield Variable(name, value, Place(path, number))
        for line in self.quadlet.all("Environment"):
            try:
                given = split_words(line.value)
            except SplitError:
                self.reader.note(line.place.path, "Environment= with a quote that does not end", line.place.line)
                continue
            for word in given:
                name, equals, value = word.partition("=")
                if equals and name:
                    yield Variable(name, value, line.place)

    def settings(self) -> Iterator[Setting]:
        for key in _SHOWN:
            for line in (*self.quadlet.all(key), *self.quadlet.all(key, "Service")):
                yield Setting(key, line.value, line.place)

    def others(self, *keys: str) -> tuple[str, ...]:
        found = [w for key in keys for line in self.quadlet.all(key, "Unit") for w in line.value.split()]
        return tuple(sorted({re.sub(r"\.(service|container|kube)$", "", word) for word in found}))

    def container(self, ident: str, starts: bool) -> Container:
        quadlet = self.quadlet
        image = quadlet.last("Image") or quadlet.last("Yaml")
        line = quadlet.last("Exec") or image
        try:
            command = tuple(split_words(quadlet.value("Exec")))
        except SplitError:
            command = (quadlet.value("Exec"),)
        networks = [each.value.partition(":")[0] for each in quadlet.all("Network")]
        wanted = [*quadlet.all("WantedBy", "Install"), *quadlet.all("RequiredBy", "Install")]
        name = quadlet.value("ContainerName", f"systemd-{quadlet.unit.stem}")
        group = quadlet.value("Group")
        return Container(
            ident=ident,
            manager="podman",
            place=line.place if line is not None else Place(quadlet.path),
            unit=quadlet.path,
            name=name,
            image=image.value if image is not None else "",
            image_place=image.place if image is not None else None,
            description=quadlet.value("Description", f"container {name}, made by podman's generator", "Unit"),
            enabled=starts and bool(wanted),
            command=command,
            user=quadlet.value("User") + (f":{group}" if group else ""),
            settings=tuple(self.settings()),
            variables=tuple(self.variables()),
            ports=tuple(dict.fromkeys(self.ports())),
            binds=tuple(self.binds()),
            names=frozenset({name.lower(), quadlet.value("HostName", name).lower()}),
            networks=frozenset(networks) - {"host", "none", "bridge", "pasta", "slirp4netns"},
            on_host="host" in networks,
            after=self.others("After"),
            requires=self.others("Requires", "BindsTo"),
            health=("/bin/sh", "-c", check) if (check := quadlet.value("HealthCmd")) not in ("", "none") else (),
        )


def containers(folder: Folder, storage: str, starts: bool, prefix: str = "") -> Iterator[Container]:
    """Yield the containers of a folder's quadlets, with the ids of the services that are made of them."""
    for quadlet in folder.found.values():
        if quadlet.kind in ("container", "kube"):
            if not (quadlet.last("Image") or quadlet.last("Rootfs") or quadlet.last("Yaml")):
                folder.reader.note(quadlet.path, "neither Image= nor Rootfs= nor Yaml=: podman makes no unit of it")
                continue
            yield _Maker(folder, quadlet, storage).container(prefix + quadlet.service, starts)
