"""mtree(5) as pacman keeps one for each package: types, modes, owners and digests of its files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers._packages import MAX_LINE, Complain, Kind, Record, lines, rooted

_ESCAPE = re.compile(rb"\\([0-7]{3})")
_KINDS: dict[str, Kind] = {"file": "file", "dir": "directory", "link": "symlink"}
_DIGESTS = (("sha256digest", "sha256"), ("sha256", "sha256"), ("md5digest", "md5"), ("md5", "md5"))
_HEX = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")


def unescape(text: str) -> str:
    r"""Return a path with `\ooo` (three octal digits, vis(3)) as the bytes they mean."""
    raw = text.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(lambda m: bytes([int(m[1], 8) & 0xFF]), raw).decode("utf-8", "surrogateescape")


def _number(text: str, base: int) -> int | None:
    return (
        int(text, base)
        if text and len(text) < 16 and re.fullmatch(r"[0-7]+" if base == 8 else r"[0-9]+", text)
        else None
    )


def parse_mtree(text: str, complain: Complain) -> Iterator[Record]:
    """Yield the records of a list of paths, `./etc/motd type=file mode=644 …`, under the `/set` before them.

    The package's own `.BUILDINFO`, `.MTREE` and their like are no files of the system and left out.
    """
    default: dict[str, str] = {}
    for number, line in lines(text):
        words = line.split(" ") if len(line) <= MAX_LINE else []
        if not line or line.startswith("#"):
            continue
        fields = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        if words[:1] == ["/set"]:
            default.update(fields)
        elif words[:1] == ["/unset"]:
            for word in words[1:]:
                default.pop(word, None)
        elif words[:1] in (["."], ["./"]):
            continue
        elif not words or not words[0].startswith("./") or (path := rooted(unescape(words[0][2:]))) is None:
            complain("a line of the mtree that names no path", number)
        elif path.count("/") > 1 or not path.startswith("/."):
            yield _record(path, default | fields)


def _record(path: str, fields: dict[str, str]) -> Record:
    digest = next((f"{name}:{fields[key]}" for key, name in _DIGESTS if _HEX.fullmatch(fields.get(key, ""))), "")
    kind = _KINDS.get(fields.get("type", "file"))
    mode = _number(fields.get("mode", ""), 8)
    return Record(
        path=path,
        kind=kind or "other",
        digest=digest if kind == "file" else "",
        mode=None if mode is None else mode & 0o7777,
        uid=_number(fields.get("uid", ""), 10),
        gid=_number(fields.get("gid", ""), 10),
        size=_number(fields.get("size", ""), 10) if kind == "file" else None,
        mtime=_number(fields.get("time", "").partition(".")[0], 10),
        target=unescape(fields.get("link", "")),
    )
