from __future__ import annotations

import hashlib

import pytest

from migrate.account import CLASSES, Account, account
from migrate.changes.model import Aspect, Change, Comparison, Difference, Explained, Leftover
from migrate.facts import Facts
from migrate.filelist import file_list
from migrate.join import join
from migrate.model import Application, Finding, PackageFiles, Place, Secret, Shipped, User
from tests import shop
from tests.analyzers.fake import FakeGuest, File, Link, Node

HERE = Place("/var/lib/dpkg/status", 1)
SAME = "a = 1\n"
REASONS: tuple[tuple[str, Aspect], ...] = (("setuid", "mode"), ("rewritten", "content"))
Files = dict[str, "str | File | Link | Node"]


def _accounted(files: Files, *findings: Finding, comparison: Comparison | None = None) -> Account:
    facts = Facts(findings, FakeGuest(files))
    return account(facts, join(facts), comparison or Comparison())


def _classes(found: Account) -> dict[str, tuple[int, int]]:
    return {k: v for k, v in found.classes.items() if v != (0, 0)}


def _paths(found: Account) -> dict[str, str]:
    return {line.path: line.class_ for line in found.paths}


def _rule(files: Files, *findings: Finding, comparison: Comparison | None = None) -> dict[str, str]:
    """Return the rule and class of the one file."""
    found = _accounted(files, *findings, comparison=comparison)
    return {total.rule: total.class_ for total in found.rules}


def _change(path: str, *, configuration: bool, aspect: str = "content") -> Change:
    difference = Difference(aspect, "md5:1", "md5:2")  # type: ignore[arg-type]
    return Change(path, "p", (difference,), configuration, Place("/var/lib/dpkg/info/p.md5sums", 3))


def _owned(*paths: str, **more: object) -> PackageFiles:
    return PackageFiles(package="p", paths=paths, seen_in=HERE, **more)  # type: ignore[arg-type]


def test_every_path_falls_in_exactly_one_class() -> None:
    package = _owned("/usr/bin/p", "/usr/bin/q", "/etc/p/same", "/etc/p/changed", "/usr/share/p", "/boot/vmlinuz")
    key = Secret(id="k", kind="private-key", seen_in=Place("/etc/p/key", 1))
    anna = User(name="anna", uid=1000, gid=1000, home="/home/anna", shell="/bin/sh", system=False, seen_in=HERE)
    changes = (_change("/etc/p/changed", configuration=True), _change("/usr/bin/q", configuration=False))
    files: Files = {
        "/usr/bin/p": "bin",
        "/usr/bin/q": "trojan",
        "/etc/p/same": SAME,
        "/etc/p/changed": "a = 2\n",
        "/etc/p/added": "x",
        "/etc/p/key": "KEY",
        "/etc/alternatives/vi": Link("/usr/bin/p"),
        "/usr/local/bin/tool": "x",
        "/srv/app/a.py": "xx",
        "/srv/app/lib/b.py": "xx",
        "/var/log/syslog": "x",
        "/var/lib/mysql/ibdata1": "x",
        "/boot/vmlinuz": "x",
        "/tmp/x": "x",
        "/home/anna/notes": "x",
        "/bin": Link("usr/bin"),
        "/usr/share/p/stray": "x",
        "/usr/lib/stray/file": "xyz",
    }
    found = _accounted(files, package, key, anna, comparison=Comparison(changes=changes))
    assert sum(count for count, _ in found.classes.values()) == len(files)
    assert _classes(found) == {
        "package": (2, 9),
        "changed-config": (2, 7),
        "changed-package": (1, 6),
        "secret": (1, 3),
        "generated": (2, 0),
        "application": (3, 5),
        "log": (1, 1),
        "data": (2, 2),
        "boot": (1, 1),
        "temporary": (1, 1),
        "unknown": (2, 4),
    }
    assert set(_classes(found)) == set(CLASSES)
    assert _paths(found) == {
        "/etc/p/changed": "changed-config",
        "/usr/bin/q": "changed-package",
        "/etc/p/added": "changed-config",
        "/etc/p/key": "secret",
        "/srv/app/a.py": "application",
        "/srv/app/lib/b.py": "application",
        "/usr/local/bin/tool": "application",
        "/usr/share/p/stray": "unknown",
        "/usr/lib/stray/file": "unknown",
    }


def test_the_totals_by_rule_are_those_by_class() -> None:
    found = _accounted({"/etc/a": "x", "/etc/b.dpkg-old": "xx", "/var/log/a": "xxx", "/usr/a": "xxxx"})
    assert [(t.rule, t.class_, t.files, t.bytes) for t in found.rules] == [
        ("among-packages", "unknown", 1, 4),
        ("configuration", "changed-config", 1, 1),
        ("left-beside-configuration", "generated", 1, 2),
        ("logs", "log", 1, 3),
    ]
    assert all(total.says for total in found.rules)


def test_a_change_says_what_differs_and_one_that_is_missing_is_shown() -> None:
    missing = _change("/usr/bin/gone", configuration=False, aspect="missing")
    folder = _change("/srv/spool", configuration=False, aspect="mode")
    changes = (folder, _change("/boot/vmlinuz", configuration=False), missing)
    files: Files = {"/boot/vmlinuz": "x", "/srv/spool/a": "x"}
    found = _accounted(files, _owned("/boot/vmlinuz", "/srv/spool"), comparison=Comparison(changes=changes))
    assert {line.path: (line.class_, line.why) for line in found.paths} == {
        "/boot/vmlinuz": ("changed-package", "not as p shipped it: content"),
        "/srv/spool": ("changed-package", "not as p shipped it: mode"),
        "/usr/bin/gone": ("changed-package", "missing: p shipped it"),
    }
    assert sum(n for n, _ in found.classes.values()) == 2


def test_what_has_another_mode_for_a_reason_is_the_packages_still() -> None:
    reasons = tuple(Explained("/usr/bin/su", "p", rule, "its script", HERE, aspect) for rule, aspect in REASONS)
    for given, expected in ((reasons[:1], {"setuid": "package"}), (reasons, {"rewritten": "generated"})):
        assert _rule({"/usr/bin/su": "x"}, _owned("/usr/bin/su"), comparison=Comparison(explained=given)) == expected


def test_what_packages_left_and_what_is_explained_are_no_changes() -> None:
    comparison = Comparison(
        explained=(Explained("/usr/lib/x", "p", "maintainer-script", "its script writes it", HERE),),
        leftovers=(Leftover("/etc/a.new", "/etc/a", "p", "the package's; /etc/a is in force"),),
    )
    found = _rule({"/usr/lib/x": "x", "/etc/a.new": "x"}, _owned("/usr/lib/x"), comparison=comparison)
    assert found == {"maintainer-script": "generated", "left-by-packages": "generated"}


@pytest.mark.parametrize(
    ("path", "rule", "class_"),
    [
        ("/var/log/lastlog", "logs", "log"),
        ("/var/lib/p/state", "state", "data"),
        ("/etc/p.conf", "owned-not-shipped", "changed-config"),
        ("/etc/machine-id", "machine-id", "generated"),
        ("/usr/share/p/cache", "owned-not-shipped", "generated"),
        ("/etc/ld.so.cache", "library-cache", "generated"),
    ],
)
def test_what_a_package_owns_and_does_not_ship_is_not_called_unchanged(path: str, rule: str, class_: str) -> None:
    ghost = _owned(path, shipped=(Shipped(path=path, flags=("ghost",)),))
    assert _rule({path: File(b"")}, ghost) == {rule: class_}


def test_without_a_comparison_configuration_is_still_compared() -> None:
    md5 = hashlib.md5(SAME.encode()).hexdigest()
    names = ("/etc/p/same", "/etc/p/changed")
    package = _owned(*names, conffiles=tuple((name, md5) for name in names))
    found = _accounted({names[0]: SAME, names[1]: "a = 2\n"}, package, comparison=Comparison(done=False))
    assert _paths(found) == {"/etc/p/changed": "changed-config"}
    assert file_list(found)["compared"]["done"] is False


# ---------------------------------------------------------------- looked into

PAM = """# why
# here are the per-package modules (the "Primary" block)
{}
# here's the fallback if no module succeeds
auth requisite pam_deny.so
# and here are more per-package modules (the "Additional" block)
{}
# end of pam-auth-update config
"""


@pytest.mark.parametrize(
    ("files", "rule", "class_"),
    [
        ({"/etc/profile": SAME, "/usr/share/base-files/profile": SAME}, "template-of-base-files", "package"),
        ({"/etc/profile": "b", "/usr/share/base-files/profile": SAME}, "template-of-base-files", "changed-config"),
        ({"/etc/profile": "b"}, "configuration", "changed-config"),
        ({"/root/.profile": "b", "/usr/share/base-files/dot.profile": "b"}, "template-of-root", "package"),
        ({"/home/a/.bashrc": "b", "/etc/skel/.bashrc": "b"}, "home-as-made", "generated"),
        ({"/home/a/.bashrc": "c", "/etc/skel/.bashrc": "b"}, "home-as-made", "data"),
        ({"/etc/machine-id": "0" * 32 + "\n"}, "machine-id", "generated"),
        ({"/etc/machine-id": "x" * 32 + "\n"}, "configuration", "changed-config"),
        ({"/etc/default/locale": "#  File generated by update-locale\nLANG=C\n"}, "locale-chosen", "generated"),
        ({"/etc/default/locale": "LANG=C\nPATH=/x\n"}, "configuration", "changed-config"),
        ({"/etc/modules": "# none\n\n"}, "nothing-set", "generated"),
        ({"/etc/modules": "# none\n\nkvm\n"}, "configuration", "changed-config"),
        ({"/etc/resolv.conf": "# Generated by NetworkManager\nnameserver 1.1.1.1\n"}, "resolver-written", "generated"),
        ({"/etc/resolv.conf": "nameserver 1.1.1.1\n"}, "configuration", "changed-config"),
        ({"/etc/resolv.conf": Link("../run/systemd/resolve/stub-resolv.conf")}, "resolver-link", "generated"),
        ({"/etc/ca-certificates.conf": "# all\nmozilla/a.crt\n"}, "ca-list-whole", "generated"),
        ({"/etc/ca-certificates.conf": "# all\nmozilla/a.crt\n!mozilla/b.crt\n"}, "configuration", "changed-config"),
        ({"/etc/rsyslog.conf": "x"}, "configuration", "changed-config"),
        (
            {
                "/etc/pam.d/common-auth": PAM.format("auth a", "auth b"),
                "/usr/share/pam/common-auth": PAM.format("$", "$"),
            },
            "template-of-pam",
            "package",
        ),
        (
            {
                "/etc/pam.d/common-auth": PAM.format("a", "b") + "own\n",
                "/usr/share/pam/common-auth": PAM.format("", ""),
            },
            "template-of-pam",
            "changed-config",
        ),
        (
            {"/etc/a.conf": SAME, "/var/lib/ucf/hashfile": hashlib.md5(SAME.encode()).hexdigest() + "  /etc/a.conf\n"},
            "as-ucf-installed-it",
            "package",
        ),
        (
            {"/etc/a.conf": "own", "/var/lib/ucf/hashfile": hashlib.md5(SAME.encode()).hexdigest() + "  /etc/a.conf\n"},
            "as-ucf-installed-it",
            "changed-config",
        ),
    ],
)
def test_the_content_decides_where_a_rule_looks_into_it(files: Files, rule: str, class_: str) -> None:
    models = [path for path in files if path.startswith(("/usr/share/", "/etc/skel/"))]
    found = _rule(files, _owned(*models))
    assert {k: v for k, v in found.items() if k not in {"packaged", "ucf-state"}} == {rule: class_}


def test_a_model_that_is_no_file_and_a_list_that_is_none_decide_nothing() -> None:
    files: Files = {
        "/etc/profile": Link("/usr/share/base-files/profile"),
        "/usr/share/base-files/profile": "x",
        "/etc/inputrc": "x",
        "/usr/share/readline/inputrc": Node("fifo"),
        "/var/lib/ucf/hashfile": "what\n" * 10 + "0" * 32 + "  /etc\n" + "1" * 32 + "\n",
    }
    found = _accounted(files, _owned("/usr/share/base-files/profile", "/usr/share/readline/inputrc"))
    assert _paths(found) == {"/etc/profile": "changed-config", "/etc/inputrc": "changed-config"}


# ---------------------------------------------------------------- whose it is


def test_a_service_says_what_its_paths_are() -> None:
    facts = shop.facts()
    files: Files = {
        "/srv/orders/app.py": "x",
        "/srv/orders/reports/may.csv": "x",
        "/var/log/orders/report.log": "x",
        "/var/log/other": "x",
        "/etc/orders/env": "x",
        "/etc/orders/more": "x",
    }
    told = Facts([f for f in facts.findings if not isinstance(f, Secret)], FakeGuest(files))
    found = account(told, join(told), Comparison())
    assert {total.rule: total.class_ for total in found.rules} == {
        "used-as-code": "application",
        "used-as-data": "data",
        "used-as-log": "log",
        "logs": "log",
        "configuration": "changed-config",
    }
    assert {line.path: line.why for line in found.paths} == {
        "/srv/orders/app.py": "the code of orders, which no package owns",
        "/etc/orders/env": "added: no package owns it, a service reads it",
        "/etc/orders/more": "added: no package owns it",
    }


def test_the_nearest_directory_says_whose_a_file_is() -> None:
    app = Application(root="/srv/app", ecosystem="npm", name="app", version="2", seen_in=Place("/srv/app/package.json"))
    inner = Application(root="/srv/app/data/plugin", ecosystem="script", name="plugin", seen_in=HERE)
    everybody = Application(root="/usr", ecosystem="elf", name="all", seen_in=HERE)
    files: Files = {
        "/srv/app/a.js": "x",
        "/srv/app/data/plugin/p.js": "x",
        "/srv/app/lib/__pycache__/a.pyc": "x",
        "/usr/bin/x": "x",
        "/var/lib/dpkg/info/x": "x",
    }
    found = _accounted(files, app, inner, everybody)
    assert {line.path: line.why for line in found.paths} == {
        "/srv/app/a.js": "app 2, which no package owns",
        "/srv/app/data/plugin/p.js": "plugin, which no package owns",
        "/usr/bin/x": "where packages put their files, and none owns it",
    }
    assert found.classes["generated"][0] == 2


def test_a_home_that_is_the_root_makes_no_disk_a_home() -> None:
    hostile = User(name="a", uid=1000, gid=1, home="/", shell="/bin/sh", system=False, seen_in=HERE)
    assert _rule({"/usr/x": "x"}, hostile) == {"among-packages": "unknown"}


# ---------------------------------------------------------------- what is shown


def test_a_large_application_is_one_line_for_its_folder() -> None:
    files: Files = {f"/opt/app/lib/{n}": "x" for n in range(9)}
    found = _accounted({**files, "/opt/app/run": "x", "/opt/tool": "x"})
    assert [(line.path, line.why) for line in found.paths] == [
        ("/opt/app/lib/", "no package owns it (9 files)"),
        ("/opt/app/run", "no package owns it"),
        ("/opt/tool", "no package owns it"),
    ]


def test_what_is_unknown_is_listed_largest_first_and_many_as_their_folder() -> None:
    files: Files = {f"/usr/many/{n}": "xx" for n in range(30)}
    files |= {"/usr/one": "x" * 100, "/usr/lib/stray": "x" * 10, "/usr/lib/none": ""}
    found = _accounted(files)
    assert [(i.path, i.files, i.bytes) for i in found.unknown] == [
        ("/usr/one", 1, 100),
        ("/usr/many/", 30, 60),
        ("/usr/lib/stray", 1, 10),
        ("/usr/lib/none", 1, 0),
    ]


def test_the_largest_are_trees_and_the_file_that_is_most_of_one() -> None:
    files: Files = {f"/var/lib/postgresql/15/main/base/{n}/{k}": "x" * 100 for n in range(3) for k in range(3)}
    files |= {"/home/anna/dump.sql": "x" * 700, "/home/anna/notes": "x", "/var/lib/redis/dump.rdb": "x" * 50}
    found = _accounted(files)
    assert [(i.path, i.files, i.bytes) for i in found.largest["data"]] == [
        ("/var/lib/postgresql/", 9, 900),
        ("/home/anna/dump.sql", 1, 700),
        ("/var/lib/redis/dump.rdb", 1, 50),
        ("/home/anna/", 1, 1),
    ]


def test_a_hard_link_is_a_file_more_and_no_byte_more() -> None:
    twin = File("12345", inode=7, links=2)
    assert _classes(_accounted({"/opt/a": twin, "/opt/b": twin})) == {"application": (2, 5)}


# ---------------------------------------------------------------- as JSON


def test_the_account_as_json() -> None:
    comparison = Comparison(
        changes=(_change("/etc/c", configuration=True),),
        explained=tuple(Explained(f"/usr/{n}", "p", "ghost", "made later", HERE) for n in range(5)),
        files=3,
        compared=2,
        unread=(("/usr/z", "bad block"),),
    )
    found = file_list(_accounted({"/etc/c": "xxx", "/usr/stray": "x"}, comparison=comparison))
    assert found["total"] == {"files": 2, "bytes": 4}
    assert found["accounted"] == {"files": 1, "bytes": 3, "files_ratio": 0.5, "bytes_ratio": 0.75}
    assert found["unknown"] == [{"path": "/usr/stray", "files": 1, "bytes": 1}]
    assert found["compared"] == {
        "files": 2, "of": 3, "done": True, "unread": [{"path": "/usr/z", "why": "bad block"}],
    }  # fmt: skip
    assert found["changes"] == [
        {
            "path": "/etc/c",
            "package": "p",
            "class": "changed-config",
            "differences": [{"aspect": "content", "shipped": "md5:1", "found": "md5:2"}],
            "seen_in": "/var/lib/dpkg/info/p.md5sums:3",
            "diff": None,
            "diff_source": None,
            "no_diff": None,
        }
    ]
    assert found["explained"] == [
        {"rule": "ghost", "says": "made later", "files": 5, "examples": ["/usr/0", "/usr/1", "/usr/2"]}
    ]
    assert found["paths"][0] == {
        "path": "/etc/c", "class": "changed-config", "why": "not as p shipped it: content", "rule": "changed",
    }  # fmt: skip


def test_a_ratio_is_one_only_where_nothing_is_unknown() -> None:
    found = file_list(_accounted({"/usr/stray": "x", "/tmp/big": File(b"", size=10**12)}))
    assert found["accounted"]["bytes_ratio"] == 0.999999
    assert file_list(_accounted({}))["accounted"]["files_ratio"] == 1.0
