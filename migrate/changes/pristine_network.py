"""Packages' archives fetched from public archives, and kept below the user's cache by their SHA256.

Only ever used when the user allowed the network. Each request tells the archive a package's name and version, and
with that what the machine runs; who reads the messages learns of it before it is done.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from migrate.changes.archive_stream import PIECE
from migrate.changes.pristine_hosts import HOSTS
from migrate.guest.progress import Notify, silent
from migrate.model import Package
from migrate.text import show

if TYPE_CHECKING:
    import requests

MAX_ARCHIVE = 256 << 20
"""The longest archive that is fetched, in bytes: of changed text files none is in a larger one."""

MAX_TOGETHER = 2 << 30
"""All that one run fetches, in bytes."""

_MAX_ANSWER = 1 << 20
_REDIRECTS = 5
_SECONDS = 300.0
_WAIT = (10.0, 30.0)  # seconds to connect, and between two pieces


def cache_folder() -> Path:
    """Return where archives are kept: vm2c/archives below $XDG_CACHE_HOME (XDG Base Directory), else ~/.cache."""
    top = os.environ.get("XDG_CACHE_HOME", "")
    return Path(top if top.startswith("/") else Path.home() / ".cache") / "vm2c" / "archives"


class Fetched(msgspec.Struct, frozen=True):
    """An archive on the host: the file, and the address it is from."""

    file: Path
    url: str


class Fetcher:
    """Fetches from the hosts of one list, over http and https, and from no other, by redirects neither.

    `cache` is made where it is missing. `notify` is told what will be asked of whom. `refused` is why nothing came, by
    address. A host that cannot be reached is asked once.
    """

    def __init__(
        self, cache: Path | None = None, notify: Notify = silent, hosts: Collection[str] = HOSTS,
        seconds: float = _SECONDS,
    ) -> None:  # fmt: skip
        self.cache = cache or cache_folder()
        self.refused: dict[str, str] = {}
        self._notify = notify
        self._hosts = frozenset(hosts)
        self._seconds = seconds
        self._silent: dict[str, str] = {}
        self._left = MAX_TOGETHER
        self._kept: requests.Session | None = None

    def archive(self, url: str, package: Package, sha256: str = "", sha1: str = "") -> Fetched | None:
        """Return the archive at an address, from the cache where it is there; None with the reason in `refused`.

        With a digest the archive has it; without one the caller is to judge what is in it.
        """
        kept = self._in_cache(url, sha256)
        if kept is not None:
            return Fetched(kept, url)
        data = self._store(url, package, sha256, sha1)
        return None if data is None else Fetched(data, url)

    def answer(self, url: str, package: Package) -> bytes | None:
        """Return a short answer (JSON), which is not kept; None with the reason in `refused`."""
        parts = []
        size = 0
        try:
            for piece in self._body(url, package, _MAX_ANSWER):
                size += len(piece)
                parts.append(piece)
        except OSError as error:
            self.refused[url] = _short(error)
            return None
        return b"".join(parts)

    # ------------------------------------------------------------ the cache

    def _pointer(self, url: str) -> Path:
        return self.cache / "by-address" / hashlib.sha256(url.encode()).hexdigest()

    def _in_cache(self, url: str, sha256: str) -> Path | None:
        try:
            digest = sha256 or self._pointer(url).read_text("ascii")[:64]
            if not re.fullmatch(r"[0-9a-f]{64}", digest):
                return None
            file = self.cache / digest
            with file.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except (OSError, ValueError):
            return None
        return file if found == digest else None

    def _store(self, url: str, package: Package, sha256: str, sha1: str) -> Path | None:
        """Fetch into the cache, whole or not at all."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=self.cache, prefix=".part-") as file:
                ours, theirs = self._write(file, url, package)
                if (sha256 and ours != sha256) or (sha1 and theirs != sha1):
                    self.refused[url] = "what came has another digest than the list of packages says"
                    return None
                path = self.cache / ours
                with contextlib.suppress(FileExistsError):
                    os.link(file.name, path)
            self._point(url, ours)
        except OSError as error:
            self.refused[url] = _short(error)
            return None
        if self._in_cache(url, ours):
            return path
        with contextlib.suppress(OSError):  # it was there before, and is damaged
            path.unlink()
        self.refused[url] = "the copy in the cache was damaged, and is deleted: run it again"
        return None

    def _write(self, file: IO[bytes], url: str, package: Package) -> tuple[str, str]:
        ours, theirs = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
        for piece in self._body(url, package, MAX_ARCHIVE):
            file.write(piece)
            ours.update(piece)
            theirs.update(piece)
        file.flush()
        return ours.hexdigest(), theirs.hexdigest()

    def _point(self, url: str, digest: str) -> None:
        pointer = self._pointer(url)
        pointer.parent.mkdir(exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=self.cache, prefix=".part-", delete=False) as file:
            file.write(digest)
        os.replace(file.name, pointer)  # noqa: PTH105

    # ------------------------------------------------------------ the network

    def _session(self) -> requests.Session:
        if self._kept is None:
            import requests

            self._kept = requests.Session()
            # Else requests looks for passwords in the user's .netrc for each host.
            self._kept.auth = _no_passwords
            self._kept.headers.update({"User-Agent": "vm2c", "Accept-Encoding": "identity"})
        return self._kept

    def _allowed(self, url: str) -> str:
        """Return the host of an address. Raises OSError where it is none to ask."""
        try:
            parts = urlsplit(url)
            host, port, known = parts.hostname or "", parts.port, parts.scheme in ("http", "https")
        except ValueError:
            raise OSError("an address that is none") from None
        name = host if port is None else f"{host}:{port}"
        if not known or name not in self._hosts or parts.username or parts.password:
            raise OSError(f"it leads to {show(name)[:80]}, which is not among the public archives")
        if host in self._silent:
            raise OSError(self._silent[host])
        return host

    def _body(self, url: str, package: Package, most: int) -> Iterator[bytes]:
        """Yield what an address holds. Raises OSError for everything that may go wrong with it."""
        started = time.monotonic()
        size = 0
        with contextlib.closing(self._response(url, package)) as response:
            claimed = response.headers.get("Content-Length", "")
            if claimed.isdigit() and (len(claimed) > 15 or int(claimed) > most):
                raise OSError(f"it is longer than the {most} bytes that are fetched")
            while piece := _piece(response):
                size += len(piece)
                self._left -= len(piece)
                if self._left < 0:
                    raise OSError(f"more than the {MAX_TOGETHER} bytes that one run fetches")
                if size > most:
                    raise OSError(f"it is longer than the {most} bytes that are fetched")
                if time.monotonic() - started > self._seconds:
                    raise OSError(f"it took longer than {self._seconds:.0f} seconds")
                yield piece
            if claimed.isdigit() and size != int(claimed):
                raise OSError(f"{size} of {claimed} bytes came")

    def _response(self, url: str, package: Package) -> requests.Response:
        import requests

        for _ in range(_REDIRECTS):
            host = self._allowed(url)
            self._notify(f"asking {host} for {show(package.name)} {show(package.version)}, which tells it of both")
            try:
                response = self._session().get(url, stream=True, timeout=_WAIT, allow_redirects=False)
            except requests.RequestException as error:
                why = f"{host} cannot be reached ({type(error).__name__})"
                self._silent[host] = why
                raise OSError(why) from error
            except ValueError as error:  # requests looks at where a redirect leads, whether asked to or not
                raise OSError(f"{host} answers with an address that is none") from error
            if response.status_code == 200:
                return response
            response.close()
            if not response.is_redirect:
                raise OSError(f"{host} answers {response.status_code}")
            url = urljoin(url, response.headers["Location"])  # what is no address was met above
        raise OSError(f"more than {_REDIRECTS} redirects")


def _piece(response: requests.Response) -> bytes:
    from urllib3.exceptions import HTTPError

    try:
        # As it comes: what a server calls compressed is not unpacked, and a byte a minute is not waited for.
        read = getattr(response.raw, "read1", response.raw.read)  # urllib3 1 has no read1
        return bytes(read(PIECE * 4, decode_content=False))
    except HTTPError as error:
        raise OSError(f"the connection broke ({type(error).__name__})") from error


def _no_passwords(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _short(error: OSError) -> str:
    return show(error.strerror or str(error))[:200]


# ---------------------------------------------------------------- Debian's archive of everything it ever had

_SNAPSHOT = "https://snapshot.debian.org"
_MOST_FILES = 1000


def snapshot(fetcher: Fetcher, package: Package, top: str = _SNAPSHOT) -> Fetched | None:
    """Fetch what no mirror has any more from snapshot.debian.org, by its "Machine-usable interface"."""
    name, version = quote(package.name, safe="+"), quote(package.version, safe="+~")
    answer = fetcher.answer(f"{top}/mr/binary/{name}/{version}/binfiles", package)
    for sha1 in snapshot_files(answer or b"", package.architecture):
        found = fetcher.archive(f"{top}/file/{sha1}", package, sha1=sha1)
        if found is not None:
            return found
    return None


def snapshot_files(answer: bytes, architecture: str) -> list[str]:
    """Return the SHA1 of the files for an architecture that snapshot's `binfiles` lists; none where it says nothing.

    >>> snapshot_files(b'{"result": [{"architecture": "all", "hash": "%s"}]}' % (b"ab" * 20), "all")
    ['abababababababababababababababababababab']
    """
    try:
        told: Any = msgspec.json.decode(answer)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []
    rows = told.get("result") if isinstance(told, dict) else None
    fitting = (row for row in rows[:_MOST_FILES] if isinstance(row, dict)) if isinstance(rows, list) else ()
    hashes = (row.get("hash") for row in fitting if row.get("architecture") == architecture)
    return [each for each in hashes if isinstance(each, str) and re.fullmatch(r"[0-9a-f]{40}", each)][:2]
