"""A volume group as its description tells it: only what this reader can read exactly. lvm2, lib/format_text/.

Anything that LVM would not simply activate as linear or striped mappings is a ValueError with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

import msgspec

from migrate.guest.volumes.lvmtext import Section, Value, parse_config
from migrate.text import show

_MAX_SECTORS = 1 << 55  # 16 EiB, beyond which no offset in bytes goes
_NAME = re.compile(r"(?!-)(?!\.\.?\Z)[A-Za-z0-9_.+-]{1,127}")  # lvm(8), "Valid names"
_IDENTITY = re.compile(r"[A-Za-z0-9!#]{6}(?:-[A-Za-z0-9!#]{4}){5}-[A-Za-z0-9!#]{6}")
_LEAST_STRIPE = 8  # sectors: a page, the least that lvcreate(8) takes; always a power of 2
_LINEAR = frozenset({"striped", "linear"})


class Physical(msgspec.Struct, frozen=True, kw_only=True):
    """A physical volume: its identity, and where its `count` extents begin. Sizes in sectors of 512 bytes."""

    uuid: str
    device_size: int
    start: int
    count: int


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a volume's extents. `stripes` are (physical volume, first extent); `stripe_size` in sectors, or 0."""

    start: int
    count: int
    stripe_size: int
    stripes: tuple[tuple[str, int], ...]


class Logical(msgspec.Struct, frozen=True, kw_only=True):
    """A logical volume; one that is not `listed` is hidden, or not to be activated unless a person asks for it."""

    name: str
    uuid: str
    listed: bool
    segments: tuple[Segment, ...]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A volume group; `extent_size` in sectors of 512 bytes, `physical` by the names that segments use."""

    extent_size: int
    physical: Mapping[str, Physical]
    logical: tuple[Logical, ...]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What tells volume groups and their versions apart, and the rest of the description."""

    name: str
    uuid: str
    seqno: int
    section: Section


def parse_head(text: bytes) -> Head:
    """Return the volume group that the text of a metadata area describes. Raises ValueError."""
    top = parse_config(text.rstrip(b"\0").decode("utf-8", "surrogateescape"))
    groups = [(name, each) for name, each in top.items() if isinstance(each, dict)]
    if len(groups) != 1 or top.get("contents") != "Text Format Volume Group" or top.get("version") != 1:
        raise ValueError("it is described in a way that is not known")
    name, section = groups[0]
    return Head(name=_checked(name), uuid=_uuid(section), seqno=_number(section, "seqno"), section=section)


def parse_group(head: Head) -> Group:
    """Return what a description says. Raises ValueError for all that is not linear or striped, active and whole."""
    section = head.section
    _check_flags("it", section, required={"READ"}, allowed={"RESIZEABLE", "WRITE"})
    if section.get("format", "lvm2") != "lvm2":
        raise ValueError("it is not of the format lvm2")
    if section.get("system_id") or section.get("lock_type", "none") != "none":
        raise ValueError("it belongs to another system, or is shared by several")
    extent_size = _number(section, "extent_size", least=1)
    physical = {name: _physical(name, each) for name, each in _sections(section, "physical_volumes")}
    if len({each.uuid for each in physical.values()}) < len(physical):
        raise ValueError("it names a physical volume twice")
    for each in physical.values():
        if each.start + each.count * extent_size > min(each.device_size or _MAX_SECTORS, _MAX_SECTORS):
            raise ValueError(f"its physical volume {each.uuid} is described as smaller than its extents")
    logical = tuple(_logical(name, each) for name, each in _sections(section, "logical_volumes"))
    if len({each.uuid for each in logical}) < len(logical):
        raise ValueError("two of its volumes are one by their identity")
    group = Group(extent_size=extent_size, physical=physical, logical=logical)
    _check_extents(group)
    return group


def _physical(name: str, section: Section) -> Physical:
    what = f"its physical volume {show(name[:128])}"
    _check_flags(what, section, required=set(), allowed={"ALLOCATABLE"})
    size = _number(section, "dev_size") if "dev_size" in section else 0
    start = _number(section, "pe_start", least=1)
    return Physical(uuid=_uuid(section), device_size=size, start=start, count=_number(section, "pe_count"))


def _logical(name: str, section: Section) -> Logical:
    what = f"its volume {_checked(name)}"
    flags = {"READ", "WRITE", "VISIBLE"}
    _check_flags(what, section, required={"READ"}, allowed=flags, compatible={"ACTIVATION_SKIP"})
    named = [each for key, each in section.items() if isinstance(each, dict) and key.startswith("segment")]
    if len(named) != _number(section, "segment_count") or not named:
        raise ValueError(f"{what} has not the segments that it says")
    segments = [_segment(what, each) for each in named]
    end = 0
    for segment in segments:
        if segment.start != end:
            raise ValueError(f"{what} has segments that do not follow one another")
        end += segment.count
    listed = "VISIBLE" in _strings(section, "status") and "ACTIVATION_SKIP" not in _strings(section, "flags")
    return Logical(name=name, uuid=_uuid(section), listed=listed, segments=tuple(segments))


def _segment(what: str, section: Section) -> Segment:
    kind = section.get("type", "striped")
    if not isinstance(kind, str) or kind not in _LINEAR:
        raise ValueError(f"{what} is of type {show(str(kind)[:64])}, which is not read here")
    start, count = _number(section, "start_extent"), _number(section, "extent_count", least=1)
    listed = section.get("stripes")
    if not isinstance(listed, list) or len(listed) != 2 * _number(section, "stripe_count", least=1):
        raise ValueError(f"{what} has stripes that are not as LVM writes them")
    stripes = []
    for name, first in zip(listed[::2], listed[1::2], strict=True):
        if not isinstance(name, str) or not isinstance(first, int) or not 0 <= first < _MAX_SECTORS:
            raise ValueError(f"{what} has stripes that are not as LVM writes them")
        stripes.append((name, first))
    size = _number(section, "stripe_size", least=_LEAST_STRIPE) if len(stripes) > 1 else 0
    if count % len(stripes) or size & max(0, size - 1):
        raise ValueError(f"{what} has stripes of unequal length")
    return Segment(start=start, count=count, stripe_size=size, stripes=tuple(stripes))


def _check_extents(group: Group) -> None:
    """Check that segments lie on the extents that there are, and no extent belongs to two of them."""
    taken: dict[str, list[tuple[int, int]]] = {}
    for volume in group.logical:
        for segment in volume.segments:
            length = segment.count // len(segment.stripes)
            if segment.stripe_size and group.extent_size % segment.stripe_size:
                raise ValueError(f"its volume {volume.name} has stripes that are no part of an extent")
            for name, first in segment.stripes:
                if name not in group.physical or first + length > group.physical[name].count:
                    raise ValueError(f"its volume {volume.name} lies on something else than its physical volumes")
                taken.setdefault(name, []).append((first, first + length))
    for runs in taken.values():
        if any(one[1] > two[0] for one, two in pairwise(sorted(runs))):
            raise ValueError("two of its segments lie on the same extents")


def _check_flags(
    what: str, section: Section, *, required: set[str], allowed: set[str], compatible: set[str] | None = None
) -> None:
    status, flags = _strings(section, "status"), _strings(section, "flags")
    odd = sorted((status - required - allowed) | (flags - (compatible or set())))
    if odd:
        raise ValueError(f"{what} has the status {show(odd[0][:64])}, with which it is not simply read")
    if not required <= status:
        raise ValueError(f"{what} is not to be read (status)")


def _sections(section: Section, key: str) -> Iterator[tuple[str, Section]]:
    below = section.get(key, {})
    if not isinstance(below, dict):
        raise _odd(key)
    for name, each in below.items():
        if not isinstance(each, dict):
            raise _odd(key)
        yield name, each


def _odd(key: str) -> ValueError:
    return ValueError(f"its {key} is not described as LVM does it")


def _strings(section: Section, key: str) -> set[str]:
    found: Value | Section = section.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise _odd(key)
    return {str(each) for each in found}


def _number(section: Section, key: str, *, least: int = 0) -> int:
    found = section.get(key)
    if not isinstance(found, int) or not least <= found < _MAX_SECTORS:
        raise _odd(key)
    return found


def _uuid(section: Section) -> str:
    found = section.get("id")
    if not isinstance(found, str) or _IDENTITY.fullmatch(found) is None:
        raise ValueError("an identity of it is not as LVM writes them")
    return found


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"it has a name that LVM does not allow ({show(name[:64])})")
    return name
