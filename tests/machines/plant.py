"""Lays the planted changes on a machine's tree: `python3 plant.py TREE TRUTH.json`.

With nothing but the standard library: it runs as whoever owns the tree, the root of a user namespace too, which reads
no home folder and no .venv. Each entry of `planted` says with `do` what is done to its path; one without was done by
the recipe itself.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

# struct vfs_cap_data of linux/capability.h, revision 2: cap_net_raw=ep, cap_net_bind_service=ep
CAPABILITIES = {
    "cap_net_raw=ep": bytes.fromhex("0100000200200000000000000000000000000000"),
    "cap_net_bind_service=ep": bytes.fromhex("0100000200040000000000000000000000000000"),
}
_MTIME = 1_715_000_000


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    os.utime(path, (_MTIME, _MTIME))


def _flip(path: Path, at: str) -> None:
    """Change one byte, and neither size nor mtime: a letter of a script's comment would still run."""
    was = path.stat()
    data = bytearray(path.read_bytes())
    data[int(at)] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def _remove(path: Path, _: str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _mode(path: Path, mode: str) -> None:
    path.chmod(int(mode, 8))


def _owner(path: Path, owner: str) -> None:
    uid, gid = owner.split(":")
    mode = stat.S_IMODE(path.lstat().st_mode)
    os.chown(path, int(uid), int(gid), follow_symlinks=False)
    if not path.is_symlink():
        path.chmod(mode)  # chown(2) takes setuid and setgid away


def _capability(path: Path, text: str) -> None:
    if text:
        os.setxattr(path, "security.capability", CAPABILITIES[text])
    else:
        os.removexattr(path, "security.capability")


def _link(path: Path, target: str) -> None:
    if path.is_symlink() or path.exists():
        _remove(path, "")
    path.symlink_to(target)


def _directory(path: Path, _: str) -> None:
    _remove(path, "")
    path.mkdir(0o755)


def _touch(path: Path, _: str) -> None:
    os.utime(path, (_MTIME, _MTIME))


DEEDS: dict[str, Callable[[Path, str], None]] = {
    "append": _append,
    "write": _write,
    "flip": _flip,
    "remove": _remove,
    "mode": _mode,
    "owner": _owner,
    "capability": _capability,
    "link": _link,
    "directory": _directory,
    "touch": _touch,
}


def plant(tree: Path, truth: dict[str, object]) -> None:
    """Do what the entries say, in their order. Raises ValueError for a path that leads out of the tree."""
    planted = truth["planted"]
    assert isinstance(planted, list)
    top = tree.resolve()
    for entry in planted:
        path = top / entry["path"].lstrip("/")
        if path.parent.resolve() != path.parent:  # a folder that is a link: an absolute one leads to this host
            raise ValueError(f"write {path} as the tree has it: {path.parent.resolve()}")
        for deed, value in entry.get("do", {}).items():
            DEEDS[deed](path, str(value))


if __name__ == "__main__":
    plant(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
