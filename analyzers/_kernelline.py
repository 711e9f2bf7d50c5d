"""The kernel's parameters as the boot loader's configuration has them: GRUB, GRUB Legacy, BLS, syslinux, LILO.

GRUB manual 2.12 (6 "Writing your own configuration file"), GRUB Legacy manual 0.97, UAPI.1 Boot Loader Specification,
syslinux' doc/menu.txt, lilo.conf(5). Which entry is the default is worked out as far as it is written down; where it
is not, all entries count, and what they do not agree on is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from analyzers._reading import Reader, assignments, meaningful, unquote
from migrate.model import Place

GRUB = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
LEGACY = ("/boot/grub/menu.lst", "/boot/grub/grub.conf")
SYSLINUX = ("/boot/extlinux/extlinux.conf", "/boot/extlinux.conf", "/boot/syslinux/syslinux.cfg")
ENTRIES = ("/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries")
LILO = "/etc/lilo.conf"
FILES = (*GRUB, *LEGACY, *SYSLINUX, *ENTRIES, LILO, "/boot/grub/grubenv", "/boot/grub2/grubenv")

_MENU = re.compile(r"(menuentry|submenu)\s+(?:'([^']*)'|\"([^\"]*)\"|(\S++))(.*)\{\s*$")
_ID = re.compile(r"(?:\$menuentry_id_option|--id)[ =]+['\"]?([^'\"\s]+)")
_DEFAULT = re.compile(r"set\s+default=(\S+|\"[^\"]*\"|'[^']*')\s*")
_KERNEL = re.compile(r"(?:linux|linux16|linuxefi|kernel)\s+\S+(?:\s+(.*))?")
_RESCUE = re.compile(r"rescue|recovery|memtest|single", re.IGNORECASE)

_MAX_DEPTH = 10  # of menus in one another


class Entry(msgspec.Struct, frozen=True):
    """A menu entry: the names it has on each level of the menu, and the parameters on which line."""

    names: tuple[frozenset[str], ...]
    parameters: str
    line: int


def chosen(entries: list[Entry], default: str) -> list[Entry]:
    """Return the entry a default means (`1>2` is the third of the second submenu); all but rescues if it is none."""
    path = default.split(">")
    hits = [e for e in entries if len(e.names) == len(path) and all(p in n for p, n in zip(path, e.names, strict=True))]
    rest = [e for e in entries if not any(_RESCUE.search(name) for level in e.names for name in level)]
    return hits[:1] or rest or entries


def parse_grub(text: str) -> tuple[list[Entry], str]:
    """Return the entries of a grub.cfg and the default, which may be a variable; `0` where none is set."""
    entries: list[Entry] = []
    default = "0"
    open_: list[tuple[str, frozenset[str]]] = []
    counts = [0]
    for number, line in meaningful(text):
        if len(open_) > _MAX_DEPTH:
            break
        if match := _MENU.match(line):
            names = {str(counts[-1]), match[2] or match[3] or match[4] or ""}
            if ident := _ID.search(match[5]):
                names.add(ident[1])
            counts[-1] += 1
            counts.append(0)
            open_.append((match[1], frozenset(names)))
        elif line == "}" and open_:
            open_.pop()
            counts.pop()
        elif open_ and open_[-1][0] == "menuentry" and (match := _KERNEL.fullmatch(line)):
            entries.append(Entry(tuple(names for _, names in open_), match[1] or "", number))
        elif not open_ and (match := _DEFAULT.fullmatch(line)) and "next_entry" not in match[1]:
            default = unquote(match[1])
    return entries, default


def parse_legacy(text: str) -> tuple[list[Entry], str]:
    """Return the entries of a menu.lst and the default's number."""
    entries: list[Entry] = []
    default, count, title = "0", -1, ""
    for number, line in meaningful(text):
        if match := re.fullmatch(r"default[\s=]+(\S+)", line):
            default = match[1]
        elif line.startswith("title"):
            count, title = count + 1, line[5:].strip()
        elif count >= 0 and (match := _KERNEL.fullmatch(line)):
            entries.append(Entry((frozenset({str(count), title}),), match[1] or "", number))
    return entries, default


def parse_syslinux(text: str) -> tuple[list[Entry], str]:
    """Return the labels of a syslinux.cfg, and the default one: DEFAULT, or the one with MENU DEFAULT."""
    entries: list[Entry] = []
    default = label = ""
    for number, line in meaningful(text):
        key, _, value = line.partition(" ")
        key, value = key.lower(), value.strip()
        if key == "label":
            label = value
        elif key == "default" and not value.lower().endswith((".c32", ".0")):
            default = default or value
        elif key == "menu" and value.lower() == "default":
            default = label
        elif key == "append" and label:
            entries.append(Entry((frozenset({label}),), value, number))
    return entries, default


def parse_lilo(text: str) -> tuple[list[Entry], str]:
    """Return the images of a lilo.conf and the default label; an image's `append` goes over the one at the top."""
    images: list[dict[str, tuple[str, int]]] = []
    top: dict[str, tuple[str, int]] = {}
    for number, line in meaningful(text):
        key, _, value = line.partition("=")
        key, value = key.strip(), unquote(value.strip())
        if key in ("image", "other"):
            images.append({key: (value, number)})
        else:
            (images[-1] if images else top)[key] = (value, number)
    entries = []
    for image in images:
        name = image.get("label", image.get("image", ("", 0)))[0]
        text_, at = image.get("append", top.get("append", ("", next(iter(image.values()))[1])))
        extra = image.get("addappend", ("", 0))[0]
        if "image" in image:
            entries.append(Entry((frozenset({name}),), f"{text_} {extra}".strip(), at))
    names = [name for entry in entries[:1] for name in entry.names[0]]
    return entries, top.get("default", (names[0] if names else "", 0))[0]


def lines(reader: Reader) -> Iterator[tuple[Place, str]]:
    """Yield the parameters of every entry that a boot may take, with their places."""
    environment = _grubenv(reader)
    for path in GRUB:
        entries, default = parse_grub(reader.optional(path) or "")
        default = environment.get("saved_entry", "0") if "saved_entry" in default else default
        yield from ((Place(path, e.line), e.parameters) for e in chosen(entries, default))
    for paths, parse in ((LEGACY, parse_legacy), (SYSLINUX, parse_syslinux), ((LILO,), parse_lilo)):
        for path in paths:
            entries, default = parse(reader.optional(path) or "")
            yield from ((Place(path, e.line), e.parameters) for e in chosen(entries, default))
    for folder in ENTRIES:
        for name in reader.guest.listdir(folder):
            if name.endswith(".conf") and not _RESCUE.search(name):
                path = f"{folder}/{name}"
                for number, line in meaningful(reader.optional(path) or ""):
                    if line.startswith("options"):
                        yield Place(path, number), line[7:].replace("$kernelopts", environment.get("kernelopts", ""))


def _grubenv(reader: Reader) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in ("/boot/grub/grubenv", "/boot/grub2/grubenv"):
        found |= {name: value for name, (value, _) in assignments(reader.optional(path) or "").items()}
    return found


def init_parameter(reader: Reader) -> tuple[Place, str] | None:
    """Return `init=` of the kernel's line (bootparam(7)) and where it is; None where none is, or entries differ."""
    told: dict[str, Place] = {}
    for place, text in lines(reader):
        values = [word.removeprefix("init=") for word in text.split() if word.startswith("init=")]
        told.setdefault(unquote(values[-1]) if values else "", place)
    if len(told) > 1:
        for value, place in sorted(told.items()):
            if value:
                why = f"init={value} is in some of the boot loader's entries, and which of them boots is not known"
                reader.note(place.path, why, place.line)
        return None
    return next(((place, value) for value, place in told.items() if value.startswith("/")), None)
