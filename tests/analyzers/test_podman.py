from __future__ import annotations

import base64
import doctest
import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import _quadlet, podman
from analyzers._libpod import parse_config, parse_storage
from analyzers._quadlet import parse_publish
from migrate.decide import decide
from migrate.discover import find_analyzers, run_analyzers
from migrate.facts import Facts
from migrate.join import join
from migrate.model import Covers, Finding, Listen, Need, Place, Secret, Service, Unread, User, Uses
from tests.analyzers.container_machine import GENERATOR, QUADLET, QUADLETS, libpod
from tests.analyzers.fake import Content, FakeGuest, Link

WIKI = "/etc/containers/systemd/wiki.container"
ROOT = "/var/lib/containers/storage"
ANN = User(seen_in=Place("/etc/passwd", 9), name="ann", uid=1000, gid=1000, home="/home/ann", shell="/bin/sh")


def analyzed(files: dict[str, Content], *known: Finding) -> list[Finding]:
    return list(podman.join(FakeGuest(files), known))


def services(found: list[Finding]) -> dict[str, Service]:
    return {f.id: f for f in found if isinstance(f, Service)}


def notes(found: list[Finding]) -> list[str]:
    return [f.why for f in found if isinstance(f, Unread)]


def line(text: str) -> int:
    return QUADLET.splitlines().index(text) + 1


def database(folder: Path, *configs: dict[str, Any] | str) -> bytes:
    path = folder / "db.sql"
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE ContainerConfig(ID TEXT PRIMARY KEY NOT NULL, Name TEXT UNIQUE NOT NULL, PodID TEXT,"
               " JSON TEXT NOT NULL)")  # fmt: skip
    for number, config in enumerate(configs):
        text = config if isinstance(config, str) else json.dumps(config)
        db.execute("INSERT INTO ContainerConfig VALUES (?, ?, NULL, ?)", (str(number), str(number), text))
    db.commit()
    db.close()
    return path.read_bytes()


def test_a_quadlet_is_the_service_that_is_made_of_it() -> None:
    found = analyzed(QUADLETS)
    wiki = services(found)["wiki"]
    assert (wiki.enabled, wiki.manager, wiki.unit, wiki.command) == (True, "podman", WIKI, ())
    assert (wiki.description, wiki.after, wiki.wants) == ("The wiki", ("db", "network-online.target"), ("db",))
    assert [(s.name, s.value, s.seen_in.line) for s in wiki.settings] == [
        ("Image", "docker.io/library/wiki:2.5", line("Image=docker.io/library/wiki:2.5")),
        ("Exec", "node server --port 3000", line("Exec=node server --port 3000")),
        ("Network", "wiki.network", line("Network=wiki.network")),
        ("Restart", "always", line("Restart=always")),
        ("Secret", "wiki-key,type=env,target=KEY", line("Secret=wiki-key,type=env,target=KEY")),
        ("Environment", "DB_PASS", 2),
        ("Environment", "DB_HOST", 14),
        ("Environment", "DB_PORT", 14),
        ("Environment", "MOTTO", 14),
    ]
    assert notes(found) == []


def test_what_a_quadlet_publishes_keeps_and_needs() -> None:
    found = [f for f in analyzed(QUADLETS) if getattr(f, "service", "") == "wiki"]
    assert [f for f in found if isinstance(f, Listen)] == [
        Listen(seen_in=Place(WIKI, 8), service="wiki", port=3000, address="127.0.0.1"),
        Listen(seen_in=Place(WIKI, 9), service="wiki", port=8443),
    ]
    assert [(f.path, f.role, f.seen_in.line) for f in found if isinstance(f, Uses)] == [
        (f"{ROOT}/volumes/wikidata/_data", "data", 10),
        ("/etc/wiki/config.yml", "config", 11),
        ("/root/uploads", "data", 12),
    ]
    assert [(f.over, f.seen_in.line) for f in found if isinstance(f, Need)] == [("tcp:127.0.0.1:5434", 14)]


def test_without_a_generator_or_an_install_section_no_boot_starts_it() -> None:
    without = {path: content for path, content in QUADLETS.items() if path != GENERATOR}
    found = analyzed(without)
    assert not services(found)["wiki"].enabled
    assert notes(found) == ["no generator of podman's is installed (it came with 4.4): no boot starts this"]
    idle = analyzed({GENERATOR: "", WIKI: "[Container]\nImage=x\n"})
    assert not services(idle)["wiki"].enabled


def test_dropins_masks_and_templates() -> None:
    found = analyzed({
        GENERATOR: "",
        WIKI: QUADLET,
        f"{WIKI}.d/10-port.conf": "[Container]\nPublishPort=\nPublishPort=9000:3000\n",
        "/usr/share/containers/systemd/wiki.container": "[Container]\nImage=hidden\n",
        "/usr/share/containers/systemd/job@.container": "[Container]\nImage=job\n",
        "/etc/containers/systemd/run@one.container": Link("/usr/share/containers/systemd/run@.container"),
        "/usr/share/containers/systemd/run@.container": (
            "[Container]\nImage=run:%i\n[Install]\nWantedBy=default.target\nDefaultInstance=main\n"
        ),
        "/etc/containers/systemd/none.container": "[Container]\nExec=x\n",
    })  # fmt: skip
    assert [f.port for f in found if isinstance(f, Listen) and f.service == "wiki"] == [9000]
    images = {s.id: s.settings[0].value for s in services(found).values()}
    assert images == {"wiki": "docker.io/library/wiki:2.5", "run@one": "run:one", "run@main": "run:main"}
    assert notes(found) == [
        "a template, and no link or DefaultInstance= makes an instance of it",
        "neither Image= nor Rootfs= nor Yaml=: podman makes no unit of it",
    ]


def test_pods_and_kube_files() -> None:
    found = analyzed({
        GENERATOR: "",
        "/etc/containers/systemd/a.pod": "[Pod]\nPublishPort=8000:80\n",
        "/etc/containers/systemd/web.container": "[Container]\nImage=nginx\nPod=a.pod\nServiceName=front\n",
        "/etc/containers/systemd/all.kube": "[Kube]\nYaml=/srv/all.yaml\n[Install]\nWantedBy=default.target\n",
    })  # fmt: skip
    assert [(f.service, f.port, f.seen_in.path) for f in found if isinstance(f, Listen)] == [
        ("front", 8000, "/etc/containers/systemd/a.pod")
    ]
    assert services(found)["all"].settings[0].value == "/srv/all.yaml"


def test_quadlets_of_users_start_where_they_linger() -> None:
    own = "/home/ann/.config/containers/systemd/blog.container"
    text = "[Container]\nImage=blog\nVolume=%h/posts:/posts\nVolume=kept:/kept\n[Install]\nWantedBy=default.target\n"
    files: dict[str, Content] = {GENERATOR: "", own: text}
    assert not services(analyzed(files, ANN))["ann/blog"].enabled
    found = analyzed({**files, "/var/lib/systemd/linger/ann": ""}, ANN)
    assert services(found)["ann/blog"].enabled
    assert [f.path for f in found if isinstance(f, Uses)] == [
        "/home/ann/posts",
        "/home/ann/.local/share/containers/storage/volumes/kept/_data",
    ]
    assert services(analyzed(files)) == {}


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("8080:80", [(8080, 80, "tcp", "*")]),
        ("127.0.0.1:8080:80/udp", [(8080, 80, "udp", "127.0.0.1")]),
        ("[::1]:53:53", [(53, 53, "tcp", "::1")]),
        ("5000-5001:6000-6001", [(5000, 6000, "tcp", "*"), (5001, 6001, "tcp", "*")]),
        ("5000-5001:6000", []),
        ("1-65535:1-65535", []),
        ("80", []),
        ("127.0.0.1::80", []),
        ("0:0", []),
        ("99999:80", []),
        ("nonsense", []),
    ],
)
def test_ports_as_podman_takes_them(text: str, ports: list[tuple[int, int, str, str]]) -> None:
    assert parse_publish(text) == ports
    assert doctest.testmod(_quadlet).failed == 0


@given(st.from_regex(r"(\[?[0-9a-f:.]{0,12}\]?:)?[0-9-]{0,12}:?[0-9-]{0,12}(/[a-z]{0,4})?", fullmatch=True))
def test_no_text_gives_a_port_that_is_none(text: str) -> None:
    for host, port, protocol, _ in parse_publish(text):
        assert 0 < host < 65536
        assert 0 < port < 65536
        assert protocol


def test_containers_of_libpods_database(tmp_path: Path) -> None:
    infra = libpod("pod-infra", pause=True, pod="p1", newPortMappings=[{"host_port": 81, "container_port": 80}])
    member = libpod("member", pod="p1", restart_policy="no", newPortMappings=[])
    files: dict[str, Content] = {f"{ROOT}/db.sql": database(tmp_path, libpod("cache"), infra, member, "no json")}
    restart = Service(seen_in=Place("/x"), id="podman-restart", manager="systemd", enabled=True, unit="/x")
    found = analyzed(files, restart)
    assert {s.id: s.enabled for s in services(found).values()} == {"podman:cache": True, "podman:member": False}
    assert {s.name: s.value for s in services(found)["podman:cache"].settings} == {
        "Image": "docker.io/library/redis:7", "Exec": "docker-entrypoint.sh redis-server", "Restart": "always",
        "Network": "bridge", "Environment": "UPSTREAM",
    }  # fmt: skip
    assert [(f.service, f.port) for f in found if isinstance(f, Listen)] == [
        ("podman:cache", 6390), ("podman:cache", 6391), ("podman:member", 81),
    ]  # fmt: skip
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)][:2] == [
        ("/etc/redis-x", "config"),
        (f"{ROOT}/volumes/redisdata/_data", "data"),
    ]
    assert [f.over for f in found if isinstance(f, Need)][:1] == ["tcp:10.0.0.7:6380"]
    assert not services(analyzed(files))["podman:cache"].enabled  # nothing runs `podman start --all`


def test_units_of_podman_generate_systemd_are_the_container(tmp_path: Path) -> None:
    files: dict[str, Content] = {f"{ROOT}/db.sql": database(tmp_path, libpod("cache", restart_policy=""))}
    path = "/etc/systemd/system/container-cache.service"
    unit = Service(seen_in=Place(path, 9), id="container-cache", manager="systemd", enabled=True, unit=path,
                   command=("/usr/bin/podman", "start", "cache"))  # fmt: skip
    found = analyzed(files, unit)
    assert services(found)["podman:cache"].enabled
    assert [(f.service, f.units) for f in found if isinstance(f, Covers)] == [("podman:cache", ("container-cache",))]


def test_units_that_make_their_container(tmp_path: Path) -> None:
    command = ("/usr/bin/podman", "run", "--cidfile=/run/x.ctr-id", "--cgroups=no-conmon", "--rm", "--sdnotify=conmon",
               "--replace", "-d", "--name", "cache", "-p", "6380:6379", "docker.io/library/redis:7")  # fmt: skip
    path = "/etc/systemd/system/container-cache.service"
    unit = Service(seen_in=Place(path, 9), id="container-cache", manager="systemd", enabled=True, unit=path,
                   command=command)  # fmt: skip
    found = analyzed({f"{ROOT}/db.sql": database(tmp_path, libpod("cache"))}, unit)
    assert list(services(found)) == ["container-cache"]
    assert services(found)["container-cache"].settings[0].value == "docker.io/library/redis:7"
    assert [f.port for f in found if isinstance(f, Listen)] == [6380]


def test_a_container_that_a_quadlet_makes_is_not_told_twice(tmp_path: Path) -> None:
    files: dict[str, Content] = {**QUADLETS, f"{ROOT}/db.sql": database(tmp_path, libpod("wiki"))}
    assert sorted(services(analyzed(files))) == ["db", "wiki"]


def test_without_the_database_the_last_specification_is_read() -> None:
    listed = [{"id": "abc", "names": ["x"], "metadata": json.dumps({"name": "x", "image-name": "quay.io/x:1"})}]
    spec = libpod("x")["spec"]
    files: dict[str, Content] = {
        "/etc/containers/storage.conf": '[storage]\ndriver = "overlay"\ngraphroot = "/data/containers"\n',
        "/data/containers/overlay-containers/containers.json": json.dumps(listed),
        "/data/containers/overlay-containers/abc/userdata/config.json": json.dumps(spec),
    }
    found = analyzed(files)
    assert [(s.name, s.value) for s in services(found)["podman:x"].settings] == [
        ("Image", "quay.io/x:1"), ("Exec", "docker-entrypoint.sh redis-server"), ("Environment", "UPSTREAM"),
    ]  # fmt: skip
    assert notes(found) == [
        "published ports and restart policy of x are in libpod's bolt_state.db, which is not read",
        "container x of quay.io/x:1 is kept, and no boot starts it",
    ]


def test_podmans_own_secrets_are_secrets() -> None:
    folder = f"{ROOT}/secrets"
    data = base64.b64encode(b"correct-horse-battery").decode()
    found = analyzed({
        f"{folder}/secrets.json": json.dumps({"idToName": {"abc": "wiki-key"}}),
        f"{folder}/filedriver/secretsdata.json": json.dumps({"abc": data, "bad": "%%%", "none": 3}),
    })  # fmt: skip
    secrets = [(f.id, f.name, f.value) for f in found if isinstance(f, Secret)]
    assert ("podman-wiki-key", "wiki-key", "correct-horse-battery") in secrets
    assert len([s for s in secrets if s[2]]) == 1


def test_a_quadlet_is_a_question_in_the_plan() -> None:
    guest = FakeGuest({**QUADLETS, "/usr/bin/node": "ELF"})
    facts = Facts(run_analyzers(guest, find_analyzers()), guest, quick=True)
    joined = join(facts)
    assert {c.id: decide(facts, c).decision for c in joined.candidates} == {"db": "undecided", "wiki": "undecided"}
    assert ("wiki", "db", "tcp") in {(t.source, t.target, t.kind) for t in joined.ties}


def test_damaged_files_are_told_and_stop_nothing(tmp_path: Path) -> None:
    assert parse_storage(b"[" * 9999) == []
    assert parse_storage(b'[{"id": 3}, null, {"id": "a", "metadata": "{"}]') == []
    assert parse_config({"name": "../x"}, ROOT, Place("/x")) is None
    found = analyzed({f"{ROOT}/db.sql": b"SQLite format 3\0" + bytes(100)})
    assert len(notes(found)) == 1
    chance = random.Random(11)
    values: list[object] = [None, -1, 1 << 40, "", "../..", [], [[]], {}, {"a": []}, True, "\x00", [1, {"source": 3}]]
    for _ in range(40):
        config = libpod("cache")
        config[chance.choice(sorted(set(config) - {"name"}))] = chance.choice(values)
        config["spec"] = chance.choice(
            [config["spec"], {"process": chance.choice(values), "mounts": chance.choice(values)}]
        )
        assert list(services(analyzed({f"{ROOT}/db.sql": database(tmp_path, config)}))) in (["podman:cache"], [])
    for _ in range(200):
        at = chance.randrange(len(QUADLET))
        text = (
            QUADLET[:at] + chance.choice(["", '"', "\\", "\n", "=", ":", "[", "%", "\udcff", "\0"]) + QUADLET[at + 1 :]
        )
        assert "db" in services(analyzed({**QUADLETS, WIKI: text}))
