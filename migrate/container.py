"""What a container engine is asked for and what it answers: the values of `migrate.engine`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from migrate.errors import EngineError


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an image's history: the instruction that made it and the bytes it added."""

    created_by: str
    size_bytes: int


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine knows of an image without looking into it.

    `created` is an ISO date or empty, `repository_digests` are `NAME@sha256:…` as a registry has the image, and
    `triggers` the ONBUILD instructions that run when another image is built on it.
    """

    image_id: str
    created: str
    repository_digests: tuple[str, ...]
    triggers: tuple[str, ...]


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was built. `cached` of `steps` came from the builder's cache; `layers` are oldest first."""

    image_id: str
    size_bytes: int
    layers: tuple[Layer, ...]
    steps: int
    cached: int


class BuildError(EngineError):
    """A build that failed: at `step` (`Step 3/9 : RUN …`, or empty), after printing `lines` last."""

    def __init__(self, attempted: str, found: str, do: str = "", step: str = "", lines: Sequence[str] = ()) -> None:
        super().__init__(attempted, found, do)
        self.step = step
        self.lines = tuple(lines)


class EngineVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's own words; `architecture` is Go's (amd64, arm64)."""

    engine: str
    api: str
    os: str
    architecture: str


class ContainerState(msgspec.Struct, frozen=True, kw_only=True):
    """A container now. `status` is created, running, exited, …; `address` is its first one, or empty."""

    status: str
    exit_code: int
    error: str
    oom_killed: bool
    address: str

    @property
    def running(self) -> bool:
        """Tell whether the main process is alive."""
        return self.status == "running"


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a command inside a container gave."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume's name, or an absolute path of the host, mounted at `target`."""

    source: str
    target: str
    read_only: bool = False


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a container runs; what has its default is left to the image and the engine.

    `network_mode` is the engine's: `none`, `host`, `bridge`, a network's name, or `container:ID`, which shares
    that container's network as the containers of a Pod do. `aliases` are names on a network of one's own.
    `tmpfs` maps mount points to mount options (`mode=1777,size=64m`). `user` is `UID:GID`. `memory` is in bytes.
    `env_file` is read as `docker run --env-file` does; `environment` wins over it.
    """

    command: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    name: str | None = None
    environment: Mapping[str, str] = {}
    env_file: Path | None = None
    user: str | None = None
    groups: Sequence[str] = ()
    working_directory: str | None = None
    network_mode: str | None = None
    aliases: Sequence[str] = ()
    hostname: str | None = None
    extra_hosts: Mapping[str, str] = {}
    volumes: Sequence[Volume] = ()
    tmpfs: Mapping[str, str] = {}
    read_only: bool = False
    capabilities: Sequence[str] = ()
    drop_capabilities: Sequence[str] = ()
    no_new_privileges: bool = False
    memory: int | None = None
    open_files: int | None = None
    shm_bytes: int | None = None
    init: bool = False
    labels: Mapping[str, str] = {}
