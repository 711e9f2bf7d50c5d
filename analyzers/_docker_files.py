"""Docker's own files below its data root, as moby writes them (container/container.go, image/store.go)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from analyzers._addresses import port_number
from analyzers._containers import Bind, Container, Port, Variable
from analyzers._reading import Reader, absolute, numbered
from migrate.model import Place, Setting

_MAX_JSON = 4 << 20
_MAX_COMPOSE = 256 << 10
_PORT = re.compile(r"([0-9]{1,5})/(tcp|udp|sctp)")
# daemon/names/names.go; podman's is the same (libpod/define/config.go, NameRegex).
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,200}")
_COMPOSE = "com.docker.compose."


def decode(data: bytes | str) -> Mapping[str, Any]:
    """Return a JSON object; an empty one where the text is none. No text raises."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def mapping(value: object) -> Mapping[str, Any]:
    """Return an object of a JSON document, or an empty one where something else stands."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str:
    """Return a string of a JSON document, or an empty one where something else stands."""
    return value if isinstance(value, str) else ""


def words(value: object) -> tuple[str, ...]:
    """Return the strings of a list; those of anything else are none."""
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def read_json(reader: Reader, path: str) -> Mapping[str, Any]:
    """Return a file's JSON object; where it is none, an empty one, with a note."""
    data = reader.data(path, _MAX_JSON)
    if data is None:
        return {}
    found = decode(data)
    if not found:
        reader.note(path, "it is no JSON object with anything in it")
    return found


class Images:
    """The images below one data root: what references lead to each, and what each was made with."""

    def __init__(self, reader: Reader, root: str) -> None:
        self.reader = reader
        self.folders = sorted({posixpath.dirname(p) for p in reader.guest.glob(f"{root}/image/*/repositories.json")})
        self.references: dict[str, list[str]] = {}
        self.places: dict[str, str] = {}
        for folder in self.folders:
            repositories = mapping(read_json(reader, f"{folder}/repositories.json").get("Repositories"))
            for names in repositories.values():
                for reference, ident in mapping(names).items():
                    self.references.setdefault(text(ident), []).append(reference)
                    self.places.setdefault(text(ident), f"{folder}/repositories.json")

    def origin(self, ident: str) -> str:
        """Return the reference by digest under which a registry gave the image, or an empty text: built here."""
        return next((name for name in sorted(self.references.get(ident, ())) if "@sha256:" in name), "")

    def variables(self, ident: str) -> frozenset[str]:
        """Return the variables (NAME=VALUE) that the image itself sets."""
        algorithm, _, digest = ident.partition(":")
        if algorithm != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", digest):
            return frozenset()
        for folder in self.folders:
            path = f"{folder}/imagedb/content/sha256/{digest}"
            if self.reader.guest.is_file(path):
                return frozenset(words(mapping(read_json(self.reader, path).get("config")).get("Env")))
        return frozenset()


def parse_ports(config: Mapping[str, Any], host: Mapping[str, Any], on_host: bool, place: Place) -> Iterator[Port]:
    """Yield the published ports; on the machine's own network, those that the image says it listens on."""
    if on_host:
        for name in mapping(mapping(config.get("Config")).get("ExposedPorts")):
            if (match := _PORT.fullmatch(name)) and (port := port_number(match[1])):
                yield Port(port, port, match[2], "*", place, assumed=True)
        return
    actual = mapping(mapping(config.get("NetworkSettings")).get("Ports"))
    for name, bindings in sorted(mapping(host.get("PortBindings")).items()):
        match = _PORT.fullmatch(name)
        port = port_number(match[1]) if match else None
        for position, binding in enumerate(bindings if isinstance(bindings, list) and match and port else ()):
            given = port_number(text(mapping(binding).get("HostPort")))
            if given is None:  # the engine chose one, and keeps it while the container runs
                known = actual.get(name)
                chosen = known[position] if isinstance(known, list) and position < len(known) else {}
                given = port_number(text(mapping(chosen).get("HostPort")))
            if given and port and match:
                yield Port(given, port, match[2], text(mapping(binding).get("HostIp")), place)


def parse_binds(config: Mapping[str, Any], root: str, place: Place) -> Iterator[Bind]:
    """Yield the mount points; a volume without a source is one of the local driver's."""
    for target, point in sorted(mapping(config.get("MountPoints")).items()):
        point = mapping(point)
        kind, name, source = text(point.get("Type")), text(point.get("Name")), text(point.get("Source"))
        if kind == "tmpfs":
            continue
        if name and not source and text(point.get("Driver")) in ("", "local"):
            source = f"{root}/volumes/{name}/_data" if "/" not in name and name not in (".", "..") else ""
        if source.startswith("/"):
            yield Bind(absolute(source, "/"), absolute(target, "/"), point.get("RW") is not False, place, name)


def will_start(config: Mapping[str, Any], host: Mapping[str, Any]) -> tuple[bool, str]:
    """Tell whether dockerd starts a container when it starts itself, and the policy (moby's restartmanager.go)."""
    policy = text(mapping(host.get("RestartPolicy")).get("Name")) or "no"
    state = mapping(config.get("State"))
    if policy == "always":
        return True, policy
    if policy == "unless-stopped":
        return config.get("HasBeenManuallyStopped") is not True, policy
    return policy == "on-failure" and state.get("ExitCode") not in (0, None), policy


def compose_place(reader: Reader, labels: Mapping[str, Any]) -> Place | None:
    """Return where a compose file names the service that a container is of, or None."""
    folder, service = text(labels.get(f"{_COMPOSE}project.working_dir")), text(labels.get(f"{_COMPOSE}service"))
    for name in text(labels.get(f"{_COMPOSE}project.config_files")).split(","):
        path = absolute(name, folder or "/") if name else ""
        if not path or not reader.guest.is_file(path):
            continue
        for number, line in numbered(reader.text(path, _MAX_COMPOSE) or "") if NAME.fullmatch(service) else ():
            if re.fullmatch(rf"\s+['\"]?{re.escape(service)}['\"]?\s*:\s*(#.*|&\S+|<<.*)?", line):
                return Place(path, number)
        return Place(path)
    return None


def parse_container(reader: Reader, folder: str, root: str, images: Images) -> Container | None:
    """Return the container that a folder below `containers` keeps, or None, with a note, where it keeps none."""
    path = f"{folder}/config.v2.json"
    config, host = read_json(reader, path), mapping(None)
    if reader.guest.is_file(f"{folder}/hostconfig.json"):
        host = read_json(reader, f"{folder}/hostconfig.json")
    name, inner = text(config.get("Name")).lstrip("/"), mapping(config.get("Config"))
    if not config:
        return None
    if not NAME.fullmatch(name) or not inner:
        reader.note(path, "it says of no container what it is called and how it was made")
        return None
    place, host_place = Place(path), Place(f"{folder}/hostconfig.json")
    labels, ident = mapping(inner.get("Labels")), text(config.get("Image"))
    mode = text(host.get("NetworkMode"))
    networks = mapping(mapping(config.get("NetworkSettings")).get("Networks"))
    own = images.variables(ident)
    starts, policy = will_start(config, host)
    argv = (text(config.get("Path")), *words(config.get("Args")))
    origin, image = images.origin(ident), text(inner.get("Image"))
    says = f"it came as {origin}" if origin else "no registry is known to have it: it was made here"
    variables = (each.partition("=") for each in words(inner.get("Env")) if each not in own and "=" in each)
    settings = [Setting("Restart", policy, host_place), Setting("Network", mode or "default", host_place)]
    settings += _limits(host, host_place)
    settings += _stopping(inner, place)
    settings += [Setting("ImageID", ident, place)] if ident else []
    settings += [Setting("ImageDigest", origin, Place(images.places[ident]))] if origin else []
    settings += [Setting("User", text(inner.get("User")), place)] if text(inner.get("User")) else []
    made = compose_place(reader, labels)
    settings += [Setting("Compose", str(made), made)] if made else []
    return Container(
        ident=f"docker:{name}",
        manager="docker",
        place=made or place,
        unit=path,
        name=name,
        image=image or ident,
        description=f"container {name} of image {image or ident}; {says}",
        enabled=starts,
        command=tuple(word for word in argv if word),
        user=text(inner.get("User")),
        settings=tuple(settings),
        variables=tuple(Variable(key, value, place) for key, _, value in variables),
        ports=tuple(dict.fromkeys(parse_ports(config, host, mode == "host", host_place))),
        binds=tuple(parse_binds(config, root, place)),
        names=frozenset(_names(config, name, networks)),
        networks=frozenset(networks) - {"bridge", "none", "host"},
        gateways=frozenset(_gateways(host, networks)),
        on_host=mode == "host",
        requires=tuple(_depends(labels)),
        health=_health(words(mapping(inner.get("Healthcheck")).get("Test"))),
        project=service_of(labels),
        running=mapping(config.get("State")).get("Running") is True,
    )


def _names(config: Mapping[str, Any], name: str, networks: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the embedded DNS server of a network answers for: name, short id, aliases."""
    yield name.lower()
    yield text(config.get("ID"))[:12].lower()
    yield text(mapping(config.get("Config")).get("Hostname")).lower()
    for network in networks.values():
        for key in ("Aliases", "DNSNames"):
            yield from (each.lower() for each in words(mapping(network).get(key)))


def _gateways(host: Mapping[str, Any], networks: Mapping[str, Any]) -> Iterator[str]:
    for network in networks.values():
        if gateway := text(mapping(network).get("Gateway")):
            yield gateway
    for extra in words(host.get("ExtraHosts")):
        name, _, address = extra.partition(":")
        if address == "host-gateway":
            yield name.lower()


def _limits(host: Mapping[str, Any], place: Place) -> Iterator[Setting]:
    memory, processors = host.get("Memory"), host.get("NanoCpus")
    if isinstance(memory, int) and 0 < memory < 1 << 50:
        yield Setting("MemoryMax", str(memory), place)
    if isinstance(processors, int) and 0 < processors < 1 << 50:
        yield Setting("CPUQuota", f"{processors / 10_000_000:g}%", place)
    if host.get("Privileged") is True:
        yield Setting("Privileged", "true", place)


def _stopping(config: Mapping[str, Any], place: Place) -> Iterator[Setting]:
    if re.fullmatch(r"SIG[A-Z]+", text(config.get("StopSignal"))):
        yield Setting("KillSignal", text(config.get("StopSignal")), place)
    seconds = config.get("StopTimeout")
    if isinstance(seconds, int) and 0 < seconds < 1 << 31:
        yield Setting("TimeoutStopSec", str(seconds), place)


def _health(test: tuple[str, ...]) -> tuple[str, ...]:
    """Return the argv of a HEALTHCHECK; a text is the image's shell's (dockerfile reference, HEALTHCHECK)."""
    if test[:1] == ("CMD-SHELL",) and len(test) == 2:
        return ("/bin/sh", "-c", test[1])
    return test[1:] if test[:1] == ("CMD",) else ()


def _depends(labels: Mapping[str, Any]) -> Iterator[str]:
    """Yield the services of its project that a service waits for (`db:service_healthy:false,…`)."""
    project = text(labels.get(f"{_COMPOSE}project"))
    for each in text(labels.get(f"{_COMPOSE}depends_on")).split(","):
        if name := each.partition(":")[0].strip():
            yield f"{project}/{name}"


def service_of(labels: Mapping[str, Any]) -> str:
    """Return PROJECT/SERVICE of a container that compose made, or an empty text."""
    project, service = text(labels.get(f"{_COMPOSE}project")), text(labels.get(f"{_COMPOSE}service"))
    return f"{project}/{service}" if project and service else ""
