"""Scripts that run on the system's own Python: which packages the modules that they import are from."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from analyzers._commands import Call, Runner
from analyzers._manifests import optional_bytes
from analyzers._owners import Owners
from analyzers._python_code import Sources
from analyzers._reading import Reader
from migrate.model import Finding, Place, Requires, Uses

# sys.path of Debian's interpreter (its site.py), then the Red Hat family's.
_FOLDERS = ("/usr/local/lib/python3*/dist-packages", "/usr/lib/python3/dist-packages",
            "/usr/local/lib/python3*/site-packages", "/usr/lib*/python3*/site-packages")  # fmt: skip
# Where pip puts commands: as root, and with `--user` (sysconfig's schemes posix_local and posix_user).
_PREFIX = re.compile(r"/usr/local|/.+/\.local")


class SystemPython:
    """Finds imported modules in the system's folders."""

    def __init__(self, reader: Reader, owners: Owners, homes: Mapping[str, str]) -> None:
        self._reader, self._guest, self._owners, self._homes = reader, reader.guest, owners, homes
        self._folders = [folder for pattern in _FOLDERS for folder in reader.guest.glob(pattern)]

    def needs(self, runner: Runner, call: Call) -> Iterator[Finding]:
        """Yield the packages, or the unpackaged folders, of what a script imports."""
        if not self.is_system(call):
            yield from self.entry_point(runner, call)
            return
        words = [word.text for word in call.command.words[1:] if word.whole and not word.text.startswith("-")]
        script = posixpath.normpath(posixpath.join(call.directory, words[0])) if words else ""
        if not self._guest.is_file(script) or self._owners.own(script) is not None:
            return
        folder = posixpath.dirname(script)
        sources = Sources(self._reader, folder, "/nonexistent")
        for name, place in sorted(sources.foreign(sources.reached([script], folder), folder).items()):
            found = self._find(name, runner.user)
            package = self._owners.package(found) if found else None
            says = f"it imports {name}: {found}"
            if package is not None:
                yield Requires(seen_in=place, service=runner.ident, package=package, says=says)
            elif found is not None:
                yield Uses(seen_in=place, service=runner.ident, path=self._tree(found), role="code", says=says)

    def entry_point(self, runner: Runner, call: Call) -> Iterator[Finding]:
        """Yield the folder of modules behind a command that pip put beside them: PREFIX/bin, PREFIX/lib/pythonX.Y."""
        prefix = posixpath.dirname(posixpath.dirname(call.program)) if call.program else ""
        real = self._guest.resolve(call.program) if prefix else None
        if real is None or self._owners.own(real) is not None or not _PREFIX.fullmatch(prefix):
            return
        head = optional_bytes(self._guest, real, 256).decode("utf-8", "surrogateescape")
        program = re.match(r"#!\s*(/\S*/python3?(?:\.\d+)?)\s", head)
        if program is None:
            return
        version = posixpath.basename(self._guest.resolve(program[1]) or program[1])
        for folder in ("dist-packages", "site-packages"):
            path = f"{prefix}/lib/{version}/{folder}"
            if self._guest.is_dir(path):
                says = f"{call.program} imports what pip installed there"
                yield Uses(seen_in=Place(real, 1), service=runner.ident, path=path, role="code", says=says)

    def is_system(self, call: Call) -> bool:
        """Tell whether the program is an interpreter that is in no virtual environment."""
        name = posixpath.basename(call.program)
        folder = posixpath.dirname(posixpath.dirname(call.program))
        return bool(re.fullmatch(r"python3?(\.\d+)?", name)) and not self._guest.is_file(f"{folder}/pyvenv.cfg")

    def _find(self, name: str, user: str) -> str | None:
        """Return the file of a module; what `pip install --user` put into the account's home comes first (site)."""
        home = self._homes.get(user, "")
        plain = re.sub(r"([*?\[])", r"[\1]", home)
        own = self._guest.glob(f"{plain}/.local/lib/python3*/site-packages") if home.strip("/") else []
        for folder in (*own, *self._folders):
            for path in (f"{folder}/{name}/__init__.py", f"{folder}/{name}.py"):
                if self._guest.is_file(path):
                    return path
            compiled = self._guest.glob(f"{folder}/{name}.*.so") if re.fullmatch(r"\w+", name) else []
            if compiled:
                return compiled[0]
        return None

    def _tree(self, path: str) -> str:
        return posixpath.dirname(path) if path.endswith("/__init__.py") else path
