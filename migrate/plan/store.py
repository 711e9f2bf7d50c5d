"""Reading and writing plan.yaml: with comments, with positions, and without losing a person's edits.

ruamel.yaml is used because it keeps comments and line numbers through a round trip (PyYAML does neither).
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from migrate.errors import PlanError
from migrate.plan.model import Component, Plan
from migrate.text import show

LARGEST = 16 << 20
"""A plan of more bytes than this is no plan; reading it would only use memory."""

LINE = 90
"""A list of words is written on one line where it is shorter than this."""

_HEAD = """\
The migration plan of this machine. Read it, change what you know better, then run `vm2c generate`.
Your changes and comments stay when the machine is analyzed again.

decision: containerize  moves into a container
          virtualize    stays a virtual machine (KubeVirt)
          retire        is not needed: the platform does it
          external      is served from elsewhere from now on
          undecided     a question for you; `generate` stops at it
because   the rule, what it says, and the file and line of the machine that say so
blockers  stop `generate`; solve it on the machine, or set `waived:` to your reason
pod       components with the same pod share one Pod: localhost and unix sockets go on working between them
image     strategy: packages (installed, pinned) | app (the application's files on a runtime)
          | lift (all files from the disk; nothing is downloaded)
          base_inventory: what `vm2c bases` says the base image has already is not copied into it again
rewrites  the lines of configuration that change because a component leaves its Pod
secrets   where they are; their values stay on the disk until `vm2c extract`
"""
_SECTIONS = {
    "service": "What runs",
    "job": "What runs at times",
    "host": "The machine's own upkeep: the platform does it, or it has no meaning in a Pod",
}


# The emitter writes every printable character as it is, and Unicode calls those that turn text around printable.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_INVISIBLE = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.width = 1000  # one line for each piece of evidence
    yaml.indent(mapping=2, sequence=2, offset=0)
    yaml.allow_duplicate_keys = False
    return yaml


# ---------------------------------------------------------------- writing


def render_plan(plan: Plan) -> str:
    """Return the text of a plan as it is first proposed. The same plan gives the same text."""
    return dump(to_document(plan))


def to_document(plan: Plan) -> CommentedMap:
    """Return the plan as a document with its comments."""
    document: CommentedMap = commented(msgspec.to_builtins(plan))
    document.yaml_set_start_comment(_HEAD)
    seen: set[str] = set()
    for index, component in enumerate(document["components"]):
        _settle(component)
        if component["kind"] not in seen:
            seen.add(component["kind"])
            title = _SECTIONS[component["kind"]]
            document["components"].yaml_set_comment_before_after_key(index, before=f"\n{title}")
    return document


def dump(document: CommentedMap) -> str:
    """Return a document's text."""
    out = io.StringIO()
    _yaml().dump(document, out)
    text = re.sub(r"[ \t]+$", "", out.getvalue(), flags=re.MULTILINE)
    return _QUOTED.sub(lambda match: _INVISIBLE.sub(lambda c: f"\\u{ord(c.group()):04x}", match.group()), text)


def commented(value: Any) -> Any:  # JSON in, ruamel's types out
    """Return JSON values as parts of a document; hostile characters become escapes."""
    if isinstance(value, dict):
        return CommentedMap({key: commented(item) for key, item in value.items()})
    if isinstance(value, list):
        return CommentedSeq(commented(item) for item in value)
    if isinstance(value, str) and (show(value) != value or value.startswith(":")):  # PyYAML cannot read {a: ::1}
        return DoubleQuotedScalarString(value.encode("utf-8", "backslashreplace").decode())
    return value


_INLINE = {"user", "resources"}
_INLINE_ITEMS = {"because", "ports", "sockets", "needs", "secrets", "rewrites", "data", "directories", "accounts",
                 "environment_files"}  # fmt: skip


def _settle(component: CommentedMap) -> None:
    """Choose flow style for the small parts, so that a component fits a screen."""
    for key, value in component.items():
        if (key in _INLINE and isinstance(value, CommentedMap)) or key == "command":
            value.fa.set_flow_style()
        elif key in _INLINE_ITEMS:
            for item in value:
                item.fa.set_flow_style()
    image = component.get("image")
    if image is not None and "packages" in image and sum(map(len, image["packages"])) < LINE:
        image["packages"].fa.set_flow_style()


# ---------------------------------------------------------------- reading


def read_plan(path: Path) -> Plan:
    """Read and check a plan. Raises PlanError with the line, what was expected and the nearest valid word."""
    return check(read_document(path), path)


def read_document(path: Path) -> CommentedMap:
    """Return the document of a plan as it stands in the file. Raises PlanError where it is no YAML mapping."""
    attempted = f"read {path}"
    try:
        if path.stat().st_size > LARGEST:
            raise PlanError(attempted, f"it is larger than {LARGEST >> 20} MiB", "restore it, or analyze again")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise PlanError(attempted, "there is no such file", "run `vm2c analyze DISK` first") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(attempted, _first_line(error), "restore it, or analyze again") from error
    try:
        document = _yaml().load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise PlanError(f"{attempted}, line {line}", error.problem or "this is not YAML", "mend that line") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise PlanError(attempted, f"this is not YAML: {_first_line(error)}", "mend it, or analyze again") from error
    if not isinstance(document, CommentedMap):
        raise PlanError(attempted, "it holds no mapping", "it begins with `schema: vm2c.plan/1`; analyze again")
    return document


def check(document: CommentedMap, path: Path) -> Plan:
    """Return the plan that a document says. Raises PlanError as `read_plan` does."""
    try:
        plan = msgspec.convert(plain(document), Plan)
    except msgspec.ValidationError as error:
        raise _explain(document, path, str(error)) from error
    names = [c.id for c in plan.components]
    for index, name in enumerate(names):
        if name in names[:index]:
            line = _line(document, ["components", index])
            raise PlanError(f"use {path}, line {line}", f"the id {show(name)!r} is there twice", "give one another id")
    _check_references(document, path, plan.components)
    return plan


def _check_references(document: CommentedMap, path: Path, components: Sequence[Component]) -> None:
    names = [c.id for c in components]
    for index, component in enumerate(components):
        for position, need in enumerate(component.needs):
            if need.component is not None and need.component not in names:
                line = _line(document, ["components", index, "needs", position])
                near = _nearest(need.component, names)
                found = f"{component.id} needs {show(need.component)!r}, and no component has that id"
                raise PlanError(f"use {path}, line {line}", found, near or "name a component, or use `external`")


def annotate(mapping: CommentedMap, key: str, text: str) -> None:
    """Put a comment above a key of a document."""
    mapping.yaml_set_comment_before_after_key(key, before=show(text), indent=mapping.lc.col)


def plain(value: Any) -> Any:  # ruamel's types in, JSON out
    """Return a part of a document as JSON values."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _explain(document: CommentedMap, path: Path, message: str) -> PlanError:
    text, _, where = message.partition(" - at `$")
    steps: list[str | int] = [
        int(n) if n else k for k, n in re.findall(r"\.(\w+)|\[(\d+)\]", where) for k, n in [(k, n)]
    ]
    hint = ""
    unknown = re.search(r"unknown field `([^`]*)`", text)
    if unknown:
        allowed = _fields_at(steps)
        hint = _nearest(unknown[1], allowed) or f"known here: {', '.join(allowed)}"
        steps.append(unknown[1])
    enum = re.search(r"Invalid enum value (.*)", text)
    if enum:
        allowed = _words_at(steps)
        hint = _nearest(enum[1].strip("'\""), allowed) or f"expected one of: {', '.join(allowed)}"
    place = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).lstrip(".")
    return PlanError(
        f"use {path}, line {_line(document, steps)}", f"{place or 'plan'}: {show(text)}", hint or "mend it"
    )


def _nearest(word: str, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, words, 1, 0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def _line(document: Any, steps: Sequence[str | int]) -> int:  # ruamel's types
    line, node = document.lc.line, document
    for step in steps:
        try:
            line = (node.lc.item(step) if isinstance(step, int) else node.lc.key(step))[0]
            node = node[step]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return int(line) + 1


def _types_at(steps: Sequence[str | int]) -> Iterator[Any]:
    """Yield the types that a place of the plan can have, from the outermost in."""
    current: Any = Plan
    for step in steps:
        if isinstance(step, int):
            current = _element(current)
        else:
            fields = (
                {f.encode_name: f.type for f in msgspec.structs.fields(_struct(current))} if _struct(current) else {}
            )
            current = fields.get(step)
    yield current


def _struct(kind: Any) -> Any:  # typing's objects
    options = [kind, *getattr(kind, "__args__", ())]
    return next((k for k in options if isinstance(k, type) and issubclass(k, msgspec.Struct)), None)


def _element(kind: Any) -> Any:  # typing's objects
    return next(iter(getattr(kind, "__args__", ())), None)


def _fields_at(steps: Sequence[str | int]) -> list[str]:
    struct = _struct(next(_types_at(steps)))
    return [f.encode_name for f in msgspec.structs.fields(struct)] if struct else []


def _words_at(steps: Sequence[str | int]) -> list[str]:
    kind = next(_types_at(steps))
    options = [kind, *getattr(kind, "__args__", ())]
    words = [w for k in options for w in getattr(k, "__args__", ()) if isinstance(w, str)]
    return words or [w for w in options if isinstance(w, str)]
