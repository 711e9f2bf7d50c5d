"""Images that are really built and run: packages from the distribution, and the same server lifted from a disk."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from migrate.bases.check import BaseChecker, differences
from migrate.bases.command import refresh
from migrate.bases.make import files_of, saved
from migrate.bases.model import BaseFile, LeftToBase
from migrate.engine import Engine
from migrate.generate import generate, write
from migrate.guest.directory import DirectoryGuest
from migrate.guest.open import open_guest
from migrate.guest.protocol import Guest
from migrate.plan.model import Account, Component, Directory, Image, Plan, Port, RunUser
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link
from tests.generate import shop

pytestmark = pytest.mark.docker

CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
NAMES = ("vm2c-test/packages", "vm2c-test/lift", "vm2c-test/onto")

TREE: dict[str, Content] = {
    "/etc/group": "root:x:0:\nwww-data:x:33:\nkeepers:x:4711:www-data\n",
    "/var/lib/dpkg/status": "",
    "/etc/nginx": Dir(),
    "/etc/nginx/nginx.conf": "user www-data;\npid /run/nginx.pid;\nevents {}\nhttp {\n"
    "  access_log /var/log/nginx/access.log;\n  error_log /var/log/nginx/error.log;\n"
    "  server { listen 80; root /srv/www; }\n}\n",
    "/srv/www": Dir(mode=0o2750, uid=4242, gid=4711),
    "/srv/www/index.html": File("moved\n", mode=0o640, uid=4242, gid=4711, mtime=1_700_000_000),
    "/srv/www/latest.html": Link("index.html"),
    "/srv/www/ping": File("x", mode=0o755, xattrs={"security.capability": CAPABILITY}),
}


def docker(*args: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *args], capture_output=True, text=True)
    assert done.returncode == 0 or not check, f"docker {args[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def nginx(image: Image) -> Component:
    return shop.component(
        "nginx", "/lib/systemd/system/nginx.service:1", pod=None, timezone=None, image=image,
        command=["/usr/sbin/nginx", "-g", "daemon off;"],
        prepare=[["/usr/sbin/nginx", "-q", "-t"]],
        environment={"GREETING": 'a "quoted" $HOME \\ value'},
        user=RunUser(name="www-data", uid=33, gid=33, groups=[4711]),
        accounts=[Account(name="keeper", uid=4242, gid=4711, group="keepers")],
        ports=[Port(port=80)], config=["/etc/nginx"], logs=["/var/log/nginx/access.log", "/var/log/nginx/error.log"],
        directories=[Directory(path="/var/lib/nginx"), Directory(path="/var/log/nginx")], stop_signal="SIGQUIT",
    )  # fmt: skip


def built(plan: Plan, guest: Guest, folder: Path, name: str) -> str:
    write(generate(plan, guest, ()), folder)
    docker("build", "--network", "host", "-t", name, str(folder / "images/nginx"))
    return name


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    if subprocess.run(["docker", "version"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers")
    yield
    for name in reversed(NAMES):
        docker("rmi", "-f", name, check=False)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> str:
    image = Image(
        strategy="packages", base="debian:12-slim", packages=["nginx-light"],
        files=["/etc/nginx", "/srv/www"], remove=["/etc/nginx"],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("packages")
    return built(shop.plan(nginx(image)), FakeGuest(TREE), folder, NAMES[0])


@pytest.fixture(scope="module")
def machine(packages: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first image is the machine now: its files are all that the two others are made of."""
    if os.geteuid() != 0:
        pytest.skip("only root unpacks a machine with its owners")
    root = tmp_path_factory.mktemp("machine")
    container = docker("create", packages).strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
            subprocess.run(
                ["tar", "-C", str(root), "--xattrs", "--xattrs-include=*", "-xpf", "-"], stdin=export.stdout, check=True
            )
    finally:
        docker("rm", container)
    return root


def lifted(machine: Path, folder: Path, name: str, base: str, base_inventory: str = "") -> str:
    files = ["/etc/nginx", "/srv/www"]
    image = Image(
        strategy="lift", base=base, base_inventory=base_inventory, packages=["nginx-light"], files=files
    )  # fmt: skip
    with DirectoryGuest(machine) as guest:
        return built(shop.plan(nginx(image)), guest, folder, name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tmp_path_factory.mktemp(name) for name in ("lift", "onto")}


@pytest.fixture(scope="module")
def lift(machine: Path, folders: dict[str, Path]) -> str:
    return lifted(machine, folders["lift"], NAMES[1], "scratch")


@pytest.fixture(scope="module")
def onto(machine: Path, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The machine's own files on the base that it was made from, which keeps what it has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        inventory = refresh(["debian:12-slim"])[0].digest
        yield lifted(machine, folders["onto"], NAMES[2], "debian:12-slim", inventory)


@pytest.fixture(params=NAMES)
def image(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param.partition("/")[2]))


@pytest.fixture
def container(image: str) -> Iterator[str]:
    # As compose.yaml runs it, without a network: nothing but this container is asked.
    started = docker(
        "run", "-d", "--init", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true",
        "--sysctl", "net.ipv4.ip_unprivileged_port_start=0", "--group-add", "4711", image,
    ).strip()  # fmt: skip
    yield started
    docker("rm", "-f", started)


def ask(container: str) -> str:
    script = 'exec 3<>/dev/tcp/127.0.0.1/80; printf "GET /latest.html HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3'
    for _ in range(50):
        done = subprocess.run(["docker", "exec", container, "bash", "-c", script], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
        time.sleep(0.2)
    raise AssertionError(docker("logs", container))


def test_it_answers_and_logs_to_its_output_without_being_root(container: str) -> None:
    assert ask(container).endswith("\n\nmoved\n")
    assert "GET /latest.html HTTP/1.0" in docker("logs", container)
    assert "uid=33(www-data) gid=33(www-data) groups=33(www-data),4711(keepers)" in docker("exec", container, "id")
    assert docker("exec", container, "cat", "/run/nginx.pid").strip().isdigit()


def test_its_own_check_says_it_is_well(container: str, image: str) -> None:
    ask(container)
    check = json.loads(docker("inspect", "-f", "{{json .Config.Healthcheck.Test}}", image))
    assert check[0] == "CMD"
    docker("exec", container, *check[1:])


def test_owners_modes_times_and_attributes_are_the_machines(container: str) -> None:
    stat = docker("exec", container, "stat", "-c", "%a %u:%g %Y", "/srv/www", "/srv/www/index.html")
    assert [line.split()[:2] for line in stat.splitlines()] == [["2750", "4242:4711"], ["640", "4242:4711"]]
    assert stat.splitlines()[1].endswith(" 1700000000")
    archive = subprocess.run(
        ["docker", "cp", f"{container}:/srv/www/ping", "-"], capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as tar:
        attributes = tar.next().pax_headers  # type: ignore[union-attr]
    assert attributes["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == CAPABILITY


def test_what_the_machine_had_not_is_not_there(container: str) -> None:
    found = docker("exec", container, "find", "/etc/nginx", "-type", "f").split()
    assert found == ["/etc/nginx/nginx.conf"]
    assert (
        docker(
            "exec", container, "sh", "-c", "ls /usr/sbin/policy-rc.d /var/lib/apt/lists/*_dists_* 2>/dev/null || true"
        )
        == ""
    )
    assert "keeper:x:4242:4711:" in docker("exec", container, "cat", "/etc/passwd")


def test_variables_arrive_as_they_are(image: str) -> None:
    said = docker("run", "--rm", "--network", "none", "--entrypoint", "/usr/bin/printenv", image, "GREETING")
    assert said == 'a "quoted" $HOME \\ value\n'


def test_it_stops_by_its_own_signal(container: str) -> None:
    ask(container)
    before = time.monotonic()
    docker("stop", "-t", "20", container)
    assert time.monotonic() - before < 15
    assert docker("inspect", "-f", "{{.State.ExitCode}}", container).strip() == "0"


def test_lifting_is_smaller_than_the_machine(packages: str, lift: str) -> None:
    sizes = [int(docker("inspect", "-f", "{{.Size}}", name)) for name in (packages, lift)]
    assert 0 < sizes[1] < sizes[0]


def test_what_the_base_has_is_not_copied_and_the_image_has_it_all_the_same(
    lift: str, onto: str, folders: dict[str, Path]
) -> None:
    archives = {name: folders[name] / "images/nginx/rootfs.tar" for name in folders}
    sizes = {name: archive.stat().st_size for name, archive in archives.items()}
    assert sizes["onto"] < sizes["lift"] / 3
    left = msgspec.json.decode((folders["onto"] / "images/nginx/base.json").read_bytes(), type=LeftToBase)
    assert left.bytes > sizes["lift"] / 2
    with Engine.connect() as engine:
        assert BaseChecker(engine).check(left) == left.image_id
        with tempfile.TemporaryDirectory() as place, open_guest([saved(engine, onto, Path(place))]) as guest:
            assert differences(of_archive(archives["lift"]), guest) == []


def of_archive(archive: Path) -> list[BaseFile]:
    """Return what an archive holds, but for what is made anew in every image and the record of packages."""
    with open_guest([archive]) as guest:
        return [file for file in files_of(guest) if file.path != "/var/lib/dpkg/status"]
