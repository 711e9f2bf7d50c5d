"""What npm, pnpm and yarn installed, and which package.json is an application's own (docs.npmjs.com, package.json).

What is in node_modules is installed: its package.json says so. A lock file says what was wanted, on whichever machine
wrote it, so it is no evidence of what is here, and npm's hidden node_modules/.package-lock.json holds nothing that the
folders do not. Yarn's Plug'n'Play keeps packages as zip files, which .pnp.cjs names (yarnpkg.com/advanced/pnp-spec).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec
import yaml

from analyzers._manifests import base, batched, decoded, in_folders, may_be_root, seen
from analyzers._reading import Reader, absolute, inside, numbered
from migrate.guest.protocol import Guest
from migrate.model import LanguagePackage, Place

MAX_PACKAGES = 200_000
_MAX_PATTERNS = 50
_MAX_PNP = 32 << 20  # bytes; that of a machine with 2,000 packages is 2 MiB
_LOCKS = ("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb",
          ".pnp.cjs", ".pnp.data.json")  # fmt: skip
# Folders below which a package.json is a dependency's, an editor's, or a language's other than JavaScript.
_DEPENDENCIES = frozenset({
    "node_modules", "bower_components", "vendor", "3rdparty", "site-packages", "dist-packages", "labextensions",
    "gems", "extensions", ".cache", ".npm", ".yarn", ".pnpm-store", ".cargo", ".vscode", ".vscode-server",
    ".cursor-server", ".git", ".bundle",
})  # fmt: skip
# Managers of interpreters, which are a checkout of their own project.
_MANAGERS = frozenset({".nvm", ".fnm", ".volta", ".asdf", ".rbenv", ".rvm", ".pyenv", ".nodenv"})

_PART = re.compile(r"(?:@[^/@]+/)?[^/@.][^/]*|\.(?:pnpm|bun)/[^/]+|\.store/[^/]+(?:/package)?")
_GLOBAL = re.compile(r"(.*)/lib(?:64)?/node_modules/((?:@[^/]+/)?[^/@.][^/]*)")
_LOCATION = re.compile(r'^\s*"packageLocation": "([^"]+)"')
_IN_PNP = re.compile(r"(.*\.yarn/(?:berry/)?(?:cache|unplugged)/[^/]+)/node_modules/((?:@[^/]+/)?[^/]+)/")


class Manifest(msgspec.Struct, frozen=True):
    """A package.json as far as it is looked at; what is not of the documented type is told by who uses it."""

    name: Any = ""
    version: Any = ""
    main: Any = ""
    bin: Any = None
    scripts: Any = None
    engines: Any = None
    workspaces: Any = None

    def script(self, name: str) -> str:
        """Return the text of a script, or nothing."""
        found = self.scripts.get(name) if isinstance(self.scripts, dict) else None
        return found if isinstance(found, str) else ""


class Root(msgspec.Struct, frozen=True):
    """An application: `whole` is the workspace that it is a member of, or itself."""

    path: str
    whole: str
    name: str
    version: str
    manifest: Manifest
    place: Place


def installed(path: str) -> bool:
    """Tell whether a package.json is that of an installed package, not a file inside one.

    >>> installed("/srv/a/node_modules/.pnpm/ms@2.1.3/node_modules/ms/package.json")
    True
    >>> installed("/srv/a/node_modules/resolve/test/node_modules/x/package.json")
    False
    """
    _, *parts = path.removesuffix("/package.json").split("/node_modules/")
    last = parts[-1] if parts else ""
    if not all(_PART.fullmatch(part) for part in parts) or not last:
        return False
    return not last.startswith(".") or (last.startswith(".store/") and last.endswith("/package"))


def global_package(folder: str) -> bool:
    """Tell whether an installed package is one of `npm install -g`: PREFIX/lib/node_modules/NAME (npm-folders(5))."""
    return _GLOBAL.fullmatch(folder) is not None and "/node_modules/" not in folder.rpartition("/lib")[0]


def text_of(value: object, most: int = 256) -> str:
    """Return a value of JSON where it is a text of sane length, or nothing."""
    return value if isinstance(value, str) and len(value) <= most else ""


def packages(reader: Reader, paths: Sequence[str]) -> Iterator[LanguagePackage]:
    """Yield the installed packages among package.json files."""
    wanted = [path for path in paths if installed(path)]
    if len(wanted) > MAX_PACKAGES:
        reader.note(wanted[MAX_PACKAGES], f"only the first {MAX_PACKAGES} of {len(wanted)} packages were read")
    for path in batched(reader.guest, wanted, MAX_PACKAGES):
        found = decoded(reader, path, Manifest)
        if found is None:
            continue
        name, version = text_of(found[0].name), text_of(found[0].version)
        if name and version:
            place = seen(path, found[1], '"version"', f'"{version}"')
            yield LanguagePackage(
                seen_in=place, ecosystem="npm", name=name, version=version, location=posixpath.dirname(path)
            )
        else:
            reader.note(path, "no name and version of a package")


def parse_pnp(text: str, path: str) -> Iterator[LanguagePackage]:
    """Yield the packages that a .pnp.cjs or .pnp.data.json says are in yarn's cache, or unpacked (`unplugged`).

    The state is JSON, one key a line; in .pnp.cjs each line ends in a backslash, inside a string of JavaScript.
    Packages seen through another's peers (`virtual:`) are the same files once more, and passed over.
    """
    folder, version = posixpath.dirname(path), ""
    for number, line in numbered(text):
        if line.startswith("}'"):
            return  # the state ends here; what follows is yarn's own code
        if (bare := line.strip()).startswith('["'):
            version = _referred(bare)
        elif (match := _LOCATION.match(line)) and (where := _IN_PNP.match(match[1])) and version:
            yield LanguagePackage(
                seen_in=Place(path, number),
                ecosystem="npm",
                name=where[2],
                version=version,
                location=absolute(where[1], folder),
            )
            version = ""


def _referred(text: str) -> str:
    """Return the version of `["npm:4.17.21", {`, and of yarn's own patches; nothing for other references."""
    reference = text.removeprefix('["').partition('"')[0]
    if reference.startswith("patch:"):
        return reference.partition("::version=")[2].partition("&")[0]
    return "" if "#" in reference else reference.removeprefix("npm:")


def plug_n_play(reader: Reader, paths: Sequence[str]) -> Iterator[LanguagePackage]:
    """Yield the packages of yarn's Plug'n'Play whose zip file or folder is on the disk."""
    for path in batched(reader.guest, paths, 1000):
        text = reader.text(path, _MAX_PNP)
        for found in parse_pnp(text or "", path):
            if reader.guest.exists(found.location):
                yield found


# ---------------------------------------------------------------- applications


def own_manifests(paths: Sequence[str]) -> list[str]:
    """Return the package.json files that are no dependency's."""
    return [path for path in paths if not in_folders(path, _DEPENDENCIES) and not _of_manager(path)]


def _of_manager(path: str) -> bool:
    return in_folders(path, _MANAGERS) or "/pkg/mod/" in path


def roots(reader: Reader, paths: Sequence[str]) -> list[Root]:
    """Return the applications: manifests that nobody depends on, and the members of their workspaces.

    One inside another's tree is one of its own where it is a member, or has packages or a lock file of its own.
    """
    guest, found = reader.guest, list[Root]()
    own = sorted(own_manifests(paths), key=lambda path: posixpath.dirname(path).split("/"))
    around: list[tuple[Root, Collection[str]]] = []
    for path in batched(guest, own, MAX_PACKAGES):
        folder = posixpath.dirname(path) or "/"
        while around and not inside(folder, around[-1][0].path):
            around.pop()
        whole = next((root.whole for root, members in around if folder in members), folder)
        if around and whole == folder and not is_installed_in(guest, folder):
            continue
        read = decoded(reader, path, Manifest)
        if read is None or not (around or is_application(guest, folder, read[0])):
            continue
        name = text_of(read[0].name)
        place = seen(path, read[1], '"name"', f'"{name}"') if name else Place(path)
        version = text_of(read[0].version)
        root = Root(folder, whole, name or base(folder), version, read[0], place)
        found.append(root)
        around.append((root, members_of(reader, folder, read[0])))
    return found


def is_installed_in(guest: Guest, folder: str) -> bool:
    """Tell whether packages were installed in this folder, or are locked for it."""
    return any(guest.exists(f"{folder}/{name}") for name in ("node_modules", *_LOCKS))


def is_application(guest: Guest, folder: str, manifest: Manifest) -> bool:
    """Tell whether a package.json is more than a mark for the module loader (`{"type": "module"}`)."""
    main = text_of(manifest.main, 4096)
    starts = bool(
        manifest.script("start")
        or (main and guest.is_file(absolute(main, folder)))
        or guest.is_file(f"{folder}/server.js")
    )
    more = is_installed_in(guest, folder) or bool(manifest.bin or manifest.workspaces)
    return (starts or more) and may_be_root(folder, starts)


def members_of(reader: Reader, folder: str, manifest: Manifest) -> frozenset[str]:
    """Return the folders of a workspace's members: `workspaces` of npm and yarn, pnpm-workspace.yaml of pnpm."""
    told = manifest.workspaces
    patterns = told.get("packages") if isinstance(told, dict) else told
    wanted = [p for p in patterns if isinstance(p, str)] if isinstance(patterns, list) else []
    path = f"{folder}/pnpm-workspace.yaml"
    if reader.guest.is_file(path):
        wanted += pnpm_members(reader, path)
    if len(wanted) > _MAX_PATTERNS:
        reader.note(f"{folder}/package.json", f"only the first {_MAX_PATTERNS} of {len(wanted)} workspaces were read")
    plain = re.sub(r"([*?\[])", r"[\1]", folder)
    found: set[str] = set()
    for pattern in wanted[:_MAX_PATTERNS]:
        bare = posixpath.normpath(pattern.removeprefix("!"))
        if len(bare) > 1024 or bare.startswith(("..", "/")):
            continue
        paths = {posixpath.dirname(each) for each in reader.guest.glob(f"{plain}/{bare}/package.json")}
        found = found - paths if pattern.startswith("!") else found | paths
    return frozenset(found - {folder})


def pnpm_members(reader: Reader, path: str) -> list[str]:
    """Return `packages` of a pnpm-workspace.yaml (pnpm.io/pnpm-workspace_yaml). BaseLoader expands no merge keys."""
    text = reader.text(path, 64 << 10) or ""
    try:
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  # plain text alone
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reader.note(path, f"no YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
        return []
    found = document.get("packages") if isinstance(document, dict) else None
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
