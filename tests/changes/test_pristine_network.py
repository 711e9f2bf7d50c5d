from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from migrate.changes.archive import Wanted
from migrate.changes.pristine import Original, Pristine
from migrate.changes.pristine_network import Fetcher, cache_folder, snapshot, snapshot_files
from migrate.facts import Facts
from migrate.model import Package, Place, System
from tests.analyzers.fake import FakeGuest
from tests.changes import archives

CONF = b"port = 8000\n"
DEB = archives.deb({"./etc/orders.conf": CONF})
SHA256 = hashlib.sha256(DEB).hexdigest()
ORDERS = Package(
    seen_in=Place("/var/lib/dpkg/status", 1), name="orders", version="1:2.0-1", architecture="all", manager="dpkg",
    chosen=True, origin="distribution", source="orders",
)  # fmt: skip
DEBIAN = System(seen_in=Place("/etc/os-release"), family="debian", id="debian", version="12", name="Debian")
WANTED = Wanted("orders", "/etc/orders.conf", "md5", hashlib.md5(CONF).hexdigest())


class Server(ThreadingHTTPServer):
    """Answers what `answers` has for a path: (status, headers, body); keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.top = f"http://{self.host}"
        self.pause = 0.0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append((self.path, dict(self.headers)))
        status, headers, body = server.answers.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for at in range(0, len(body), 1000):
            try:
                self.wfile.write(body[at : at + 1000])
            except OSError:
                return
            time.sleep(server.pause)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def fetcher(server: Server, folder: Path, seconds: float = 60.0) -> Fetcher:
    return Fetcher(folder / "cache", hosts={server.host}, seconds=seconds)


def put(server: Server, path: str, body: bytes = DEB, status: int = 200, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    server.answers[path] = (status, named, body)
    return server.top + path


def test_what_is_fetched_is_kept_by_its_digest(server: Server, tmp_path: Path) -> None:
    url = put(server, "/orders.deb", Content_Length=str(len(DEB)))
    for _ in range(2):
        found = fetcher(server, tmp_path).archive(url, ORDERS, SHA256)
        assert found is not None
        assert found.file == tmp_path / "cache" / SHA256
        assert found.file.read_bytes() == DEB
    assert len(server.asked) == 1
    assert fetcher(server, tmp_path).archive(url, ORDERS) is not None  # by its address
    assert len(server.asked) == 1
    assert not list((tmp_path / "cache").glob(".part-*"))


def test_a_damaged_copy_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    url = put(server, "/orders.deb")
    first = fetcher(server, tmp_path).archive(url, ORDERS, SHA256)
    assert first is not None
    first.file.write_bytes(b"damaged")
    again = fetcher(server, tmp_path)
    assert again.archive(url, ORDERS, SHA256) is None
    assert "damaged" in again.refused[url]
    found = fetcher(server, tmp_path).archive(url, ORDERS, SHA256)
    assert found is not None
    assert found.file.read_bytes() == DEB


def test_it_is_said_before_it_is_asked(server: Server, tmp_path: Path) -> None:
    url = put(server, "/orders.deb")
    said: list[tuple[str, int]] = []

    def notify(text: str) -> None:
        said.append((text, len(server.asked)))

    Fetcher(tmp_path / "cache", notify, {server.host}).archive(url, ORDERS, SHA256)
    assert said == [("asking 127.0.0.1 for orders 1:2.0-1, which tells it of both", 0)]


def test_another_digest_is_not_kept(server: Server, tmp_path: Path) -> None:
    url = put(server, "/orders.deb", b"something else")
    made = fetcher(server, tmp_path)
    assert made.archive(url, ORDERS, SHA256) is None
    assert made.archive(url, ORDERS, sha1="0" * 40) is None
    assert made.refused == {url: "what came has another digest than the list of packages says"}
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_within_the_list_are_followed(server: Server, tmp_path: Path, status: int) -> None:
    put(server, "/pool/orders.deb")
    url = put(server, "/orders.deb", b"", status, Location="/pool/orders.deb")
    assert fetcher(server, tmp_path).archive(url, ORDERS, SHA256) is not None


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:1/x", "http://evil.example/x", "file:///etc/passwd", "//evil.example/x", "http://[::1", "ftp://x/y"],
)  # fmt: skip
def test_redirects_elsewhere_are_not(server: Server, tmp_path: Path, location: str) -> None:
    url = put(server, "/orders.deb", b"", 302, Location=location)
    made = fetcher(server, tmp_path)
    assert made.archive(url, ORDERS, SHA256) is None
    assert re.search("not among the public archives|an address that is none", made.refused[url])
    assert len(server.asked) == 1


def test_a_circle_of_redirects_ends(server: Server, tmp_path: Path) -> None:
    url = put(server, "/orders.deb", b"", 302, Location="/orders.deb")
    made = fetcher(server, tmp_path)
    assert made.archive(url, ORDERS, SHA256) is None
    assert made.refused[url] == "more than 5 redirects"


@pytest.mark.parametrize(
    "url",
    ["http://evil.example/x.deb", "https://deb.debian.org.evil.example/x", "http://deb.debian.org:81/x", "file:///etc/shadow",
     "http://deb.debian.org@evil.example/x", "http://user:pass@deb.debian.org/x", "nonsense", "http://[", "http://x:99999/"],
)  # fmt: skip
def test_only_known_hosts_are_asked(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Fetcher(tmp_path)
    monkeypatch.setattr(made, "_session", lambda: pytest.fail("asked"))
    assert made.archive(url, ORDERS) is None
    assert made.refused[url]


@pytest.mark.parametrize(
    ("status", "says"), [(404, "answers 404"), (500, "answers 500"), (304, "answers 304"), (206, "answers 206")]
)
def test_other_answers_are_said(server: Server, tmp_path: Path, status: int, says: str) -> None:
    url = put(server, "/orders.deb", b"", status)
    made = fetcher(server, tmp_path)
    assert made.archive(url, ORDERS) is None
    assert says in made.refused[url]


def test_sizes_are_bounded_claimed_or_not(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.changes.pristine_network.MAX_ARCHIVE", 100_000)
    claimed = put(server, "/claimed.deb", b"", Content_Length="100001")
    endless = put(server, "/endless.deb", bytes(3 << 20))
    huge = put(server, "/huge.deb", b"", Content_Length="9" * 5000)
    short = put(server, "/short.deb", b"abc", Content_Length="50")
    made = fetcher(server, tmp_path)
    for url in (claimed, endless, huge, short):
        assert made.archive(url, ORDERS) is None
    assert made.refused[claimed] == made.refused[endless] == made.refused[huge]
    assert "longer than the 100000 bytes" in made.refused[claimed]
    assert made.refused[short]


def test_all_of_a_run_together_is_bounded(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.changes.pristine_network.MAX_TOGETHER", 3 * len(DEB) // 2)
    made = fetcher(server, tmp_path)
    first, second = put(server, "/first.deb"), put(server, "/second.deb", DEB + b"\n")
    assert made.archive(first, ORDERS) is not None
    assert made.archive(second, ORDERS) is None
    assert "that one run fetches" in made.refused[second]


def test_time_is_bounded(server: Server, tmp_path: Path) -> None:
    server.pause = 0.05
    url = put(server, "/slow.deb", bytes(1 << 20))
    made = fetcher(server, tmp_path, seconds=0.3)
    start = time.monotonic()
    assert made.archive(url, ORDERS) is None
    assert time.monotonic() - start < 5
    assert "took longer than" in made.refused[url]


def test_what_is_called_compressed_is_not_unpacked(server: Server, tmp_path: Path) -> None:
    url = put(server, "/orders.deb", DEB, Content_Encoding="gzip")
    assert fetcher(server, tmp_path).archive(url, ORDERS, SHA256) is not None


def test_no_password_is_sent(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fetcher(server, tmp_path).archive(put(server, "/orders.deb"), ORDERS)
    _, headers = server.asked[0]
    assert "Authorization" not in headers
    assert headers["Accept-Encoding"] == "identity"


def test_a_host_that_is_not_there_is_asked_once(tmp_path: Path) -> None:
    said: list[str] = []
    made = Fetcher(tmp_path, said.append, {"127.0.0.1:1"})
    for path in ("a", "b"):
        assert made.archive(f"http://127.0.0.1:1/{path}", ORDERS) is None
    assert len(said) == 1
    assert all("cannot be reached" in why for why in made.refused.values())


def test_a_cache_that_cannot_be_written_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    url = put(server, "/orders.deb")
    made = fetcher(server, tmp_path)
    assert made.archive(url, ORDERS) is None
    assert made.refused[url]


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/vm2c/archives")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/vm2c/archives")


def test_the_snapshot_of_debian(server: Server, tmp_path: Path) -> None:
    sha1 = hashlib.sha1(DEB).hexdigest()
    put(server, "/mr/binary/orders/1%3A2.0-1/binfiles",
        b'{"_comment": "x", "result": [{"architecture": "amd64", "hash": "%s"}, {"architecture": "all", "hash": "%s"}]}'
        % (b"0" * 40, sha1.encode()))  # fmt: skip
    put(server, f"/file/{sha1}")
    found = snapshot(fetcher(server, tmp_path), ORDERS, server.top)
    assert found is not None
    assert found.url == f"{server.top}/file/{sha1}"


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{}", b'{"result": 3}', b'{"result": [3, {"architecture": "all"}]}',
     b'{"result": [{"architecture": "all", "hash": 4}]}',
     b'{"result": [{"architecture": "all", "hash": "../../x"}]}', b"[" * 100_000, b"\xff"],
)  # fmt: skip
def test_a_snapshot_that_answers_nonsense(answer: bytes) -> None:
    assert snapshot_files(answer, "all") == []


# ---------------------------------------------------------------- all of it


def pristine(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, package: Package = ORDERS) -> Pristine:
    guest = FakeGuest({"/etc/orders.conf": "port = 1\n"})
    monkeypatch.setattr(
        "migrate.changes.pristine.addresses", lambda *_: iter([f"{server.top}/none.deb", f"{server.top}/orders.deb"])
    )
    monkeypatch.setattr("migrate.changes.pristine.snapshot", lambda *_: None)
    return Pristine(guest, Facts([package, DEBIAN], guest), True, fetcher=fetcher(server, folder))


def test_the_next_address_is_tried(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = put(server, "/orders.deb")
    found = pristine(server, tmp_path, monkeypatch).originals([WANTED])
    assert found == {"/etc/orders.conf": Original(CONF, f"{url}:/etc/orders.conf")}


def test_without_leave_nothing_is_asked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(server, "/orders.deb")
    made = pristine(server, tmp_path, monkeypatch)
    made._fetcher = None
    assert made.originals([WANTED]) == {}
    assert server.asked == []


@pytest.mark.parametrize("origin", ["third-party", "local"])
def test_a_company_s_own_package_is_asked_for_nowhere(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    put(server, "/orders.deb")
    made = pristine(server, tmp_path, monkeypatch, msgspec.structs.replace(ORDERS, origin=origin))
    assert made.originals([WANTED]) == {}
    assert server.asked == []
    assert "none of the distribution's" in made.why["/etc/orders.conf"]


def test_why_no_archive_had_it_is_said(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pristine(server, tmp_path, monkeypatch)
    assert made.originals([WANTED]) == {}
    why = "no public archive had the original of orders 1:2.0-1: 127.0.0.1 answers 404"
    assert made.why == {"/etc/orders.conf": why}


def test_what_came_and_is_not_the_original_is_said(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(server, "/orders.deb", archives.deb({"./etc/orders.conf": b"port = 2\n"}))
    made = pristine(server, tmp_path, monkeypatch)
    assert made.originals([WANTED]) == {}
    assert "the digest differs" in made.why["/etc/orders.conf"]


def test_the_list_on_the_disk_says_where_and_what(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "Package: orders\nVersion: 1:2.0-1\nArchitecture: all\n"
        f"Filename: pool/main/o/orders/other_name.deb\nSHA256: {SHA256}\n"
    )
    guest = FakeGuest({
        "/etc/orders.conf": "port = 1\n",
        "/var/lib/apt/lists/mirror.corp.example_debian_dists_bookworm_main_binary-all_Packages": text,
    })  # fmt: skip
    put(server, "/pool/main/o/orders/other_name.deb")
    monkeypatch.setattr(
        "migrate.changes.pristine.addresses", lambda _package, _system, filename: iter([f"{server.top}/{filename}"])
    )
    made = Pristine(guest, Facts([ORDERS, DEBIAN], guest), True, fetcher=fetcher(server, tmp_path))
    assert made.originals([WANTED])["/etc/orders.conf"].content == CONF
    assert [path for path, _ in server.asked] == ["/pool/main/o/orders/other_name.deb"]
