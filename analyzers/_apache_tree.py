"""What Apache httpd makes of its configuration files: includes, variables, conditions, macros, in the order it reads.

`Include`, `Define`, `LoadModule` and `ServerRoot` take effect while httpd reads (EXEC_ON_READ), so that what stands
before an `<IfModule>` or a `${VAR}` decides it, and what stands behind does not.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from analyzers._apache_conf import MAX_LINE, Node, parse, words
from analyzers._commands import line_of
from analyzers._reading import Reader, absolute
from migrate.model import Place

_MAX_DEPTH = 60  # of includes, sections and macros together
_MAX_FILES = 3000
_MAX_DIRECTIVES = 300_000  # a line of 100 bytes counts twice, an include by what it may cost
# `httpd -l` of a build that loads all else; http_core.c and core.c are in every one.
STATIC = ("core.c", "http_core.c", "mod_so.c")


class Build(msgspec.Struct, frozen=True):
    """What is compiled into a program: the folder and file of its configuration, version, modules, other paths."""

    root: str = ""
    main: str = ""
    version: tuple[int, ...] = ()
    modules: tuple[str, ...] = ()
    pidfile: str = ""


def build_of(binary: bytes) -> Build:
    """Return what `httpd -V` and `httpd -l` would say; all of it stands in the program as text."""

    def option(name: bytes) -> str:
        match = re.search(rb" -D " + name + rb'="([^"\0]{1,200})"', binary)
        return match[1].decode("utf-8", "surrogateescape") if match else ""

    version = re.search(rb"Apache/(\d{1,3})\.(\d{1,3})\.(\d{1,3})", binary)
    modules = re.findall(rb"\0((?:mod_[a-z0-9_]{1,30}|core|http_core|prefork|worker|event)\.c)(?=\0)", binary)
    return Build(
        root=option(b"HTTPD_ROOT"),
        main=option(b"SERVER_CONFIG_FILE"),
        version=tuple(int(part) for part in version.groups()) if version else (),
        modules=tuple(sorted({module.decode("ascii") for module in modules})),
        pidfile=option(b"DEFAULT_PIDLOG"),
    )


class Directive(msgspec.Struct, frozen=True):
    """A directive in force, its variables filled in; `raw` is how its arguments stand in the file.

    `block` holds what a section encloses. `root` is the ServerRoot that relative paths count from at this point.
    """

    name: str
    args: tuple[str, ...]
    raw: str
    place: Place
    last: int
    root: str
    block: tuple[Directive, ...] = ()


def module_names(identifier: str, path: str) -> set[str]:
    """Return the names under which `<IfModule>` knows a module: its identifier and its source file.

    >>> sorted(module_names("mpm_event_module", "modules/mod_mpm_event.so"))
    ['event.c', 'mod_mpm_event.c', 'mpm_event_module']
    """
    short = identifier.removesuffix("_module")
    stem = posixpath.basename(path).removesuffix(".so")
    names = {identifier, f"mod_{short}.c", f"{stem}.c"}
    if short.startswith("mpm_"):  # server/mpm/event/event.c
        names.add(f"{short.removeprefix('mpm_')}.c")
    return names


def _identifier(file: str) -> str:
    """Return the identifier of a module that is compiled in, by its source file.

    >>> _identifier("mod_so.c"), _identifier("http_core.c"), _identifier("event.c")
    ('so_module', 'http_module', 'mpm_event_module')
    """
    stem = file.removesuffix(".c").removeprefix("mod_")
    known = {"http_core": "http", "prefork": "mpm_prefork", "worker": "mpm_worker", "event": "mpm_event"}
    return f"{known.get(stem, stem)}_module"


def version_fits(arguments: Sequence[str], version: tuple[int, ...]) -> bool:
    """Tell whether `<IfVersion [[!]operator] version>` holds; missing parts are 0 (mod_version).

    >>> version_fits((">=", "2.4"), (2, 4, 57))
    True
    """
    operator, text = (arguments[0], arguments[1]) if len(arguments) > 1 else ("=", "".join(arguments))
    wanted = [int(part) for part in re.findall(r"\d{1,6}", text)][:3]
    wanted += [0] * (3 - len(wanted))
    negated, sign = operator.startswith("!"), operator.lstrip("!")
    have = list(version or (2, 4, 0))
    holds = {">": have > wanted, ">=": have >= wanted, "<": have < wanted, "<=": have <= wanted}.get(sign)
    if holds is None:
        pattern = sign == "~" or text.startswith("/")
        holds = ".".join(map(str, have)).startswith(text.strip("/^$").replace("\\", "")) if pattern else have == wanted
    return holds != negated


class Loader:
    """Reads the main file and all it includes, as a server started with these variables and defines would."""

    def __init__(
        self, reader: Reader, root: str, build: Build, variables: Mapping[str, str], defines: Sequence[str]
    ) -> None:
        self._reader, self._guest = reader, reader.guest
        self._build = build
        self.root = root
        self._variables = dict(variables)
        self._defined: dict[str, str] = dict.fromkeys(defines, "")
        self._modules = {name for file in (*STATIC, *build.modules) for name in (file, _identifier(file))}
        self._macros: dict[str, Node] = {}
        self._parsed: dict[str, tuple[Node, ...]] = {}
        self._left_files, self._left = _MAX_FILES, _MAX_DIRECTIVES
        self.files: list[str] = []

    def load(self, path: str, depth: int = 0) -> tuple[Directive, ...]:
        """Return the directives of a file in force, with those it includes in their place."""
        if path not in self._parsed:
            self.files.append(path)
            text = self._reader.text(path, 1 << 20)
            self._parsed[path], errors = parse(text) if text is not None else ((), [])
            for error in errors:
                self._reader.note(path, f"httpd cannot read this file: {error.why}", error.line)
        return tuple(self._evaluate(self._parsed[path], path, depth))

    def _has_module(self, name: str) -> bool:
        """Tell whether a module is loaded, by its identifier or its source file."""
        return name in self._modules

    def _resolved(self, text: str, path: str, line: int) -> str:
        """Fill in `${NAME}`: what `Define` says before the environment; what is neither stays as it is (core)."""
        if "${" not in text:
            return text
        out, at = "", 0
        for match in re.finditer(r"\$\{([^}\s]{1,200})\}", text):
            name = match[1]
            value = self._defined.get(name) or self._variables.get(name)
            if value is None:
                self._reader.note(path, f"${{{name}}} is set nowhere", line)
                value = match[0]
            out += text[at : match.start()] + value
            at = match.end()
            if len(out) > MAX_LINE:
                self._reader.note(path, f"a line is longer than {MAX_LINE} bytes with its variables", line)
                self._left -= 100
                return out[:MAX_LINE]
        self._left -= len(out) // 100
        return out + text[at:]

    def _evaluate(self, nodes: Sequence[Node], path: str, depth: int) -> Iterator[Directive]:
        if depth > _MAX_DEPTH:
            self._reader.note(path, f"includes, sections and macros are more than {_MAX_DEPTH} deep")
            return
        for node in nodes:
            self._left -= 1 + len(node.rest) // 100
            if self._left < 0:
                self._reader.note(path, f"more than {_MAX_DIRECTIVES} directives are in force", node.line)
                return
            if node.section and node.name == "macro":
                self._define_macro(node)
                continue
            text = self._resolved(node.rest, path, node.line)
            args = words(text)
            if node.section and node.name.startswith("if") and (holds := self._condition(node.name, args)) is not None:
                if holds:
                    yield from self._evaluate(node.block, path, depth + 1)
            elif node.name in ("include", "includeoptional") and not node.section:
                for found in self._included(args[0] if args else "", node, path):
                    yield from self.load(found, depth + 1)
            elif node.name == "use" and args and not node.section:
                yield from self._evaluate(self._expanded(args, path, node.line), path, depth + 1)
            else:
                self._take_effect(node.name, args)
                block = tuple(self._evaluate(node.block, path, depth + 1)) if node.block else ()
                yield Directive(node.name, args, node.rest, Place(path, node.line), node.last, self.root, block)

    def _take_effect(self, name: str, args: tuple[str, ...]) -> None:
        if name == "serverroot" and args:
            self.root = absolute(args[0], "/")
        elif name == "define" and args:
            self._defined[args[0]] = args[1] if len(args) > 1 else ""
        elif name == "undefine" and args:
            self._defined.pop(args[0], None)
        elif name == "loadmodule" and len(args) > 1:
            self._modules |= module_names(args[0], args[1])

    def _condition(self, name: str, args: tuple[str, ...]) -> bool | None:
        """Tell whether a section is read at all; None where that is decided for each request (`<If>`)."""
        first = args[0] if args else ""
        negated, tested = first.startswith("!"), first.lstrip("!")
        if name == "ifmodule":
            return self._has_module(tested) != negated
        if name == "ifdefine":
            return (tested in self._defined) != negated
        if name == "iffile":
            return self._guest.exists(absolute(tested, self.root)) != negated
        if name == "ifversion":
            return version_fits(args, self._build.version)
        return True if name in ("ifdirective", "ifsection") else None

    # ---------------------------------------------------------------- includes

    def _included(self, pattern: str, node: Node, path: str) -> list[str]:
        """Relative names count from ServerRoot; wildcards stand in any part; a directory is all below it (core)."""
        full = absolute(re.sub(r"\*+", "*", pattern), self.root) if pattern else ""
        wild = sum(1 for part in full.split("/") if re.search(r"[*?\[]", part))
        self._left -= 20 ** min(wild, 4) if wild else 1
        found = self._guest.glob(full) if wild else [full]
        files: list[str] = []
        for name in found:
            if self._guest.is_file(name):
                files.append(name)
            elif self._guest.is_dir(name) and name != "/":
                self._left -= 1000
                files += [f"{e.path}" for e in self._guest.walk(self._guest.resolve(name) or name) if e.kind == "file"]
            elif node.name == "include" and name == full:
                self._reader.note(path, f"Include {pattern}: there is no such file", node.line)
        if len(files) > self._left_files:
            self._reader.note(path, f"more than {_MAX_FILES} files are included", node.line)
            files = files[: self._left_files]
        self._left_files -= len(files)
        return files

    # ---------------------------------------------------------------- mod_macro

    def _define_macro(self, node: Node) -> None:
        name, *_ = words(node.rest) or ("",)
        self._macros[name.lower()] = node

    def _expanded(self, args: tuple[str, ...], path: str, line: int) -> tuple[Node, ...]:
        """Return a macro's lines with its parameters filled in, at the place of `Use` (mod_macro)."""
        known = self._macros.get(args[0].lower())
        if known is None:
            self._reader.note(path, f"Use {args[0]}: no macro of that name", line)
            return ()
        node = known
        names = words(node.rest)[1:]
        values = dict(zip(names, args[1:], strict=False))
        ordered = [re.escape(name) for name in sorted(values, key=len, reverse=True) if name]
        pattern = re.compile("|".join(ordered)) if ordered else None
        return self._placed(node.block, line, pattern, values)

    def _placed(
        self, nodes: Sequence[Node], line: int, pattern: re.Pattern[str] | None, values: Mapping[str, str]
    ) -> tuple[Node, ...]:
        found = []
        for node in nodes:
            self._left -= 1
            if self._left < 0:
                break
            rest = node.rest[:MAX_LINE]
            if pattern is not None and sum(len(values[m]) for m in pattern.findall(rest)) <= MAX_LINE:
                rest = pattern.sub(lambda match: values[match[0]], rest)
            block = self._placed(node.block, line, pattern, values)
            found.append(Node(node.name, rest, line, line, node.section, block))
        return tuple(found)


def each(
    tree: Sequence[Directive], *names: str, around: tuple[Directive, ...] = ()
) -> Iterator[tuple[Directive, tuple[Directive, ...]]]:
    """Yield the directives of these names anywhere in the tree, each with the sections around it, outermost first."""
    for directive in tree:
        if directive.name in names:
            yield directive, around
        if directive.block:
            yield from each(directive.block, *names, around=(*around, directive))


def place_of(reader: Reader, directive: Directive, text: str) -> Place:
    """Return the line of a continued directive that holds `text`."""
    return line_of(reader, directive.place, text) if directive.last != directive.place.line else directive.place
