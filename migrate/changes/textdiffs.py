"""The textual differences of all changed files of a machine, as far as their originals can be had: one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from migrate.changes.archive import MAX_ORIGINAL, Wanted
from migrate.changes.model import Change
from migrate.changes.pristine import Original, Pristine
from migrate.changes.textdiff import Unified, unified, unshowable
from migrate.changes.textdiff_secrets import holds_only_secrets, veiled
from migrate.errors import GuestFileError
from migrate.facts import Facts
from migrate.guest.progress import Notify, silent
from migrate.guest.protocol import Guest
from migrate.model import Place, Secret
from migrate.redact import Redactor
from migrate.text import show

MAX_FILES = 200
"""Changed files of which a difference is made: configuration first."""

MAX_CHARACTERS = 1 << 20
"""Of all differences of a machine together."""

_TOO_MUCH = "the differences together are longer than what is kept of them"


class Diff(msgspec.Struct, frozen=True):
    """How a changed file differs from its original: `text` in unified format, and `source`, where that was found.

    Where there is no text, `why` says what stood in the way. `checked` is false where the package database has no
    digest to know the original by.
    """

    text: str
    source: str = ""
    why: str = ""
    checked: bool = True


def diffs(
    guest: Guest,
    facts: Facts,
    changes: Sequence[Change],
    *,
    network: bool = False,
    cache: Path | None = None,
    notify: Notify = silent,
    pristine: Pristine | None = None,
) -> dict[str, Diff]:
    """Return the difference of each regular file whose content changed, by path, sorted.

    With `network` the distribution's public archives are asked for packages that are in no cache on the disk. That
    tells them the packages' names and versions; `notify` is told so before each request. Without it the result
    depends on the disk alone. No secret's value is in any text.
    """
    changed = sorted(each for each in changes if set(each.aspects) & {"content", "size"} and guest.is_file(each.path))
    changed.sort(key=lambda each: not each.configuration)
    made: dict[str, Diff] = {}
    wanted: dict[str, Wanted] = {}
    contents: dict[str, bytes] = {}
    room = f"differences are made of {MAX_FILES} files, and there are more"
    for change in changed:
        content = room if len(wanted) >= MAX_FILES else _content(guest, change.path, facts.secrets)
        if isinstance(content, str):
            made[change.path] = Diff("", why=content)
        else:
            contents[change.path] = content
            wanted[change.path] = Wanted(change.package, change.path, *_digest(change))
    source = pristine or Pristine(guest, facts, network, cache, notify)
    originals = source.originals(wanted.values())
    redactor = facts.redactor
    left = MAX_CHARACTERS
    for path in wanted:
        original = originals.get(path)
        if original is None:
            why = source.why.get(path, "its original is not on the disk")
            made[path] = Diff("", why=redactor(why))
            continue
        if left <= 0:
            made[path] = Diff("", show(original.source), _TOO_MUCH, original.checked)
            continue
        secrets = _secrets_of(guest, path, facts.secrets)
        made[path] = _made(path, original, contents[path], secrets, redactor, left)
        left -= len(made[path].text)
    return dict(sorted(made.items()))


def _digest(change: Change) -> tuple[str, str]:
    """Return (algorithm, hex) of what was shipped, empty where the database records none."""
    shipped = next((each.shipped for each in change.differences if each.aspect == "content"), "")
    algorithm, colon, digest = shipped.partition(":")
    return (algorithm, digest) if colon and digest else ("", "")


def _content(guest: Guest, path: str, secrets: Iterable[Secret]) -> bytes | str:
    """Return the content found, or why no difference is made of it."""
    real = guest.resolve(path) or path
    if why := holds_only_secrets(path, secrets) or holds_only_secrets(real, secrets):
        return why
    try:
        data = guest.read(path, MAX_ORIGINAL + 1)
    except GuestFileError as error:
        return show(error.found)
    return unshowable(data) or data


def _secrets_of(guest: Guest, path: str, secrets: Iterable[Secret]) -> list[Secret]:
    """Return the secrets of a file under its path here: they may have been seen under its real one."""
    paths = {path, guest.resolve(path)}
    here = (each for each in secrets if each.seen_in.path in paths)
    return [msgspec.structs.replace(each, seen_in=Place(path, each.seen_in.line)) for each in here]


def _made(
    path: str, original: Original, found: bytes, secrets: Sequence[Secret], redactor: Redactor, left: int
) -> Diff:
    source = redactor(show(original.source))
    if why := unshowable(original.content):
        return Diff("", source, f"of the original: {why}", original.checked)
    difference: Unified = unified(*veiled(path, original.content, found, secrets, redactor), path, source)
    if len(difference.text) > left:
        return Diff("", source, _TOO_MUCH, original.checked)
    return Diff(difference.text, source, difference.why, original.checked)
