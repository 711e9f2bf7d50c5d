"""The Docker engine, behind a small interface: the only module that knows the `docker` library.

Works with every engine since 20.10 through its HTTP API (docs.docker.com/reference/api/engine, 1.41):
images are built with the classic builder, which every engine and Podman's service have without a plug-in.
Every method raises EngineError, in words, when the engine refuses. Messages from an engine may repeat what a
guest wrote; showing them is for `migrate.console`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from migrate.buildlog import BuildLog, advice
from migrate.container import (
    BuildError,
    BuildResult,
    ContainerState,
    EngineVersion,
    ExecResult,
    ImageFacts,
    Layer,
    RunOptions,
    Volume,
)
from migrate.context import context_tar
from migrate.errors import EngineError

__all__ = ["BuildError", "BuildResult", "Engine", "RunOptions", "Volume", "engine_host", "read_env_file"]

_DEFAULT_HOST = "unix:///var/run/docker.sock"


# ---------------------------------------------------------------- finding the engine


def engine_host() -> str:
    """Return where the engine listens, as the `docker` command finds it: DOCKER_HOST, the context, the default."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    from docker.context import ContextAPI
    from docker.errors import DockerException

    try:
        context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
    except (DockerException, OSError, ValueError, KeyError, AttributeError):
        return _DEFAULT_HOST  # a broken ~/.docker is reported by whoever uses that file
    host = getattr(context, "Host", None)
    return str(host) if host else _DEFAULT_HOST


def _start_command() -> str:
    return "sudo systemctl start docker" if Path("/run/systemd/system").is_dir() else "sudo service docker start"


def _knock(host: str) -> None:
    """Open the engine's unix socket once: errno tells apart what the library reports as one failure."""
    attempted = f"reach the Docker engine at {host}"
    path = host.removeprefix("unix://").removeprefix("http+unix://")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(5)
            door.connect(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        do = f"start it: {_start_command()}; if Docker is not installed, `vm2c doctor` says how"
        raise EngineError(attempted, f"there is no socket {path}", do) from error
    except PermissionError as error:
        do = "add yourself to the docker group (sudo usermod -aG docker $USER) and log in again, or use sudo"
        raise EngineError(attempted, "you may not open its socket", do) from error
    except ConnectionRefusedError as error:
        raise EngineError(attempted, "nothing answers at its socket", f"start it: {_start_command()}") from error
    except OSError as error:
        raise EngineError(attempted, str(error), "see DOCKER_HOST and docker context ls") from error


@contextlib.contextmanager
def _asking(attempted: str) -> Iterator[None]:
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        raise EngineError(attempted, str(error.explanation or error)) from error
    except (DockerException, RequestException, OSError, ValueError) as error:
        raise EngineError(attempted, str(error), "see that the engine is running: vm2c doctor") from error


# ---------------------------------------------------------------- the engine


class Engine:
    """A connection to one engine; `Engine.connect()` makes it. Use as a context manager, or `close` it."""

    def __init__(self, client: Any) -> None:  # docker.APIClient, half of which its stubs leave untyped
        self._client = client

    @classmethod
    def connect(cls, timeout: float = 60) -> Engine:
        """Connect to the engine that the `docker` command would use; `timeout` (seconds) is for one answer.

        Raises EngineError that says whether the socket is missing, forbidden or dead, and what mends it.
        """
        host = engine_host()
        if host.startswith(("unix://", "http+unix://")):
            _knock(host)
        from docker import APIClient
        from docker.tls import TLSConfig
        from docker.utils import kwargs_from_env

        with _asking(f"reach the Docker engine at {host}"):
            tls = kwargs_from_env().get("tls") if os.environ.get("DOCKER_HOST") else None
            secure: TLSConfig | bool = tls if isinstance(tls, TLSConfig) else False
            return cls(APIClient(base_url=host, version="auto", timeout=int(timeout), tls=secure))

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def version(self) -> EngineVersion:
        """Return what the engine says of itself."""
        with _asking("ask the Docker engine for its version"):
            answer: dict[str, Any] = self._client.version()
        words = {key: str(answer.get(key, "")) for key in ("Version", "ApiVersion", "Os", "Arch")}
        return EngineVersion(
            engine=words["Version"], api=words["ApiVersion"], os=words["Os"], architecture=words["Arch"]
        )

    # ------------------------------------------------------------ images

    def build(
        self,
        context: Path,
        tag: str,
        on_line: Callable[[str], None],
        nocache: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> BuildResult:
        """Build the Dockerfile of the folder `context` and name the image `tag`.

        The context is streamed: it is never held in memory or copied. `on_line` gets each line that the builder
        prints. Raises BuildError where a step fails, EngineError where the engine cannot be asked.
        """
        attempted = f"build {tag}"
        log = BuildLog(on_line)
        body = context_tar(context, self.context_names(context))
        with _asking(attempted):
            events = self._client.build(
                fileobj=body,
                custom_context=True,
                tag=tag,
                rm=True,
                forcerm=True,
                nocache=nocache,
                labels=dict(labels or {}),
                timeout=None,  # a step may be silent for long
                decode=True,
            )
            for event in events:
                log.feed(event)
        log.close()
        if log.error or not log.image_id:
            do = advice(log.step, log.error, log.lines)
            raise BuildError(attempted, log.why(), do, step=log.step, lines=log.lines)
        return self._built(log)

    def _built(self, log: BuildLog) -> BuildResult:
        with _asking("look at the image that was built"):
            image = self._client.inspect_image(log.image_id)
            history = self._client.history(log.image_id)
        layers = [Layer(created_by=str(h["CreatedBy"]), size_bytes=int(h["Size"])) for h in reversed(history)]
        return BuildResult(
            image_id=str(image["Id"]),
            size_bytes=int(image["Size"]),
            layers=tuple(layers),
            steps=log.steps,
            cached=log.cached,
        )

    @staticmethod
    def context_names(context: Path) -> list[str]:
        """Return the files of a build context without what its .dockerignore names, relative and sorted."""
        from docker.utils import exclude_paths

        ignore = context / ".dockerignore"
        patterns: list[str] = []
        if ignore.is_file():
            lines = [line.strip() for line in ignore.read_text("utf-8", "surrogateescape").splitlines()]
            patterns = [line for line in lines if line and not line.startswith("#")]
        return sorted(exclude_paths(str(context), patterns))

    def image_id(self, image: str) -> str | None:
        """Return the id (`sha256:…`) of an image by its reference, or None where the engine has none."""
        from docker.errors import NotFound

        with _asking(f"look for the image {image}"):
            try:
                return str(self._client.inspect_image(image)["Id"])
            except NotFound:
                return None

    def image_exists(self, image: str) -> bool:
        """Tell whether the engine has an image of that reference."""
        return self.image_id(image) is not None

    def image_size(self, image: str) -> int:
        """Return the bytes of an image's layers."""
        with _asking(f"look at the image {image}"):
            return int(self._client.inspect_image(image)["Size"])

    def image_facts(self, image: str) -> ImageFacts | None:
        """Return what the engine knows of an image, or None where it has none of that reference."""
        from docker.errors import NotFound

        with _asking(f"look at the image {image}"):
            try:
                answer = self._client.inspect_image(image)
            except NotFound:
                return None
        created = re.match(r"\d{4}-\d\d-\d\d(?=T)", str(answer.get("Created") or ""))
        return ImageFacts(
            image_id=str(answer["Id"]),
            created=created[0] if created and created[0] > "1970-01-01" else "",
            repository_digests=tuple(sorted(map(str, answer.get("RepoDigests") or ()))),
            triggers=tuple(map(str, (answer.get("Config") or {}).get("OnBuild") or ())),
        )

    def pull(self, image: str) -> None:
        """Have the engine fetch an image from its registry; `image` without a tag or digest is `:latest` alone."""
        attempted = f"pull {image}"
        tagged = "@" in image or ":" in image.rpartition("/")[2]
        with _asking(attempted):
            for event in self._client.pull(image if tagged else f"{image}:latest", stream=True, decode=True):
                if "error" in event:
                    raise EngineError(attempted, str(event["error"]))

    def save(self, image: str) -> Iterator[bytes]:
        """Yield an image with its layers as `docker save` writes it, in pieces."""
        with _asking(f"read the image {image}"):
            yield from self._client.get_image(image, chunk_size=1 << 20)

    def tag(self, image: str, name: str) -> None:
        """Give an image another reference (`repository:tag`)."""
        repository, _, label = name.rpartition(":")
        with _asking(f"name {image} {name}"):
            self._client.tag(image, repository, label, force=True)

    def remove_image(self, image: str) -> None:
        """Take a reference away, and the image where that was its last; it is no error if there is none."""
        self._gone(f"remove the image {image}", lambda: self._client.remove_image(image, force=True))

    # ------------------------------------------------------------ containers

    def run(self, image: str, options: RunOptions | None = None) -> str:
        """Create and start a container in the background and return its id. It is removed if it cannot start."""
        opts = options or RunOptions()
        with _asking(f"run {image}"):
            container = str(self._client.create_container(**self._creation(image, opts))["Id"])
        try:
            with _asking(f"run {image}"):
                self._client.start(container)
        except EngineError:
            self.remove(container)
            raise
        return container

    def _creation(self, image: str, opts: RunOptions) -> dict[str, Any]:
        from docker.types import Ulimit

        limit = opts.open_files
        environment = read_env_file(opts.env_file) if opts.env_file else {}
        host = self._client.create_host_config(
            network_mode=opts.network_mode,
            binds=[f"{v.source}:{v.target}:{'ro' if v.read_only else 'rw'}" for v in opts.volumes],
            tmpfs=dict(opts.tmpfs) or None,
            read_only=opts.read_only,
            cap_add=list(opts.capabilities),
            cap_drop=list(opts.drop_capabilities),
            security_opt=["no-new-privileges"] if opts.no_new_privileges else None,
            group_add=list(opts.groups),
            mem_limit=opts.memory,
            shm_size=opts.shm_bytes,
            ulimits=[Ulimit(name="nofile", soft=limit, hard=limit)] if limit else None,
            extra_hosts=dict(opts.extra_hosts) or None,
            init=opts.init or None,
        )
        own = opts.network_mode not in {None, "none", "host", "bridge"} and ":" not in str(opts.network_mode)
        endpoint = self._client.create_endpoint_config(aliases=list(opts.aliases)) if own and opts.aliases else None
        return {
            "image": image,
            "command": list(opts.command) if opts.command is not None else None,
            "entrypoint": list(opts.entrypoint) if opts.entrypoint is not None else None,
            "name": opts.name,
            "environment": {**environment, **opts.environment},
            "user": opts.user,
            "working_dir": opts.working_directory,
            "hostname": opts.hostname,
            "labels": dict(opts.labels),
            "host_config": host,
            "networking_config": self._client.create_networking_config({opts.network_mode: endpoint})
            if endpoint
            else None,
            "use_config_proxy": False,
        }

    def state(self, container: str) -> ContainerState:
        """Return how a container is now."""
        with _asking(f"look at the container {container}"):
            answer = self._client.inspect_container(container)
        state = answer["State"]
        networks = (answer.get("NetworkSettings") or {}).get("Networks") or {}
        addresses = sorted(str(net.get("IPAddress") or "") for net in networks.values())
        return ContainerState(
            status=str(state["Status"]),
            exit_code=int(state["ExitCode"]),
            error=str(state.get("Error") or ""),
            oom_killed=bool(state.get("OOMKilled")),
            address=next((a for a in addresses if a), ""),
        )

    def wait(self, container: str, timeout: float) -> int | None:
        """Wait until a container's process ends and return its exit code; None where `timeout` seconds pass first."""
        end = time.monotonic() + timeout
        pause = 0.05
        while (state := self.state(container)).status in {"created", "running", "restarting"}:
            if time.monotonic() >= end:
                return None
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
            pause = min(pause * 2, 1.0)
        return state.exit_code

    def exec(
        self,
        container: str,
        command: Sequence[str],
        user: str = "",
        environment: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> ExecResult:
        """Run a command inside a running container and return what it gave.

        Raises EngineError where it cannot be started or takes longer than `timeout` seconds; it then goes on until
        the container ends, as the engine has no call that stops it.
        """
        attempted = f"run {command[0]} in the container {container}"
        with _asking(attempted):
            made = self._client.exec_create(container, list(command), user=user, environment=dict(environment or {}))
            door = self._client.exec_start(made["Id"], socket=True)
        raw = getattr(door, "_sock", door)  # a SocketIO on unix, the socket itself with TLS
        try:
            stdout, stderr = _demultiplex(raw, time.monotonic() + timeout)
        except TimeoutError as error:
            raise EngineError(attempted, f"it did not end within {timeout:g} seconds") from error
        except OSError as error:
            raise EngineError(attempted, str(error)) from error
        finally:
            door._response.close()  # noqa: SLF001 - the library keeps it there, and its connection open
            raw.close()
        with _asking(attempted):
            code = self._client.exec_inspect(made["Id"])["ExitCode"]
        if code is None:
            raise EngineError(attempted, "the engine closed the connection before the command ended")
        return ExecResult(exit_code=int(code), stdout=stdout, stderr=stderr)

    def logs(self, container: str, tail: int | None = None) -> bytes:
        """Return what a container wrote to standard output and error, together; `tail` lines of it."""
        with _asking(f"read the log of the container {container}"):
            return bytes(self._client.logs(container, tail="all" if tail is None else tail))

    def put_tar(self, container: str, path: str, fileobj: IO[bytes]) -> None:
        """Unpack a tar archive into the folder `path` of a container, with the owners and modes it states."""
        with _asking(f"copy files to {path} in the container {container}"):
            self._client.put_archive(container, path, fileobj)

    def get_tar(self, container: str, path: str) -> Iterator[bytes]:
        """Yield a file or folder of a container as a tar archive, in pieces."""
        with _asking(f"copy {path} from the container {container}"):
            pieces, _ = self._client.get_archive(container, path)
            yield from pieces

    def stop(self, container: str, timeout: int = 10) -> None:
        """Ask a container to end with its stop signal, and kill it after `timeout` seconds."""
        with _asking(f"stop the container {container}"):
            self._client.stop(container, timeout=timeout)

    def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes; it is no error if there is none."""
        what = f"remove the container {container}"
        self._gone(what, lambda: self._client.remove_container(container, v=True, force=True))

    # ------------------------------------------------------------ networks and volumes

    def create_network(self, name: str, internal: bool = False, labels: Mapping[str, str] | None = None) -> str:
        """Create a bridge network and return its id; an `internal` one leads nowhere else."""
        with _asking(f"create the network {name}"):
            made = self._client.create_network(name, driver="bridge", internal=internal, labels=dict(labels or {}))
        return str(made["Id"])

    def remove_network(self, name: str) -> None:
        """Remove a network; it is no error if there is none."""
        self._gone(f"remove the network {name}", lambda: self._client.remove_network(name))

    def create_volume(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        """Create a volume and return its name."""
        with _asking(f"create the volume {name}"):
            return str(self._client.create_volume(name, labels=dict(labels or {}))["Name"])

    def remove_volume(self, name: str) -> None:
        """Remove a volume with what is in it; it is no error if there is none."""
        self._gone(f"remove the volume {name}", lambda: self._client.remove_volume(name, force=True))

    def _gone(self, attempted: str, remove: Callable[[], object]) -> None:
        from docker.errors import NotFound

        with _asking(attempted), contextlib.suppress(NotFound):
            remove()


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a file as `docker run --env-file` reads it: `NAME=value`, taken as it is, `#` comments.

    A name alone, which `docker` takes from the caller's own environment, is passed over. Raises EngineError, which
    names the line and never its content.
    """
    attempted = f"read the variables in {path}"
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise EngineError(attempted, str(why)) from None
    variables: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, equals, value = line.removesuffix("\r").lstrip().partition("=")
        if not name.strip() and not equals:
            continue
        if name.startswith("#"):
            continue
        if not name or any(c.isspace() for c in name):
            raise EngineError(attempted, f"line {number} has no valid name before its =", "write it as NAME=value")
        if equals:
            variables[name] = value
    return variables


def _demultiplex(raw: socket.socket, end: float) -> tuple[bytes, bytes]:
    """Read a multiplexed stream to its end: frames of one byte for the stream, three of padding, a big-endian length.

    The format is that of the API's "Attach to a container". Raises TimeoutError at `end` (time.monotonic).
    """
    parts: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    while header := _exactly(raw, 8, end):
        stream, length = struct.unpack(">BxxxL", header)
        parts.setdefault(stream, bytearray()).extend(_exactly(raw, length, end))
    return bytes(parts[1]), bytes(parts[2])


def _exactly(raw: socket.socket, size: int, end: float) -> bytes:
    got = io.BytesIO()
    while (left := size - got.tell()) > 0:
        raw.settimeout(max(0.001, end - time.monotonic()))
        piece = raw.recv(min(left, 1 << 16))
        if not piece:
            return b""
        got.write(piece)
    return got.getvalue()
