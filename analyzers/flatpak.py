"""Flatpaks: applications and runtimes of the system's, the users' and further installations."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping

import msgspec

from analyzers._gvariant import Deploy, parse_deploy
from analyzers._packages import MAX_PACKAGES, MAX_PATHS, Database, Names, is_name, is_version, rooted
from analyzers._reading import Reader, meaningful, numbered
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Package, PackageFiles, Place

_NAME = "flatpak"
_SYSTEM = "/var/lib/flatpak"
_USER = ".local/share/flatpak"
_CONFIGURED = "/etc/flatpak/installations.d"
_MAX_DEPLOY = 1 << 20
_MAX_HOMES = 1000
_MAX_PINS = 1000


def parse_keyfile(text: str) -> dict[str, dict[str, str]]:
    """Return the groups of a GLib key file: `[group]`, `key=value`; the last value of a key wins."""
    found: dict[str, dict[str, str]] = {}
    group = found.setdefault("", {})
    for _, line in meaningful(text):
        if line.startswith("[") and line.endswith("]"):
            group = found.setdefault(line[1:-1], {})
        elif "=" in line:
            key, _, value = line.partition("=")
            group[key.strip()] = value.strip()
    return found


class Installation(msgspec.Struct, frozen=True):
    """A folder that flatpak installs into, and what its repository's configuration says."""

    path: str
    remotes: Mapping[str, str]
    pins: tuple[str, ...]

    def origin(self, remote: str) -> str:
        """Return distribution, third-party, local, or nothing where the remote is not known.

        What was installed from a file or a bundle has a remote of its own, with a folder or no address.
        """
        url = self.remotes.get(remote)
        if url is None:
            return ""
        if not url or url.startswith(("file:", "/")):
            return "local"
        return "distribution" if "registry.fedoraproject.org" in url.split("/")[2:3] else "third-party"

    def pinned(self, ref: str) -> bool:
        """Tell whether a person asked for a runtime to stay (flatpak-pin(1))."""
        return any(fnmatch.fnmatchcase(ref, pattern) for pattern in self.pins)


class Installed(msgspec.Struct, frozen=True):
    """An application or runtime: `kind/name/architecture/branch` is its ref (flatpak(1)), `folder` its files."""

    installation: Installation
    kind: str
    name: str
    architecture: str
    branch: str
    folder: str
    deploy: Deploy
    runtime: str

    @property
    def ref(self) -> str:
        """The ref by which flatpak calls it."""
        return f"{self.kind}/{self.name}/{self.architecture}/{self.branch}"


def _homes(reader: Reader) -> list[str]:
    """Return the home directories of passwd(5), and those that are there without an account."""
    homes = {"/root": None}
    for _, line in numbered(reader.optional("/etc/passwd") or ""):
        fields = line.split(":")
        if len(fields) == 7 and (home := rooted(fields[5])):
            homes[home] = None
    for name in reader.guest.listdir("/home"):
        homes[f"/home/{name}"] = None
    return list(homes)[:_MAX_HOMES]


def _tops(reader: Reader) -> Iterator[str]:
    yield _SYSTEM
    for path in reader.guest.glob(f"{_CONFIGURED}/*.conf")[:100]:  # flatpak-installation(5)
        for group in parse_keyfile(reader.optional(path) or "").values():
            if top := rooted(group.get("Path", "")):
                yield top
    yield from (f"{home}/{_USER}" for home in _homes(reader))


def _installations(reader: Reader) -> Iterator[Installation]:
    seen = set()
    for top in _tops(reader):
        real = reader.guest.resolve(top)
        if real is None or real in seen:
            continue
        seen.add(real)
        groups = parse_keyfile(reader.optional(f"{real}/repo/config") or "")
        remotes = {name[8:-1]: group.get("url", "") for name, group in groups.items() if name.startswith('remote "')}
        pins = groups.get("core", {}).get("xa.pinned", "").split(";")[:_MAX_PINS]
        yield Installation(real, remotes, tuple(pin for pin in pins if pin and len(pin) < 256))


def _refs(guest: Guest, installation: Installation) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield (kind, name, architecture, branch, folder) of what has an active deployment."""
    for kind in ("app", "runtime"):
        top = f"{installation.path}/{kind}"
        for name in guest.listdir(top):
            for architecture in guest.listdir(f"{top}/{name}"):
                if architecture == "current":  # a link to the branch that is run
                    continue
                for branch in guest.listdir(f"{top}/{name}/{architecture}"):
                    folder = guest.resolve(f"{top}/{name}/{architecture}/{branch}/active")
                    if folder is not None and guest.is_dir(folder):
                        yield kind, name, architecture, branch, folder


def _deployed(reader: Reader, folder: str) -> Deploy:
    path = f"{folder}/deploy"
    data = reader.data(path, _MAX_DEPLOY) if reader.guest.is_file(path) else None
    if data is None:
        return Deploy("", "", {})
    try:
        return parse_deploy(data)
    except ValueError as error:
        reader.note(path, str(error))
        return Deploy("", "", {})


def _installed(reader: Reader) -> list[Installed]:
    found: list[Installed] = []
    for installation in _installations(reader):
        for kind, name, architecture, branch, folder in _refs(reader.guest, installation):
            if len(found) >= MAX_PACKAGES:
                reader.note(installation.path, f"only {MAX_PACKAGES} packages are read")
                return found
            if "/" in name or not (is_name(name) and is_name(architecture) and is_name(branch)):
                reader.note(installation.path, "a folder that is no name, architecture and branch")
                continue
            if not folder.startswith(f"{installation.path}/"):
                reader.note(installation.path, "a deployment that lies elsewhere")
                continue
            deploy = _deployed(reader, folder)
            metadata = parse_keyfile(reader.optional(f"{folder}/metadata") or "")
            said = metadata.get("Application", {}).get("runtime") or deploy.metadata.get("runtime", "")
            runtime = said.split("/")[0]
            found.append(Installed(installation, kind, name, architecture, branch, folder, deploy, runtime))
    return found


class _Files:
    """Lists the files of deployments, so many of all of them together."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._left = MAX_PATHS

    def of(self, each: Installed) -> tuple[str, ...]:
        """Return the paths of one deployment. Flatpak keeps no list: all that is below its folder is its own."""
        found = []
        for entry in self._reader.guest.walk(each.folder):
            if self._left <= 0:
                self._reader.note(each.folder, f"only {MAX_PATHS} paths are read")
                break
            self._left -= 1
            found.append(entry.path)
        return tuple(sorted(found))


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield a Package and its PackageFiles for each application and runtime, by installation and ref.

    `section` is the branch, which stands for the version where the application names none.
    """
    reader = Database(guest, _NAME)
    installed = sorted(_installed(reader), key=lambda each: (each.name, each.ref, each.installation.path))
    names = Names()
    for each in installed:
        names.add(each.name, ())
    files = _Files(reader)
    for each in installed:
        version = each.deploy.metadata.get("appdata-version", "")
        metadata = f"{each.folder}/metadata"
        where = Place(metadata if guest.is_file(metadata) else each.folder)
        yield Package(
            seen_in=where,
            name=each.name,
            version=version if is_version(version) else each.branch,
            architecture=each.architecture,
            manager=_NAME,
            chosen=each.kind == "app" or each.installation.pinned(each.ref),
            origin=each.installation.origin(each.deploy.origin),
            source=each.name,
            section=each.branch,
            depends=names.resolve([each.runtime], each.name),
        )
        yield PackageFiles(seen_in=where, package=each.name, paths=files.of(each))
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Flatpaks: applications and runtimes with their remotes, of the system and of each user.",
    reads=(
        *(f"{top}/{below}" for top in (_SYSTEM, f"/home/*/{_USER}", f"/root/{_USER}") for below in (
            "repo/config", "app/*/*/*/*/deploy", "app/*/*/*/*/metadata", "runtime/*/*/*/*/deploy",
            "runtime/*/*/*/*/metadata")),
        _CONFIGURED, "/etc/passwd",
    ),
    analyze=analyze,
    source="flatpak(1), flatpak-metadata(5), flatpak-installation(5), flatpak-pin(1), flatpak-variants.gv",
)  # fmt: skip
