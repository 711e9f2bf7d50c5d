from __future__ import annotations

import base64
import doctest
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import _container_run, _containers, docker
from analyzers._container_run import parse_run
from analyzers._containers import started_by
from analyzers._docker_files import compose_place, will_start
from analyzers._reading import Reader
from migrate.decide import decide
from migrate.discover import find_analyzers, run_analyzers
from migrate.facts import Facts
from migrate.join import join
from migrate.model import (
    Covers,
    Finding,
    Health,
    Listen,
    Need,
    Place,
    Secret,
    Service,
    Unread,
    User,
    Uses,
)  # fmt: skip
from tests.analyzers.container_machine import (
    COMPOSE,
    COMPOSE_TEXT,
    ROOT,
    bind,
    container,
    folder_of,
    labels_of,
    shop,
    volume,
)
from tests.analyzers.fake import Content, FakeGuest, Link

CONFIG = {name: f"{folder_of(name)}/config.v2.json" for name in ("shop-web-1", "shop-app-1", "shop-db-1", "agent")}


def analyzed(files: dict[str, Content], *known: Finding) -> list[Finding]:
    return list(docker.join(FakeGuest(files), known))


def services(found: list[Finding]) -> dict[str, Service]:
    return {f.id: f for f in found if isinstance(f, Service)}


def unit(name: str, *command: str, enabled: bool = True, folder: str = "") -> Service:
    path = f"/etc/systemd/system/{name}.service"
    return Service(seen_in=Place(path, 3), id=name, manager="systemd", enabled=enabled, unit=path, command=command,
                   working_directory=folder)  # fmt: skip


def test_a_container_is_a_service_with_an_image_and_no_command_of_the_machine() -> None:
    web = services(analyzed(shop()))["docker:shop-web-1"]
    assert (web.enabled, web.command, web.type, web.manager, web.user) == (True, (), "container", "docker", "root")
    assert (web.unit, web.seen_in) == (CONFIG["shop-web-1"], Place(COMPOSE, 2))
    assert {(s.name, s.value) for s in web.settings} == {
        ("Image", "nginx:1.25"),
        ("ImageID", "sha256:" + "1" * 64),
        ("ImageDigest", "nginx@sha256:" + "a" * 64),
        ("Exec", "/docker-entrypoint.sh nginx -g 'daemon off;'"),
        ("Restart", "always"),
        ("Network", "shop_default"),
        ("Compose", f"{COMPOSE}:2"),
        ("Environment", "TZ"),  # PATH and NGINX_VERSION are the image's
    }
    assert f"it came as nginx@sha256:{'a' * 64}" in web.description


def test_an_image_that_no_registry_gave_is_said_to_be_made_here() -> None:
    app = services(analyzed(shop()))["docker:shop-app-1"]
    assert app.description.endswith("no registry is known to have it: it was made here")
    assert (app.user, app.group) == ("1000", "1000")
    assert [(s.name, s.value) for s in app.settings if s.name in ("MemoryMax", "CPUQuota")] == [
        ("MemoryMax", "536870912"),
        ("CPUQuota", "150%"),
    ]


def test_what_it_publishes() -> None:
    listens = [(f.service, f.port, f.address, f.assumed) for f in analyzed(shop()) if isinstance(f, Listen)]
    assert listens == [
        ("docker:agent", 80, "*", True),  # on the machine's network, by what its image says
        ("docker:shop-db-1", 5433, "127.0.0.1", False),
        ("docker:shop-web-1", 8080, "*", False),
    ]


def test_a_port_that_the_engine_chose() -> None:
    files = container("x", "nginx", ports={"80/tcp": [{"HostIp": "", "HostPort": ""}], "53/udp": [{"HostPort": "53"}]},
                      NetworkSettings={"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "49153"}]}})  # fmt: skip
    listens = [(f.port, f.protocol, f.address) for f in analyzed(files) if isinstance(f, Listen)]
    assert listens == [(53, "udp", "*"), (49153, "tcp", "*")]


def test_what_it_keeps_and_reads() -> None:
    uses = [(f.service, f.path, f.role, f.says) for f in analyzed(shop()) if isinstance(f, Uses)]
    assert uses == [
        ("docker:shop-db-1", f"{ROOT}/volumes/shop_pgdata/_data", "data",
         "volume shop_pgdata at /var/lib/postgresql/data"),
        ("docker:shop-web-1", "/srv/shop/nginx.conf", "config", "mounted at /etc/nginx/nginx.conf, read-only"),
    ]  # fmt: skip


def test_mounts_of_other_kinds() -> None:
    mounts = (
        {"Type": "tmpfs", "Destination": "/cache", "Source": ""},
        {"Type": "volume", "Name": "f" * 64, "Source": "", "Driver": "local", "Destination": "/anonymous", "RW": True},
        {"Type": "volume", "Name": "../../etc", "Source": "", "Driver": "local", "Destination": "/out", "RW": True},
        bind("/var/log/app", "/log"),
        bind("/srv/up/../uploads", "/uploads"),
        bind("/etc/app", "/etc/app"),
    )
    uses = [(f.path, f.role) for f in analyzed(container("x", "nginx", mounts=mounts)) if isinstance(f, Uses)]
    assert sorted(uses) == [
        ("/etc/app", "config"),
        ("/srv/uploads", "data"),
        ("/var/lib/docker/volumes/" + "f" * 64 + "/_data", "data"),
        ("/var/log/app", "log"),
    ]


def test_what_it_needs_is_seen_from_the_machine() -> None:
    found = analyzed(shop())
    needs = {(f.service, f.over, f.host_text) for f in found if isinstance(f, Need)}
    assert needs == {
        ("docker:agent", "unix:/run/docker.sock", ""),
        ("docker:shop-app-1", "tcp:127.0.0.1:5433", "db"),  # where the machine has the other container's 5432
        ("docker:shop-app-1", "tcp:127.0.0.1:6379", "host.docker.internal"),
        ("docker:shop-app-1", "tcp:cache:6379", "cache"),
        ("docker:shop-app-1", "tcp:mail.corp.example:25", "mail.corp.example"),
    }  # localhost:3000 is the container itself
    app = services(found)["docker:shop-app-1"]
    assert (app.requires, app.wants) == (("docker:shop-db-1",), ("docker:shop-db-1",))


def test_a_socket_below_a_mount_is_found_where_the_machine_has_it() -> None:
    files = container("x", "nginx", env=("DATABASE_URL=postgresql:///shop?host=/sockets/pg",),
                      mounts=(bind("/srv/run", "/sockets"),))  # fmt: skip
    needs = [f.over for f in analyzed(files) if isinstance(f, Need)]
    assert needs == ["unix:/srv/run/pg/.s.PGSQL.5432"]


def test_secrets_have_a_place_and_stand_in_no_other_finding() -> None:
    found = analyzed(shop())
    secrets = [(f.id, f.kind, f.seen_in.path) for f in found if isinstance(f, Secret)]
    assert secrets == [
        ("docker-agent-token", "token", CONFIG["agent"]),
        ("docker-shop-db-1-postgres-password", "password", CONFIG["shop-db-1"]),
        ("docker-shop-app-1-database-url", "password-in-url", CONFIG["shop-app-1"]),
    ]
    others = repr([f for f in found if not isinstance(f, Secret)])
    assert "hunter2hunter2" not in others
    assert "correct-horse" not in others


@pytest.mark.parametrize(
    ("policy", "state", "stopped", "starts"),
    [
        ("no", 1, False, False),
        ("", 1, False, False),
        ("always", 0, True, True),
        ("unless-stopped", 0, False, True),
        ("unless-stopped", 0, True, False),
        ("on-failure", 0, False, False),
        ("on-failure", 137, False, True),
    ],
)
def test_the_restart_policy_says_what_a_boot_starts(policy: str, state: int, stopped: bool, starts: bool) -> None:
    config = {"State": {"ExitCode": state}, "HasBeenManuallyStopped": stopped}
    assert will_start(config, {"RestartPolicy": {"Name": policy}}) == (starts, policy or "no")


def test_nothing_starts_without_the_engine() -> None:
    found = analyzed(shop(), unit("docker", "/usr/sbin/dockerd", enabled=False))
    assert [s.id for s in services(found).values() if s.enabled] == []
    notes = [f.why for f in found if isinstance(f, Unread)]
    assert "container agent ran when the disk was last written, and no boot starts it" in notes
    assert len(notes) == 4


def test_units_that_start_containers_are_the_containers() -> None:
    units = (
        unit("agent", "/usr/bin/docker", "start", "-a", "agent"),
        unit("shop", "/usr/bin/docker", "compose", "up", "-d", folder="/srv/shop"),
        unit("elsewhere", "/usr/bin/docker", "compose", "up", folder="/srv/other"),
    )
    found = analyzed(shop(), *units)
    assert services(found)["docker:agent"].enabled
    assert [(f.service, f.units) for f in found if isinstance(f, Covers)] == [
        ("docker:agent", ("agent",)),
        ("docker:shop-app-1", ("shop",)),
    ]


def test_a_unit_that_makes_its_container_is_that_container() -> None:
    command = ("/usr/bin/docker", "run", "--rm", "-it", "--name", "blog", "-p", "127.0.0.1:2368:2368", "-p80:8080/tcp",
               "-v", "/srv/blog:/content:ro", "-v", "media:/media", "-e", "DB=mysql://db.corp/blog", "-e", "LEVEL",
               "--env-file=/srv/blog.env", "--network", "web", "ghost:5", "node", "index.js")  # fmt: skip
    files: dict[str, Content] = {"/srv/blog.env": "# x\nMAIL=smtp://mail.corp:2525\n"}
    found = analyzed(files, unit("blog", *command))
    blog = services(found)["blog"]
    assert (blog.manager, blog.type, blog.enabled, blog.command) == ("docker", "container", True, ())
    assert {(s.name, s.value) for s in blog.settings} == {
        ("Image", "ghost:5"), ("Exec", "node index.js"), ("Network", "web"), ("Environment", "DB"),
        ("Environment", "MAIL"),
    }  # fmt: skip
    assert [(f.port, f.address) for f in found if isinstance(f, Listen)] == [(2368, "127.0.0.1"), (80, "*")]
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)] == [
        ("/srv/blog", "config"),
        (f"{ROOT}/volumes/media/_data", "data"),
    ]
    assert {(f.over, str(f.seen_in)) for f in found if isinstance(f, Need)} == {
        ("tcp:db.corp:3306", "/etc/systemd/system/blog.service:3"),
        ("tcp:mail.corp:2525", "/srv/blog.env:2"),
    }
    assert [f for f in found if isinstance(f, Covers)] == []
    assert parse_run(("/usr/bin/docker", "run", "--rm")) is None
    assert parse_run(("/usr/bin/docker", "pull", "nginx")) is None
    assert doctest.testmod(_container_run).failed == 0


def test_what_a_container_wrote_outside_its_volumes_is_told() -> None:
    ident = folder_of("agent").rpartition("/")[2]
    more: dict[str, Content] = {
        **shop(),
        f"{ROOT}/image/overlay2/layerdb/mounts/{ident}/mount-id": "abc123",
        f"{ROOT}/overlay2/abc123/diff/app/upload.png": "12345",
        f"{ROOT}/overlay2/abc123/diff/run/agent.pid": "1",
        f"{ROOT}/overlay2/abc123/diff/etc/hosts": "1",
    }
    notes = [
        f.why for f in analyzed(more) if isinstance(f, Unread) and f.seen_in.path == f"{ROOT}/overlay2/abc123/diff"
    ]
    (note,) = notes
    assert note.startswith("container agent has written outside its volumes: files 1, bytes 5, /app/upload.png first;")


def test_its_own_health_check_and_how_it_stops() -> None:
    files = container("x", "nginx")
    path = f"{folder_of('x')}/config.v2.json"
    config = json.loads(str(files[path]))
    config["Config"] |= {
        "Healthcheck": {"Test": ["CMD-SHELL", "pg_isready -U x"]},
        "StopSignal": "SIGQUIT",
        "StopTimeout": 30,
    }
    found = analyzed({**files, path: json.dumps(config)})
    assert [f.command for f in found if isinstance(f, Health)] == [("/bin/sh", "-c", "pg_isready -U x")]
    x = services(found)["docker:x"]
    assert [(s.name, s.value) for s in x.settings if s.name in ("KillSignal", "TimeoutStopSec")] == [
        ("KillSignal", "SIGQUIT"),
        ("TimeoutStopSec", "30"),
    ]
    config["Config"]["Healthcheck"] = {"Test": ["NONE"]}
    assert [f for f in analyzed({**files, path: json.dumps(config)}) if isinstance(f, Health)] == []


@given(st.lists(st.one_of(st.text(max_size=8), st.sampled_from(["run", "-p", "--name", "-it", "--", "-", "x=y"]))))
def test_no_words_break_the_reading_of_a_command(words: list[str]) -> None:
    run = parse_run(("docker", *words))
    assert run is None or (run.image in words and list(run.command) == words[len(words) - len(run.command) :])
    kind, names, _ = started_by(("docker", *words))
    assert kind in ("", "name", "compose")
    assert all(any(name in word for word in words) for name in names)


def test_passwords_for_registries() -> None:
    encoded = base64.b64encode(b"deploy:correct-horse-battery").decode()
    auths = {"auths": {"registry.corp": {"auth": encoded}, "empty": {}, "odd": {"auth": "%"}, "x": 3}}
    found = analyzed({"/root/.docker/config.json": json.dumps(auths)})
    secrets = [(f.id, f.name, f.value) for f in found if isinstance(f, Secret)]
    assert secrets == [
        ("root-docker-config-json-registry-corp", "deploy", encoded),
        ("root-docker-config-json-registry-corp-2", "deploy", "correct-horse-battery"),
    ]


def test_the_words_of_such_units() -> None:
    assert started_by(("/usr/bin/docker", "run", "--rm", "--name=web", "nginx")) == ("name", frozenset({"web"}), "")
    assert started_by(("/usr/bin/docker-compose", "-f", "/srv/x.yml", "-p", "x", "up")) == (
        "compose", frozenset({"x"}), "/srv/x.yml",
    )  # fmt: skip
    assert started_by(("/usr/bin/docker", "system", "prune")) == ("", frozenset(), "")
    assert started_by(()) == ("", frozenset(), "")
    assert doctest.testmod(_containers).failed == 0


def test_the_data_root_is_where_the_engine_was_told() -> None:
    files = container("x", "nginx", root="/data/docker")
    assert services(analyzed(files)) == {}
    told: dict[str, Content] = {**files, "/etc/docker/daemon.json": '{"data-root": "/data/docker"}'}
    assert list(services(analyzed(told))) == ["docker:x"]
    option = unit("docker", "/usr/bin/dockerd", "--data-root", "/data/docker")
    assert list(services(analyzed(files, option))) == ["docker:x"]
    linked: dict[str, Content] = {**files, "/var/lib/docker": Link("/data/docker")}
    assert list(services(analyzed(linked))) == ["docker:x"]
    mapped = container("x", "nginx", root="/var/lib/docker/165536.165536")
    assert list(services(analyzed(mapped))) == ["docker:x"]
    home = User(seen_in=Place("/etc/passwd", 9), name="ann", uid=1000, gid=1000, home="/home/ann", shell="/bin/sh")
    rootless = container("x", "nginx", root="/home/ann/.local/share/docker")
    assert list(services(analyzed(rootless, home))) == ["docker:x"]


def test_where_a_compose_file_names_a_service() -> None:
    reader = Reader(FakeGuest({COMPOSE: COMPOSE_TEXT}), "docker")
    assert compose_place(reader, labels_of("app")) == Place(COMPOSE, 6)
    assert compose_place(reader, labels_of("gone")) == Place(COMPOSE)
    assert compose_place(reader, {}) is None


def test_swarms_and_nodes_of_clusters_are_told() -> None:
    more: dict[str, Content] = {
        **shop(),
        f"{ROOT}/swarm/state.json": '[{"node_id":"x"}]',
        "/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n",
    }
    notes = {f.seen_in.path: f.why for f in analyzed(more) if isinstance(f, Unread)}
    assert "part of a swarm" in notes[f"{ROOT}/swarm/state.json"]
    assert "a Kubernetes node (kubelet)" in notes["/var/lib/kubelet/config.yaml"]
    pods = container("k8s_app_pod", "nginx")
    assert services(analyzed(pods)) == {}


def test_a_container_is_a_question_in_the_plan_and_never_a_program_of_the_machine() -> None:
    files: dict[str, Content] = {**shop(), "/usr/sbin/nginx": "ELF", "/usr/bin/node": "ELF"}
    guest = FakeGuest(files)
    facts = Facts(run_analyzers(guest, find_analyzers()), guest, quick=True)
    joined = join(facts)
    assert {c.id: decide(facts, c).decision for c in joined.candidates} == {
        "docker-shop-app-1": "undecided",
        "docker-shop-db-1": "undecided",
        "docker-shop-web-1": "undecided",
    }
    ties = {(t.source, t.target, t.kind) for t in joined.ties}
    assert ("docker-shop-app-1", "docker-shop-db-1", "tcp") in ties
    assert ("docker-shop-web-1", "docker-shop-app-1", "starts-after") in ties
    assert joined["docker-shop-web-1"].program == ""


def test_damaged_files_are_told_and_stop_nothing() -> None:
    good = shop()
    notes = [f for f in analyzed({**good, CONFIG["agent"]: "[" * 5000}) if isinstance(f, Unread)]
    assert [n.why for n in notes if n.seen_in.path == CONFIG["agent"]] == [
        "it is no JSON object with anything in it"
    ]  # fmt: skip
    chance = random.Random(7)
    replacements: list[object] = [None, 0, -1, 1 << 70, "", "x", "../..", [], [[]], {}, {"a": []}, True, "\x00", [1]]
    for _ in range(300):
        files = dict(good)
        path = chance.choice(sorted(p for p in good if p.endswith(".json")))
        text = str(files[path])
        if chance.random() < 0.3:
            at = chance.randrange(len(text))
            files[path] = text[:at] + chance.choice(["", '"', "{", "\udcff", "]"]) + text[at + 1 :]
        else:
            tree = json.loads(text)
            node = tree
            while isinstance(node, dict) and node:
                key = chance.choice(sorted(node))
                if chance.random() < 0.5 or not isinstance(node[key], dict):
                    node[key] = chance.choice(replacements)
                    break
                node = node[key]
            files[path] = json.dumps(tree)
        found = analyzed(files)
        assert len([f for f in found if isinstance(f, Service)]) >= 3  # the others are as they were


def test_nothing_is_found_where_there_is_no_engine() -> None:
    assert analyzed({"/etc/hostname": "x\n"}) == []
    assert volume("a", "/b")["Name"] == "a"
