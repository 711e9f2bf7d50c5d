"""The comparison: each aspect planted and not, on findings as the analyzers of rpm and dpkg make them."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import dpkg
from analyzers.users import ANALYZER as USERS
from migrate.changes.compare import compare
from migrate.changes.model import Change, Comparison, Difference
from migrate.facts import Facts
from migrate.model import Finding, PackageFiles, Place, Shipped
from tests.analyzers.fake import Broken, Content, Dir, FakeGuest, File, Link, Node
from tests.guest.made import CAPABILITY

DATABASE = Place("/var/lib/rpm/rpmdb.sqlite")
ACCOUNTS: dict[str, Content] = {
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\nhttpd:x:48:48::/:/bin/false\nanna:x:1000:1000::/home/anna:/bin/sh\n",
    "/etc/group": "root:x:0:\nhttpd:x:48:\nanna:x:1000:\n",
}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def file(path: str, text: str, *, mode: int = 0o644, user: str = "root", **more: object) -> Shipped:
    fields = {"group": "root", "size": len(text), "digest": sha(text), **more}
    return Shipped(path=path, mode=0o100000 | mode, user=user, **fields)  # type: ignore[arg-type]


def owned(*shipped: Shipped, package: str = "x", algorithm: str = "sha256", place: Place = DATABASE) -> PackageFiles:
    paths = tuple(each.path for each in shipped)
    return PackageFiles(seen_in=place, package=package, paths=paths, algorithm=algorithm, shipped=shipped)


def compared(files: dict[str, Content], *found: Finding) -> Comparison:
    guest = FakeGuest({**ACCOUNTS, **files})
    assert USERS.analyze is not None
    return compare(Facts([*USERS.analyze(guest), *found], guest))


def aspects(changes: Iterable[Change]) -> dict[str, tuple[str, ...]]:
    return {change.path: change.aspects for change in changes}


SHIPPED = {
    "file": file("/usr/bin/x", "old", mode=0o755),
    "directory": Shipped(path="/usr/lib/x", mode=0o040755, user="root", group="root"),
    "symlink": Shipped(path="/usr/lib/x.so", mode=0o120777, user="root", group="root", target="x.so.1"),
    "capable": file("/usr/bin/ping", "old", mode=0o755, capabilities="= cap_net_raw+ep"),
    "device": Shipped(path="/usr/lib/null", mode=0o020666, user="root", group="root"),
}


@pytest.mark.parametrize(
    ("shipped", "content"),
    [
        ("file", File("old", mode=0o755)),
        ("directory", Dir(mode=0o755)),
        ("symlink", Link("x.so.1")),
        ("capable", File("old", mode=0o755, xattrs={"security.capability": CAPABILITY})),
        (
            "capable",
            File("old", mode=0o755, xattrs={"security.capability": struct.pack("<3I", 0x01000001, 1 << 13, 0)}),
        ),
        ("device", Node("char", mode=0o666)),
        ("file", File("old", mode=0o755, mtime=99)),
    ],
)
def test_what_is_as_shipped_is_no_change(shipped: str, content: Content) -> None:
    found = compared({SHIPPED[shipped].path: content}, owned(SHIPPED[shipped]))
    assert (found.changes, found.explained) == ((), ())


@pytest.mark.parametrize(
    ("shipped", "content", "differences"),
    [
        ("file", None, [("missing", "file", "")]),
        ("file", File("new", mode=0o755), [("content", f"sha256:{sha('old')}", f"sha256:{sha('new')}")]),
        ("file", File("old", mode=0o777), [("mode", "0755", "0777")]),
        ("file", File("old", mode=0o4755), [("mode", "0755", "4755")]),
        ("file", File("old", mode=0o755, uid=48, gid=1000), [("group", "root", "anna"), ("user", "root", "httpd")]),
        ("file", File("old", mode=0o755, uid=7777), [("user", "root", "7777")]),
        ("file", Link("/usr/bin/y"), [("type", "file", "symlink to /usr/bin/y")]),
        (
            "file",
            File("old", mode=0o755, xattrs={"security.capability": CAPABILITY}),
            [("capabilities", "", "cap_net_raw=ep")],
        ),
        ("capable", File("old", mode=0o755), [("capabilities", "cap_net_raw=ep", "")]),
        ("directory", Dir(mode=0o700), [("mode", "0755", "0700")]),
        ("directory", None, [("missing", "directory", "")]),
        ("symlink", Link("x.so.2"), [("target", "x.so.1", "x.so.2")]),
        ("device", Node("block", mode=0o666), [("type", "char", "block")]),
    ],
)
def test_each_planted_aspect_is_found_and_nothing_else(
    shipped: str, content: Content | None, differences: list[tuple[str, str, str]]
) -> None:
    path = SHIPPED[shipped].path
    found = compared({path: content} if content is not None else {}, owned(SHIPPED[shipped]))
    (change,) = found.changes
    assert (change.path, change.package, change.configuration, change.seen_in) == (path, "x", False, DATABASE)
    assert change.differences == tuple(Difference(*each) for each in differences)  # type: ignore[arg-type]


def test_what_the_package_wants_nobody_to_compare_is_not() -> None:
    every = ("digest", "size", "user", "group", "mode", "capabilities")
    found = compared({"/x": File("other", mode=0o600, uid=48)}, owned(file("/x", "old", unchecked=every)))
    assert found.changes == ()
    assert (found.files, found.compared) == (1, 0)


def test_a_ghost_and_what_may_be_missing() -> None:
    ghost = file("/etc/made", "", flags=("config", "ghost"))
    optional = file("/etc/optional", "old", flags=("config", "missingok"))
    assert compared({}, owned(ghost, optional)).changes == ()
    found = compared({"/etc/made": "made", "/etc/optional": "new"}, owned(ghost, optional))
    assert aspects(found.changes) == {"/etc/optional": ("content",)}
    assert found.changes[0].configuration


def test_a_file_of_several_packages_is_fine_if_it_is_as_one_of_them_has_it() -> None:
    both = [owned(file("/usr/bin/x", text), package=name) for name, text in (("x.i686", "32"), ("x.x86_64", "64"))]
    assert compared({"/usr/bin/x": "64"}, *both).changes == ()
    found = compared({"/usr/bin/x": File("64", mode=0o600)}, *both)
    (change,) = found.changes
    assert (change.package, change.aspects) == ("x.x86_64", ("mode",))


def test_a_bare_name_says_nothing_beside_a_description() -> None:
    bare = PackageFiles(seen_in=Place("/list"), package="y", paths=("/usr/bin/x",))
    found = compared({"/usr/bin/x": "new"}, owned(file("/usr/bin/x", "old")), bare)
    assert aspects(found.changes) == {"/usr/bin/x": ("content",)}
    assert compared({"/usr/bin/x": "new"}, bare).changes == ()
    assert aspects(compared({}, bare).changes) == {"/usr/bin/x": ("missing",)}


def test_owners_with_different_algorithms_are_all_compared() -> None:
    one = owned(file("/x", "old", digest=md5("old")), algorithm="md5", package="a")
    other = owned(file("/x", "new", digest=sha("new")), package="b")
    assert compared({"/x": "new"}, one, other).changes == ()
    assert compared({"/x": "old"}, one, other).changes == ()
    assert len(compared({"/x": "two"}, one, other).changes) == 1


def test_pacmans_two_words_on_one_file_are_one() -> None:
    """%BACKUP% has an MD5, the mtree a SHA-256 with the rest; the file is read once."""
    backup = PackageFiles(seen_in=Place("/files"), package="p", paths=("/etc/x",), conffiles=(("/etc/x", md5("old")),))
    mtree = owned(file("/etc/x", "old", flags=("config",)), package="p", place=Place("/mtree"))
    assert compared({"/etc/x": "old"}, backup, mtree).changes == ()
    found = compared({"/etc/x": File("old", mode=0o600)}, backup, mtree)
    assert aspects(found.changes) == {"/etc/x": ("mode",)}


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [("openpgp-99", "0" * 32), ("shake_128", "0" * 32), ("sha256", "0" * 32), ("md5", ""), ("", "zz")],
)
def test_a_digest_that_cannot_be_computed_is_not_compared(algorithm: str, digest: str) -> None:
    found = compared({"/x": "new"}, owned(file("/x", "old", digest=digest), algorithm=algorithm))
    assert (found.changes, found.files, found.compared) == ((), 1, 0)


def test_what_cannot_be_read_is_told() -> None:
    found = compared({"/x": Broken(size=3), "/y": "old"}, owned(file("/x", "old"), file("/y", "old")))
    assert found.changes == ()
    assert found.unread == (("/x", "its content could not be read"),)
    assert (found.files, found.compared) == (2, 1)


def test_two_names_of_one_number_are_one_owner() -> None:
    passwd = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n"
    files: dict[str, Content] = {"/x": "old", "/etc/passwd": passwd}
    assert compared(files, owned(file("/x", "old", user="toor"))).changes == ()


def test_a_quick_run_compares_nothing() -> None:
    guest = FakeGuest({"/x": "new"})
    facts = Facts([owned(file("/x", "old"))], guest, quick=True)
    assert facts.comparison == Comparison(done=False)
    assert guest.read_paths == []
    assert len(Facts(facts.findings, guest).comparison.changes) == 1


# ---------------------------------------------------------------- a Debian machine

LISTS = {
    "tool": ["/.", "/usr", "/usr/bin", "/usr/bin/tool", "/etc/tool.conf", "/var/lib/tool"],
    "other": ["/.", "/usr/bin/other"],
}
STATUS = f"""\
Package: tool
Status: install ok installed
Architecture: amd64
Version: 1
Conffiles:
 /etc/tool.conf {md5("conf")}
 /etc/old.conf {md5("old")} obsolete

Package: other
Status: install ok installed
Architecture: all
Version: 1
"""
DEBIAN: dict[str, Content] = {
    "/var/lib/dpkg/status": STATUS,
    **{f"/var/lib/dpkg/info/{name}.list": "\n".join(paths) + "\n" for name, paths in LISTS.items()},
    "/var/lib/dpkg/info/tool.md5sums": f"{md5('tool')}  usr/bin/tool\n",
    "/var/lib/dpkg/info/other.md5sums": f"{md5('other')}  usr/bin/other\n",
    "/usr/bin/tool": File("tool", mode=0o755),
    "/usr/bin/other": File("other", mode=0o755),
    "/etc/tool.conf": "conf",
    "/var/lib/tool": Dir(uid=48),
}


def debian(files: dict[str, Content | None]) -> Comparison:
    kept = {path: content for path, content in {**DEBIAN, **files}.items() if content is not None}
    guest = FakeGuest({**ACCOUNTS, **kept})
    assert USERS.analyze is not None
    return compare(Facts([*USERS.analyze(guest), *dpkg.analyze(guest)], guest))


def test_an_untouched_machine_has_no_drift() -> None:
    found = debian({})
    assert (found.changes, found.explained, found.files, found.compared) == ((), (), 3, 3)


@pytest.mark.parametrize(
    ("path", "content", "expected", "configuration"),
    [
        ("/usr/bin/tool", File("evil", mode=0o755), "content", False),
        ("/usr/bin/tool", None, "missing", False),
        ("/usr/bin/tool", Link("/opt/tool"), "type", False),
        ("/usr/bin/tool", File("tool", mode=0o4755), "mode", False),
        ("/usr/bin/tool", File("tool", mode=0o757), "mode", False),
        ("/usr/bin/tool", File("tool", mode=0o755, uid=1000), "user", False),
        ("/usr/bin/tool", File("tool", mode=0o755, gid=48), None, False),  # 48 is one of the static ones, up to 99
        ("/usr/bin/tool", File("tool", mode=0o755, xattrs={"security.capability": CAPABILITY}), "capabilities", False),
        ("/etc/tool.conf", "changed", "content", True),
        ("/etc/tool.conf", None, "missing", True),
        ("/etc/tool.conf", Link("/dev/null"), "type", True),
        ("/etc/old.conf", "changed", "content", True),
        ("/etc/old.conf", "old", None, True),
        ("/var/lib/tool", None, "missing", False),
        ("/var/lib/tool", Dir(mode=0o777), "mode", False),
        ("/var/lib/tool", Dir(mode=0o1777), None, False),
    ],
)
def test_what_is_planted_on_a_debian_machine(
    path: str, content: Content | None, expected: str | None, configuration: bool
) -> None:
    found = debian({path: content, "/dev/null": Node("char")})
    if expected is None:
        assert found.changes == ()
        return
    (change,) = found.changes
    assert (change.path, change.aspects, change.configuration) == (path, (expected,), configuration)


def test_a_conffile_that_leads_to_the_same_content_is_no_change() -> None:
    found = debian({"/etc/tool.conf": Link("/etc/managed/tool.conf"), "/etc/managed/tool.conf": "conf"})
    assert found.changes == ()


def test_where_the_database_says_it_is_named_with_its_line() -> None:
    places = {
        str(change.seen_in)
        for path in ("/usr/bin/tool", "/etc/tool.conf", "/var/lib/tool")
        for change in debian({path: "changed" if path != "/var/lib/tool" else None}).changes
    }
    assert places == {
        "/var/lib/dpkg/info/tool.md5sums:1", "/var/lib/dpkg/status:6", "/var/lib/dpkg/info/tool.list:6",
    }  # fmt: skip


def test_a_diverted_file_is_compared_where_it_is() -> None:
    diversions = {"/var/lib/dpkg/diversions": "/usr/bin/tool\n/usr/bin/tool.real\n:\n"}
    moved: dict[str, Content | None] = {**diversions, "/usr/bin/tool.real": File("tool", mode=0o755)}
    assert debian({**moved, "/usr/bin/tool": File("#!/bin/sh\n", mode=0o755)}).changes == ()
    assert aspects(debian({**moved, "/usr/bin/tool.real": "evil"}).changes) == {"/usr/bin/tool.real": ("content",)}


def test_an_override_that_holds_is_no_drift_and_one_that_does_not_is() -> None:
    override: dict[str, Content | None] = {"/var/lib/dpkg/statoverride": "root anna 4750 /usr/bin/tool\n"}
    assert debian({**override, "/usr/bin/tool": File("tool", mode=0o4750, gid=1000)}).changes == ()
    (change,) = debian({**override, "/usr/bin/tool": File("tool", mode=0o755, gid=1000)}).changes
    assert change.differences == (Difference("mode", "4750", "0755"),)
    assert change.seen_in == Place("/var/lib/dpkg/statoverride", 1)


def test_paths_of_a_merged_usr_are_the_trees() -> None:
    files: dict[str, Content | None] = {
        "/bin": Link("usr/bin"),
        "/var/lib/dpkg/info/other.list": "/.\n/bin\n/bin/other\n",
        "/var/lib/dpkg/info/other.md5sums": f"{md5('other')}  bin/other\n",
    }
    assert debian(files).changes == ()
    changed = debian({**files, "/usr/bin/other": "evil"}).changes
    assert aspects(changed) == {"/usr/bin/other": ("content",)}
    assert changed[0].seen_in == Place("/var/lib/dpkg/info/other.md5sums", 1)


def test_two_architectures_of_one_package_share_a_file() -> None:
    stanza = "Package: libz\nStatus: install ok installed\nArchitecture: {}\nMulti-Arch: same\nVersion: 1\n\n"
    files: dict[str, Content | None] = {"/var/lib/dpkg/status": stanza.format("amd64") + stanza.format("i386")}
    for architecture in ("amd64", "i386"):
        files[f"/var/lib/dpkg/info/libz:{architecture}.list"] = "/usr/share/doc/libz\n/usr/share/doc/libz/copyright\n"
        files[f"/var/lib/dpkg/info/libz:{architecture}.md5sums"] = f"{md5('c')}  usr/share/doc/libz/copyright\n"
    assert debian({**files, "/usr/share/doc/libz/copyright": "c"}).changes == ()
    assert len(debian({**files, "/usr/share/doc/libz/copyright": "d"}).changes) == 1


def test_what_ucf_keeps_is_compared_with_what_it_offered_last() -> None:
    files: dict[str, Content | None] = {
        "/var/lib/ucf/hashfile": f"{md5('offered')}  /etc/default/tool\n{md5('x')}  /etc/of-a-purged-one\n",
        "/var/lib/ucf/registry": "tool \t /etc/default/tool\npurged /etc/of-a-purged-one\n",
    }
    assert debian({**files, "/etc/default/tool": "offered"}).changes == ()
    (change,) = debian({**files, "/etc/default/tool": "mine"}).changes
    assert (change.path, change.package, change.configuration) == ("/etc/default/tool", "tool", True)
    assert change.seen_in == Place("/var/lib/ucf/hashfile", 1)
    assert aspects(debian(files).changes) == {"/etc/default/tool": ("missing",)}


# ---------------------------------------------------------------- hostile databases


def test_paths_and_values_that_no_package_has() -> None:
    loop: dict[str, Content] = {"/a": Link("/b"), "/b": Link("/a"), "/etc/x": "x"}
    bad = Shipped(
        path="/etc/x", mode=1 << 63, user="\udc80", group="9" * 400, size=-1, digest="\0", capabilities="cap_" * 9999
    )
    paths = ("/a/x", "/../../etc/shadow", "/etc/x\0", "//etc//x/", "", "relative", "/" + "d/" * 3000)
    bare = PackageFiles(seen_in=DATABASE, package="\x1b[2J", paths=paths)
    found = compared(loop, owned(bad, file("/a", "x")), bare)
    assert {change.path for change in found.changes} >= {"/a", "/etc/x"}


def test_a_path_of_very_many_owners_is_one_question() -> None:
    many = [
        PackageFiles(seen_in=DATABASE, package=f"p{n}", paths=(), shipped=(file("/x", str(n)),), algorithm="sha256")
        for n in range(5000)
    ]
    found = compared({"/x": "63"}, *many)
    assert found.changes == ()
    assert len(compared({"/x": "none"}, *many).changes) == 1


TEXTS = st.sampled_from(["", "root", "anna", "0", "99999999999", "\udc80", "cap_net_raw=ep", "=", md5("x"), sha("x")])
PATHS = st.sampled_from(["/a", "/x", "/x/..", "/gone", "/dir", "/dir/x", "//", "/run/x", "/usr/bin/su", "/etc/passwd"])
FLAGS = st.lists(st.sampled_from(["config", "ghost", "missingok", "override", "doc"]), max_size=2).map(tuple)
CHECKS = st.lists(st.sampled_from(["digest", "size", "user", "group", "mode", "target"]), max_size=6).map(tuple)
ANY = st.builds(
    Shipped, path=PATHS, mode=st.integers(0, 1 << 20), user=TEXTS, group=TEXTS, size=st.integers(-1, 9), digest=TEXTS,
    target=TEXTS, capabilities=TEXTS, flags=FLAGS, unchecked=CHECKS,
)  # fmt: skip


@given(st.lists(st.tuples(ANY, st.sampled_from(["md5", "sha256", "shake_128", "\0"]), st.booleans()), max_size=8))
def test_no_database_breaks_the_comparison(records: list[tuple[Shipped, str, bool]]) -> None:
    places = {True: Place("/var/lib/dpkg/info/x.list"), False: DATABASE}
    found = [owned(shipped, algorithm=algorithm, place=places[of_dpkg]) for shipped, algorithm, of_dpkg in records]
    files: dict[str, Content] = {
        "/a": Link("/b"), "/b": Link("a"), "/x": File("x", mode=0o4777, xattrs={"security.capability": b"\1\2"}),
        "/dir": Dir(), "/run/x": Node("fifo"), "/usr/bin/su": Link("/x"),
    }  # fmt: skip
    comparison = compared(files, *found)
    assert list(comparison.changes) == sorted(comparison.changes)
    assert {c.path for c in comparison.changes} <= {s.path for s, _, _ in records}


def test_databases_changed_at_random_break_nothing() -> None:
    """400 machines with a fixed seed: bytes of dpkg's files, ucf's and the alternatives' replaced, doubled, cut."""
    chance = random.Random(20)
    samples: dict[str, str] = {
        **{path: content for path, content in DEBIAN.items() if isinstance(content, str)},
        "/var/lib/dpkg/diversions": "/usr/bin/tool\n/usr/bin/tool.real\n:\n",
        "/var/lib/dpkg/statoverride": "root anna 4750 /usr/bin/tool\n#33 #33 0700 /usr/bin/other\n",
        "/var/lib/ucf/hashfile": f"{md5('offered')}  /etc/default/tool\n",
        "/var/lib/ucf/registry": "tool \t /etc/default/tool\n",
        "/var/lib/dpkg/alternatives/editor": "auto\n/usr/bin/editor\n\n/usr/bin/tool\n40\n\n/usr/bin/other\n30\n\n\n",
        "/etc/dpkg/dpkg.cfg.d/docker": "path-exclude=/usr/share/[a-z]*/*\npath-include=/usr/share/doc/*\n",
        "/usr/lib/tmpfiles.d/x.conf": "d /var/lib/tool 0750 root anna - -\n",
    }
    for _ in range(400):
        path = chance.choice(sorted(samples))
        text = bytearray(samples[path].encode())
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(text))
            cut = slice(at, at + chance.randint(1, 9))
            text[cut] = chance.choice([b"", bytes(text[cut]) * 2, chance.randbytes(3), b"\n", b"\0", b"*[(\\"])
            text = text or bytearray(b"x")
        comparison = debian({**samples, path: bytes(text)})
        assert comparison.compared <= comparison.files <= 6
