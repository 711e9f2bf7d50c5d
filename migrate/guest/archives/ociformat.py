"""The documents of a container image, from bytes to values. Pure.

Formats: OCI image specification 1.1 (image-layout.md, image-index.md, manifest.md, config.md, descriptor.md), the
manifests that Docker's registries had before it (schema 2, read the same), and the `manifest.json` that `docker save`
puts into its archives (moby, image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format").

What was looked at first: containerimage-py 1.1.4 (PyPI) speaks to registries, reads no archives and applies no layers;
dissect.target 3.25 does both and is AGPL. msgspec is here already.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, TypeVar

import msgspec

from migrate.errors import DiskError
from migrate.text import show

MAX_JSON = 8 << 20
"""The longest document that is read, in bytes: registries take manifests of 4 MiB (distribution-spec, "Pushing")."""

MAX_LAYERS = 500
"""The most layers that an image may have: more cannot be mounted (linux, fs/overlayfs: OVL_MAX_STACK); Docker: 127."""

INDEXES = frozenset({
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
})  # fmt: skip
MANIFESTS = frozenset({
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
})  # fmt: skip
CONFIGS = frozenset({
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
})  # fmt: skip
_LAYER = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar"
    r"|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar)(?:[+.](?:gzip|zstd))?"
)
_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NULL = msgspec.Raw(b"null")

T = TypeVar("T")


class Platform(msgspec.Struct, frozen=True):
    """What an image runs on, in Go's words (image-index.md, `platform`)."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os or "?", self.architecture or "?", self.variant)))


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a document names another, or a layer (descriptor.md). `size` is in bytes."""

    media_type: str
    digest: str
    size: int
    urls: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    artifact_type: str | None = None
    platform: Platform | None = None


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A list of manifests, or of further indexes (image-index.md)."""

    manifests: tuple[Descriptor, ...] | None = None
    media_type: str | None = None
    layers: msgspec.Raw = _NULL


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One image: its configuration and its layers, the lowest first (manifest.md)."""

    config: Descriptor
    layers: tuple[Descriptor, ...] | None = None
    media_type: str | None = None
    artifact_type: str | None = None
    manifests: msgspec.Raw = _NULL


class RootFs(msgspec.Struct, frozen=True):
    """The digests of the layers as they are unpacked, the lowest first (config.md, `rootfs`)."""

    diff_ids: tuple[str, ...] | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """An image's configuration (config.md) as far as reading its files needs it; `config` is how to run it."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    rootfs: RootFs = RootFs()
    config: msgspec.Raw = _NULL


class Saved(msgspec.Struct, frozen=True, rename="pascal"):
    """One image of a `manifest.json`: the names, in the archive, of its configuration and its layers."""

    config: str
    layers: tuple[str, ...] | None = None
    repo_tags: tuple[str, ...] | None = None


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """How an image says that it is run (config.md, `config`): nothing here was seen running.

    `env` has `NAME=value`, `exposed_ports` `80/tcp` or `80`; `user` is a name or a number, with a group's after `:`.
    Everything is the guest's own text, and a value in `env` may be a secret.
    """

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()


class _Settings(msgspec.Struct, frozen=True, rename="pascal"):
    """`config` as it is written: Go writes null for what is empty."""

    user: str | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str | None = None
    exposed_ports: dict[str, Any] | None = None


def decode(kind: type[T], data: bytes, attempted: str, name: str) -> T:
    """Return a document as a value. Raises DiskError where it is none, `attempted` and its `name` in the message."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DiskError(attempted, f"{show(name)} cannot be understood: {show(str(error))}") from error


def decode_index(data: bytes, attempted: str, name: str) -> Index:
    """Return a list of manifests. Raises DiskError."""
    index = decode(Index, data, attempted, name)
    _check_kind(index.media_type, bytes(index.layers) != b"null", INDEXES, attempted, name)
    return index


def decode_manifest(data: bytes, attempted: str, name: str) -> Manifest:
    """Return an image's manifest. Raises DiskError."""
    manifest = decode(Manifest, data, attempted, name)
    _check_kind(manifest.media_type, bytes(manifest.manifests) != b"null", MANIFESTS, attempted, name)
    return manifest


def _check_kind(own: str | None, both: bool, kinds: frozenset[str], attempted: str, name: str) -> None:
    """Refuse a document that is a manifest to one reader and an index to another (CVE-2021-41190).

    One of Docker's media types where OCI's was said is nothing (seen in go-containerregistry's test_index).
    """
    if both:
        raise DiskError(attempted, f"{show(name)} is a manifest and a list of manifests at once")
    if own and own not in kinds:
        raise DiskError(attempted, f"{show(name)} says it is {show(own[:200])}, and it was named as something else")


def run_config(raw: msgspec.Raw) -> ImageConfig | None:
    """Return how an image says that it is run, or None where that cannot be understood."""
    try:
        found = msgspec.json.decode(raw, type=_Settings | None)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if found is None:
        return ImageConfig()
    return ImageConfig(
        user=found.user or "",
        env=found.env or (),
        entrypoint=found.entrypoint or (),
        cmd=found.cmd or (),
        working_dir=found.working_dir or "",
        exposed_ports=tuple(sorted(found.exposed_ports or ())),
    )


def is_layer(media_type: str) -> bool:
    """Tell whether a media type is that of files to be applied (media-types.md), compressed or not."""
    return _LAYER.fullmatch(media_type) is not None


def is_kept_back(media_type: str) -> bool:
    """Tell whether a layer is one that its maker does not let be distributed: it may be nowhere but with them."""
    return ".nondistributable." in media_type or ".foreign." in media_type


def split_digest(digest: str, attempted: str) -> tuple[str, str]:
    """Return a digest's algorithm and its hexadecimal digits (descriptor.md, "Digests"). Raises DiskError."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise DiskError(attempted, f"it names {show(digest[:200])!r} where a SHA-256 or SHA-512 digest should be")
    algorithm, _, encoded = digest.partition(":")
    return algorithm, encoded


def hasher(digest: str, attempted: str) -> hashlib._Hash:
    """Return what computes a digest of that kind. Raises DiskError."""
    return hashlib.new(split_digest(digest, attempted)[0])


def digest_in_name(name: str) -> str:
    """Return the digest that a file of a `docker save` archive is called by, or nothing.

    >>> digest_in_name("blobs/sha256/" + "0" * 64) == digest_in_name("0" * 64 + ".json") == "sha256:" + "0" * 64
    True
    """
    last = name.rpartition("/")[2].removesuffix(".json").removeprefix("sha256:")
    return f"sha256:{last}" if _SHA256.fullmatch(last) else ""
