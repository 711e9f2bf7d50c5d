"""Which files Apache httpd reads, writes and serves."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from analyzers._addresses import run_path
from analyzers._apache_start import Start, physical
from analyzers._apache_tree import Directive, each
from analyzers._owners import Owners
from analyzers._reading import MAX_TEXT, Reader, absolute, inside
from migrate.digests import Recorded
from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest
from migrate.model import Place, Requires, Uses

_FILES = ("sslcertificatefile", "sslcertificatekeyfile", "sslcertificatechainfile", "sslcacertificatefile",
          "sslcacertificatepath", "sslcarevocationfile", "sslcarevocationpath", "sslcadnrequestfile",
          "sslproxymachinecertificatefile", "sslproxycacertificatefile", "sslproxycacertificatepath",
          "sslsrpverifierfile", "sslsessionticketkeyfile", "authuserfile", "authgroupfile", "authdbmuserfile",
          "authdbmgroupfile", "jkworkersfile", "jkmountfile", "typesconfig", "mimemagicfile", "phpinidir")  # fmt: skip
_LOGS = ("errorlog", "customlog", "transferlog", "globallog", "forensiclog", "scriptlog", "rewritelog", "jklogfile",
         "secauditlog", "secdebuglog")  # fmt: skip
_RUNTIME = ("defaultruntimedir", "mutex", "sslsessioncache", "sslstaplingcache", "scoreboardfile", "davlockdb",
            "wsgisocketprefix", "scriptsock")  # fmt: skip
_SERVED = {"documentroot": 0, "virtualdocumentroot": 0, "alias": 1, "aliasmatch": 1, "scriptalias": 1,
           "scriptaliasmatch": 1, "wsgiscriptalias": 1, "wsgiscriptaliasmatch": 1, "passengerapproot": 0}  # fmt: skip
_SPELT = {"errorlog": "ErrorLog", "customlog": "CustomLog", "documentroot": "DocumentRoot", "alias": "Alias",
          "scriptalias": "ScriptAlias", "wsgiscriptalias": "WSGIScriptAlias",
          "sslcertificatefile": "SSLCertificateFile", "typesconfig": "TypesConfig",
          "sslcertificatekeyfile": "SSLCertificateKeyFile", "authuserfile": "AuthUserFile"}  # fmt: skip
_OWN_PAGES = {"/index.html": "/usr/share/apache2/default-site/index.html"}  # apache2.postinst copies it
_OTHERS_PAGES = ("/index.nginx-debian.html", "/index.lighttpd.html")  # of nginx-common.postinst, lighttpd.postinst
_NOT_OWN = ("/run", "/run/lock", "/tmp", "/dev", "/dev/shm", "/var/lock", "/")  # noqa: S108  # every image has them


class Files:
    """Turns one server's directives into the paths it uses."""

    def __init__(self, reader: Reader, start: Start, tree: Sequence[Directive], read: Sequence[str]) -> None:
        self.reader, self.guest, self.start, self.tree, self.read = reader, reader.guest, start, tree, read
        self._strays: dict[str, str | None] = {}

    def use(self, place: Place, path: str, role: str, says: str) -> Uses:
        return Uses(seen_in=place, service=self.start.ident, path=path, role=role, says=says)  # type: ignore[arg-type]

    def config(self, shipped: Mapping[str, Recorded]) -> Iterator[Uses]:
        """Yield the configuration's folder, what is included from elsewhere, and the files it names."""
        main = self.start.main
        folder = posixpath.dirname(main).removesuffix("/conf")
        top = folder if folder.count("/") > 1 and folder != "/usr/local" else main
        yield self.use(Place(main), top, "config", "its configuration")
        for path in self.read:
            if not inside(path, top):
                yield self.use(Place(path), path, "config", "included")
        if self.start.envvars and not inside(self.start.envvars, top):
            yield self.use(self.start.place, self.start.envvars, "config", "its environment")
        for directive, _ in each(self.tree, *_FILES):
            text = directive.args[0] if directive.args else ""
            path = absolute(text, directive.root)
            if text and "%" not in text and not text.startswith("pkcs11:") and not self.as_shipped(path, shipped):
                yield from self.named(directive, path)
        for directive, _ in each(self.tree, "rewritemap"):
            match = re.match(r"(?:txt|rnd|dbm(?:=\w+)?|prg):(/\S+)", "".join(directive.args[1:2]))
            if match:
                yield from self.named(directive, absolute(match[1], "/"))

    def as_shipped(self, path: str, shipped: Mapping[str, Recorded]) -> bool:
        """Tell whether a package brings the file just like this (/etc/mime.types): then it is in the image already."""
        recorded = shipped.get(self.guest.resolve(path) or path)
        data = self.reader.data(path, MAX_TEXT) if recorded is not None and self.guest.is_file(path) else None
        return recorded is not None and data is not None and recorded.matches(data)

    def named(self, directive: Directive, path: str) -> Iterator[Uses]:
        real = self.guest.resolve(path)
        spelt = _SPELT.get(directive.name, directive.name)
        if real is None:
            self.reader.note(directive.place.path, f"{spelt} names {path}, which is not there", directive.place.line)
            return
        for each_path in dict.fromkeys((path, real)):  # certbot's live/ holds symlinks into archive/
            yield self.use(directive.place, each_path, "config", spelt)

    def logs(self) -> Iterator[Uses]:
        """Yield log files; a pipe and syslog are noted."""
        for directive, _ in each(self.tree, *_LOGS):
            text = directive.args[0] if directive.args else ""
            spelt = _SPELT.get(directive.name, directive.name)
            why = ""
            if text.startswith("|"):
                why = f"{spelt} is handed to a program, {text.lstrip('|$ ').split(' ')[0]}, that runs beside httpd"
            elif text.startswith("syslog"):
                why = f"{spelt} goes to syslog, which a container has not; name /dev/stderr"
            elif "${" in text or "%" in text:
                why = f"{spelt} {text[:200]} is no path that is known"
            if why:
                self.reader.note(directive.place.path, why, directive.place.line)
            elif text and not text.startswith("/dev/") and text != "journald":
                path = physical(self.reader, absolute(text, directive.root))
                yield self.use(directive.place, path, "log", spelt)
        if not any(directive.name == "errorlog" for directive in self.tree):  # DEFAULT_ERRORLOG (core)
            path = physical(self.reader, absolute("logs/error_log", self.start.root))
            if self.guest.is_dir(posixpath.dirname(path)):
                yield self.use(Place(self.start.main), path, "log", "ErrorLog: its default")

    def states(self) -> Iterator[Uses]:
        """Yield what starts empty, what may be lost, and what clients write."""
        pids = [(d.place, absolute(d.args[0], d.root)) for d, _ in each(self.tree, "pidfile") if d.args]
        compiled = self.start.build.pidfile
        if not pids and compiled:
            pids = [(Place(self.start.program), absolute(compiled, self.start.root))]
        for place, path in pids[-1:]:
            yield from self.runtime(place, posixpath.dirname(physical(self.reader, path)), "the pid file is there")
        for directive, _ in each(self.tree, *_RUNTIME):
            yield from self.runtime_of(directive)
        for directive, _ in each(self.tree, "cacheroot"):
            if directive.args:
                yield self.use(directive.place, absolute(directive.args[0], directive.root), "cache", "CacheRoot")
        for directive, around in each(self.tree, "dav"):
            if (path := _directory(around)) and directive.args[:1] and directive.args[0].lower() == "on":
                yield self.use(directive.place, path, "data", "Dav On: clients write here")
        for directive, _ in each(self.tree, "svnpath", "svnparentpath"):
            if directive.args:
                yield self.use(directive.place, absolute(directive.args[0], "/"), "data", "Subversion's repositories")

    def runtime_of(self, directive: Directive) -> Iterator[Uses]:
        text = directive.args[0] if directive.args else ""
        if directive.name in ("mutex", "sslsessioncache", "sslstaplingcache"):
            match = re.match(r"(?:file|flock|fcntl|shmcb|dbm|shm(?:ht|cb)?):([^(\s]+)", text)
            text = match[1] if match else ""
        if not text or "${" in text:
            return
        path = physical(self.reader, absolute(text, directive.root) + "/x").removesuffix("/x")
        folder = path if directive.name in ("defaultruntimedir", "mutex") else posixpath.dirname(path)
        yield from self.runtime(directive.place, folder, directive.name)

    def runtime(self, place: Place, folder: str, says: str) -> Iterator[Uses]:
        folder = run_path(folder)
        folder = folder.replace("/var/lock/", "/run/lock/", 1) if folder.startswith("/var/lock/") else folder
        if folder.startswith("/run/") and folder not in _NOT_OWN and "${" not in folder:
            yield self.use(place, folder, "runtime", says)
        elif folder.startswith("/var/cache/"):
            yield self.use(place, folder, "cache", says)

    # ---------------------------------------------------------------- asked of the packages

    def served(self, owners: Owners) -> Iterator[Uses]:
        """Yield the served folders that hold a file of nobody's package."""
        for directive, _ in each(self.tree, *_SERVED):
            text = "".join(directive.args[_SERVED[directive.name] :][:1])
            fixed = re.split(r"[$%]", text, maxsplit=1)
            path = absolute(text if len(fixed) == 1 else posixpath.dirname(fixed[0]), directive.root)
            spelt = _SPELT.get(directive.name, directive.name)
            if not text or path.count("/") < 2:
                continue
            if directive.name == "documentroot" and not self.guest.exists(path):
                self.reader.note(
                    directive.place.path, f"{spelt} names {path}, which is not there", directive.place.line
                )
            elif stray := self._stray(owners, path):
                yield self.use(directive.place, path, "code", f"{spelt}: served, and no package owns {stray}")
        for directive, _ in each(self.tree, "wsgidaemonprocess"):
            for word in directive.args[1:]:
                name, _, value = word.partition("=")
                for path in value.split(":") if name in ("python-home", "python-path", "home") else ():
                    if path.count("/") > 1 and self._stray(owners, path):
                        yield self.use(directive.place, path, "code", f"WSGIDaemonProcess {name}")

    def _stray(self, owners: Owners, path: str) -> str | None:
        """Ask once for a path: a thousand virtual hosts may name the same."""
        if path not in self._strays:
            self._strays[path] = _stray(self.guest, owners, path)
        return self._strays[path]

    def modules(self, owners: Owners) -> Iterator[Requires]:
        """Yield the packages of loaded modules, but for the one the server itself is of."""
        own = owners.package(self.start.program) if self.start.program else None
        for directive, _ in each(self.tree, "loadmodule", "loadfile"):
            text = directive.args[-1] if directive.args else ""
            path = absolute(text, directive.root) if "/" in text else ""
            if not path:
                continue
            if package := owners.package(path):
                if package != own:
                    says = f"LoadModule {directive.args[0]}"
                    yield Requires(seen_in=directive.place, service=self.start.ident, package=package, says=says)
            elif not self.guest.exists(path):
                self.reader.note(directive.place.path, f"the module {path} is not there", directive.place.line)
            elif owners:
                self.reader.note(directive.place.path, f"no package owns the module {path}", directive.place.line)


def _directory(around: Sequence[Directive]) -> str:
    """Return the folder of the innermost `<Directory>`, where it is one."""
    for section in reversed(around):
        if section.name == "directory" and section.args and section.args[0].startswith("/"):
            path = section.args[0]
            return absolute(path, "/") if path.count("/") > 1 and not re.search(r"[*?\[]", path) else ""
    return ""


def _stray(guest: Guest, owners: Owners, top: str) -> str | None:
    """Return the first file of nobody's at or below `top`, passing over the page that a package's script put there."""
    real = guest.resolve(top)
    for entry in guest.walk(real) if real is not None and real != "/" else ():
        if entry.kind not in ("file", "symlink") or owners.own(entry.path) is not None:
            continue
        name = "/" + posixpath.basename(entry.path)
        if name in _OTHERS_PAGES or _same(guest, entry.path, _OWN_PAGES.get(name, "")):
            continue
        return entry.path
    return None


def _same(guest: Guest, path: str, shipped: str) -> bool:
    one, other = guest.stat(path), guest.stat(shipped) if shipped else None
    if one is None or other is None or one.kind != "file" or other.kind != "file" or one.size != other.size:
        return False
    try:
        return guest.read(path, 1 << 20) == guest.read(shipped, 1 << 20)
    except GuestFileError:
        return False
