"""What a container that an engine keeps is, whichever engine, and the findings it gives.

A container has an image, and its command is a path inside that image: neither is a file of the machine. So its
`Service` has no `command` (programs are looked up on the machine) and the type `container`; what the container runs
stands in its settings, by the names that podman-systemd.unit(5) has for them: Image, Exec, Network, User, Environment
(names alone).
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from analyzers._addresses import is_every, over_tcp
from analyzers._endpoints import Endpoint, text_endpoints
from analyzers._reading import absolute, inside
from analyzers._secret import secret_id
from analyzers._secret_text import secrets_in
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import Finding, Health, Listen, Need, Place, Secret, Service, Setting, Uses

MANAGERS = frozenset({"docker", "podman"})
# What engines call the machine inside a container: docker-run(1) and podman-run(1), --add-host.
_GATEWAYS = frozenset({"host.docker.internal", "gateway.docker.internal", "host.containers.internal"})
_KERNELS = re.compile(r"/(proc|sys|dev|run|var/run)(/.*)?")
_WORD = re.compile(r"[^\0\n]+")
_LONGEST = 16 << 10  # of a variable


class Port(msgspec.Struct, frozen=True):
    """A port of the machine that leads to one of the container's."""

    port: int
    inside: int
    protocol: str
    address: str
    place: Place
    assumed: bool = False


class Bind(msgspec.Struct, frozen=True):
    """A path of the machine that the container sees; `volume` is the name that the engine keeps it by, if any."""

    source: str
    target: str
    writes: bool
    place: Place
    volume: str = ""


class Variable(msgspec.Struct, frozen=True):
    """A variable that was set for the container (those of its image are the image's)."""

    name: str
    value: str
    place: Place


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container. `names` are those its network knows it by; `gateways` addresses that are the machine's.

    `project` is PROJECT/SERVICE of one that compose made; `running` says that it ran when the disk was last written.
    """

    ident: str
    manager: str
    place: Place
    unit: str
    name: str
    image: str
    image_place: Place | None = None
    description: str
    enabled: bool
    command: tuple[str, ...] = ()
    user: str = ""
    settings: tuple[Setting, ...] = ()
    variables: tuple[Variable, ...] = ()
    ports: tuple[Port, ...] = ()
    binds: tuple[Bind, ...] = ()
    names: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    gateways: frozenset[str] = frozenset()
    on_host: bool = False
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    project: str = ""
    health: tuple[str, ...] = ()
    running: bool = False


def findings_of(guest: Guest, containers: Sequence[Container]) -> Iterator[Finding]:
    """Yield what each container is, where it listens, what it keeps and needs; its secrets are `secrets_of`."""
    for container in containers:
        peers = [each for each in containers if each.ident != container.ident and each.networks & container.networks]
        needs, wants = _needs(container, peers)
        yield _service(container, wants)
        for port in container.ports:
            yield Listen(
                seen_in=port.place,
                service=container.ident,
                port=port.port,
                protocol=port.protocol,
                address="*" if is_every(port.address) else port.address,
                assumed=port.assumed,
            )
        yield from _uses(guest, container)
        yield from needs
        if container.health:
            yield Health(
                seen_in=container.place, service=container.ident, command=container.health, says="its own health check"
            )


def _service(container: Container, wants: Iterable[str]) -> Service:
    where = container.place if container.place.path == container.unit else Place(container.unit)
    settings = [Setting("Image", container.image, container.image_place or where)]
    if container.command:
        settings.append(Setting("Exec", shlex.join(container.command), where))
    settings += container.settings
    settings += (Setting("Environment", variable.name, variable.place) for variable in container.variables)
    user, _, group = container.user.partition(":")
    return Service(
        seen_in=container.place,
        id=container.ident,
        manager=container.manager,
        enabled=container.enabled,
        unit=container.unit,
        type="container",
        description=container.description,
        user=user if user.isdigit() else "root",  # a name is one of the image's accounts: it stands in the settings
        group=group if user.isdigit() and group.isdigit() else "",
        settings=tuple(settings),
        after=container.after,
        requires=container.requires,
        wants=tuple(sorted(set(wants))),
    )


def _uses(guest: Guest, container: Container) -> Iterator[Finding]:
    for bind in container.binds:
        source = bind.source
        if bind.volume:
            says = f"volume {bind.volume} at {bind.target}"
            role = "data"
        elif source == "/":
            continue  # an agent that looks at the machine
        elif (entry := guest.stat(source)) is not None and entry.kind == "socket":
            yield Need(seen_in=bind.place, service=container.ident, over=f"unix:{source}", detail=bind.target)
            continue
        elif _KERNELS.fullmatch(source):
            if source.endswith(".sock"):
                path = source.replace("/var/run/", "/run/", 1)
                yield Need(seen_in=bind.place, service=container.ident, over=f"unix:{path}", detail=bind.target)
            continue
        else:
            says = f"mounted at {bind.target}" + ("" if bind.writes else ", read-only")
            role = "config" if not bind.writes or inside(source, "/etc") else "data"
        if inside(source, "/var/log"):
            role = "log"
        yield Uses(seen_in=bind.place, service=container.ident, path=source, role=role, says=says)  # type: ignore[arg-type]  # one of the roles


# ---------------------------------------------------------------- what it talks to


def _needs(container: Container, peers: Sequence[Container]) -> tuple[list[Need], list[str]]:
    """Return the needs that the variables give, and the containers of the same network that they name."""
    needs: list[Need] = []
    wants: list[str] = []
    usable = [v for v in container.variables if _WORD.fullmatch(v.value) and len(v.value) <= _LONGEST]
    for endpoint in text_endpoints("\n".join(f"{v.name}={v.value}" for v in usable)):
        if not 0 < endpoint.line <= len(usable):
            continue
        place = usable[endpoint.line - 1].place
        peer = next((each for each in peers if endpoint.host.lower() in each.names), None)
        if peer is not None:
            wants.append(peer.ident)
        if over := _over(container, peer, endpoint):
            needs.append(
                Need(seen_in=place, service=container.ident, over=over, detail=endpoint.says, host_text=endpoint.host)
            )
    return needs, wants


def _over(container: Container, peer: Container | None, endpoint: Endpoint) -> str:
    """Return an address as the machine has it; empty where it means something inside the container or its network."""
    scheme, _, rest = endpoint.over.partition(":")
    if scheme == "unix":
        for bind in container.binds:
            if inside(rest, bind.target):
                return f"unix:{absolute(posixpath.relpath(rest, bind.target), bind.source)}"
        return ""
    port = rest.rpartition(":")[2]
    host = endpoint.host.lower()
    if not port.isdigit():
        return ""
    if peer is not None:
        published = (p.port for p in peer.ports if p.inside == int(port) and p.protocol == scheme)
        known = next(published, None)
        return over_tcp("127.0.0.1", known, scheme) if known else ""
    if host in container.names or (is_loopback(host) and not container.on_host):
        return ""
    if host in _GATEWAYS or host in container.gateways:
        return over_tcp("127.0.0.1", int(port), scheme)
    return endpoint.over


# ---------------------------------------------------------------- secrets


def secrets_of(container: Container) -> Iterator[Secret]:
    """Yield the secrets in a container's variables and command: places, kinds and names, as everywhere.

    Those in text files of the machine (their place has a line) are found with all others in such files.
    """
    for variable in container.variables:
        if variable.place.line is not None:
            continue
        for found in secrets_in(f"{variable.name}={variable.value}"[:_LONGEST]):
            ident = secret_id(f"{container.manager} {container.name}", variable.name)
            yield Secret(seen_in=variable.place, id=ident, kind=found.kind, name=variable.name, value=found.value)
    if container.place.line is not None and container.place.path == container.unit:
        return
    place = Place(container.unit)
    place, known = Place(container.unit), set()
    texts = [("", shlex.join(container.command)[:_LONGEST])]
    texts += ((word.lstrip("-"), f"{word.lstrip('-')}={value}") for word, value in pairwise(container.command)
              if word.startswith("-"))  # fmt: skip
    for name, text in texts:  # --requirepass VALUE: two words of the argv
        for found in secrets_in(text, shell=not name):
            if found.value not in known:
                known.add(found.value)
                ident = secret_id(f"{container.manager} {container.name}", found.name or "command")
                yield Secret(seen_in=place, id=ident, kind=found.kind, name=found.name, value=found.value)


# ---------------------------------------------------------------- units that start containers

_VALUED = re.compile(r"--?(name|f|file|p|project-name|project-directory)$")


def started_by(command: Sequence[str]) -> tuple[str, frozenset[str], str]:
    """Return what a unit's `docker …` or `podman …` starts: what kind of word it is, the words, the folder or file.

    >>> started_by(("/usr/bin/docker", "start", "-a", "web"))
    ('name', frozenset({'web'}), '')
    """
    if not command or posixpath.basename(command[0]) not in ("docker", "podman", "docker-compose", "podman-compose"):
        return "", frozenset(), ""
    words = list(command[1:])
    if "compose" in command[0] or "compose" in words:
        after = words[words.index("compose") + 1 :] if "compose" in words else words
        given = _options(after)
        return "compose", frozenset(given.get("p", ()) + given.get("project-name", ())), next(
            iter(given.get("f", ()) + given.get("file", ()) + given.get("project-directory", ())), ""
        )  # fmt: skip
    verb = next((word for word in words if word in ("start", "run", "restart", "attach")), "")
    if not verb:
        return "", frozenset(), ""
    rest = words[words.index(verb) + 1 :]
    if verb == "run":
        return "name", frozenset(_options(rest).get("name", ())[:1]), ""
    return "name", frozenset(word for word in rest if not word.startswith("-")), ""


def _options(words: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for position, word in enumerate(words):
        head, equals, value = word.partition("=")
        if match := _VALUED.fullmatch(head):
            value = value if equals else next(iter(words[position + 1 : position + 2]), "")
            found[match[1]] = (*found.get(match[1], ()), value)
    return found
