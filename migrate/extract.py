"""`vm2c extract`: at cutover, what is in no image is taken from the disk: secrets and data.

    FOLDER/ID/env              a component's secret variables, as compose's env_file
    FOLDER/ID/files/PATH       its secret files, each readable by the number its container runs as
    FOLDER/data/CLAIM.tar      a volume's content, with owners, extended attributes and holes

Values go into FOLDER, which is private, or with `kubernetes_secrets` to the caller, and nowhere else.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from migrate import output
from migrate.errors import PlanError, UsageError
from migrate.generate import yamlout
from migrate.generate.context import Context, Moving, make_context
from migrate.generate.envfile import compose_env_file
from migrate.generate.kubernetes import all_data, labels
from migrate.generate.payload import octal
from migrate.generate.podspec import secret_env_name, secret_files_name, secret_keys
from migrate.generate.rewrites import rewrite_content
from migrate.generate.tar import Member, link_names, member_of, stream
from migrate.generate.variables import secret_values
from migrate.guest.protocol import Guest
from migrate.model import Secret
from migrate.output import File
from migrate.plan.model import Data, Plan
from migrate.text import show

_PRIVATE = 0o700
_BULK = 1 << 30  # bytes: more than this is read file by file, since a copy of all of it would fill the host's disk


class SecretContent(msgspec.Struct, frozen=True, kw_only=True):
    """A secret file of a component with its content, which must not be shown."""

    path: str
    mode: int
    content: bytes

    def __repr__(self) -> str:
        return f"SecretContent(path={self.path!r})"


class ComponentSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What a component gets as secrets, with values, which must not be shown."""

    id: str
    uid: int
    gid: int
    variables: dict[str, str]
    files: tuple[SecretContent, ...]

    def __repr__(self) -> str:
        return f"ComponentSecrets(id={self.id!r}, variables={sorted(self.variables)!r}, files={self.files!r})"


class Extracted(msgspec.Struct, frozen=True, kw_only=True):
    """What was written below FOLDER: secret files and archives of data, sorted; and what to know about it."""

    secrets: tuple[str, ...]
    data: tuple[str, ...]
    notices: tuple[str, ...]


def extract(plan: Plan, guest: Guest, secrets: Sequence[Secret], into: Path, ids: Sequence[str] = ()) -> Extracted:
    """Write the secrets and data of the components `ids` (all, where it is empty) into the folder `into`.

    The folder is made, or made private. What an earlier run wrote for the same components is replaced as a
    whole. Raises UsageError where the folder is a link or somebody else's, PlanError for an unknown id.
    """
    context = make_context(plan, guest, secrets)
    chosen = _chosen(context, ids)
    notices = list(_make_private(into))
    output.write({".gitignore": File(b"*\n")}, into, "extract")
    names: list[str] = []
    for m in chosen:
        found = component_secrets(m, guest)
        files = _secret_files(found)
        output.write(files, into, f"extract-{m.id}")
        names += sorted(files)
        notices += _hand_over(found, into)
    wanted = {d.claim for m in chosen for d in m.component.data}
    archives: list[str] = []
    for data in all_data(context):
        if data.claim in wanted:
            name = f"data/{data.claim}.tar"
            output.write({name: File(lambda d=data: archive(d, context), 0o600)}, into, f"data-{data.claim}")  # type: ignore[misc]
            archives.append(name)
            if not guest.is_dir(data.path):
                notices.append(f"{show(data.path)} is not on the disk: {data.claim} starts empty")
    _give_to_caller(into, [*(n for n in names if n.endswith("/env")), *archives])
    return Extracted(secrets=tuple(names), data=tuple(archives), notices=tuple(notices))


def kubernetes_secrets(plan: Plan, guest: Guest, secrets: Sequence[Secret], ids: Sequence[str] = ()) -> str:
    """Return the Secret objects of the components `ids` (all, where it is empty) as YAML, values included."""
    context = make_context(plan, guest, secrets)
    documents = [d for m in _chosen(context, ids) for d in _objects(m, component_secrets(m, guest), context)]
    return yamlout.dump(*documents) if documents else ""


def component_secrets(m: Moving, guest: Guest) -> ComponentSecrets:
    """Return a component's secrets with their values, rewritten as the plan says."""
    files = []
    for file in m.payload.secret_files:
        edits = [r for r in m.component.rewrites if r.path == file.path]
        content = rewrite_content(guest.read(file.path), edits, secret=True)
        files.append(SecretContent(path=file.path, mode=file.mode, content=content))
    values = secret_values(m.component, m.variables.secret, guest)
    return ComponentSecrets(id=m.id, uid=m.user.uid, gid=m.user.gid, variables=values, files=tuple(files))


def archive(data: Data, context: Context) -> Iterator[bytes]:
    """Yield the archive of a volume's content. Names are relative to it; `./` carries its owner and mode."""
    guest = context.guest
    top = guest.resolve(data.path)
    if top is None or not guest.is_dir(top):
        member = Member(path=data.path, kind="directory", mode=octal(data.mode), uid=data.uid, gid=data.gid)
        yield from stream([member], guest, data.path)
        return
    if data.bytes <= _BULK:
        guest.prefetch([top])
    members = [m for e in guest.walk(top) if (m := member_of(e)) is not None]
    yield from stream(link_names(_rewritten(m, data, context) for m in members), guest, top)


def _rewritten(member: Member, data: Data, context: Context) -> Member:
    """Apply the rewrites of configuration that is kept among the data, as PostgreSQL has it on some systems."""
    owners = [m.component for m in context.moving if any(d.claim == data.claim for d in m.component.data)]
    edits = [r for c in owners for r in c.rewrites if r.path == member.path]
    if not edits or member.kind != "file":
        return member
    content = rewrite_content(context.guest.read(member.path), edits, secret=True)
    return msgspec.structs.replace(member, content=content, size=len(content), sparse=False, inode=None)


def _chosen(context: Context, ids: Sequence[str]) -> list[Moving]:
    known = [m.id for m in context.moving]
    for wanted in ids:
        if wanted not in known:
            names = ", ".join(known) or "none"
            raise PlanError(
                f"extract {show(wanted)}", "no component of that id becomes a container", f"there are {names}"
            )
    return [m for m in context.moving if not ids or m.id in ids]


# ---------------------------------------------------------------- Kubernetes


def _objects(m: Moving, found: ComponentSecrets, context: Context) -> Iterable[dict[str, Any]]:
    keys = secret_keys(m)
    variables = {name: value.encode("utf-8", "surrogateescape") for name, value in found.variables.items()}
    for name, values in (
        (secret_env_name(m.id), variables),
        (secret_files_name(m.id), {keys[f.path]: f.content for f in found.files}),
    ):
        if values:
            yield {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "labels": labels(context, m.id)},
                "type": "Opaque",
                "data": {key: base64.b64encode(values[key]).decode("ascii") for key in sorted(values)},
            }


# ---------------------------------------------------------------- the folder


def _secret_files(found: ComponentSecrets) -> dict[str, File]:
    files: dict[str, File] = {}
    if found.variables:
        content = compose_env_file(found.variables).encode("utf-8", "surrogateescape")
        files[f"{found.id}/env"] = File(content, 0o600)
    for file in found.files:
        files[f"{found.id}/files{file.path}"] = File(file.content, file.mode)
    return files


def _make_private(folder: Path) -> Iterator[str]:
    """Make the folder, or take an existing one from everybody but its owner."""
    try:
        folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        found = "it is a link or no directory" if folder.is_symlink() or folder.exists() else str(error.strerror)
        raise UsageError(f"put secrets into {folder}", found, "name a folder of your own") from error
    try:
        status = os.fstat(handle)
        if status.st_uid not in {os.geteuid(), _caller()[0]}:
            raise UsageError(f"put secrets into {folder}", "it belongs to another user", "name a folder of your own")
        if stat.S_IMODE(status.st_mode) & 0o077:
            os.fchmod(handle, _PRIVATE)
            yield f"{folder} was open to others; it is private now (mode 0700)"
    finally:
        os.close(handle)


def _caller() -> tuple[int, int]:
    """Return the numbers of the person who calls: those before sudo(8), which sets SUDO_UID and SUDO_GID."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdigit() and gid.isdigit():
        return int(uid), int(gid)
    return os.geteuid(), os.getegid()


def _hand_over(found: ComponentSecrets, into: Path) -> Iterator[str]:
    """Give secret files to the number their container runs as; tell what to do where only root could."""
    for file in found.files:
        path = into / f"{found.id}/files{file.path}"
        if os.geteuid() == 0:
            os.chown(path, found.uid, found.gid, follow_symlinks=False)
        elif found.uid not in {0, os.geteuid()}:
            yield (
                f"{found.id} runs as {found.uid} and cannot read {show(str(path))}:"
                f" run `sudo chown {found.uid}:{found.gid} {show(str(path))}`, or vm2c extract as root"
            )


def _give_to_caller(into: Path, names: Iterable[str]) -> None:
    """Let the person who called through sudo read what docker and kubectl read as them; folders among it."""
    uid, gid = _caller()
    if os.geteuid() != 0 or uid == 0:
        return
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for name in (*sorted(folders), *names):
        os.chown(into / name, uid, gid, follow_symlinks=False)
    for folder in into.rglob("*"):
        if folder.is_dir() and not folder.is_symlink():
            os.chown(folder, uid, gid, follow_symlinks=False)
    os.chown(into, uid, gid)
