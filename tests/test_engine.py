"""The engine: real where there is one (marker docker), and the parts that need none."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.buildlog import BuildLog, advice, base_image_advice
from migrate.container import BuildError, RunOptions, Volume
from migrate.context import context_tar
from migrate.engine import Engine, engine_host, read_env_file
from migrate.errors import EngineError

BASE = "debian:12-slim"


# ---------------------------------------------------------------- the build context


def tar_of(context: Path) -> bytes:
    return b"".join(context_tar(context, Engine.context_names(context)))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "root/etc").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "root/etc/a").write_text("a")
    (folder / "root/etc/a").chmod(0o640)
    (folder / "root/etc/link").symlink_to("/etc/a")
    (folder / "secret.key").write_text("k")
    (folder / ".dockerignore").write_text("# not sent\n*.key\n")
    return folder


def test_context_is_deterministic(context: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(context, again, symlinks=True)
    os.utime(again / "Dockerfile", (1, 1))
    assert tar_of(context) == tar_of(again)


def test_context_members(context: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(context))) as archive:
        members = {m.name: m for m in archive.getmembers()}
        content = archive.extractfile("root/etc/a")
        assert content is not None
        assert content.read() == b"a"
    assert list(members) == [".dockerignore", "Dockerfile", "root", "root/etc", "root/etc/a", "root/etc/link"]
    assert members["root/etc/a"].mode == 0o640
    assert members["root/etc/link"].linkname == "/etc/a"
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, 315532800)}


def test_context_reads_with_gnu_tar(context: Path) -> None:
    name = b"x" * 180 + b"\xff"
    (context / os.fsdecode(name)).write_bytes(b"z" * 1500)
    done = subprocess.run(["tar", "-tf", "-"], input=tar_of(context), capture_output=True, check=True)
    assert b"\\377" in done.stdout


def test_context_with_a_socket(context: Path) -> None:
    os.mkfifo(context / "pipe")
    with pytest.raises(EngineError, match="pipe is no file, directory or link; remove it"):
        tar_of(context)


def test_context_is_streamed(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with (tmp_path / "big").open("wb") as file:
        file.truncate(20 << 20)
    pieces = [len(piece) for piece in context_tar(tmp_path, ["Dockerfile", "big"])]
    assert max(pieces) < 3 << 20
    assert sum(pieces) > 20 << 20


def test_context_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot read the build context"):
        list(context_tar(tmp_path, ["nothing"]))


# ---------------------------------------------------------------- the builder's output


def test_build_log_as_20_10_writes_it() -> None:
    said: list[str] = []
    log = BuildLog(said.append)
    for text in (
        "Step 1/2 : FROM debian:12-slim",
        "\n",
        " ---> 2066ade32b25\n",
        "Step 2/2 : RUN false",
        "\n",
        " ---> Using cache\n",
        "\x1b[91mE\x1b[0m\x1b[91m: \x1b[0m",
        "\x1b[91mVersion '1' for 'x' was not found\n\x1b[0m",
        "10%\r20%\rdone",
    ):
        log.feed({"stream": text})
    log.feed({"aux": {"ID": "sha256:aa"}})
    log.feed({"status": "Pulling fs layer", "progressDetail": {}, "id": "x"})
    log.feed({"status": "Downloading", "progressDetail": {"current": 1}, "id": "x"})
    log.feed({"errorDetail": {"message": "m"}, "error": "\x1b[0mThe command returned a non-zero code: 1"})
    log.close()
    assert said == [
        "Step 1/2 : FROM debian:12-slim",
        " ---> 2066ade32b25",
        "Step 2/2 : RUN false",
        " ---> Using cache",
        "E: Version '1' for 'x' was not found",
        "10%",
        "20%",
        "Pulling fs layer",
        "done",
    ]
    assert (log.step, log.steps, log.cached, log.image_id) == ("Step 2/2 : RUN false", 2, 1, "sha256:aa")
    assert log.error == "The command returned a non-zero code: 1"
    assert log.lines == [" ---> Using cache", *said[4:]]
    assert log.why() == "E: Version '1' for 'x' was not found (exit code 1)"


@pytest.mark.parametrize(
    ("printed", "error", "why"),
    [
        ("make: one\nlast\n", "The command 'x' returned a non-zero code: 2", "last (exit code 2)"),
        (" ---> Running in ab\n", "The command 'x' returned a non-zero code: 9", "exit code 9, without a word"),
        ("a\n", "COPY failed: no such file", "COPY failed: no such file"),
        ("a\n", "", "the builder ended without an image"),
    ],
)
def test_build_log_says_why(printed: str, error: str, why: str) -> None:
    log = BuildLog(lambda line: None)
    log.feed({"stream": f"Step 1/1 : RUN x\n{printed}"})
    if error:
        log.feed({"error": error})
    assert log.why() == why


def test_build_log_keeps_the_last_lines() -> None:
    log = BuildLog(lambda line: None)
    log.feed({"stream": "".join(f"{i}\n" for i in range(1000))})
    assert log.lines == [str(i) for i in range(960, 1000)]


events = st.dictionaries(
    st.sampled_from(["stream", "error", "aux", "status", "progressDetail"]),
    st.one_of(st.none(), st.text(), st.integers(), st.dictionaries(st.just("ID"), st.text())),
)


@given(st.lists(events))
def test_build_log_takes_anything(given_events: list[dict[str, object]]) -> None:
    said: list[str] = []
    log = BuildLog(said.append)
    for event in given_events:
        log.feed(event)
    log.close()
    assert not any("\n" in line or "\r" in line for line in said)


@pytest.mark.parametrize(
    ("step", "error", "line", "expected"),
    [
        ("Step 2/9 : RUN x", "code: 100", "E: Version '1.22' for 'nginx' was not found", "image.strategy: lift"),
        ("Step 2/9 : RUN x", "code: 1", "Error: Unable to find a match: nginx-1.0", "image.strategy: lift"),
        ("Step 2/9 : RUN x", "code: 1", "ERROR: unable to select packages:", "image.strategy: lift"),
        (
            "Step 1/2 : FROM debian:12-slim",
            'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
            "",
            "mmdebstrap --variant=minbase bookworm - | docker import - debian:12-slim",
        ),
        (
            "Step 1/2 : FROM --platform=linux/amd64 almalinux:9 AS a",
            "pull access denied for almalinux, repository does not exist or may require 'docker login'",
            "",
            "docker pull almalinux:9",
        ),
        ("Step 1/2 : FROM x:1", "toomanyrequests: You have reached your pull rate limit", "", "docker login"),
        ("Step 2/9 : RUN x", "code: 100", "Temporary failure resolving 'deb.debian.org'", "no way to the network"),
        ("Step 2/9 : RUN x", "code: 100", "E: The repository 'x' does not have a Release file.", "has moved on"),
        ("Step 2/9 : COPY x /", "write /x: no space left on device", "", "make room"),
        ("Step 2/9 : COPY a b", "COPY failed: file not found in build context", "", "run generate again"),
        ("Step 2/9 : RUN x", "exec /bin/sh: exec format error", "", "another processor"),
        ("Step 2/9 : RUN x", "failed to create endpoint x on network bridge", "", "systemctl restart docker"),
        ("Step 2/9 : RUN x", "code: 1", "make: *** [all] Error 2", ""),
    ],
)
def test_advice(step: str, error: str, line: str, expected: str) -> None:
    said = advice(step, error, [line])
    assert expected in said
    assert bool(said) == bool(expected)


def test_base_image_advice() -> None:
    assert base_image_advice("debian:12") == (
        "make it here: mmdebstrap --variant=minbase bookworm - | docker import - debian:12"
    )
    assert "http://archive.ubuntu.com/ubuntu | docker import - ubuntu:22.04" in base_image_advice("ubuntu:22.04")


# ---------------------------------------------------------------- files of variables


def test_env_file(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# c\n\nA=1 2 \n  B='x=y'\nC\nD=\r\n")
    assert read_env_file(file) == {"A": "1 2 ", "B": "'x=y'", "D": ""}


def test_env_file_error_hides_the_value(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=1\nmy password=hunter2\n")
    with pytest.raises(EngineError, match="line 2 has no valid name") as caught:
        read_env_file(file)
    assert "hunter2" not in str(caught.value)
    assert "password" not in str(caught.value)


@given(st.binary(max_size=200))
def test_env_file_hostile(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("env") / "env"
    file.write_bytes(content)
    with contextlib.suppress(EngineError):
        assert not any("=" in name for name in read_env_file(file))


# ---------------------------------------------------------------- reaching the engine


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_engine_host(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_host().endswith("///var/run/docker.sock")
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    assert engine_host() == "tcp://10.0.0.1:2375"


def test_engine_host_with_a_broken_docker_folder(alone: Path) -> None:
    (alone / ".docker").mkdir()
    (alone / ".docker/config.json").write_text('{"currentContext": "gone"}')
    assert engine_host() == "unix:///var/run/docker.sock"


def test_socket_missing(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{alone}/no.sock")
    with pytest.raises(EngineError) as caught:
        Engine.connect()
    assert caught.value.attempted == f"reach the Docker engine at unix://{alone}/no.sock"
    assert caught.value.found == f"there is no socket {alone}/no.sock"
    assert "start it: sudo " in caught.value.do


def test_daemon_down(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = alone / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with pytest.raises(EngineError, match="nothing answers at its socket; start it: sudo "):
        Engine.connect()


def test_permission_denied(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{alone}/a.sock")
    with pytest.raises(EngineError, match=r"you may not open its socket; add yourself to the docker group"):
        Engine.connect()


def test_something_else_answers(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = alone / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(8)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        with pytest.raises(EngineError, match="cannot reach the Docker engine"):
            Engine.connect(timeout=1)


# ---------------------------------------------------------------- a real engine


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    try:
        connected = Engine.connect()
    except EngineError as error:
        pytest.skip(f"no Docker engine: {error.found}")
    with connected:
        if not connected.image_exists(BASE):
            pytest.skip(f"the engine has no image {BASE}: {base_image_advice(BASE)}")
        yield connected


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """A name of this test's own: image, network and volume of that name are removed afterwards."""
    own = f"vm2c-test-{uuid.uuid4().hex[:12]}"
    yield own
    engine.remove_image(f"{own}:1")
    engine.remove_network(own)
    engine.remove_volume(own)


@pytest.fixture
def started(engine: Engine) -> Iterator[list[str]]:
    containers: list[str] = []
    yield containers
    for container in reversed(containers):
        engine.remove(container)


@pytest.mark.docker
def test_version(engine: Engine) -> None:
    version = engine.version()
    assert version.engine.split(".")[0].isdigit()
    assert version.os == "linux"


@pytest.mark.docker
def test_build_again_is_cached(engine: Engine, name: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nCOPY a /a\nRUN cat /a\n")
    (tmp_path / "a").write_text(f"content of {name}\n")
    lines: list[str] = []
    first = engine.build(tmp_path, f"{name}:1", lines.append, labels={"k": "v"})
    assert f"content of {name}" in lines
    assert first.image_id == engine.image_id(f"{name}:1")
    assert first.size_bytes == engine.image_size(f"{name}:1") > 1_000_000
    assert first.steps == 4  # the label is a step of its own
    assert any("cat /a" in layer.created_by for layer in first.layers)
    os.utime(tmp_path / "a", (1, 1))
    second = engine.build(tmp_path, f"{name}:1", lambda line: None, labels={"k": "v"})
    assert second.image_id == first.image_id
    assert second.cached == 3


@pytest.mark.docker
def test_build_that_fails(engine: Engine, name: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo {name}; echo error: bad >&2; exit 7\n")
    with pytest.raises(BuildError, match=r"error: bad \(exit code 7\)") as caught:
        engine.build(tmp_path, f"{name}:1", lambda line: None)
    assert caught.value.step.startswith("Step 2/2 : RUN echo")
    assert name in caught.value.lines
    assert "error: bad" in caught.value.lines
    assert not engine.image_exists(f"{name}:1")


@pytest.mark.docker
def test_build_from_a_base_that_is_not_there(engine: Engine, name: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM registry.invalid/nothing:1\nRUN true\n")
    with pytest.raises(BuildError) as caught:
        engine.build(tmp_path, f"{name}:1", lambda line: None)
    assert "the image registry.invalid/nothing:1 is not here and cannot be pulled" in caught.value.do


@pytest.mark.docker
def test_build_of_what_is_no_dockerfile(engine: Engine, name: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nBOGUS x\n")
    with pytest.raises(EngineError, match="unknown instruction: BOGUS"):
        engine.build(tmp_path, f"{name}:1", lambda line: None)


@pytest.mark.docker
def test_containers_that_share_a_network(engine: Engine, name: str, started: list[str], tmp_path: Path) -> None:
    engine.create_network(name, internal=True)
    engine.create_volume(name)
    file = tmp_path / "env"
    file.write_text("A=from file\nB=from file\n")
    first = engine.run(
        BASE,
        RunOptions(
            command=["sleep", "60"],
            network_mode=name,
            aliases=["pod"],
            volumes=[Volume(source=name, target="/data")],
            tmpfs={"/run/own": "mode=0750,size=1m"},
            user="33:33",
            env_file=file,
            environment={"B": "from option"},
            open_files=4096,
            memory=64 << 20,
            hostname="pod",
            init=True,
        ),
    )
    started.append(first)
    second = engine.run(BASE, RunOptions(command=["sleep", "60"], network_mode=f"container:{first}"))
    started.append(second)
    assert engine.state(first).running
    assert engine.state(first).address
    seen = engine.exec(first, ["sh", "-c", 'id -u; echo "$A,$B"; stat -c %a /run/own; ulimit -n; hostname; exit 3'])
    assert seen.stdout.decode().split("\n") == ["33", "from file,from option", "750", "4096", "pod", ""]
    assert seen.exit_code == 3
    network = ["readlink", "/proc/self/ns/net"]
    assert engine.exec(first, network).stdout == engine.exec(second, network).stdout


@pytest.mark.docker
def test_files_go_in_and_out(engine: Engine, name: str, started: list[str]) -> None:
    engine.create_volume(name)
    container = engine.run(
        BASE, RunOptions(command=["sleep", "60"], network_mode="none", volumes=[Volume(source=name, target="/data")])
    )
    started.append(container)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size, info.uid, info.gid, info.mode = 3, 1234, 4321, 0o600
        tar.addfile(info, io.BytesIO(b"abc"))
    archive.seek(0)
    engine.put_tar(container, "/data", archive)
    assert engine.exec(container, ["stat", "-c", "%u:%g:%a:%s", "/data/file"]).stdout == b"1234:4321:600:3\n"
    with tarfile.open(fileobj=io.BytesIO(b"".join(engine.get_tar(container, "/data/file")))) as back:
        content = back.extractfile("file")
        assert content is not None
        assert content.read() == b"abc"


@pytest.mark.docker
def test_exec_streams_and_limits(engine: Engine, started: list[str]) -> None:
    container = engine.run(BASE, RunOptions(command=["sleep", "60"], network_mode="none"))
    started.append(container)
    result = engine.exec(container, ["sh", "-c", "head -c 300000 /dev/zero; echo bad >&2"])
    assert (len(result.stdout), result.stderr, result.exit_code) == (300000, b"bad\n", 0)
    with pytest.raises(EngineError, match=r"did not end within 0\.5 seconds"):
        engine.exec(container, ["sleep", "30"], timeout=0.5)
    missing = engine.exec(container, ["/no/such/program"])
    assert missing.exit_code in {126, 127}


@pytest.mark.docker
def test_wait_logs_and_remove(engine: Engine, started: list[str]) -> None:
    container = engine.run(
        BASE, RunOptions(command=["sh", "-c", "echo one; echo two >&2; exit 5"], network_mode="none")
    )
    started.append(container)
    assert engine.wait(container, 20) == 5
    assert sorted(engine.logs(container).split()) == [b"one", b"two"]
    assert len(engine.logs(container, tail=1).split()) == 1
    engine.remove(container)
    engine.remove(container)
    with pytest.raises(EngineError, match="No such container"):
        engine.state(container)


@pytest.mark.docker
def test_wait_gives_up_and_stop_ends(engine: Engine, started: list[str]) -> None:
    container = engine.run(BASE, RunOptions(command=["sleep", "60"], network_mode="none", init=True))
    started.append(container)
    assert engine.wait(container, 0.2) is None
    engine.stop(container, timeout=5)
    assert engine.wait(container, 5) == 143


@pytest.mark.docker
def test_run_that_cannot_start_leaves_nothing(engine: Engine, name: str) -> None:
    with pytest.raises(EngineError, match="cannot run"):
        engine.run(BASE, RunOptions(command=["/no/such/program"], name=name))
    with pytest.raises(EngineError, match="No such container"):
        engine.state(name)
    with pytest.raises(EngineError, match="cannot run no/such/image:1"):
        engine.run("no/such/image:1")
