"""The files of a MySQL or MariaDB server: configuration, data, logs, and what is made anew at each start."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from analyzers._addresses import run_path
from analyzers._mysql_data import data_says, elsewhere
from analyzers._mysql_server import Started
from analyzers._reading import absolute
from migrate.model import Place, Uses

_FILES = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_crl", "ssl_crlpath", "init_file", "tls_cert",
          "file_key_management_filename", "file_key_management_filekey", "character_sets_dir")  # fmt: skip
_FOLDERS = ("innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory", "aria_log_dir_path",
            "secure_file_priv", "rocksdb_datadir")  # fmt: skip


class Files(Started):
    """One server with the paths it uses."""

    def files(self) -> Iterator[Uses]:
        """Yield all paths the server uses."""
        ident = self.server.service.id
        pool = self.options.last.get("innodb_buffer_pool_size")
        for path in self.options.files:
            place, says = Place(path), "its configuration"
            if pool is not None and pool.place.path == path and pool.value:
                place, says = pool.place, f"its configuration; innodb_buffer_pool_size {pool.value}"
            yield Uses(seen_in=place, service=ident, path=path, role="config", says=says)
        for name in _FILES:
            if path := self.path(name):
                yield Uses(seen_in=self.place(name), service=ident, path=path, role="config", says=name)
        yield from self.kept()
        yield from self.logs()
        for name, path in (("socket", self.socket), ("pid_file", self.path("pid_file"))):
            folder = posixpath.dirname(run_path(path))
            if folder.startswith("/run/"):
                says = "its unix socket is there" if name == "socket" else "its pid file is there"
                yield Uses(seen_in=self.place(name), service=ident, path=folder, role="runtime", says=says)
        temporary = self.options.value("tmpdir")
        for path in temporary.split(":") if temporary else ():
            if absolute(path, "/") not in ("/tmp", "/var/tmp"):  # noqa: S108  # paths of the guest
                yield Uses(
                    seen_in=self.place("tmpdir"), service=ident, path=absolute(path, "/"), role="cache", says="tmpdir"
                )

    def kept(self) -> Iterator[Uses]:
        """Yield what must survive: the data directory, and what is kept outside it."""
        ident, data = self.server.service.id, self.data
        if "datadir" in self.options.last or self.guest.is_dir(data):
            place = self.options.place("datadir", Place(data))
            yield Uses(seen_in=place, service=ident, path=data, role="data", says=data_says(self))
        for name in _FOLDERS:
            path = self.path(name)
            if path not in ("", "/tmp", "/") and not f"{path}/".startswith(f"{data}/"):  # noqa: S108
                yield Uses(seen_in=self.place(name), service=ident, path=path, role="data", says=name)
        for name in ("log_bin", "relay_log"):
            folder = posixpath.dirname(self.path(name))
            if folder and not f"{folder}/".startswith(f"{data}/"):
                says = f"{name}: replicas and recovery read it"
                yield Uses(seen_in=self.place(name), service=ident, path=folder, role="data", says=says)
        for place, path in elsewhere(self.reader, data):
            says = "a part of its files that is kept elsewhere"
            yield Uses(seen_in=place, service=ident, path=path, role="data", says=says)

    def logs(self) -> Iterator[Uses]:
        """Yield the logs outside the data directory; a value that is turned off or not given is none."""
        named = [("log_error", "log_error")]
        switches = ("general_log", "slow_query_log", "log_slow_query")
        named += [(switch, f"{switch}_file") for switch in switches if self.options.on(switch)]
        for switch, name in named:
            path = self.path(name)
            if path and path != f"{self.data}/stderr" and not path.startswith((f"{self.data}/", "/dev/")):
                yield Uses(seen_in=self.place(name), service=self.server.service.id, path=path, role="log", says=switch)
