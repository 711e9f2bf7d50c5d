from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from analyzers.secrets import ANALYZER
from migrate.changes import textdiffs
from migrate.changes.model import Aspect, Change, Difference
from migrate.changes.textdiffs import Diff, diffs
from migrate.facts import Facts
from migrate.model import Finding, Package, PackageFiles, Place, Secret
from tests.analyzers.fake import Broken, Content, FakeGuest, Link
from tests.changes import archives

SEEN = Place("/var/lib/dpkg/info/orders.md5sums", 3)
ARCHIVE = "/var/cache/apt/archives/orders_1.0_all.deb"
PASSWORD, DEFAULT = "Tr0ub4dor-3xY", "ch4ngeMe-now"
ORIGINAL = f"port = 1\npassword = {DEFAULT}\nlog = /var/log/x\n".encode()
FOUND = f"port = 2\npassword = {PASSWORD}\nlog = /var/log/x\n".encode()


def package(name: str = "orders") -> Package:
    return Package(seen_in=SEEN, name=name, version="1.0", architecture="all", manager="dpkg", chosen=True)


def change(path: str, original: bytes | None, aspect: Aspect = "content", configuration: bool = True) -> Change:
    shipped = "" if original is None else f"md5:{hashlib.md5(original).hexdigest()}"
    return Change(path, "orders", (Difference(aspect, shipped, "md5:00"),), configuration, SEEN)


def facts(guest: FakeGuest, originals: Mapping[str, bytes] | None = None) -> Facts:
    """The package, and the secrets that their analyzer sees."""
    shipped = tuple((path, hashlib.md5(data).hexdigest()) for path, data in (originals or {}).items())
    owned = PackageFiles(seen_in=SEEN, package="orders", paths=tuple(path for path, _ in shipped), conffiles=shipped)
    findings: list[Finding] = [package(), owned]
    assert ANALYZER.join is not None
    return Facts([*findings, *ANALYZER.join(guest, findings)], guest)


def made(files: Mapping[str, Content], originals: Mapping[str, bytes], *more: Change) -> dict[str, Diff]:
    cached = archives.deb({f".{path}": data for path, data in originals.items()})
    guest = FakeGuest({ARCHIVE: cached, **files})
    changes = [change(path, data) for path, data in originals.items()]
    return diffs(guest, facts(guest, originals), [*changes, *more])


def test_a_changed_file_beside_its_original() -> None:
    found = made({"/etc/orders.conf": FOUND}, {"/etc/orders.conf": ORIGINAL})
    hidden = "[a line that holds a secret, or may: not shown]"
    assert found == {
        "/etc/orders.conf": Diff(
            f"--- /etc/orders.conf ({ARCHIVE}:/etc/orders.conf)\n+++ /etc/orders.conf\n@@ -1,3 +1,3 @@\n"
            f"-port = 1\n-{hidden}\n+port = 2\n+{hidden}\n log = /var/log/x\n",
            f"{ARCHIVE}:/etc/orders.conf",
        )
    }


def test_secrets_of_other_files_are_known_too() -> None:
    originals = {"/etc/a.conf": ORIGINAL, "/etc/b.conf": b"hook = none\n"}
    found = made({"/etc/a.conf": FOUND, "/etc/b.conf": f"hook /{PASSWORD}/x\n".encode()}, originals)
    assert PASSWORD not in str(found)
    assert "+hook /<secret a-conf-password>/x" in found["/etc/b.conf"].text


def test_a_secret_seen_under_the_real_path_is_not_shown_under_another() -> None:
    guest = FakeGuest({
        "/etc/orders": Link("/srv/orders"), "/srv/orders/x.conf": f"x\nhandshake {PASSWORD}\npassword={PASSWORD}\n",
        ARCHIVE: archives.deb({"./etc/orders/x.conf": b"x\n"}),
    })  # fmt: skip
    found = diffs(guest, facts(guest), [change("/etc/orders/x.conf", b"x\n")])
    assert "+++ /etc/orders/x.conf" in found["/etc/orders/x.conf"].text
    assert PASSWORD not in str(found)


def test_what_was_seen_under_the_real_path_counts_however_it_looks() -> None:
    guest = FakeGuest({
        "/etc/orders": Link("/srv/orders"), "/srv/orders/x.conf": "x\nuvw\n", "/etc/shadow": Link("/srv/users"),
        "/srv/users": "root:uvw\n", "/etc/users": Link("/srv/shadow"), "/srv/shadow": "root:uvw\n",
        ARCHIVE: archives.deb({"./etc/orders/x.conf": b"x\n", "./etc/shadow": b"x\n", "./etc/users": b"x\n"}),
    })  # fmt: skip
    known = Facts([package(), Secret(seen_in=Place("/srv/orders/x.conf", 2), id="x", kind="other", value="uvw")], guest)
    found = diffs(guest, known, [change(path, b"x\n") for path in ("/etc/orders/x.conf", "/etc/shadow", "/etc/users")])
    assert "uvw" not in str(found)
    assert found["/etc/orders/x.conf"].text
    assert found["/etc/shadow"].why == found["/etc/users"].why == "it is a file of secrets"


def test_why_there_is_no_difference_is_said() -> None:
    files: dict[str, Content] = {
        "/etc/shadow": b"root:$6$x$y:1::::::\n", "/usr/bin/x": b"\x7fELF\0", "/etc/none.conf": b"x\n",
        "/etc/bad.conf": Broken("input/output error"), "/etc/long.conf": b"x" * ((1 << 20) + 1),
        "/etc/binary-before": b"text\n",
    }  # fmt: skip
    originals = {
        "/etc/shadow": b"root:*:1::::::\n", "/usr/bin/x": b"\x7fELF\0\0", "/etc/bad.conf": b"1", "/etc/long.conf": b"1",
        "/etc/binary-before": b"\0",
    }  # fmt: skip
    found = made(files, originals, change("/etc/none.conf", b"another\n"))
    assert {path: (each.text, each.why) for path, each in found.items()} == {
        "/etc/bad.conf": ("", "input/output error"),
        "/etc/binary-before": ("", "of the original: it is no text: it holds NUL"),
        "/etc/long.conf": ("", "it is longer than the 1048576 bytes that are compared as text"),
        "/etc/none.conf": (
            "", f"{ARCHIVE}: it does not have the file, or a longer one than is compared as text"
        ),
        "/etc/shadow": ("", "it is a file of secrets"),
        "/usr/bin/x": ("", "it is no text: it holds NUL"),
    }  # fmt: skip
    assert list(found) == sorted(found)


@pytest.mark.parametrize("aspect", ["missing", "mode", "user", "target", "type"])
def test_other_aspects_have_no_textual_difference(aspect: Aspect) -> None:
    guest = FakeGuest({"/etc/x": b"", ARCHIVE: archives.deb({"./etc/x": b"y\n"})})
    assert diffs(guest, facts(guest), [change("/etc/x", b"y\n", aspect)]) == {}
    assert diffs(guest, facts(guest), [change("/etc/gone", b"y\n")]) == {}


def test_without_a_digest_it_is_said() -> None:
    guest = FakeGuest({"/etc/x": b"x\n", ARCHIVE: archives.deb({"./etc/x": b"y\n"})})
    found = diffs(guest, facts(guest), [change("/etc/x", None, "size")])
    assert found["/etc/x"].text.endswith("-y\n+x\n")
    assert not found["/etc/x"].checked


def test_files_and_characters_have_bounds_configuration_first(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = {f"/etc/{name}.conf": b"x\n" * 30 for name in "abcd"}
    files = dict.fromkeys(originals, b"y\n" * 30)
    monkeypatch.setattr(textdiffs, "MAX_FILES", 3)
    cached = archives.deb({f".{path}": data for path, data in originals.items()})
    guest = FakeGuest({ARCHIVE: cached, **files})
    changes = [change(path, data, configuration=path != "/etc/a.conf") for path, data in originals.items()]
    found = diffs(guest, facts(guest), changes)
    assert [bool(each.text) for each in found.values()] == [False, True, True, True]
    assert found["/etc/a.conf"].why == "differences are made of 3 files, and there are more"
    monkeypatch.setattr(textdiffs, "MAX_CHARACTERS", len(found["/etc/b.conf"].text) + 5)
    found = diffs(guest, facts(guest), changes)
    assert [bool(each.text) for each in found.values()] == [False, True, False, False]
    assert "together are longer" in found["/etc/c.conf"].why


def test_the_order_of_changes_does_not_matter() -> None:
    originals = {f"/etc/{name}.conf": name.encode() * 3 + b"\n" for name in "abcdefgh"}
    guest = FakeGuest(
        {ARCHIVE: archives.deb({f".{p}": d for p, d in originals.items()}), **dict.fromkeys(originals, b"z\n")}
    )
    changes = [change(path, data) for path, data in originals.items()]
    known = facts(guest, originals)
    assert list(diffs(guest, known, changes).items()) == list(diffs(guest, known, changes[::-1]).items())


def test_hostile_paths_are_shown_escaped() -> None:
    path = "/etc/\x1b[2J\n+++ x.conf"
    found = made({path: b"a\n"}, {path: b"b\n"})
    assert "\x1b" not in str(found[path].text) + found[path].source + found[path].why
    assert found[path].text.count("\n+++") == 1
