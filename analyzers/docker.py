"""Docker: the containers that an engine on the machine keeps, their images, volumes and published ports.

Everything is read from dockerd's data root: `containers/ID/config.v2.json` and `hostconfig.json`, `image/DRIVER`. A
container is a component of its own; that it has an image already stands in its settings.
"""

from __future__ import annotations

import base64
import posixpath
import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._container_run import container_of
from analyzers._containers import MANAGERS, Container, findings_of, secrets_of, started_by
from analyzers._docker_files import Images, mapping, parse_container, read_json, text
from analyzers._reading import Reader, absolute
from analyzers._secret import secret_id, unique
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Covers, Finding, Place, Secret, Service, User

_NAME = "docker"
_DAEMON = "/etc/docker/daemon.json"
# Docker's own, the snap's, and what rootless dockerd uses below a home.
_ROOTS = ("/var/lib/docker", "/var/snap/docker/common/var-lib-docker")
_ROOTLESS = ".local/share/docker"
_DAEMONS = ("dockerd", "dockerd-rootless.sh", "dockerd-current")
_MAX_CONTAINERS = 2000
# What any process leaves behind, and the files that the engine itself mounts others over.
_PASSING = re.compile(
    r"/(tmp|run|var/run|var/tmp|var/cache|var/log|root/\.\w*history|etc/(hosts|hostname|resolv\.conf|mtab))(/|$)"
)
# Where the state of a Kubernetes node is; its Pods are its cluster's, whichever engine runs them.
_NODES = {
    "/etc/kubernetes/kubelet.conf": "kubelet", "/var/lib/kubelet/config.yaml": "kubelet",
    "/var/lib/rancher/k3s/server/db": "k3s", "/var/lib/rancher/k3s/agent/kubelet.kubeconfig": "k3s",
    "/var/lib/rancher/rke2/agent/kubelet.kubeconfig": "rke2", "/var/lib/k0s/kubelet.conf": "k0s",
    "/var/snap/microk8s/current/credentials/kubelet.config": "microk8s",
}  # fmt: skip


class _Join:
    """One look at one guest's engines."""

    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest = guest
        self.reader = Reader(guest, _NAME)
        self.services = [f for f in findings if isinstance(f, Service) and f.manager not in MANAGERS]
        self.homes = sorted({f.home for f in findings if isinstance(f, User) and f.home.startswith("/")} - {"/"})

    def roots(self) -> list[str]:
        """Return the data roots that are there: by dockerd's options, by daemon.json, by default."""
        found = list(_ROOTS)
        if self.guest.is_file(_DAEMON):
            settings = read_json(self.reader, _DAEMON)
            found += [text(settings.get(key)) for key in ("data-root", "graph")]
        for service in self.services:
            if service.command and posixpath.basename(service.command[0]) in _DAEMONS:
                for option, value in zip(service.command, (*service.command[1:], ""), strict=True):
                    head, equals, after = option.partition("=")
                    if head in ("--data-root", "--graph", "-g"):
                        found.append(after if equals else value)
        found += [f"{home}/{_ROOTLESS}" for home in self.homes]
        real = (self.guest.resolve(absolute(path, "/")) for path in found if path.startswith("/"))
        there = dict.fromkeys(path for path in real if path and self.guest.is_dir(path))
        # With userns-remap everything is below a folder UID.GID (dockerd(8), "Daemon user namespace options").
        remapped = [p for path in there for p in self.guest.glob(f"{path}/[0-9]*.[0-9]*") if self.guest.is_dir(p)]
        return [*there, *remapped]

    @property
    def storage(self) -> str:
        """The data root of the machine's own engine."""
        return next(iter(self.roots()), _ROOTS[0])

    def containers(self, root: str) -> Iterator[Container]:
        folders = self.guest.glob(f"{root}/containers/*/config.v2.json")
        if len(folders) > _MAX_CONTAINERS:
            why = f"{len(folders)} containers: the first {_MAX_CONTAINERS} are read"
            self.reader.note(f"{root}/containers", why)
        self.guest.prefetch([f"{root}/containers/*/*.json", f"{root}/image/*/repositories.json"])
        images = Images(self.reader, root)
        for path in folders[:_MAX_CONTAINERS]:
            container = parse_container(self.reader, posixpath.dirname(path), root, images)
            if container is not None and not container.name.startswith("k8s_"):  # dockershim's are their cluster's
                self.written(root, posixpath.basename(posixpath.dirname(path)), container)
                yield container

    def written(self, root: str, ident: str, container: Container) -> None:
        """Tell of files in a container's own layer: they are in no volume and in no image (layer/filestore.go)."""
        for path in self.guest.glob(f"{root}/image/*/layerdb/mounts/{ident}/mount-id") if ident.isalnum() else ():
            layer = (self.reader.text(path, 256) or "").strip()
            driver = path.removeprefix(f"{root}/image/").partition("/")[0]
            if not layer.isalnum():
                continue
            top = f"{root}/{driver}/{layer}/diff"
            files = [e for e in self.guest.walk(top) if e.kind == "file" and not _PASSING.match(e.path[len(top) :])]
            if files:
                size, first = sum(entry.size for entry in files), files[0].path[len(top) :]
                why = f"container {container.name} has written outside its volumes: files {len(files)}, bytes {size}"
                self.reader.note(top, f"{why}, {first} first; they are lost unless they move into one")

    def all(self) -> list[Container]:
        """Return all containers, by id; of two of one name the first keeps it."""
        found: dict[str, Container] = {}
        for root in self.roots():
            for container in self.containers(root):
                found.setdefault(container.ident, container)
        by_service = {c.project: c.ident for c in found.values() if c.project}
        engine = [s for s in self.services if s.id in ("docker", "snap.docker.dockerd")]
        off = bool(engine) and not any(service.enabled for service in engine)
        kept = [self.finished(found[ident], by_service, off) for ident in sorted(found)]
        names = {container.name for container in kept}
        made = (container_of(self.reader, service, _NAME, self.storage) for service in self.services)
        return [*kept, *(container for container in made if container is not None and container.name not in names)]

    def finished(self, container: Container, by_service: dict[str, str], off: bool) -> Container:
        """Return a container with what only the whole machine tells: what it waits for, and whether it starts."""
        requires = tuple(sorted({by_service[each] for each in container.requires if each in by_service}))
        enabled = (container.enabled and not off) or any(s.enabled for s in self.starters(container))
        if container.running and not enabled:
            self.reader.note(
                container.unit, f"container {container.name} ran when the disk was last written, and no boot starts it"
            )
        return msgspec.structs.replace(container, enabled=enabled, requires=requires)

    def starters(self, container: Container) -> list[Service]:
        """Return the units that start a container by name, or its compose project."""
        found = []
        for service in self.services:
            for command in (service.command, *service.before):
                kind, names, where = started_by(command)
                if kind == "name" and container.name in names:
                    found.append(service)
                elif kind == "compose" and container.project:
                    folder = absolute(where, service.working_directory or "/")
                    project = container.project.partition("/")[0]
                    if project in names or (not names and self.made_in(container, folder)):
                        found.append(service)
        return list({service.id: service for service in found}.values())

    def made_in(self, container: Container, folder: str) -> bool:
        """Tell whether a container's compose file is this one, or in this folder."""
        return container.place.path != container.unit and folder in (
            container.place.path,
            posixpath.dirname(container.place.path),
        )

    def run(self) -> Iterator[Finding]:
        containers = self.all()
        yield from findings_of(self.guest, containers)
        covered: set[str] = set()
        for container in containers:
            units = sorted({s.id for s in self.starters(container)} - covered - {container.ident})
            if units:
                covered.update(units)
                yield Covers(seen_in=Place(container.unit), service=container.ident, units=tuple(units))
        yield from unique([*(s for container in containers for s in secrets_of(container)), *self.logins()])
        self.nodes()
        for path in (f"{root}/swarm/state.json" for root in self.roots()):
            if (entry := self.guest.stat(path)) is not None and entry.size > 2:
                self.reader.note(path, "the engine is part of a swarm, whose services are kept by its managers")
        yield from self.reader.unread

    def logins(self) -> Iterator[Secret]:
        """Passwords for registries, which are kept in base64 (docker-login(1), containers-auth.json(5))."""
        for home in dict.fromkeys(("/root", *self.homes)):
            for path in (f"{home}/.docker/config.json", f"{home}/.config/containers/auth.json"):
                if not self.guest.is_file(path):
                    continue
                for registry, given in mapping(read_json(self.reader, path).get("auths")).items():
                    encoded = text(mapping(given).get("auth"))
                    try:
                        user, _, word = base64.b64decode(encoded, validate=True).decode().partition(":")
                    except ValueError:
                        continue
                    for value in (encoded, word) if word else ():
                        ident = secret_id(path, registry)
                        yield Secret(seen_in=Place(path), id=ident, kind="password", name=user, value=value)

    def nodes(self) -> None:
        for path, name in _NODES.items():
            if self.guest.exists(path):
                why = f"a Kubernetes node ({name}): its Pods belong to a cluster and are not read from this disk"
                self.reader.note(path, why)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the containers of Docker's engines on this machine."""
    yield from _Join(guest, findings).run()


ANALYZER = Analyzer(
    name=_NAME,
    says="Docker's containers: images, published ports, volumes, restart policies, compose projects.",
    reads=("/etc/docker", "/var/lib/docker/containers/*/*.json", "/var/lib/docker/image/*/repositories.json"),
    join=join,
    source="dockerd(8), docs.docker.com/engine/daemon; moby: container/container.go, restartmanager/restartmanager.go",
)
