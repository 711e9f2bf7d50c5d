"""Container images made by hand, as `docker save`, BuildKit and skopeo write them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from migrate.guest.archives.oci import OciGuest, open_archive
from migrate.guest.protocol import Entry, Guest
from tests.guest.made import Maker

OCI = "application/vnd.oci.image"
LAYER = f"{OCI}.layer.v1.tar"
INDEX = f"{OCI}.index.v1+json"
MANIFEST = f"{OCI}.manifest.v1+json"
CONFIG = f"{OCI}.config.v1+json"
NAME = "org.opencontainers.image.ref.name"

PACKED = ["", "gzip", "zstd"]

Member = tuple[str, bytes, bytes, dict[str, object]]


def file(name: str, content: bytes = b"x", **fields: object) -> Member:
    return name, tarfile.REGTYPE, content, fields


def directory(name: str, **fields: object) -> Member:
    return name, tarfile.DIRTYPE, b"", fields


def link(name: str, target: str, kind: bytes = tarfile.LNKTYPE) -> Member:
    return name, kind, b"", {"linkname": target}


def symlink(name: str, target: str) -> Member:
    return link(name, target, tarfile.SYMTYPE)


def layer(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        make = Maker(archive)
        for name, kind, content, fields in members:
            make.add(name, kind, content, **fields)
    return buffer.getvalue()


BASE = layer(directory("etc"), file("etc/os-release", b"ID=nothing\n"), file("etc/motd", b"hello\n"))


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def packed(data: bytes, how: str) -> bytes:
    if how == "zstd":
        return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout
    packers: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress}
    return packers[how](data) if how else data


def config(*layers: bytes, **fields: object) -> bytes:
    said: dict[str, object] = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in layers]},
        **fields,
    }
    return json.dumps(said).encode()


class Layout:
    """An OCI image layout that is being made; `files` is what is in it, by name."""

    def __init__(self, algorithm: str = "sha256") -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        self._algorithm = algorithm

    def blob(self, data: bytes, media_type: str, **fields: object) -> dict[str, object]:
        name = digest(data, self._algorithm)
        self.files[f"blobs/{name.replace(':', '/')}"] = data
        return {"mediaType": media_type, "digest": name, "size": len(data), **fields}

    def document(self, value: object, media_type: str, **fields: object) -> dict[str, object]:
        return self.blob(json.dumps(value).encode(), media_type, **fields)

    def image(
        self, *layers: bytes, how: str = "", configured: Mapping[str, object] | None = None, **fields: object
    ) -> dict[str, object]:
        kind = f"{LAYER}+{how}" if how else LAYER
        said = self.blob(config(*layers, **(configured or {})), CONFIG)
        blobs = [self.blob(packed(each, how), kind) for each in layers]
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": said, "layers": blobs}
        return self.document(value, MANIFEST, **fields)

    def done(self, *manifests: Mapping[str, object]) -> dict[str, bytes]:
        self.files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": list(manifests)}).encode()
        return self.files


def layout(*layers: bytes, how: str = "", algorithm: str = "sha256", **fields: object) -> dict[str, bytes]:
    made = Layout(algorithm)
    return made.done(made.image(*layers, how=how, configured=fields))


def saved(
    *layers: bytes, how: str = "", tags: tuple[str, ...] | None = ("shop:1",), **fields: object
) -> dict[str, bytes]:
    """Return what `docker save` wrote up to version 24."""
    said = config(*layers, **fields)
    name = f"{digest(said)[7:]}.json"
    names = [f"{digest(each)[7:]}/layer.tar" for each in layers]
    manifest = [{"Config": name, "RepoTags": None if tags is None else list(tags), "Layers": names}]
    files = {each: packed(data, how) for each, data in zip(names, layers, strict=True)}
    return {**files, name: said, "manifest.json": json.dumps(manifest).encode()}


def as_tar(files: Mapping[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        make = Maker(archive)
        for name, data in files.items():
            make.add(name, content=data)
    return path


def as_directory(files: Mapping[str, bytes], path: Path) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def opened(files: dict[str, bytes], place: Path) -> Guest:
    guest = open_archive(as_tar(files, place / "image.tar"))
    assert isinstance(guest, OciGuest)
    return guest


def entry(guest: Guest, path: str) -> Entry:
    found = guest.lstat(path)
    assert found is not None, path
    return found
