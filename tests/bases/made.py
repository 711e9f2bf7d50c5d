"""A small base image: as a tree, as an inventory, and in an engine."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from migrate.bases.make import make
from migrate.bases.model import Base
from migrate.container import ImageFacts
from migrate.engine import Engine
from migrate.generate.tar import member_of, stream
from tests.analyzers.fake import Content, FakeGuest, File, Link

REFERENCE = "corp/base:1"
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x3e\0\x01" + bytes(31) + b"\x40\0" + bytes(10)  # amd64, elf(5)
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep

STATUS = """Package: libc6
Status: install ok installed
Maintainer: x <x@example.org>
Architecture: amd64
Multi-Arch: same
Version: 2.36-9
Description: C library

Package: tzdata
Status: install ok installed
Maintainer: x <x@example.org>
Architecture: all
Version: 2024a-0
Description: time zones

"""

TREE: dict[str, Content] = {
    "/bin": Link("usr/bin"),
    "/etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "/etc/shadow": File("root:*:1::::::\n", mode=0o640, gid=42),
    "/etc/ssl/openssl.cnf": "base\n",
    "/usr/bin/dash": File(ELF, mode=0o755),
    "/usr/bin/sh": Link("dash"),
    "/usr/bin/ping": File("\x7fELF ping", mode=0o755, xattrs={"security.capability": CAPABILITY}),
    "/usr/lib/libc.so.6": File("\x7fELF libc", mode=0o755),
    "/usr/share/app/one": "same\n",
    "/usr/share/app/two": "same\n",
    "/var/lib/dpkg/status": STATUS,
    "/var/lib/dpkg/arch": "amd64\n",
    "/var/lib/dpkg/info/libc6.list": "/.\n/usr\n/usr/lib\n/usr/lib/libc.so.6\n",
}


def inventory(tree: dict[str, Content] = TREE, reference: str = REFERENCE, image_id: str = "") -> Base:
    """Return the inventory of a tree."""
    return make(FakeGuest(tree), reference, "a tree in memory", "2024-01-02", image_id)


def archive(path: Path, tree: dict[str, Content] = TREE) -> Path:
    """Write a tree as a tar archive."""
    guest = FakeGuest(tree)
    members = [m for m in map(member_of, guest.walk("/")) if m is not None and m.path != "/"]
    with path.open("wb") as out:
        out.writelines(stream(members, guest))
    return path


def saved(tree: dict[str, Content] = TREE) -> bytes:
    """Return an image of one layer as `docker save` writes it (image-spec of moby, v1.2)."""
    guest = FakeGuest(tree)
    members = [m for m in map(member_of, guest.walk("/")) if m is not None and m.path != "/"]
    layer = b"".join(stream(members, guest))
    identity = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [identity]},
    }
    manifest = [{"Config": "c.json", "RepoTags": [REFERENCE], "Layers": ["layer/layer.tar"]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in (
            ("layer/layer.tar", layer), ("c.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Images(Engine):
    """An engine without Docker that has the images it is given: references and their trees."""

    def __init__(self, trees: dict[str, dict[str, Content]], triggers: tuple[str, ...] = ()) -> None:
        super().__init__(None)
        self.trees = trees
        self.triggers = triggers
        self.saves: list[str] = []
        self.pulled: list[str] = []

    def image_id(self, image: str) -> str | None:
        if image.startswith("sha256:"):
            return image if image in map(self.image_id, self.trees) else None
        tree = self.trees.get(image)
        return f"sha256:{hashlib.sha256(saved(tree)).hexdigest()}" if tree is not None else None

    def image_facts(self, image: str) -> ImageFacts | None:
        found = self.image_id(image)
        if found is None:
            return None
        digests = (f"corp/base@sha256:{'0' * 64}",)
        return ImageFacts(image_id=found, created="2024-01-02", repository_digests=digests, triggers=self.triggers)

    def pull(self, image: str) -> None:
        self.pulled.append(image)

    def save(self, image: str) -> Iterator[bytes]:
        self.saves.append(image)
        yield saved(next(tree for name, tree in self.trees.items() if image in {name, self.image_id(name)}))
