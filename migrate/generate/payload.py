"""Which files of the machine go into a component's image, with owner, mode and links, and which never do.

Files come through the guest alone. Symbolic links stay links; one on the way to a named path goes along, and
so does what a named link leads to. Files that hold secrets are left out and named, to be mounted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import msgspec

from migrate.errors import PlanError
from migrate.facts import is_below
from migrate.generate.known import FHS, GENERATED_KEYS, NEVER
from migrate.generate.quoting import guest_path
from migrate.generate.rewrites import in_definition, rewrite_content
from migrate.generate.tar import Member, link_names, member_of, sort_key
from migrate.generate.tripwire import Tripwire
from migrate.guest.protocol import Guest
from migrate.model import Secret
from migrate.plan.model import Component, RunUser
from migrate.text import show

MAX_SECRET = 1 << 20
"""Bytes a Secret may hold in Kubernetes (concepts/configuration/secret, "Size limit")."""


class SecretFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is mounted, never in an image. `mode` keeps the owner's x bit: scripts stay executable."""

    path: str
    mode: int = 0o400


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into rootfs.tar, in order, with the SHA-256 (hex) of each file; and what is mounted instead."""

    members: tuple[Member, ...]
    digests: dict[str, str]
    secret_files: tuple[SecretFile, ...]
    notices: tuple[str, ...]

    def table(self) -> str:
        """Return files.tsv: mode, owner, size, SHA-256, path and, for links, where they lead."""
        lines = ["mode\tuid:gid\tsize\tsha256\tpath\n"]
        for m in self.members:
            letter = {"file": "-", "directory": "d", "symlink": "l", "hardlink": "h", "fifo": "p"}[m.kind]
            to = f" -> {show(m.target)}" if m.target else ""
            digest = self.digests.get(m.path, "-")
            lines.append(f"{letter}{m.mode:04o}\t{m.uid}:{m.gid}\t{m.size}\t{digest}\t{show(m.path)}{to}\n")
        return "".join(lines)


def can(user: RunUser, uid: int, gid: int, mode: int, bits: int) -> bool:
    """Tell whether `user` has the permission `bits` (4 read, 2 write, 1 search) on a file (path_resolution(7))."""
    if user.uid == 0:
        return True
    shift = 6 if user.uid == uid else 3 if gid in {user.gid, *user.groups} else 0
    return (mode >> shift) & bits == bits


class Collector:
    """Collects the members of one image. `secret_paths` are all files on the machine known to hold a secret."""

    def __init__(
        self,
        component: Component,
        guest: Guest,
        secret_paths: frozenset[str],
        tripwire: Tripwire,
        on_scratch: bool = False,
    ) -> None:
        self.on_scratch = on_scratch
        self.lifting = False
        self.component = component
        self.guest = guest
        self.tripwire = tripwire
        self.user = component.user or RunUser(name="root", uid=0, gid=0)
        self.members: dict[str, Member] = {}
        self.digests: dict[str, str] = {}
        self.secret_files: dict[str, SecretFile] = {}
        self.notices: list[str] = []
        self._secret_paths = secret_paths
        image = component.image
        made_anew = [d.path for d in component.directories]
        self._out = [guest_path(p, "the path") for p in (*(image.exclude if image else ()), *component.logs)]
        self._contents_out = [guest_path(p, "the path") for p in (*(d.path for d in component.data), *made_anew)]
        self._visited: set[str] = set()

    # ------------------------------------------------------------ what is named

    def add(self, path: str) -> None:
        """Add a named path: a file, a whole tree, or with a `/` at its end the directory alone.

        Raises PlanError where the guest has no such path.
        """
        alone = path.endswith("/")
        path = guest_path(path, "the path")
        if path == "/":
            raise PlanError(f"copy / for {self.component.id}", "the whole machine is no component", "name its parts")
        real = self._reach(path)
        entry = self.guest.lstat(real)
        if entry is None:
            do = "remove it from the component's files in plan.yaml, or analyze the disk again"
            raise PlanError(f"copy {show(path)} for {self.component.id}", "it is not on the disk", do)
        if real in self._visited:
            return
        self._visited.add(real)
        if alone or entry.kind != "directory":
            member = member_of(entry)
            if member is not None and (alone or not self.is_out(real)):
                self._take(member)
            if entry.kind == "symlink" and self.guest.exists(real):
                self.add(self.guest.resolve(real) or real)
            return
        self.add_tree(real)

    def add_tree(self, top: str) -> None:
        """Add a directory and everything below it that belongs into an image."""
        for entry in self.guest.walk(top):
            if self.is_out(entry.path):
                continue
            member = member_of(entry)
            if member is None:
                if entry.kind != "socket":
                    self.notices.append(f"{show(entry.path)} is a device and stays out")
                continue
            self._take(member)

    def add_lifted(self, path: str) -> None:
        """Add one path of the machine's own software, as it is; one that is not there, or out, is passed over."""
        real = self._reach(path)
        entry = self.guest.lstat(real)
        if entry is not None and real != "/" and not self.is_out(real):
            member = member_of(entry)
            if member is not None:
                self._take(member)

    def is_out(self, path: str) -> bool:
        """Tell whether a path stays out: excluded, a log, below data or below a directory made anew."""
        if NEVER.fullmatch(path) or any(is_below(path, out) or fnmatchcase(path, out) for out in self._out):
            return True
        return any(path != out and is_below(path, out) for out in self._contents_out)

    def _reach(self, path: str) -> str:
        """Return `path` with its parents' links resolved; each link on the way that is no standard one is added."""
        here = ""
        for part in PurePosixPath(path).parts[1:-1]:
            step = f"{here}/{part}"
            entry = self.guest.lstat(step)
            if entry is not None and entry.kind == "symlink":
                member = member_of(entry)
                if member is not None and not self._of_base(step):
                    self.members.setdefault(step, member)
                here = self.guest.resolve(step) or step
            else:
                here = step
            here = here.rstrip("/")
        return f"{here}/{PurePosixPath(path).name}"

    def _of_base(self, path: str) -> bool:
        """Tell whether the base image has this directory, or link to one, and its own is left alone."""
        return path == "/" or (path in FHS and not self.on_scratch)

    # ------------------------------------------------------------ one member

    def _take(self, member: Member) -> None:
        if member.path in self.members or (member.kind == "directory" and self._of_base(member.path)):
            return
        if member.kind == "file":
            member = self._rewritten(member)
            if self._is_secret(member):
                return
        self.members[member.path] = self._readable(member)

    def _rewritten(self, member: Member) -> Member:
        edits = [r for r in self.component.rewrites if r.path == member.path and not in_definition(r)]
        if not edits:
            return member
        secret = member.path in self._secret_paths
        content = rewrite_content(self.guest.read(member.path), edits, secret)
        return msgspec.structs.replace(member, content=content, size=len(content), sparse=False, inode=None)

    def _is_secret(self, member: Member) -> bool:
        """Name the file as one to mount if it holds a secret; note its digest otherwise."""
        if member.path in self._secret_paths:
            self.mount(member.path)
            return True
        digest = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            chunks = (member.content,) if member.content is not None else self.guest.chunks(member.source)
            for piece in chunks:
                digest.update(piece)
                yield piece

        # What a distribution ships is public: of the lifted system, only the machine's own secrets are kept back.
        found = self.tripwire.in_chunks(pieces(), keys=not self.lifting)
        if found is None:
            self.digests[member.path] = digest.hexdigest()
            return False
        what = f"the secret {found.id}, seen in {found.seen_in}" if isinstance(found, Secret) else "a private key"
        if member.size > MAX_SECRET and not self.lifting:
            raise PlanError(
                f"put {show(member.path)} into the image of {self.component.id}",
                f"it holds {show(what)}, and is too long ({member.size} bytes) to be mounted as a secret",
                "exclude it in plan.yaml, or take the secret out of it on the machine",
            )
        fate = "stays out" if self.lifting else "is mounted as a secret file"
        self.notices.append(f"{show(member.path)} holds {show(what)}: it {fate}")
        self.mount(member.path)
        return True

    def mount(self, path: str) -> None:
        """Name a file as one that holds a secret and is mounted; one of the lifted system is nobody's and stays out."""
        if self.lifting:
            return
        entry = self.guest.stat(path)
        if entry is None or entry.kind != "file":
            raise PlanError(
                f"mount {show(path)} in {self.component.id}", "it is no file on the disk", "correct plan.yaml"
            )
        if entry.size > MAX_SECRET:
            found = f"it is {entry.size} bytes long, and a Secret holds {MAX_SECRET}"
            raise PlanError(
                f"mount {show(path)} in {self.component.id} as a secret", found, "make it data in plan.yaml"
            )
        mode = 0o500 if entry.mode & 0o111 else 0o400
        self.secret_files[path] = SecretFile(path=path, mode=mode)

    def _readable(self, member: Member) -> Member:
        """Let a process that is not root read its configuration, which the daemon's root did on the machine."""
        if member.kind not in {"file", "directory"}:
            return member
        bits = 5 if member.kind == "directory" else 4
        if can(self.user, member.uid, member.gid, member.mode, bits):
            return member
        if not any(is_below(member.path, c) for c in self.component.config):
            return member
        mode = member.mode | (bits << 3)
        self.notices.append(
            f"{show(member.path)} is readable by group {self.user.gid} in the image: no root reads it there"
        )
        return msgspec.structs.replace(member, gid=self.user.gid, mode=mode)

    # ------------------------------------------------------------ what is made

    def add_link(self, path: str, target: str) -> None:
        """Add a symbolic link of root's."""
        self.members[path] = Member(path=path, kind="symlink", mode=0o777, target=target)

    def add_directory(self, path: str, uid: int, gid: int, mode: int) -> None:
        """Add an empty directory."""
        self.members[path] = Member(path=path, kind="directory", mode=mode, uid=uid, gid=gid)

    def add_parents(self) -> None:
        """Add the directories above all members and mounts, as the machine has them and passable for the process."""
        for path in (*tuple(self.members), *self.secret_files):
            for parent in map(str, PurePosixPath(path).parents):
                if parent in self.members or self._of_base(parent):
                    continue
                entry = self.guest.lstat(parent)
                member = member_of(entry) if entry is not None else None
                member = member or Member(path=parent, kind="directory", mode=0o755)
                if member.kind == "directory" and not can(self.user, member.uid, member.gid, member.mode, 1):
                    member = msgspec.structs.replace(member, mode=member.mode | 0o001)
                self.members[parent] = member

    def payload(self) -> Payload:
        """Return what was collected. A file to mount is nobody's member, under no name of its."""
        self.add_parents()
        members = link_names(m for path, m in self.members.items() if path not in self.secret_files)
        return Payload(
            members=tuple(members),
            digests={m.path: self.digests[m.path] for m in members if m.kind == "file" and m.path in self.digests},
            secret_files=tuple(self.secret_files[p] for p in sorted(self.secret_files, key=sort_key)),
            notices=tuple(dict.fromkeys(self.notices)),
        )


def collect(collector: Collector, extra_secrets: Iterable[str], system_files: Sequence[str]) -> Payload:
    """Return the payload of a component: its files, rewritten ones, the system's settings, what it needs made."""
    component = collector.component
    for path in component.image.files if component.image else ():
        collector.add(path)
    for rewrite in component.rewrites:
        env_only = {e.path for e in component.environment_files}
        if not in_definition(rewrite) and rewrite.path not in env_only:
            collector.add(rewrite.path)
    for path in system_files:
        collector.add(path)
    for path in extra_secrets:
        collector.mount(path)
        for pair in GENERATED_KEYS:
            if pair.key == path and collector.guest.is_file(pair.certificate):
                collector.add(pair.certificate)
    _add_made(collector, component)
    return collector.payload()


def _add_made(collector: Collector, component: Component) -> None:
    for data in component.data:
        collector.add_directory(guest_path(data.path, "the data"), data.uid, data.gid, octal(data.mode))
    for directory in component.directories:
        path = guest_path(directory.path, "the directory")
        if path in FHS:
            continue
        uid, gid, mode = directory.uid, directory.gid, octal(directory.mode)
        shared = any(n.over.startswith(f"unix:{path}/") for n in component.needs)
        if not shared and not can(collector.user, uid, gid, mode, 7):
            uid, gid = collector.user.uid, collector.user.gid
        collector.add_directory(path, uid, gid, mode)
    user = collector.user
    if user.uid != 0:
        # A pid file goes straight into /run, which root of the machine could write (hier(7)).
        collector.add_directory("/run", user.uid, user.gid, 0o755)
    for path in component.logs:
        _add_log(collector, guest_path(path, "the log"))


def _add_log(collector: Collector, path: str) -> None:
    """Add the link that carries a log to the container's own output, or its directory where no file is named."""
    guest, user = collector.guest, collector.user
    names = guest.glob(path) if set(path) & set("*?[") else [path]
    folder = str(PurePosixPath(path).parent) if names != [path] or not guest.is_dir(path) else path
    entry = guest.stat(folder)
    if folder not in FHS and folder not in collector.members:
        uid, gid, mode = (entry.uid, entry.gid, entry.mode) if entry else (user.uid, user.gid, 0o755)
        if not can(user, uid, gid, mode, 7):
            uid = user.uid
        collector.add_directory(guest.resolve(folder) or folder, uid, gid, mode | 0o700)
    if folder == path:
        return
    for name in names:
        parent = guest.resolve(str(PurePosixPath(name).parent)) or str(PurePosixPath(name).parent)
        stream = "stderr" if "err" in PurePosixPath(name).name else "stdout"
        collector.add_link(f"{parent.rstrip('/')}/{PurePosixPath(name).name}", f"/dev/{stream}")


def octal(text: str) -> int:
    """Return a mode written in octal. Raises PlanError where it is none."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise PlanError(f"use the mode '{show(text)}'", "it is no octal number up to 7777", "write it as '0755'")
    return mode
