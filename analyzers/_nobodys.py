"""The programs that no package owns, and which application each is part of.

What a person would call an application is, by this rule:

- a folder of its own in a place of many (`/opt/X`, `/srv/X`, `/usr/local/X`, `/var/www/X`, …), as `tree_of` has it;
- a program that stands in a place of many itself (`/usr/local/bin/X`, `~/bin/X`, `/opt/X`);
- a program inside somebody's folder where a service or a job calls it and the folder's own program is another.

In people's homes and in /var/lib only what stands in a `bin`, or in a folder of which something is called, counts: the
rest is what people build and what programs keep. What lies in the folders
of a language's manager (node_modules, site-packages, …), of version control, of caches, and of containers is never an
application. On the example machine this leaves one script; on AlmaLinux's and Alpine's roots nothing.
"""

from __future__ import annotations

import posixpath
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from analyzers._commands import Tracer, runners
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, inside
from analyzers._sweep import loose_files
from migrate.errors import GuestFileError
from migrate.guest.protocol import Entry, Guest
from migrate.model import Application, Finding, Place

_SHARED = re.compile(
    r"/(opt|srv|home|root|usr|var|data|app|apps|www|mnt|media|bin|sbin|lib\w*|u\d+|export)"
    r"|/home/[^/]+|(/home/[^/]+|/root)/(s?bin|\.local(/(bin|lib|share|opt))?|go(/bin)?|\.cargo(/bin)?|apps|opt|src)"
    r"|/usr/(local|bin|sbin|lib\w*|libexec|share(/java)?|games|java|src|lib\w*/(jvm|[^/]+-linux-[^/]+))"
    r"|/usr/local/(bin|sbin|lib\w*|libexec|share(/java)?|games|opt|src|etc)"
    r"|/var/(lib|www|opt|local|data)|/(opt|srv|data)/(bin|sbin|lib|apps|services|tools|jars?|java|jvm|programs)"
)
_PASSED_OVER = re.compile(
    r"/var/(cache|log|spool|tmp|backups|db|crash|mail)/"
    r"|/var/lib/(docker|containers?|containerd|lxc|lxd|incus|machines|snapd|flatpak|dpkg|rpm|apt|pacman|portage|opkg"
    r"|kubelet|rancher|buildah|libvirt|ucf|initramfs-tools|dkms|apk|systemd)/"
    r"|/snap/|.*/(\.git|\.hg|\.svn|\.cache|\.m2|\.gradle|\.ivy2|\.npm|\.rustup|\.cargo/registry|\.cargo/git|go/pkg)/"
)
_LANGUAGES = re.compile(r".*/(node_modules|site-packages|dist-packages|gems|vendor/bundle|__pycache__|\.bundle)/")
_MARKERS = ("/pyvenv.cfg", "/package.json", "/Gemfile", "/Gemfile.lock", "/composer.json", "/conda-meta/history")
_ARCHIVES = (".jar", ".war", ".ear", ".deps.json", ".runtimeconfig.json")
_ENDS = (*_ARCHIVES, "/release")
# What has the x bit by a careless chmod and is no program by its name.
_NO_PROGRAM = re.compile(
    r".*\.(so(\.[\d.]+)?|a|o|la|pyc|html?|css|js|mjs|map|png|jpe?g|gif|svg|ico|txt|md|json|xml|ya?ml|php|inc|ttf|woff2?"
    r"|eot|mo|po|gz|zip|tar|bz2|xz|pdf|csv|sql|log|conf|cfg|ini|properties|h|c|class|sample|dll|pdb|tmpl|service)"
)
ARCHIVE = re.compile(r".*\.(jar|war|ear)")
_OTHERS = re.compile(r".*(\.(jar|war|ear|deps\.json|runtimeconfig\.json)|/release)")
_HEAD = 256
_SMALL = 1 << 18
_MAX_FILES = 20_000
_MAX_PARTS = 2000  # of a class path

_LAST: weakref.WeakKeyDictionary[Guest, Nobodys] = weakref.WeakKeyDictionary()
_LOOSE: weakref.WeakKeyDictionary[Guest, _Loose] = weakref.WeakKeyDictionary()
_SYSTEM: weakref.WeakKeyDictionary[Guest, tuple[Entry, ...]] = weakref.WeakKeyDictionary()
_HEADS: weakref.WeakKeyDictionary[Guest, dict[str, bytes]] = weakref.WeakKeyDictionary()


def tree_of(path: str) -> str:
    """Return the folder in a place of many that a path lies in, or the path itself where it stands there.

    >>> tree_of("/opt/shop/lib/shop.jar"), tree_of("/usr/local/bin/gitea")
    ('/opt/shop', '/usr/local/bin/gitea')
    """
    folder = ""
    for part in path.split("/")[1:-1]:
        folder += f"/{part}"
        if not _SHARED.fullmatch(folder):
            return folder
    return path


def is_in_bin(path: str) -> bool:
    """Tell whether a path stands where the programs of many are, to be found by name."""
    folder = posixpath.dirname(path)
    return posixpath.basename(folder) in ("bin", "sbin", "games", "libexec") and bool(_SHARED.fullmatch(folder))


class _Loose(msgspec.Struct, frozen=True):
    """What one pass over the loose files gives.

    `likely` are programs, by mode or name; `marked` the folders in which, or one below which, a language's manager has
    its files; `environments` Python's.
    """

    likely: tuple[Entry, ...]
    marked: frozenset[str]
    environments: frozenset[str]


def _loose(guest: Guest) -> _Loose:
    """Return the loose files that may be programs; of 482,000 files it takes 0.15 s, once for a guest."""
    found = _LOOSE.get(guest)
    if found is None:
        files = loose_files(guest)
        likely = tuple(e for e in files if e.mode & 0o111 or e.path.endswith(_ENDS))
        marks = [e.path for e in files if e.path.endswith(_MARKERS) and not _LANGUAGES.match(e.path)]
        environments = frozenset(path[: -len("/pyvenv.cfg")] for path in marks if path.endswith("/pyvenv.cfg"))
        folders = {path.rpartition("/")[0].removesuffix("/conda-meta") for path in marks}
        found = _LOOSE[guest] = _Loose(likely, frozenset(folders | {*map(posixpath.dirname, folders)}), environments)
    return found


def _system(guest: Guest) -> tuple[Entry, ...]:
    """Return what may be a program in the system's own folders; where packages are known, most of them are theirs."""
    found = _SYSTEM.get(guest)
    if found is None:
        tops = [top for top in ("/usr", "/bin", "/sbin", "/lib", "/lib64") if _is_real(guest, top)]
        found = _SYSTEM[guest] = tuple(each for top in tops for each in guest.walk(top) if _is_likely(each))
    return found


def _is_real(guest: Guest, path: str) -> bool:
    entry = guest.lstat(path)
    return entry is not None and entry.kind == "directory"


def _is_likely(entry: Entry) -> bool:
    path = entry.path
    if entry.kind != "file" or path.startswith("/usr/local/"):
        return False
    if entry.mode & 0o111:
        return not path.startswith(("/usr/share/", "/usr/src/"))
    return path.endswith(_ARCHIVES) or (path.endswith("/release") and path.startswith("/usr/lib/jvm/"))


class Called(msgspec.Struct, frozen=True):
    """How a file is called: where the command stands, and the program that it is the first word for, if any."""

    place: Place
    by: str = ""


class Nobodys:
    """What one look over a guest's unpackaged programs gives; `of` keeps it for all analyzers of a round."""

    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self._guest = weakref.ref(guest)  # what is kept for a guest must not keep the guest
        self.findings = findings
        self.owners = Owners(weakref.proxy(guest), findings)
        self.called: dict[str, Called] = {}
        for path, how in self._calls():
            self.called.setdefault(path, how)
        self.others = {f.root: f.ecosystem for f in findings if isinstance(f, Application)}
        self._loose = _loose(guest)
        self.too_many = False
        programs, files = [], []
        for entry in self._entries():
            if _PASSED_OVER.match(entry.path) and entry.path not in self.called:
                continue
            if _OTHERS.fullmatch(entry.path):
                files.append(entry)
            elif entry.path in self.called or not _NO_PROGRAM.fullmatch(entry.path):
                programs.append(entry)
        self.files = [entry for entry in files if self.is_nobodys(entry.path)]
        mine = [entry for entry in programs if entry.size > 3 and self.is_nobodys(entry.path)]
        self.too_many = len(mine) > _MAX_FILES
        self.programs = mine[:_MAX_FILES]

    @property
    def guest(self) -> Guest:
        """The guest, which whoever asks holds open."""
        guest = self._guest()
        if guest is None:
            raise ValueError("the guest is gone")
        return guest

    @staticmethod
    def of(guest: Guest, findings: Sequence[Finding]) -> Nobodys:
        """Return what is known of this guest with these findings."""
        known = _LAST.get(guest)
        if known is None or known.findings is not findings:
            known = _LAST[guest] = Nobodys(guest, findings)
        return known

    # ---------------------------------------------------------------- which files

    def _entries(self) -> Iterator[Entry]:
        """Yield what may be a program: by its x bit, its name, or that somebody calls it. One pass over metadata."""
        seen = {entry.path for entry in self._loose.likely}
        yield from self._loose.likely
        for entry in _system(self.guest) if self.owners else ():
            seen.add(entry.path)
            yield entry
        for path in self.called:
            if path not in seen and (called := self.guest.stat(path)) is not None and called.kind == "file":
                yield called

    def _calls(self) -> Iterator[tuple[str, Called]]:
        """Yield the files that services and jobs call or are given."""
        tracer = Tracer(self.guest, Reader(self.guest, "programs"), self.owners)
        for runner in runners(self.findings):
            for call in tracer.trace(runner).calls:
                if not call.program:
                    continue
                given = [word for word in call.command.words[1:] if word.whole]
                first = next((word.text for word in given if not word.text.startswith("-")), "")
                yield from self._called(call.program, Called(call.place))
                for word in given:
                    by = call.program if word.text == first else ""
                    for each in filter(None, word.text.split(":", _MAX_PARTS)[:_MAX_PARTS]):
                        yield from self._called(absolute(each, call.directory), Called(call.place, by))

    def _called(self, path: str, how: Called) -> Iterator[tuple[str, Called]]:
        real = self.guest.resolve(path)
        if real is not None and self.guest.is_file(real) and not inside(real, "/etc"):
            yield real, how

    def is_nobodys(self, path: str) -> bool:
        """Tell whether no package owns a path; without a package database the system's own folders count as owned."""
        if self.owners.own(path) is not None:
            return False
        return bool(self.owners) or path.startswith("/usr/local/") or not re.match(r"/(usr|bin|sbin|lib)", path)

    def head(self, path: str) -> bytes:
        """Return the first 256 bytes of a file; none where it cannot be read."""
        heads = _HEADS.setdefault(self.guest, {})
        if path not in heads:
            try:
                heads[path] = self.guest.read(path, _HEAD)
            except GuestFileError:
                heads[path] = b""
        return heads[path]

    def with_head(self, magic: bytes) -> list[Entry]:
        """Return the programs that begin with these bytes."""
        small = [entry.path for entry in self.programs if entry.size <= _SMALL]
        if not _HEADS.get(self.guest):
            self.guest.prefetch(small)
        return [entry for entry in self.programs if self.head(entry.path).startswith(magic)]

    # ---------------------------------------------------------------- whose tree

    def is_languages(self, path: str) -> bool:
        """Tell whether a path lies in what a language's manager made: an environment, a folder of modules."""
        if _LANGUAGES.match(path):
            return True
        folder = posixpath.dirname(path)
        return (
            posixpath.basename(folder) in ("bin", "Scripts") and posixpath.dirname(folder) in self._loose.environments
        )

    def is_anothers(self, tree: str) -> bool:
        """Tell whether a tree is an application of a language that has files of its own to say so."""
        if any(inside(root, tree) and kind in _BY_FILES for root, kind in self.others.items()):
            return True
        return tree in self._loose.marked

    def counts(self, path: str) -> bool:
        """Tell whether a file is more than what a person keeps at home, or a program among its data."""
        if not path.startswith(("/home/", "/root/", "/var/lib/")):
            return True
        return path in self.called or is_in_bin(path) or self.is_called_in(tree_of(path))

    def is_called_in(self, tree: str) -> bool:
        """Tell whether a service or a job calls something in a tree."""
        return any(inside(path, tree) for path in self.called)

    def main(self, tree: str, programs: Sequence[str]) -> str:
        """Return the program that a tree is called after: one that is called, else by name and place, else by size."""
        return min(programs, key=lambda path: self._rank(tree, path))

    def _rank(self, tree: str, path: str) -> tuple[bool, bool, bool, int, str]:
        name, folder = posixpath.basename(path).lower(), posixpath.dirname(path)
        entry = self.guest.stat(path)
        return (
            path not in self.called,
            not posixpath.basename(tree).lower().startswith(name.partition(".")[0]),
            folder not in (tree, f"{tree}/bin", f"{tree}/sbin"),
            -(entry.size if entry is not None else 0),
            path,
        )


_BY_FILES: Mapping[str, bool] = dict.fromkeys(("pypi", "conda", "npm", "gem", "composer"), True)
