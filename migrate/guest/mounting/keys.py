"""Keys of encrypted volumes, as `--key` takes them: the selectors of virt-v2v(1), guestfish(1), "--key SELECTOR".

NAME:key:KEY_STRING        NAME is a device (/dev/sda3, /dev/vg/root, /dev/mapper/vg-root), a UUID, or `all`
NAME:file:FILENAME         the passphrase is the first line of the file, or else all of it

virt-v2v parts a selector at each `:`; here NAME ends before the first `:key:` or `:file:`, so that a passphrase and
/dev/disk/by-path may hold colons. NAME may be what fstab calls the device too (/dev/vda3, UUID=…). A key is in no
message, and not in the `repr` of what holds it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from migrate.errors import UsageError
from migrate.guest.mounting.layout import FileSystemSeen, find_device
from migrate.text import show

LARGEST_FILE = 1 << 20
"""The largest key file, in bytes: a message of libguestfs holds less than 4 MiB."""

_FORMS = "NAME:key:KEY or NAME:file:FILENAME, where NAME is a device, a UUID or `all`"
_SELECTOR = re.compile(r"(.*?):(key|file|clevis)(?::(.*))?", re.DOTALL)
_ALL = "all"


class Key(msgspec.Struct, frozen=True):
    """What opens the encrypted devices that `name` says; `secrets` are tried in their order."""

    name: str
    secrets: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        """Return the name alone."""
        return f"Key(name={self.name!r}, secrets=<{len(self.secrets)} not shown>)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Give rich, too, the name alone."""
        return [("name", self.name)]


def parse_key(text: str) -> Key:
    """Return the key that a selector names; of `file`, the file is read now.

    Raises UsageError, which repeats nothing of the selector: any part of it may be a key in the wrong place.

    >>> parse_key("all:key:correct horse")
    Key(name='all', secrets=<1 not shown>)
    """
    attempted = "take what --key says"
    match = _SELECTOR.fullmatch(text)
    if match is None or not match[1]:
        raise UsageError(attempted, "it is no selector", f"write {_FORMS}")
    name, kind, rest = match.groups()
    if kind == "clevis":
        found = "clevis asks a server of the network for the key, and the appliance that reads disks has no network"
        raise UsageError(attempted, found, "give the passphrase with NAME:key:KEY or NAME:file:FILENAME")
    if not rest:
        raise UsageError(attempted, f"there is nothing after `{kind}`", f"write {_FORMS}")
    secrets = _from_file(Path(rest), attempted) if kind == "file" else (rest.encode("utf-8", "surrogateescape"),)
    if any(b"\0" in secret for secret in secrets) and kind == "key":
        raise UsageError(attempted, "a passphrase holds no NUL", "keep it in a file: NAME:file:FILENAME")
    return Key(name, secrets)


def _from_file(path: Path, attempted: str) -> tuple[bytes, ...]:
    """Return the first line of a key file, and all of it where that is not the same."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(attempted, f"the key file cannot be read: {show(why)}") from error
    if not content or content == b"\n":
        raise UsageError(attempted, "the key file is empty")
    if len(content) > LARGEST_FILE:
        raise UsageError(attempted, f"the key file is longer than {LARGEST_FILE >> 20} MiB")
    line = content.partition(b"\n")[0]
    return tuple(dict.fromkeys(secret for secret in (line, content) if secret))


def secrets_for(keys: Sequence[Key], seen: FileSystemSeen, every: Sequence[FileSystemSeen]) -> list[bytes]:
    """Return what to try on an encrypted device, in the order of the keys, none twice."""
    fitting = (key for key in keys if _is_for(key, seen, every))
    return list(dict.fromkeys(secret for key in fitting for secret in key.secrets))


def _is_for(key: Key, seen: FileSystemSeen, every: Sequence[FileSystemSeen]) -> bool:
    if key.name in {_ALL, seen.device} or (seen.uuid and key.name.lower() == seen.uuid.lower()):
        return True
    return find_device(key.name, every, {}) is seen


def as_argument(secret: bytes, version: tuple[int, int]) -> str | None:
    r"""Return a key as a version of libguestfs takes it, or None where that takes text only and it is none.

    Since 1.60 what starts with `text:` or `base64:` is taken apart (guestfs-release-notes-1.60(1)).

    >>> as_argument(b"text:me", (1, 48)), as_argument(b"text:me", (1, 60)), as_argument(b"\xff", (1, 60))
    ('text:me', 'text:text:me', 'base64:/w==')
    """
    try:
        text = secret.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if version >= (1, 60):
        return f"text:{text}" if "\0" not in text else f"base64:{base64.b64encode(secret).decode('ascii')}"
    return text if "\0" not in text else None
