"""What the files of a MySQL or MariaDB data directory say of it: version, shutdown, replication, parts elsewhere."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from analyzers._addresses import is_host, port_number
from analyzers._mysql_server import Started
from analyzers._reading import Reader, absolute, inside
from migrate.model import Place

_MAX_PARTS = 1000  # tables whose files are elsewhere
_SYSTEM = re.compile(r"ibdata\d+|ib_logfile\d+|undo_?\d+(\.ibu)?|#innodb_redo|#innodb_undo")


def data_says(started: Started) -> str:
    """Say what the data directory holds, and whether it was shut down, as far as documentation lets a file say so."""
    reader, data = started.reader, started.data
    says = f"the databases of {started.server.says}"
    for name in ("mysql_upgrade_info", "mariadb_upgrade_info"):
        version = (reader.optional(f"{data}/{name}", 256) or "").split("\n", 1)[0].strip()
        if re.fullmatch(r"\d+\.\d+[\w.+-]{0,60}", version):
            says += f" ({name}: {version})"
            break
    says += _replication(started)
    return f"{says}; {state}" if (state := _state(started)) else says


def _replication(started: Started) -> str:
    options = started.options
    said = [f"{name} {options.value(name)}" for name in ("server_id", "log_bin") if options.value(name)]
    said += ["log_bin"] if "log_bin" in options.last and options.on("log_bin") and not options.value("log_bin") else []
    said += [name for name in ("read_only", "super_read_only") if options.on(name)]
    return f"; replication: {', '.join(said)}" if said else ""


def _state(started: Started) -> str:
    """Say how it was shut down.

    ibtmp1 is removed on normal shutdown and made at each start (MySQL manual 17.6.3.5, MariaDB's "InnoDB Temporary
    Tablespaces"); it is there since MySQL 5.7 and MariaDB 10.2. The seqno of grastate.dat is -1 while a node runs
    and after it crashed (Galera's documentation, "Restarting the Cluster").
    """
    reader, guest, data = started.reader, started.guest, started.data
    position = re.search(
        r"^seqno:\s*(-?\d{1,20})\s*$", reader.optional(f"{data}/grastate.dat", 4096) or "", re.MULTILINE
    )
    if position is not None and position[1] == "-1":
        return "the Galera node was not shut down (seqno -1 in grastate.dat)"
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", started.server.version)
    least = (10, 2) if started.server.engine == "MariaDB" else (5, 7)
    if match is None or (int(match[1]), int(match[2])) < least or "innodb_temp_data_file_path" in started.options.last:
        return ""
    folder = started.path("innodb_data_home_dir") or data
    if guest.is_file(f"{folder}/ibtmp1"):
        return "it was not shut down (ibtmp1 is there): it will recover from its log at the first start"
    return "it was shut down cleanly (no ibtmp1)" if guest.is_file(f"{folder}/ibdata1") else ""


def elsewhere(reader: Reader, data: str) -> Iterator[tuple[Place, str]]:
    """Yield the files and folders of a data directory that are links to elsewhere, and tables whose file is.

    An `.isl` file holds the path of the table's own file (MySQL manual 15.6.3.6 of 5.7, MariaDB's DATA DIRECTORY).
    """
    guest = reader.guest
    for name in guest.listdir(data):
        entry, real = guest.lstat(f"{data}/{name}"), guest.resolve(f"{data}/{name}")
        if entry is None or entry.kind != "symlink" or real is None or inside(real, data):
            continue
        if guest.is_dir(real) or _SYSTEM.fullmatch(name):
            yield Place(f"{data}/{name}"), real
    for path in itertools.islice(guest.glob(f"{data}/*/*.isl"), _MAX_PARTS):
        where = (reader.text(path, 4096) or "").strip()
        if where.startswith("/") and "\n" not in where and "\0" not in where:
            yield Place(path, 1), absolute(where, "/")


def replica(reader: Reader, data: str) -> Iterator[tuple[Place, str, int]]:
    """Yield (place, host, port) of the sources this server is a replica of.

    Lines of master.info: how many there are, log file, position, host, user, password, port (MySQL manual 19.2.4.2).
    """
    for path in [p for p in reader.guest.glob(f"{data}/master*.info") if reader.guest.is_file(p)]:
        lines = (reader.text(path, 65536) or "").split("\n")
        host, port = (lines[3].strip(), port_number(lines[6].strip())) if len(lines) > 6 else ("", None)
        if port and host and is_host(host):
            yield Place(path, 4), host, port
