from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest

from migrate.changes.archive import Wanted
from migrate.changes.pristine import Original, Pristine
from migrate.changes.pristine_disk import Cached, archive_of, cached_archives, in_order
from migrate.digests import Recorded
from migrate.facts import Facts
from migrate.model import Finding, Package, PackageFiles, Place, Shipped
from tests.analyzers.fake import Broken, Content, FakeGuest, File, Link
from tests.changes import archives

CONF = b"# orders\nport = 8000\n"
SEEN = Place("/var/lib/dpkg/status", 1)
ARCHIVE = "/var/cache/apt/archives/orders_1%3a2.0-1_amd64.deb"


def package(name: str = "orders", version: str = "1:2.0-1", manager: str = "dpkg", origin: str = "") -> Package:
    return Package(
        seen_in=SEEN, name=name, version=version, architecture="amd64", manager=manager, chosen=True, origin=origin,
    )  # fmt: skip


def wanted(path: str = "/etc/orders.conf", content: bytes | None = CONF, name: str = "orders") -> Wanted:
    return Wanted(name, path, "md5", hashlib.md5(content).hexdigest()) if content is not None else Wanted(name, path)


def pristine(files: dict[str, Content], *findings: Finding) -> Pristine:
    guest = FakeGuest(files)
    return Pristine(guest, Facts(findings or (package(),), guest))


@pytest.mark.parametrize(
    "place",
    [
        "/etc/orders.conf.dpkg-dist", "/etc/orders.conf.rpmnew", "/etc/orders.conf.rpmorig", "/etc/orders.conf.pacnew",
        "/etc/orders.conf.apk-new", "/etc/orders.conf~", "/etc/orders.conf.orig", "/var/lib/ucf/cache/:etc:orders.conf",
    ],
)  # fmt: skip
def test_a_copy_with_the_recorded_digest_is_the_original(place: str) -> None:
    finder = pristine({"/etc/orders.conf": "port = 1\n", place: CONF})
    assert finder.originals([wanted()]) == {"/etc/orders.conf": Original(CONF, place)}


@pytest.mark.parametrize("beside", [b"another\n", CONF + b"\n"])
def test_a_copy_of_another_version_is_not(beside: bytes) -> None:
    finder = pristine({"/etc/orders.conf": "port = 1\n", "/etc/orders.conf.dpkg-dist": beside})
    assert finder.originals([wanted()]) == {}
    assert finder.why == {"/etc/orders.conf": "no cache on the disk has its package, and the network was not asked for"}


def test_of_several_copies_the_digest_chooses() -> None:
    finder = pristine({"/etc/orders.conf": "x", "/etc/orders.conf.bak": "y", "/etc/orders.conf.dpkg-dist": CONF})
    assert finder.originals([wanted()])["/etc/orders.conf"].source == "/etc/orders.conf.dpkg-dist"


def test_a_template_of_the_package_is_one_where_the_digest_says_so() -> None:
    files = PackageFiles(
        seen_in=SEEN, package="orders", paths=("/etc/orders.conf", "/usr/share/orders/orders.conf.sample"),
    )  # fmt: skip
    finder = pristine({"/etc/orders.conf": "x", "/usr/share/orders/orders.conf.sample": CONF}, package(), files)
    assert finder.originals([wanted()])["/etc/orders.conf"].source == "/usr/share/orders/orders.conf.sample"


def test_any_packaged_file_of_the_digest_is_one() -> None:
    twin = Shipped(path="/usr/lib/twin", digest=wanted().digest)
    files = PackageFiles(seen_in=SEEN, package="other", paths=("/usr/lib/twin",), shipped=(twin,))
    finder = pristine({"/etc/orders.conf": "x", "/usr/lib/twin": CONF}, package(), files)
    assert finder.originals([wanted()])["/etc/orders.conf"].source == "/usr/lib/twin"


def test_a_changed_twin_and_one_behind_a_link_are_none() -> None:
    twin = Shipped(path="/usr/lib/twin", digest=wanted().digest)
    files = PackageFiles(seen_in=SEEN, package="other", paths=("/usr/lib/twin",), shipped=(twin,))
    finder = pristine(
        {"/etc/orders.conf": "x", "/usr/lib/twin": "y", "/etc/orders.conf.old": Link("/etc/orders.conf"),
         "/etc/orders.conf.bad": Broken()}, package(), files,
    )  # fmt: skip
    assert finder.originals([wanted()]) == {}


MADE = {
    "dpkg": (archives.deb, "/var/cache/apt/archives/orders_1%3a2.0-1_amd64.deb", "1:2.0-1"),
    "rpm": (archives.rpm, "/var/cache/dnf/base-1234/packages/orders-2.0-1.el9.x86_64.rpm", "1:2.0-1.el9"),
    "zypper": (archives.rpm, "/var/cache/zypp/packages/repo-oss/x86_64/orders-2.0-1.x86_64.rpm", "2.0-1"),
    "apk": (archives.apk, "/etc/apk/cache/orders-2.0-r1.1a2b3c4d.apk", "2.0-r1"),
    "pacman": (archives.tar, "/var/cache/pacman/pkg/orders-1:2.0-1-x86_64.pkg.tar", "1:2.0-1"),
}


@pytest.mark.parametrize("manager", MADE)
def test_the_package_s_archive_in_its_cache(manager: str) -> None:
    make, place, version = MADE[manager]
    installed = package(version=version, manager={"zypper": "rpm"}.get(manager, manager))
    finder = pristine({"/etc/orders.conf": "x", place: make({"etc/orders.conf": CONF})}, installed)
    assert finder.find("orders", "/etc/orders.conf", Recorded("orders", "md5", wanted().digest)) == Original(
        CONF, f"{place}:/etc/orders.conf"
    )


def test_one_archive_is_read_once_for_all_paths() -> None:
    more = {f"./etc/orders.d/{number}": b"%d\n" % number for number in range(20)}
    finder = pristine({ARCHIVE: archives.deb(more)})
    guest = finder._guest
    assert isinstance(guest, FakeGuest)
    found = finder.originals([wanted(path[1:], content) for path, content in more.items()])
    assert {path: each.content for path, each in found.items()} == {p[1:]: content for p, content in more.items()}
    assert list(found) == sorted(found)
    assert guest.read_paths.count(ARCHIVE) == 1


def test_another_version_will_do_where_the_digest_is_the_same() -> None:
    older = "/var/cache/apt/archives/orders_1.9_amd64.deb"
    finder = pristine({ARCHIVE: archives.deb({"./etc/x": b""}), older: archives.deb({"./etc/orders.conf": CONF})})
    assert finder.originals([wanted()])["/etc/orders.conf"].source == f"{older}:/etc/orders.conf"
    assert finder.why == {}


def test_without_a_digest_only_the_installed_version_will() -> None:
    older = "/var/cache/apt/archives/orders_1.9_amd64.deb"
    assert pristine({older: archives.deb({"./etc/orders.conf": CONF})}).originals([wanted(content=None)]) == {}
    found = pristine({ARCHIVE: archives.deb({"./etc/orders.conf": CONF})}).originals([wanted(content=None)])
    assert found == {"/etc/orders.conf": Original(CONF, f"{ARCHIVE}:/etc/orders.conf", checked=False)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (archives.deb({"./etc/orders.conf": b"other\n"}), "the digest differs"),
        (archives.deb({"./etc/else": b""}), "does not have the file"),
        (b"!<arch>\nnonsense", "cut short"),
        (File(b"", size=1 << 40), "longer than the 536870912 bytes"),
    ],
)
def test_why_an_archive_was_of_no_use_is_said(content: Content, says: str) -> None:
    finder = pristine({ARCHIVE: content})
    assert finder.originals([wanted()]) == {}
    assert says in finder.why["/etc/orders.conf"]
    assert finder.why["/etc/orders.conf"].startswith(ARCHIVE)


def test_what_cannot_be_read_is_said() -> None:
    finder = pristine({ARCHIVE: Broken("input/output error", size=100)})
    assert finder.originals([wanted()]) == {}
    assert finder.why == {"/etc/orders.conf": f"{ARCHIVE}: input/output error"}


def test_an_unknown_package_is_said() -> None:
    finder = pristine({}, package("other"))
    assert finder.originals([wanted()]) == {}
    assert "do not say which version of orders" in finder.why["/etc/orders.conf"]


def test_all_archives_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.changes.pristine._ALL_UNPACKED", 30_000)
    files: dict[str, Content] = {}
    names = ["a", "b", "c", "d"]
    for name in names:
        files[f"/var/cache/apt/archives/{name}_1_amd64.deb"] = archives.deb(
            {f"./etc/{name}": CONF, "./z": bytes(10_000)}
        )
    finder = pristine(files, *(package(name, "1") for name in names))
    found = finder.originals(
        [w for n in names for w in (wanted(f"/etc/{n}", name=n), wanted(f"/etc/{n}.none", name=n))]
    )
    assert 0 < len(found) < 4
    assert "unpacks to more than is read" in finder.why["/etc/d"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nginx-common_1.22.1-9+deb12u1_all.deb", ("nginx-common", "1.22.1-9+deb12u1")),
        ("vim_2%3a9.0.1378-2_amd64.deb", ("vim", "2:9.0.1378-2")),
        ("glibc-common-2.34-60.el9.x86_64.rpm", ("glibc-common", "2.34-60.el9")),
        ("openssh-server-9.7_p1-r4.fbdb1be4.apk", ("openssh-server", "9.7_p1-r4")),
        ("musl-1.2.5-r0.apk", ("musl", "1.2.5-r0")),
        ("linux-6.9.3.arch1-1-x86_64.pkg.tar.zst", ("linux", "6.9.3.arch1-1")),
        ("vim-1:9.1-2-x86_64.pkg.tar.xz", ("vim", "1:9.1-2")),
        ("linux-6.9.3.arch1-1-x86_64.pkg.tar.zst.sig", None),
        ("lock", None),
        ("APKINDEX.066df28d.tar.gz", None),
        ("a" * 300 + "_1_all.deb", None),
    ],
)
def test_names_of_archives(name: str, expected: tuple[str, str] | None) -> None:
    found = archive_of(f"/var/cache/{name}")
    assert (found and (found.name, found.version)) == expected


def test_the_order_in_which_archives_are_tried() -> None:
    def names(cached: Iterable[Cached]) -> list[str]:
        return [each.version for each in cached]

    several = [Cached("orders", version, version) for version in ("1", "1:2.0-1", "3", "0.5", "2.5")]
    assert names(in_order(several, package(), others=True)) == ["1:2.0-1", "3", "2.5", "1"]
    assert names(in_order(several, package(), others=False)) == ["1:2.0-1"]


def test_caches_are_those_of_the_package_managers() -> None:
    guest = FakeGuest({
        ARCHIVE: b"", "/var/cache/apt/archives/partial/half_1_all.deb": b"", "/root/mine_1_all.deb": b"",
        "/var/cache/yum/x86_64/7/base/packages/bash-4.2-1.x86_64.rpm": b"", "/var/cache/dnf/x/d-1-1.x.rpm/f": b"",
    })  # fmt: skip
    assert sorted(cached_archives(guest)) == ["bash", "orders"]
