"""Podman: quadlets, which are units of systemd in another form, and the containers that its storage keeps."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence

import msgspec

from analyzers import _quadlet
from analyzers._container_run import container_of
from analyzers._containers import MANAGERS, Container, findings_of, secrets_of, started_by
from analyzers._docker_files import mapping, read_json, text
from analyzers._libpod import containers as stored
from analyzers._quadlet import SYSTEM, Folder
from analyzers._reading import Reader, meaningful
from analyzers._secret import secret_id, unique
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Covers, Finding, Place, Secret, Service, User

_NAME = "podman"
_ROOT = "/var/lib/containers/storage"
_STORAGE = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
_GENERATORS = (
    "/usr/lib/systemd/system-generators/podman-system-generator",
    "/lib/systemd/system-generators/podman-system-generator",
    "/usr/local/lib/systemd/system-generators/podman-system-generator",
    "/etc/systemd/system-generators/podman-system-generator",
)


class _Join:
    """One look at one guest's quadlets and storage."""

    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest = guest
        self.reader = Reader(guest, _NAME)
        self.services = [f for f in findings if isinstance(f, Service) and f.manager not in MANAGERS]
        users = {f.name: f for f in findings if isinstance(f, User) and f.home.startswith("/") and f.home != "/"}
        self.users = [users[name] for name in sorted(users) if users[name].uid != 0]

    def root(self) -> str:
        """Return graphroot of containers-storage.conf(5)."""
        for path in _STORAGE:
            for _, line in meaningful(self.reader.optional(path) or ""):
                key, _, value = line.partition("=")
                if key.strip() == "graphroot" and value.strip().strip("\"'").startswith("/"):
                    return value.strip().strip("\"'").rstrip("/")
        return _ROOT

    def quadlets(self) -> Iterator[Container]:
        makes = any(self.guest.exists(path) for path in _GENERATORS)
        folder = Folder(self.reader, SYSTEM)
        if folder.found and not makes:
            path = next(iter(folder.found.values())).path
            self.reader.note(path, "no generator of podman's is installed (it came with 4.4): no boot starts this")
        yield from _quadlet.containers(folder, self.root(), makes)
        for user in self.users:
            tops = [f"{user.home}/.config/containers/systemd", f"/etc/containers/systemd/users/{user.uid}"]
            lingers = self.guest.exists(f"/var/lib/systemd/linger/{user.name}")
            tops += ["/etc/containers/systemd/users"] if lingers else []
            own = Folder(self.reader, tops, user.home)
            storage = f"{user.home}/.local/share/containers/storage"
            yield from _quadlet.containers(own, storage, makes and lingers, f"{user.name}/")

    def kept(self, taken: frozenset[str]) -> Iterator[Container]:
        """Yield the containers of the storages that no quadlet makes anew at each start."""
        restarts = any(s.id == "podman-restart" and s.enabled for s in self.services)
        root = self.root()
        for top, prefix in [
            (root, ""),
            *((f"{u.home}/.local/share/containers/storage", f"{u.name}/") for u in self.users),
        ]:
            for container in stored(self.reader, top) if self.guest.is_dir(top) else ():
                if container.name in taken:
                    continue
                ident = f"podman:{prefix}{container.name}"
                enabled = container.enabled and restarts and not prefix
                enabled = enabled or any(s.enabled for s in self.starters(container))
                if not enabled:
                    why = f"container {container.name} of {container.image} is kept, and no boot starts it"
                    self.reader.note(container.unit, why)
                yield msgspec.structs.replace(container, ident=ident, enabled=enabled)

    def starters(self, container: Container) -> list[Service]:
        """Return the units that start a container by its name, as `podman generate systemd` writes them."""
        found = {}
        for service in self.services:
            for command in (service.command, *service.before):
                kind, names, _ = started_by(command)
                if kind == "name" and container.name in names and command[0].endswith("podman"):
                    found[service.id] = service
        return list(found.values())

    def secrets(self) -> Iterator[Secret]:
        """Podman's own secrets, which its default driver keeps unencrypted (podman-secret-create(1))."""
        root = self.root()
        path = f"{root}/secrets/filedriver/secretsdata.json"
        if not self.guest.is_file(path):
            return
        known = mapping(read_json(self.reader, f"{root}/secrets/secrets.json").get("idToName"))
        for ident, value in read_json(self.reader, path).items():
            name = text(known.get(ident)) or ident
            try:
                data = base64.b64decode(text(value), validate=True)
            except (binascii.Error, ValueError):
                continue
            shown = data.decode("utf-8", "surrogateescape")
            yield Secret(seen_in=Place(path), id=secret_id("podman", name), kind="other", name=name, value=shown)

    def run(self) -> Iterator[Finding]:
        made = {container.ident: container for container in self.quadlets()}
        root = self.root()
        for container in (container_of(self.reader, service, _NAME, root) for service in self.services):
            if container is not None:  # `podman generate systemd --new`: what is kept of it is made anew
                made.setdefault(container.ident, container)
        found = [*made.values(), *self.kept(frozenset(container.name for container in made.values()))]
        yield from findings_of(self.guest, found)
        covered: set[str] = set()
        for container in found:
            units = sorted({s.id for s in self.starters(container)} - covered - {container.ident})
            if units:
                covered.update(units)
                yield Covers(seen_in=Place(container.unit), service=container.ident, units=tuple(units))
        yield from unique([*(s for c in found for s in secrets_of(c)), *self.secrets()])
        yield from self.reader.unread


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield podman's containers on this machine."""
    yield from _Join(guest, findings).run()


ANALYZER = Analyzer(
    name=_NAME,
    says="Podman's containers: quadlets of the system and of users, and those kept by libpod.",
    reads=("/etc/containers", "/usr/share/containers/systemd", "/usr/share/containers/storage.conf"),
    join=join,
    source="podman-systemd.unit(5), containers-storage.conf(5), podman-run(1); podman: libpod/container_config.go",
)
