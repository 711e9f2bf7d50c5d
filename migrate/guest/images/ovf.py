"""What an OVF descriptor says of a machine's disks, and what is in a manifest. Pure.

DMTF DSP0243, Open Virtualization Format Specification, 1.0 to 2.1, and the 0.9 of VMware before it, which has
`Section` and `Content` elements with an `xsi:type`. Namespaces differ between them, so that names are compared
without; the resource types are those of CIM_ResourceAllocationSettingData.

The descriptor is hostile XML. The parser is expat without document types, so that there are no entities but the five
of XML itself, nothing is opened, and nothing grows; defusedxml does the same, and its last release is of 2021.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote
from xml.parsers import expat

import msgspec

from migrate.text import show

_MAX_ELEMENTS = 200_000
_MAX_DEPTH = 100
_MAX_TEXT = 1 << 16
_ENCODING = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([^"']*)""")
_ENCODINGS = frozenset({b"utf-8", b"utf8", b"utf-16", b"us-ascii", b"ascii", b"iso-8859-1", b"windows-1252"})
_IDE, _SCSI, _DISK, _OTHER_STORAGE, _LOGICAL = "5", "6", "17", "20", "31"
_RESOURCE = re.compile(r"(?:ovf:)?/{0,2}(disk|file)/(.+)", re.DOTALL)
_DIGEST = re.compile(r"(\w+(?:-\d+)?)\s*\((.*)\)\s*=\s*([0-9A-Fa-f]+)")
_UNIT = re.compile(r"(\d{1,20})(?:\s*\^\s*(\d{1,2}))?")
# DSP0004, annex C; the long names are those of OVF 0.9.
_BYTES = {"": 1, "byte": 1, "bytes": 1, "kilobytes": 1 << 10, "megabytes": 1 << 20, "gigabytes": 1 << 30}
_PACKED = {"": "", "identity": "", "gzip": "gzip", "bzip2": "bzip2", "xz": "xz", "zstd": "zstd"}


class OvfError(ValueError):
    """A descriptor that no machine's disks can be read from: what was found, and what can be done about it."""

    def __init__(self, found: str, do: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.do = do


class DescribedDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk of the machine. `href` is the file's name relative to the descriptor, empty for a disk with no content.

    `size` is the file's in bytes, `chunk` that of all its chunks but the last, both None where that is not said;
    `packed` and `capacity` are as in `migrate.guest.images.parts.Stored`.
    """

    name: str
    href: str = ""
    size: int | None = None
    chunk: int | None = None
    packed: str = ""
    capacity: int | None = None


class Described(msgspec.Struct, frozen=True):
    """The machine of a descriptor, its disks in their order, and what is odd about it."""

    name: str
    disks: tuple[DescribedDisk, ...]
    problems: tuple[str, ...]


class Digest(msgspec.Struct, frozen=True):
    """A line of a manifest: an algorithm as hashlib calls it, and the digest in lower-case hexadecimal digits."""

    file: str
    algorithm: str
    value: str


class _Node(msgspec.Struct):
    """An element. `kind` is its name without a prefix, or the type that a `Section` or `Content` says it is of."""

    kind: str
    attributes: dict[str, str]
    children: list[_Node]
    text: str = ""

    def get(self, name: str) -> str:
        return self.attributes.get(name, "").strip()

    def all(self, *kinds: str) -> list[_Node]:
        return [child for child in self.children if child.kind in kinds]

    def value(self, *kinds: str) -> str:
        """Return the text of the first child of these kinds that has any."""
        return next((text for child in self.all(*kinds) if (text := child.text.strip())), "")


def read_ovf(raw: bytes, title: str) -> Described:
    """Read a descriptor; `title` is the machine's name where it says none. Raises OvfError."""
    envelope = _parse(raw)
    files = _by_id(_within(envelope, "References", "File"), "id")
    disks = _by_id(_within(envelope, "DiskSection", "Disk"), "diskId")
    systems = list(_systems(envelope))
    if not systems:
        raise OvfError("its descriptor describes no machine")
    if len(systems) > 1:
        raise _several(systems, disks, files)
    problems: list[str] = []
    default = _default_configuration(envelope)
    chosen = list(_attached(systems[0], default, disks, files, problems))
    if not chosen and disks:
        problems.append("its descriptor does not say how the disks are attached; they are taken in its order")
        chosen = [_disk(disk, files) for disk in disks.values()]
    names = {disk.name for disk in chosen}
    left = [name for name in disks if name not in names]
    problems += [
        f"disk {show(name)} of its descriptor is not attached to the machine, and is left out" for name in left
    ]
    problems += [
        f"disk {number} of {len(chosen)}, {show(disk.name)}, is empty: the machine has it, and there is no file of it"
        for number, disk in enumerate(chosen, 1)
        if not disk.href
    ]
    return Described(_name(systems[0]) or title, tuple(chosen), tuple(problems))


def read_manifest(raw: bytes) -> tuple[tuple[Digest, ...], tuple[str, ...]]:
    """Return the digests of a manifest (DSP0243, 5.1), and what in it is not understood."""
    digests: dict[Digest, None] = {}
    problems = []
    for number, line in enumerate(raw.decode("utf-8", "surrogateescape").replace("\0", "").splitlines(), 1):
        if not line.strip():
            continue
        found = _DIGEST.fullmatch(line.strip())
        algorithm = found[1].lower().replace("-", "") if found else ""
        if found and algorithm in {"md5", "sha1", "sha224", "sha256", "sha384", "sha512"}:
            digests[Digest(found[2].strip(), algorithm, found[3].lower())] = None
        else:
            problems.append(f"line {number} of its manifest is not understood: {show(line.strip()[:80])}")
    return tuple(digests), tuple(problems[:10])


# ------------------------------------------------------------------ XML


def _parse(raw: bytes) -> _Node:
    """Return the root element. Raises OvfError for what is no XML, or more of it than a descriptor has."""
    root = _Node("", {}, [])
    stack = [root]
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > _MAX_ELEMENTS or len(stack) > _MAX_DEPTH:
            raise OvfError("its descriptor is larger or deeper than that of any machine")
        node = _Node(_local(name), _attributes(attributes), [])
        if node.kind in {"Section", "Content"} and "type" in node.attributes:
            node.kind = _local(node.get("type")).removesuffix("_Type")
        stack[-1].children.append(node)
        stack.append(node)

    def end(_name: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        if len(stack[-1].text) < _MAX_TEXT:
            stack[-1].text += data

    def doctype(*_args: object) -> None:
        raise OvfError("its descriptor has a document type (<!DOCTYPE …>), which no OVF has")

    encoding = _ENCODING.match(raw.removeprefix(b"\xef\xbb\xbf"))
    if encoding and encoding[1].lower() not in _ENCODINGS:  # expat would look for a codec of Python's, of any kind
        raise OvfError(f"its descriptor is encoded in {show(repr(encoding[1])[1:60])}, which is not known")
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = doctype
    try:
        # vCenter pads the descriptors in its archives; NUL does not belong into XML.
        parser.Parse(raw.rstrip(b"\0") if b"\0" not in raw[:4] else raw, True)
    except OvfError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise OvfError(f"its descriptor is no valid XML: {show(str(error))}") from error
    if len(root.children) != 1 or root.children[0].kind != "Envelope":
        raise OvfError("its descriptor is no OVF: it has no Envelope")
    return root.children[0]


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _attributes(attributes: dict[str, str]) -> dict[str, str]:
    """Return attributes by their names without a prefix; one of OVF goes before a vendor's of the same name."""
    ordered = sorted(attributes.items(), key=lambda item: item[0].partition(":")[0] in {"ovf", item[0]})
    return {_local(name): value for name, value in ordered}


# ------------------------------------------------------------------ the parts of a descriptor


def _within(envelope: _Node, section: str, kind: str) -> list[_Node]:
    return [each for found in envelope.all(section) for each in found.all(kind)]


def _by_id(nodes: Sequence[_Node], key: str) -> dict[str, _Node]:
    found: dict[str, _Node] = {}
    for node in nodes:
        name = node.get(key)
        if name in found:
            raise OvfError(f"its descriptor has two {node.kind} elements with the {key} {show(repr(name))}")
        found[name] = node
    return found


def _systems(node: _Node) -> Iterator[_Node]:
    for child in node.children:
        if child.kind == "VirtualSystem":
            yield child
        elif child.kind == "VirtualSystemCollection":
            yield from _systems(child)


def _name(system: _Node) -> str:
    return system.value("Name") or system.get("id")


def _several(systems: Sequence[_Node], disks: dict[str, _Node], files: dict[str, _Node]) -> OvfError:
    told = []
    for system in systems[:20]:
        names = []
        with contextlib.suppress(OvfError):  # of one of the machines; that there are several is the first thing to say
            names = [disk.href or "empty" for disk in _attached(system, "", disks, files, [])]
        told.append(f"{show(_name(system)) or 'one without a name'} ({show(', '.join(names)) or 'no disks'})")
    found = f"its descriptor describes {len(systems)} machines: {', '.join(told)}"
    return OvfError(found, "unpack it, and give the disks of one machine at a time")


def _default_configuration(envelope: _Node) -> str:
    """Return which of its configurations a machine has where nobody chose (DSP0243, 9.8)."""
    found = _within(envelope, "DeploymentOptionSection", "Configuration")
    default = [each for each in found if each.get("default").lower() in {"true", "1"}]
    return (default or found)[0].get("id") if found else ""


def _attached(
    system: _Node, configuration: str, disks: dict[str, _Node], files: dict[str, _Node], problems: list[str]
) -> Iterator[DescribedDisk]:
    """Yield the disks of a machine in the order in which it has them."""
    sections = system.all("VirtualHardwareSection")
    if len(sections) > 1:
        problems.append(f"its descriptor has {len(sections)} kinds of hardware for the machine; the first is taken")
    items = [item for section in sections[:1] for item in section.all("Item", "StorageItem")]
    items = [item for item in items if not item.get("bound") and _applies(item, configuration)]
    controllers = {item.value("InstanceID", "InstanceId"): item for item in items}
    storage = [item for item in items if item.value("ResourceType") in {_DISK, _LOGICAL}]
    for item in sorted(storage, key=lambda item: _position(item, controllers)):
        found = next((disk for node in item.all("HostResource") if (disk := _named(node, disks, files))), None)
        if found is not None:
            yield found
            continue
        label = show(item.value("ElementName", "Caption") or item.value("InstanceID", "InstanceId"))
        resource = item.value("HostResource")
        if resource:
            raise OvfError(f"its disk {label} is {show(repr(resource))}, which its descriptor does not have")
        problems.append(f"disk {label} is empty: the machine has it, and its descriptor names no content for it")


def _applies(item: _Node, configuration: str) -> bool:
    wanted = item.get("configuration").split()
    return not wanted or configuration in wanted


def _position(item: _Node, controllers: dict[str, _Node]) -> tuple[object, ...]:
    """Return what disks are sorted by: kind and number of the controller, and the place there.

    No standard says which kind is first, nor does a guest; IDE, SCSI, SATA, NVMe is the order of their age.
    """
    place = _natural(item.value("AddressOnParent"))
    controller = controllers.get(item.value("Parent"))
    if controller is None or not item.value("Parent"):
        return 5, (), (), (), place
    kind, what = controller.value("ResourceType"), controller.value("ResourceSubType").lower()
    rank = {_IDE: 0, _SCSI: 1, _OTHER_STORAGE: 2}.get(kind, 4)
    if rank == 2:
        rank = 3 if "nvme" in what else 1 if "scsi" in what else 2
    number = _natural(controller.value("BusNumber")), _natural(controller.value("Address"))
    return rank, *number, _natural(item.value("Parent")), place


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return what sorts 10 behind 9."""
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", text)
    return tuple((0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in parts)


def _named(node: _Node, disks: dict[str, _Node], files: dict[str, _Node]) -> DescribedDisk | None:
    """Return what a HostResource names: a disk, or a file that is one; oVirt writes a disk's identity alone."""
    text = node.text.strip()
    found = _RESOURCE.fullmatch(text)
    kind, name = found.groups() if found else ("disk", text)
    for each in (name, unquote(name)):
        if kind == "disk" and each in disks:
            return _disk(disks[each], files)
        if kind == "file" and each in files:
            return _stored(files[each], each, None)
    referring = [disk for disk in disks.values() if not found and text and disk.get("fileRef") == text]
    return _disk(referring[0], files) if len(referring) == 1 else None


def _disk(disk: _Node, files: dict[str, _Node]) -> DescribedDisk:
    name, reference = disk.get("diskId"), disk.get("fileRef")
    if disk.get("parentRef"):
        found = f"its disk {show(name)} holds only what changed since disk {show(disk.get('parentRef'))}"
        raise OvfError(found, "export the machine again without snapshots")
    capacity = _capacity(disk.get("capacity"), disk.get("capacityAllocationUnits"))
    if not reference:
        return DescribedDisk(name=name, capacity=capacity)
    file = files.get(reference) or files.get(reference.rpartition("/")[2])
    if file is None:
        raise OvfError(f"its disk {show(name)} is in file {show(repr(reference))}, which its References do not have")
    return _stored(file, name, capacity)


def _stored(file: _Node, name: str, capacity: int | None) -> DescribedDisk:
    packed = _PACKED.get(file.get("compression").lower())
    if packed is None:
        raise OvfError(f"its disk {show(name)} is compressed with {show(file.get('compression'))}, which is not known")
    return DescribedDisk(
        name=name,
        href=_checked_href(file.get("href")),
        size=_number(file.get("size")),
        chunk=_number(file.get("chunkSize")),
        packed=packed,
        capacity=capacity,
    )


def _checked_href(href: str) -> str:
    """Return the name of a file relative to the descriptor (DSP0243, 7.1). Raises OvfError for any other."""
    name = unquote(href)
    parts = [part for part in name.split("/") if part != "."]
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", href) or name.lower().startswith(("http:", "https:", "file:")):
        raise OvfError(f"its descriptor names {show(href)}, which is elsewhere", "fetch that, and name it by its file")
    if not parts or name.startswith("/") or ".." in parts or "" in parts or "\0" in name or "\\" in name:
        raise OvfError(f"its descriptor names {show(repr(href))}, which is no file beside it")
    return "/".join(parts)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _capacity(capacity: str, units: str) -> int | None:
    """Return bytes; None where it is a property (`${size}`), or in units that are not of bytes.

    >>> _capacity("15", "byte * 2^20")
    15728640
    """
    number = _number(capacity)
    word, *factors = [part.strip() for part in units.split("*")]
    if number is None or word.lower() not in _BYTES or len(factors) > 4:
        return None
    number *= _BYTES[word.lower()]
    for factor in factors:
        found = _UNIT.fullmatch(factor)
        if found is None:
            return None
        number *= int(found[1]) ** int(found[2] or 1)
    return number if number < 1 << 63 else None
