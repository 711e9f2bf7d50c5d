"""What goes into an image, what stays out, and that a hostile disk changes neither."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import PlanError
from migrate.generate.payload import Collector, Payload, collect
from migrate.generate.tar import Member, stream
from migrate.generate.tripwire import Tripwire
from migrate.guest.protocol import Guest
from migrate.plan.model import Component, Directory, Image, RunUser
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link, Node
from tests.generate import shop

OTHER_KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + 3 * f"{'Ab1+' * 16}\n" + "-----END RSA PRIVATE KEY-----\n"


def app(*files: str, **fields: object) -> Component:
    image = Image(strategy="app", base=shop.BASE, files=list(files), exclude=list(fields.pop("exclude", [])))  # type: ignore[call-overload]
    user = RunUser(name="app", uid=996, gid=996)
    return shop.component("app", "/x:1", **{"image": image, "user": user, "command": ["/srv/app"], **fields})


def payload(
    component: Component, guest: Guest, secret_paths: tuple[str, ...] = (), system: tuple[str, ...] = ()
) -> Payload:
    tripwire = Tripwire(shop.SECRETS, shop.plan(component))
    collector = Collector(component, guest, frozenset(secret_paths), tripwire)
    return collect(collector, [], list(system))


def by_path(found: Payload) -> dict[str, Member]:
    return {m.path: m for m in found.members}


def test_a_tree_with_owners_modes_and_links() -> None:
    guest = FakeGuest({
        "/srv/app": Dir(mode=0o750, uid=996),
        "/srv/app/run": File("x", mode=0o755, uid=996),
        "/srv/app/python": Link("/usr/bin/python3"),
        "/srv/app/data/keep": "data",
        "/srv/app/x.sock": Node("socket"),
        "/srv/app/null": Node("char", device=(1, 3)),
        "/srv/other": "not asked for",
    })  # fmt: skip
    found = payload(app("/srv/app", exclude=["/srv/app/data"]), guest)
    members = by_path(found)
    assert [p for p in members if p.startswith("/srv")] == ["/srv/app", "/srv/app/python", "/srv/app/run"]
    assert (members["/srv/app"].mode, members["/srv/app"].uid) == (0o750, 996)
    assert members["/srv/app/python"].target == "/usr/bin/python3"
    assert found.notices == ("/srv/app/null is a device and stays out",)


def test_a_directory_alone_and_parents_as_on_the_machine() -> None:
    guest = FakeGuest({"/opt/x": Dir(mode=0o711, uid=5), "/opt/x/y": Dir(gid=7), "/opt/x/y/deep": "no"})
    members = by_path(payload(app("/opt/x/y/"), guest))
    assert [p for p in members if p.startswith("/opt")] == ["/opt/x", "/opt/x/y"]
    assert (members["/opt/x"].mode, members["/opt/x"].uid, members["/opt/x/y"].gid) == (0o711, 5, 7)


def test_links_on_the_way_and_at_the_end_of_a_name_go_along() -> None:
    guest = FakeGuest({
        "/srv/app/current": Link("releases/42"),
        "/srv/app/releases/42/main.py": "print()",
        "/etc/app.conf": Link("/srv/app/shared.conf"),
        "/srv/app/shared.conf": "a=1",
        "/srv/app/releases/41/main.py": "old",
    })  # fmt: skip
    members = by_path(payload(app("/srv/app/current/main.py", "/etc/app.conf"), guest))
    assert members["/srv/app/current"].target == "releases/42"
    assert "/srv/app/releases/42/main.py" in members
    assert members["/etc/app.conf"].kind == "symlink"
    assert "/srv/app/shared.conf" in members
    assert "/srv/app/releases/41/main.py" not in members


def test_what_no_image_gets() -> None:
    guest = FakeGuest({
        "/etc/shadow": "root:$6$", "/etc/ssh/ssh_host_rsa_key": "k", "/etc/machine-id": "1", "/proc/1/environ": "x",
        "/etc/app.conf": "a",
    })  # fmt: skip
    names = ["/etc/shadow", "/etc/ssh", "/etc/machine-id", "/proc", "/etc/app.conf"]
    files = [m.path for m in payload(app(*names), guest).members if m.kind == "file"]
    assert files == ["/etc/app.conf"]


@pytest.mark.parametrize("path", ["/", "/missing", "relative", "/a/../etc", "/loop"])
def test_names_that_cannot_be_copied_are_told(path: str) -> None:
    with pytest.raises(PlanError):
        payload(app(path), FakeGuest({"/etc/x": "1", "/dangling": Link("/nowhere")}))


def test_files_with_secrets_are_mounted_not_copied() -> None:
    guest = FakeGuest({
        "/srv/app/settings.py": f"PASSWORD = '{shop.DB_PASSWORD}'\n",
        "/srv/app/known.ini": "password=x",
        "/srv/app/tls.key": OTHER_KEY,
        "/srv/app/start": File(f"#!/bin/sh\nexport K={shop.FLASK_KEY}\n", mode=0o755),
        "/srv/app/main.py": "import os\n",
        "/srv/app/libgnutls.so": b"\x7fELF\0" + OTHER_KEY.encode(),
    })  # fmt: skip
    found = payload(app("/srv/app"), guest, secret_paths=("/srv/app/known.ini",))
    assert [m.path for m in found.members if m.kind == "file"] == ["/srv/app/libgnutls.so", "/srv/app/main.py"]
    assert {f.path: f.mode for f in found.secret_files} == {
        "/srv/app/settings.py": 0o400, "/srv/app/known.ini": 0o400, "/srv/app/tls.key": 0o400, "/srv/app/start": 0o500,
    }  # fmt: skip
    assert not any(s.value in n for s in shop.SECRETS for n in found.notices)
    assert any("orders-env-database-url" in n for n in found.notices)


def test_a_secret_across_two_pieces_is_found() -> None:
    content = b"x" * ((1 << 20) - 10) + shop.DB_PASSWORD.encode()
    tripwire = Tripwire(shop.SECRETS, shop.plan())
    pieces = [content[i : i + (1 << 20)] for i in range(0, len(content), 1 << 20)]
    assert len(pieces) == 2
    found = tripwire.in_chunks(pieces)
    assert found is not None


def test_a_long_file_with_a_secret_is_refused() -> None:
    guest = FakeGuest({"/srv/app/big": b"x" * (2 << 20) + shop.DB_PASSWORD.encode()})
    with pytest.raises(PlanError, match="too long") as error:
        payload(app("/srv/app"), guest)
    assert shop.DB_PASSWORD not in str(error.value)


def test_logs_go_to_the_containers_output() -> None:
    guest = FakeGuest({
        "/var/log/app": Dir(mode=0o750, uid=996), "/var/log/app/access.log": "old", "/var/log/app/error.log": "old",
    })  # fmt: skip
    members = by_path(payload(app(logs=["/var/log/app/*.log"]), guest))
    assert (members["/var/log/app"].mode, members["/var/log/app"].uid) == (0o750, 996)
    assert members["/var/log/app/access.log"].target == "/dev/stdout"
    assert members["/var/log/app/error.log"].target == "/dev/stderr"


def test_directories_are_made_writable_for_the_process_and_run_is_its_own() -> None:
    component = app(directories=[Directory(path="/var/lib/app"), Directory(path="/run/app", uid=996, gid=33)])
    members = by_path(payload(component, FakeGuest({})))
    assert (members["/var/lib/app"].uid, members["/run/app"].gid, members["/run"].uid) == (996, 33, 996)


def test_configuration_is_readable_where_root_read_it_on_the_machine() -> None:
    guest = FakeGuest(
        {"/etc/app": Dir(mode=0o700), "/etc/app/conf": File("a", mode=0o600), "/srv/app": File("x", mode=0o600)}
    )
    found = payload(app("/etc/app", "/srv/app", config=["/etc/app"]), guest)
    members = by_path(found)
    assert (members["/etc/app"].mode, members["/etc/app"].gid) == (0o750, 996)
    assert (members["/etc/app/conf"].mode, members["/etc/app/conf"].gid) == (0o640, 996)
    assert (members["/srv/app"].mode, members["/srv/app"].gid) == (0o600, 0)
    assert len(found.notices) == 2


def test_the_table_has_a_line_for_each_member_whatever_its_name() -> None:
    guest = FakeGuest({"/srv/app/a\tb\nc": "x", "/srv/app/\u202eevil": "y"})
    found = payload(app("/srv/app"), guest)
    lines = found.table().splitlines()
    assert len(lines) == len(found.members) + 1
    assert all(line.count("\t") == 4 for line in lines)
    assert "\u202e" not in found.table()


names = st.text(st.sampled_from("ab./\\\n é\udce9$"), min_size=1, max_size=8)


@given(st.dictionaries(names, st.one_of(names.map(Link), st.just("content"), st.just(Dir())), max_size=6))
def test_no_tree_makes_a_name_that_leads_out(tree: dict[str, Content]) -> None:
    files: dict[str, Content] = {}
    for name, content in tree.items():
        clean = "/".join(part for part in name.split("/") if part not in {"", ".", ".."})
        if clean:
            files[f"/srv/app/{clean}"] = content
    try:
        guest = FakeGuest({"/srv/app": Dir(), **files})
    except ValueError:  # a file where a directory must be
        return
    found = payload(app("/srv/app"), guest)
    data = b"".join(stream(found.members, guest))
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        for member in tar:
            parts = member.name.split("/")
            assert not member.name.startswith("/")
            assert ".." not in parts
            if member.islnk():
                assert not member.linkname.startswith("/")
