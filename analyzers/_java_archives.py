"""Each unpackaged Java archive of a guest, read once however often it is asked for."""

from __future__ import annotations

import weakref

from analyzers._jar import BROKEN, Jar, read_jar
from analyzers._opened import opened
from analyzers._reading import Reader
from migrate.errors import Vm2cError
from migrate.guest.protocol import Guest

_READ: weakref.WeakKeyDictionary[Guest, dict[str, Jar | str]] = weakref.WeakKeyDictionary()


def archive(reader: Reader, path: str) -> Jar | None:
    """Return what an archive says of itself; None, with a note, where it cannot be read."""
    known = _READ.setdefault(reader.guest, {})
    if path not in known:
        known[path] = _read(reader.guest, path)
    found = known[path]
    if isinstance(found, str):
        reader.note(path, found)
        return None
    _note(reader, path, found)
    return found


def _note(reader: Reader, path: str, jar: Jar) -> None:
    for note in jar.notes:
        reader.note(path, note if jar.location == path else f"{jar.location}: {note}")
    for nested in jar.nested:
        _note(reader, path, nested)


def _read(guest: Guest, path: str) -> Jar | str:
    try:
        with opened(guest, path) as file:
            return read_jar(file, path)
    except Vm2cError as error:
        return error.found
    except BROKEN as error:
        return f"no Java archive: {str(error) or type(error).__name__}"
