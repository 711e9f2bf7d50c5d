"""What is mounted where, from fstab(5) and from mount units that somebody wrote."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers._reading import Reader, meaningful
from migrate.guest.mounting.fstab import parse_fstab
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Mount, Place, Unread

_NAME = "fstab"


def mounts(text: str, path: str) -> Iterator[Mount | Unread]:
    """Yield a Mount for each line of an fstab; swap has no mount point and is none. One bad line stops nothing."""
    lines, bad = parse_fstab(text)
    for line in lines:
        if line.mountpoint.startswith("/"):
            yield Mount(
                seen_in=Place(path, line.number),
                device=line.device,
                mountpoint=line.mountpoint,
                type=line.type,
                options=",".join(line.options),
            )
    for wrong in bad:
        yield Unread(seen_in=Place(path, wrong.number), why=wrong.why, analyzer=_NAME)


def parse_mount_unit(text: str, path: str) -> Mount | None:
    """Read the [Mount] section of systemd.mount(5); None where it says not what is mounted where."""
    values: dict[str, str] = {}
    section = ""
    first = 1
    for number, line in meaningful(text, comment="#;"):
        if line.startswith("["):
            section = line
        elif section == "[Mount]":
            name, _, value = line.partition("=")
            values[name.strip()] = value.strip()
            first = number if name.strip() == "What" else first
    if not values.get("What") or not values.get("Where", "").startswith("/"):
        return None
    return Mount(
        seen_in=Place(path, first),
        device=values["What"],
        mountpoint=values["Where"],
        type=values.get("Type", "auto"),
        options=values.get("Options", "defaults"),
    )


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield the mounts of fstab, and of the units in /etc/systemd/system."""
    reader = Reader(guest, _NAME)
    yield from mounts(reader.optional("/etc/fstab") or "", "/etc/fstab")
    for path in guest.glob("/etc/systemd/system/*.mount"):
        if guest.is_file(path) and (text := reader.text(path)) is not None:
            if mount := parse_mount_unit(text, path):
                yield mount
            else:
                reader.note(path, "not a mount: systemd.mount(5) wants What= and Where=")
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="File systems and network shares that the machine mounts.",
    reads=("/etc/fstab", "/etc/systemd/system/*.mount"),
    analyze=analyze,
    source="fstab(5), systemd.mount(5)",
)
