"""Analyzing again without losing what a person did to the plan: a three-way merge on its values.

`base` is what was proposed last time, `mine` what the person made of it, `theirs` what is proposed now.
Where the person changed nothing, the new proposal stands. Where the proposal changed nothing, the person's
value stands. Where both changed the same thing differently, the person's value stays and a comment says what
is proposed now. Comments live in the document that the person's file was read into, which is changed in place.
"""

from __future__ import annotations

from typing import Any

import msgspec

from migrate.plan.model import Plan
from migrate.plan.store import annotate, commented, dump, plain

# What makes an item of a list the same one: the values of these keys. A list of plain words is its own key.
IDENTITY = {
    "components": ("id",),
    "because": ("rule", "seen_in"),
    "blockers": ("rule", "seen_in"),
    "ports": ("port", "protocol", "address"),
    "sockets": ("path",),
    "needs": ("component", "external", "over"),
    "data": ("path",),
    "directories": ("path",),
    "secrets": ("id",),
    "environment_files": ("path",),
    "accounts": ("name",),
    "rewrites": ("path", "line", "from"),
}
_MISSING: Any = type("Missing", (), {"__repr__": lambda _self: "nothing"})()


class Conflict(msgspec.Struct, frozen=True):
    """A value that both the person and the new analysis changed; the person's stays."""

    where: str
    yours: str
    proposed: str


def merge_plans(base: Plan, mine: Any, theirs: Plan) -> list[Conflict]:  # mine: a document of the store
    """Merge a new proposal into a person's document, in place, and return what could not be reconciled."""
    merge = _Merge(dump(mine))
    merge.mapping(msgspec.to_builtins(base), mine, msgspec.to_builtins(theirs), "")
    return merge.conflicts


class _Merge:
    """One merge. `before` is the person's text: a comment that stands there already is not put there again."""

    def __init__(self, before: str) -> None:
        self.before = before
        self.conflicts: list[Conflict] = []

    def mapping(self, base: dict[str, Any], mine: Any, theirs: dict[str, Any], where: str) -> None:
        position = 0
        for key in [*theirs, *(k for k in list(mine) if k not in theirs)]:
            old, now, new = base.get(key, _MISSING), mine.get(key, _MISSING), theirs.get(key, _MISSING)
            place = f"{where}.{key}".lstrip(".")
            if isinstance(now, dict) and isinstance(new, dict) and isinstance(old, dict):
                self.mapping(old, now, new, place)
            elif key in IDENTITY and isinstance(now, list) and isinstance(new, list):
                self.sequence(old if isinstance(old, list) else [], now, new, IDENTITY[key], place)
            else:
                self.value(mine, key, (old, now, new), place, position)
            position += key in mine

    def value(self, mine: Any, key: str, values: tuple[Any, Any, Any], where: str, position: int) -> None:
        old, now, new = values
        current = plain(now) if now is not _MISSING else _MISSING
        if _same(current, new) or _same(new, old):
            return
        if not _same(current, old):
            self.conflicts.append(Conflict(where, _short(current), _short(new)))
            note = f"vm2c: {where}: proposed now: {_short(new)}"
            if now is not _MISSING and note not in self.before:
                annotate(mine, key, note)
        elif new is _MISSING:
            del mine[key]
        elif now is _MISSING:
            mine.insert(position, key, commented(new))
        else:
            mine[key] = commented(new)

    def sequence(self, base: list[Any], mine: Any, theirs: list[Any], keys: tuple[str, ...], where: str) -> None:
        def identity(item: Any) -> tuple[Any, ...]:
            return tuple(item.get(k) for k in keys) if isinstance(item, dict) else (item,)

        old = {identity(i): i for i in base}
        new = {identity(i): i for i in theirs}
        for index in range(len(mine) - 1, -1, -1):
            item = mine[index]
            which = identity(item)
            place = f"{where}[{'/'.join(str(w) for w in which if w is not None)}]"
            if which in new and isinstance(item, dict):
                self.mapping(old.get(which, {}), item, new[which], place)
            elif which in old and which not in new:
                if _same(plain(item), old[which]):
                    del mine[index]
                else:
                    self.conflicts.append(Conflict(place, "kept", "nothing"))
        present = {identity(i) for i in mine}
        for index, (which, item) in enumerate(new.items()):
            if which not in present and which not in old:
                mine.insert(min(index, len(mine)), commented(item))


def _same(one: Any, other: Any) -> bool:  # JSON
    """Compare values; what is absent and what is empty say the same in a plan."""
    empty: tuple[Any, ...] = (None, [], {}, "")
    return bool(one == other) or ((one is _MISSING or one in empty) and (other is _MISSING or other in empty))


def _short(value: Any) -> str:  # JSON
    text = "nothing" if value is _MISSING else msgspec.json.encode(value).decode("utf-8", "replace")
    return text if len(text) <= 120 else text[:117] + "..."  # one line of a comment
