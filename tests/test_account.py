from __future__ import annotations

import hashlib

from migrate.account import CLASSES, account
from migrate.facts import Facts
from migrate.join import join
from migrate.model import Finding, PackageFiles, Place, Secret, User
from tests.analyzers.fake import FakeGuest, File, Link

HERE = Place("/var/lib/dpkg/status", 1)
SAME = "a = 1\n"


def _account(
    files: dict[str, str | File | Link], *findings: Finding
) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    facts = Facts(findings, FakeGuest(files))
    found = account(facts, join(facts))
    return {k: v for k, v in found.classes.items() if v != (0, 0)}, {line.path: line.class_ for line in found.paths}


def test_every_path_falls_in_exactly_one_class() -> None:
    md5 = hashlib.md5(SAME.encode()).hexdigest()
    package = PackageFiles(
        package="p",
        paths=("/usr/bin/p", "/etc/p/same", "/etc/p/changed", "/usr/share/p"),
        conffiles=(("/etc/p/same", md5), ("/etc/p/changed", md5)),
        seen_in=HERE,
    )
    key = Secret(id="k", kind="private-key", seen_in=Place("/etc/p/key", 1))
    anna = User(name="anna", uid=1000, gid=1000, home="/home/anna", shell="/bin/sh", system=False, seen_in=HERE)
    files: dict[str, str | File | Link] = {
        "/usr/bin/p": "bin",
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
        "/usr/share/p/cache": "x",
        "/usr/lib/stray/file": "xyz",
    }
    classes, paths = _account(files, package, key, anna)
    assert sum(count for count, _ in classes.values()) == len(files)
    assert classes == {
        "package": (3, 9),
        "changed-config": (2, 7),
        "secret": (1, 3),
        "generated": (2, 1),
        "application": (3, 5),
        "log": (1, 1),
        "data": (2, 2),
        "boot": (1, 1),
        "temporary": (1, 1),
        "unknown": (1, 3),
    }
    assert set(classes) == set(CLASSES)
    assert paths == {
        "/etc/p/changed": "changed-config",
        "/etc/p/added": "changed-config",
        "/etc/p/key": "secret",
        "/srv/app/a.py": "application",
        "/srv/app/lib/b.py": "application",
        "/usr/local/bin/tool": "application",
        "/usr/lib/stray/file": "unknown",
    }


def test_a_large_application_is_one_line_for_its_folder() -> None:
    _, paths = _account({f"/opt/app/lib/{n}": "x" for n in range(9)})
    assert paths == {"/opt/app/": "application"}


def test_links_that_tools_make_are_no_persons_work_and_a_unit_is() -> None:
    _, paths = _account({
        "/usr/bin/vi": Link("/etc/alternatives/vi"),
        "/etc/systemd/system/a.service": "[Service]",
        "/etc/systemd/system/b.service": Link("/lib/systemd/system/a.service"),
    })  # fmt: skip
    assert paths == {"/etc/systemd/system/a.service": "changed-config"}


def test_a_hard_link_is_a_file_more_and_no_byte_more() -> None:
    twin = File("12345", inode=7, links=2)
    classes, _ = _account({"/opt/a": twin, "/opt/b": twin})
    assert classes == {"application": (2, 5)}
