"""Scripts that run on the system's own Python: which packages the modules that they import are from."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from analyzers._commands import Call, Runner
from analyzers._owners import Owners
from analyzers._python_code import Sources
from analyzers._reading import Reader
from migrate.model import Finding, Requires, Uses

# sys.path of Debian's interpreter (its site.py), then the Red Hat family's.
_FOLDERS = ("/usr/local/lib/python3*/dist-packages", "/usr/lib/python3/dist-packages",
            "/usr/local/lib/python3*/site-packages", "/usr/lib*/python3*/site-packages")  # fmt: skip


class SystemPython:
    """Finds imported modules in the system's folders."""

    def __init__(self, reader: Reader, owners: Owners) -> None:
        self._reader, self._guest, self._owners = reader, reader.guest, owners
        self._folders = [folder for pattern in _FOLDERS for folder in reader.guest.glob(pattern)]

    def needs(self, runner: Runner, call: Call) -> Iterator[Finding]:
        """Yield the packages, or the unpackaged folders, of what a script imports."""
        if not self.is_system(call):
            return
        words = [word.text for word in call.command.words[1:] if word.whole and not word.text.startswith("-")]
        script = posixpath.normpath(posixpath.join(call.directory, words[0])) if words else ""
        if not self._guest.is_file(script) or self._owners.own(script) is not None:
            return
        folder = posixpath.dirname(script)
        sources = Sources(self._reader, folder, "/nonexistent")
        for name, place in sorted(sources.foreign(sources.reached([script], folder), folder).items()):
            found = self._find(name)
            package = self._owners.package(found) if found else None
            says = f"it imports {name}: {found}"
            if package is not None:
                yield Requires(seen_in=place, service=runner.ident, package=package, says=says)
            elif found is not None:
                yield Uses(seen_in=place, service=runner.ident, path=self._tree(found), role="code", says=says)

    def is_system(self, call: Call) -> bool:
        """Tell whether the program is an interpreter that is in no virtual environment."""
        name = posixpath.basename(call.program)
        folder = posixpath.dirname(posixpath.dirname(call.program))
        return bool(re.fullmatch(r"python3?(\.\d+)?", name)) and not self._guest.is_file(f"{folder}/pyvenv.cfg")

    def _find(self, name: str) -> str | None:
        for folder in self._folders:
            for path in (f"{folder}/{name}/__init__.py", f"{folder}/{name}.py"):
                if self._guest.is_file(path):
                    return path
            compiled = self._guest.glob(f"{folder}/{name}.*.so") if re.fullmatch(r"\w+", name) else []
            if compiled:
                return compiled[0]
        return None

    def _tree(self, path: str) -> str:
        return posixpath.dirname(path) if path.endswith("/__init__.py") else path
