"""Which rpm packages tdnf (Photon, Azure Linux) pulled in: its history.db, and the list it kept before version 3.4.

vmware/tdnf, history/history.c (tables names and flag_set; the last flag of a name counts, no flag is a package that was
asked for), tdnf.spec.in (autoinstalled: names, one a line).
"""

from __future__ import annotations

from pathlib import Path

from analyzers._reading import meaningful
from analyzers._rpm_header import DamagedError
from analyzers._rpm_sqlite import NoTableError, read_table

TDNF = "/var/lib/tdnf/history.db"
TDNF_LIST = "/var/lib/tdnf/autoinstalled"
_MAX_ROWS = 1_000_000


def parse_list(text: str) -> frozenset[str]:
    """Return the names of tdnf's old list.

    >>> sorted(parse_list("libx\\n\\nliby\\n"))
    ['libx', 'liby']
    """
    return frozenset(line for _, line in meaningful(text))


def read_tdnf(path: Path) -> frozenset[str]:
    """Return the names that tdnf pulled in, from a private copy of its history. Raises DamagedError.

    A history that never flagged anything has no such tables.
    """
    try:
        return _flagged(path)
    except NoTableError:
        return frozenset()


def _flagged(path: Path) -> frozenset[str]:
    names: dict[object, str] = {}
    for count, (number, name) in enumerate(read_table(path, "names", ("Id", "name"))):
        if count >= _MAX_ROWS:
            raise DamagedError(f"table names has more than {_MAX_ROWS} rows")
        if isinstance(name, bytes):
            names[number] = name.decode("utf-8", "surrogateescape")
    last: dict[object, tuple[int, bool]] = {}
    for count, (number, name_id, value) in enumerate(read_table(path, "flag_set", ("Id", "name_id", "value"))):
        if count >= _MAX_ROWS or not isinstance(number, int):
            raise DamagedError(f"table flag_set has more than {_MAX_ROWS} rows, or one without a number")
        if name_id not in last or last[name_id][0] < number:
            last[name_id] = number, bool(value)
    return frozenset(names[name_id] for name_id, (_, automatic) in last.items() if automatic and name_id in names)
