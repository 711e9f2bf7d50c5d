"""Podman's containers: libpod's database (`db.sql`) and containers/storage's own lists below its graph root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from analyzers._containers import Bind, Container, Port, Variable
from analyzers._docker_files import NAME, decode, mapping, read_json, text, words
from analyzers._reading import Reader, absolute
from analyzers._rpm_database import Copies
from analyzers._rpm_header import DamagedError
from analyzers._rpm_sqlite import read_table
from migrate.guest.spool import private_directory
from migrate.model import Place, Setting

_MAX_CONTAINERS = 2000


def parse_storage(data: bytes) -> list[tuple[str, str, str]]:
    """Return (id, name, image) of overlay-containers/containers.json (containers/storage: containers.go)."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return []
    kept = []
    for each in found if isinstance(found, list) else ():
        row = mapping(each)
        known = decode(text(row.get("metadata")))
        name = text(known.get("name")) or next(iter(words(row.get("names"))), "")
        if name and text(row.get("id")):
            kept.append((text(row.get("id")), name, text(known.get("image-name")) or text(row.get("image"))))
    return kept[:_MAX_CONTAINERS]


def parse_config(config: Mapping[str, Any], root: str, place: Place) -> Container | None:
    """Return the container of a ContainerConfig (libpod/container_config.go), or None where it is a pod's own."""
    name, spec = text(config.get("name")), mapping(config.get("spec"))
    if not NAME.fullmatch(name) or config.get("pause") is True:
        return None
    process, linux_mode = mapping(spec.get("process")), text(config.get("networkMode"))
    networks = mapping(config.get("newNetworks"))
    aliases = (words(mapping(each).get("aliases")) for each in networks.values())
    image = text(config.get("rootfsImageName")) or text(config.get("rootfsImageID"))
    policy = text(config.get("restart_policy"))
    settings = [Setting("Restart", policy, place)] if policy else []
    settings += [Setting("Network", linux_mode, place)] if linux_mode else []
    settings += [Setting("Pod", text(config.get("pod")), place)] if text(config.get("pod")) else []
    variables = (each.partition("=") for each in words(process.get("env")) if "=" in each)
    argv = words(process.get("args")) or (*words(config.get("entrypoint")), *words(config.get("command")))
    return Container(
        ident=f"podman:{name}",
        manager="podman",
        place=place,
        unit=place.path,
        name=name,
        image=image,
        description=f"container {name} of image {image}",
        enabled=policy in ("always", "unless-stopped"),
        command=argv,
        user=text(config.get("user")),
        settings=tuple(settings),
        variables=tuple(
            Variable(key, value, place) for key, _, value in variables if key not in ("PATH", "TERM", "container")
        ),
        ports=tuple(_ports(config, place)),
        binds=tuple(_binds(config, spec, root, place)),
        names=frozenset({name.lower(), *(alias.lower() for group in aliases for alias in group)}),
        networks=frozenset(networks) - {"podman"},
        on_host=linux_mode == "host",
    )


def _ports(config: Mapping[str, Any], place: Place) -> Iterator[Port]:
    mappings = config.get("newPortMappings")
    for each in mappings if isinstance(mappings, list) else ():
        row = mapping(each)
        host, within, count = row.get("host_port"), row.get("container_port"), row.get("range")
        for step in range(min(count, 64) if isinstance(count, int) and count > 0 else 1):
            if isinstance(host, int) and isinstance(within, int) and 0 < host + step < 65536 and 0 < within < 65536:
                protocol = (text(row.get("protocol")) or "tcp").partition(",")[0]
                yield Port(host + step, within + step, protocol, text(row.get("host_ip")), place)


def _binds(config: Mapping[str, Any], spec: Mapping[str, Any], root: str, place: Place) -> Iterator[Bind]:
    mounts = spec.get("mounts")
    for each in mounts if isinstance(mounts, list) else ():
        row = mapping(each)
        source, target, options = text(row.get("source")), text(row.get("destination")), words(row.get("options"))
        own = source.startswith((f"{root}/", "/run/", "/var/run/containers/")) and "/volumes/" not in source
        if text(row.get("type")) == "bind" and source.startswith("/") and target and not own:
            parts = absolute(source, "/").removeprefix(f"{root}/volumes/").split("/")
            volume = parts[0] if len(parts) == 2 and parts[1] == "_data" else ""
            yield Bind(absolute(source, "/"), absolute(target, "/"), "ro" not in options, place, volume)
    volumes = config.get("namedVolumes")
    for each in volumes if isinstance(volumes, list) else ():
        row = mapping(each)
        name, target = text(row.get("volumeName")), text(row.get("dest"))
        if name and target and "/" not in name and name not in (".", ".."):
            writes = "ro" not in words(row.get("options"))
            yield Bind(f"{root}/volumes/{name}/_data", absolute(target, "/"), writes, place, name)


def containers(reader: Reader, root: str) -> list[Container]:
    """Return the containers below one graph root, by libpod's database where it is SQLite's."""
    database = f"{root}/db.sql"
    if reader.guest.is_file(database):
        return list(_of_database(reader, database, root))
    return list(_of_storage(reader, root))


def _of_database(reader: Reader, database: str, root: str) -> Iterator[Container]:
    with private_directory() as folder:
        copy = Copies(reader, Path(folder))(database)
        if copy is None:
            return
        rows: list[Mapping[str, Any]] = []
        try:
            for (value,) in read_table(copy, "ContainerConfig", ("JSON",)):
                rows.append(decode(value) if isinstance(value, bytes | str) else {})
                if len(rows) >= _MAX_CONTAINERS:
                    reader.note(database, f"only {_MAX_CONTAINERS} containers are read")
                    break
        except DamagedError as error:
            reader.note(database, str(error))
    pods = {text(row.get("pod")): tuple(_ports(row, Place(database))) for row in rows if row.get("pause") is True}
    for row in rows:
        container = parse_config(row, root, Place(database))
        if container is not None:
            # A pod's ports are those of its infra container; the first of its containers is taken for who answers.
            ports = pods.pop(text(row.get("pod")), ())
            yield msgspec.structs.replace(container, ports=tuple(dict.fromkeys((*container.ports, *ports))))


def _of_storage(reader: Reader, root: str) -> Iterator[Container]:
    """Without a database that can be read, the specification that the runtime was last given says most."""
    for path in reader.guest.glob(f"{root}/*-containers/containers.json"):
        found = parse_storage(reader.data(path, 16 << 20) or b"")
        for ident, name, image in found:
            bundle = f"{path.rpartition('/')[0]}/{ident}/userdata/config.json" if ident.isalnum() else ""
            place = Place(bundle if bundle and reader.guest.is_file(bundle) else path)
            spec = read_json(reader, bundle) if place.path == bundle else {}
            why = f"published ports and restart policy of {name} are in libpod's bolt_state.db, which is not read"
            reader.note(place.path, why)
            made = parse_config({"name": name, "rootfsImageName": image, "spec": spec}, root, place)
            if made is not None:
                yield made
