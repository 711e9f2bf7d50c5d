"""A stand-in for a launched appliance, on a directory of this host: the same calls, the same errors.

What libguestfs' binding does with names that are not UTF-8 is done here too: they raise UnicodeError both ways.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from migrate.guest.libguestfs.handle import Stat, StatVfs, Subvolume, Xattr


class FakeHandle:
    """`broken` are calls on paths that fail: ("pread", "/etc/shadow"). `devices` is what blkid says of each.

    `locks` are encrypted devices: the key, what is said of another, and what blkid says of what they hold. `appear` are
    devices that come to light by a scan for volumes. `groups` are volume groups with their members. `starts` are the
    first bytes of devices.
    """

    def __init__(self, root: Path, broken: Sequence[tuple[str, str]] = ()) -> None:
        self.root = root
        self.broken = set(broken)
        self.ready = True
        self.calls: list[str] = []
        self.cancelled = False
        self.devices: dict[str, dict[str, str]] = {}
        self.labels: dict[str, str] = {}
        self.tops: dict[str, Path] = {}
        self.volumes: list[Subvolume] = []
        self.default = 5
        self.mounts: list[tuple[str, str, str]] = []
        self.unmountable: dict[str, str] = {}
        self.closed = 0
        self.groups: dict[str, list[str]] = {}
        self.appear: dict[str, dict[str, str]] = {}
        self.locks: dict[str, tuple[str, str, dict[str, str]]] = {}
        self.tried: list[tuple[str, str]] = []
        self.starts: dict[str, bytes] = {}

    def _path(self, call: str, path: str) -> bytes:
        self.calls.append(f"{call} {path}")
        path.encode("utf-8")
        if not self.ready:
            raise RuntimeError("appliance closed the connection unexpectedly")
        if (call, path) in self.broken:
            raise RuntimeError(f"{call}: {path}: Input/output error")
        return os.fsencode(self.root) + path.encode()

    def is_ready(self) -> int:
        return self.ready

    def user_cancel(self) -> None:
        self.cancelled = True

    def shutdown(self) -> None:
        if not self.ready:
            raise RuntimeError("appliance closed the connection unexpectedly")

    def close(self) -> None:
        self.closed += 1

    # ------------------------------------------------------------ metadata

    def ls0(self, dir: str, filenames: str) -> None:  # noqa: A002
        names: list[bytes] = os.listdir(self._path("ls0", dir))  # noqa: PTH208 - bytes
        Path(filenames).write_bytes(b"".join(name + b"\0" for name in names))

    def find0(self, directory: str, files: str) -> None:
        top = self._path("find0", directory)
        found = subprocess.run(["find", ".", "-mindepth", "1", "-print0"], cwd=top, capture_output=True, check=True)
        start = 2 if directory == "/" else 1  # the real one leaves the slash, daemon/find.c
        Path(files).write_bytes(b"".join(name[start:] + b"\0" for name in found.stdout.split(b"\0")[:-1]))

    def _stat(self, path: bytes) -> Stat:
        found = os.lstat(path)
        return Stat(
            st_dev=found.st_dev,
            st_ino=found.st_ino,
            st_mode=found.st_mode,
            st_nlink=found.st_nlink,
            st_uid=found.st_uid,
            st_gid=found.st_gid,
            st_rdev=found.st_rdev,
            st_size=found.st_size,
            st_blocks=found.st_blocks,
            st_mtime_sec=found.st_mtime_ns // 10**9,
        )

    def lstatns(self, path: str) -> Stat:
        return self._stat(self._path("lstatns", path))

    def lstatnslist(self, path: str, names: Sequence[str]) -> list[Stat]:
        top = self._path("lstatnslist", path)
        found = []
        for name in names:
            assert "/" not in name, "the library refuses these"
            try:
                if ("lstat", f"{path.rstrip('/')}/{name}") in self.broken:
                    raise OSError
                found.append(self._stat(top + b"/" + name.encode()))
            except OSError:
                found.append(Stat(**dict.fromkeys(Stat.__annotations__, -1)))  # type: ignore[typeddict-item]
        return found

    def readlinklist(self, path: str, names: Sequence[str]) -> list[str]:
        top = self._path("readlinklist", path)
        return [os.readlink(top + b"/" + name.encode()).decode("utf-8") for name in names]  # noqa: PTH115 - bytes

    def lxattrlist(self, path: str, names: Sequence[str]) -> list[Xattr]:
        top = self._path("lxattrlist", path)
        found = []
        for name in names:
            full = top + b"/" + name.encode()
            if ("lxattr", f"{path.rstrip('/')}/{name}") in self.broken:
                raise RuntimeError("lxattrlist: message too large")
            attributes = os.listxattr(full, follow_symlinks=False)
            found.append(Xattr(attrname="", attrval=str(len(attributes)).encode()))
            found += [Xattr(attrname=a, attrval=os.getxattr(full, a, follow_symlinks=False)) for a in attributes]
        return found

    # ------------------------------------------------------------ contents

    def pread(self, path: str, count: int, offset: int) -> bytes:
        with open(self._path("pread", path), "rb") as file:  # noqa: PTH123 - bytes
            file.seek(offset)
            return file.read(count)

    def checksums_out(self, csumtype: str, directory: str, sumsfile: str) -> None:
        top = self._path("checksums_out", directory)
        script = f"find . -type f -print0 | xargs -0 -r {csumtype}sum"
        done = subprocess.run(["sh", "-c", script], cwd=top, capture_output=True, check=False)
        lost = {path.encode() for call, path in self.broken if call == "checksum"}
        lines = [line for line in done.stdout.splitlines(keepends=True) if not any(name in line for name in lost)]
        Path(sumsfile).write_bytes(b"".join(lines))
        if lost or done.returncode:
            raise RuntimeError("checksums_out: md5sum: Input/output error")

    def tar_out(
        self,
        directory: str,
        tarfile: str,
        compress: str | None = None,
        numericowner: bool | None = None,
        excludes: Sequence[str] | None = None,
        xattrs: bool | None = None,
    ) -> None:
        top = self._path("tar_out", directory)
        options = ["--xattrs"] if xattrs else []
        for pattern in excludes or ():
            pattern.encode("utf-8")
            options.append(f"--exclude={pattern}")
        with Path(tarfile).open("wb") as out:
            done = subprocess.run(
                ["tar", "-C", top, "--numeric-owner", *options, "-cf", "-", "."], stdout=out, check=False
            )
        if done.returncode or self.cancelled:
            self.cancelled = False
            raise RuntimeError("tar_out: operation cancelled by user")

    # ------------------------------------------------------------ devices and mounts

    def list_disk_labels(self) -> dict[str, str]:
        return {"diska": "/dev/sda", "diskb": "/dev/sdb"}

    def list_partitions(self) -> list[str]:
        return [device for device in self.devices if device.startswith("/dev/sd") and device[-1].isdigit()]

    def list_md_devices(self) -> list[str]:
        return [device for device in self.devices if device.startswith("/dev/md")]

    def lvs(self) -> list[str]:
        return [device for device in self.devices if device.startswith("/dev/vg")]

    def blkid(self, device: str) -> dict[str, str]:
        self._path("blkid", device)
        return self.devices.get(device, {})

    def vfs_label(self, mountable: str) -> str:
        return self.labels[mountable]

    def blockdev_getsize64(self, device: str) -> int:
        return 1 << 20

    def md_detail(self, md: str) -> dict[str, str]:
        self._path("md_detail", md)
        return {"level": "raid1", "name": f"here:{self.devices[md].get('RAID', '')}"}

    def vgs(self) -> list[str]:
        return list(self.groups)

    def vgpvuuids(self, vgname: str) -> list[str]:
        return self.groups[vgname]

    def lvm_scan(self, activate: bool) -> None:
        assert activate
        self.devices |= self.appear

    def version(self) -> dict[str, int | str]:
        return {"major": 1, "minor": 48, "release": 6, "extra": ""}

    def cryptsetup_open(
        self, device: str, key: str, mapname: str, readonly: bool | None = None, crypttype: str | None = None
    ) -> None:
        assert (readonly, crypttype) == (None, "luks")
        self._path("cryptsetup_open", device)
        self.tried.append((device, key))
        if key != self.locks[device][0]:
            raise RuntimeError(f"cryptsetup_open: cryptsetup exited with status 2: {self.locks[device][1]}")
        self.devices[f"/dev/mapper/{mapname}"] = self.locks[device][2]

    def pread_device(self, device: str, count: int, offset: int) -> bytes:
        self._path("pread_device", device)
        return self.starts.get(device, b"")[offset : offset + count]

    def mount_options(self, options: str, mountable: str, mountpoint: str) -> None:
        self._path("mount", mountable)
        if self.unmountable.get(mountable, "never") in options:
            raise RuntimeError(
                f"mount_options: {mountable} on {mountpoint} (options: '{options}'): mount: /sysroot{mountpoint}: "
                f"can't read superblock on {mountable}.\ndmesg(1) may have more information after failed mount."
            )
        if mountpoint == "/":
            self.root = self.tops[mountable]
        self.mounts.append((options, mountable, mountpoint))

    def umount_all(self) -> None:
        self.mounts.clear()

    def statvfs(self, path: str) -> StatVfs:
        self._path("statvfs", path)
        return StatVfs(bsize=1024, frsize=4096, blocks=100, bfree=25)

    def realpath(self, path: str) -> str:
        try:
            real = os.path.realpath(self._path("realpath", path), strict=True)
        except OSError as error:
            raise RuntimeError(f"realpath: {path}: {error.strerror}") from error
        return os.fsdecode(real)[len(str(self.root)) :] or "/"

    def is_dir(self, path: str, followsymlinks: bool | None = None) -> int:
        return os.path.isdir(self._path("is_dir", path))  # noqa: PTH112 - bytes

    def is_file(self, path: str, followsymlinks: bool | None = None) -> int:
        return os.path.isfile(self._path("is_file", path))  # noqa: PTH113 - bytes

    def btrfs_subvolume_list(self, fs: str) -> list[Subvolume]:
        self._path("btrfs_subvolume_list", fs)
        return self.volumes

    def btrfs_subvolume_get_default(self, fs: str) -> int:
        return self.default
