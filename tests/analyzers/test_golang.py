from __future__ import annotations

import base64
import io
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import binaries, golang
from analyzers._elf_sections import read_headers
from analyzers._go_buildinfo import MAGIC, BuildInfo, Module, parse_modinfo, read_buildinfo
from migrate.model import Application, LanguagePackage, Place, Unread
from tests.analyzers.elf_made import DATA, make_elf, mutated
from tests.analyzers.fake import Content
from tests.analyzers.test_binaries import applications, found, program, service

# The section of Debian 12's prometheus-node-exporter 1.5.0-1+b6 (built by dh-golang, without modules).
NODE_EXPORTER = base64.b64decode(
    "/yBHbyBidWlsZGluZjoIAgAAAAAAAAAAAAAAAAAAAAAIZ28xLjE5Lji6ATB3rwySdAgCQeHBB+bWGOZwYXRoCWdpdGh1Yi5jb20vcHJvbWV0aGV1cy9u"
    "b2RlX2V4cG9ydGVyCmJ1aWxkCS1jb21waWxlcj1nYwpidWlsZAktdHJpbXBhdGg9dHJ1ZQpidWlsZAlDR09fRU5BQkxFRD0xCmJ1aWxkCUdPQVJDSD1h"
    "bWQ2NApidWlsZAlHT09TPWxpbnV4CmJ1aWxkCUdPQU1ENjQ9djEK+TJDMYYYIHIAgkIQQRbY8gAAAAAAAAAAAAAA"
)
# What `go version -m` says of mkcert, as it stands in the binary.
MKCERT = b"""\
path\tfilippo.io/mkcert
mod\tfilippo.io/mkcert\tv1.4.4\th1:8eVbbwfVlaqUM7OwuftKc2nuYOoTDQWqsoXmzoXZdbc=
dep\tgolang.org/x/crypto\tv0.0.0-20220331220935-ae2d96664a29\th1:tkVvjkPTB7pnW3jnid7kNyAMPVWllTNOf/qKDze4p9o=
dep\tgolang.org/x/text\tv0.3.7\th1:olpwvP2KacW1ZWvsR7uQhoyTYvKAupfQrRGBFM352Gk=
dep\tsoftware.sslmate.com/src/go-pkcs12\tv0.2.0\th1:nlFkj7bTysH6VkC4fGphtjXRbezREPgrHuJG20hBGPE=
build\t-buildmode=exe
build\t-ldflags="-X main.Version=v1.4.4"
build\tvcs.revision=2a46726cebac0ff4e1f133d90b4e4c42f1edf44a
"""
START, END = bytes.fromhex("3077af0c9274080241e1c107e6d618e6"), bytes.fromhex("f932433186182072008242104116d8f2")


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def inline(text: bytes, version: bytes = b"go1.21.5") -> bytes:
    framed = START + text + END
    return MAGIC + b"\x08\x02" + bytes(16) + varint(len(version)) + version + varint(len(framed)) + framed


def pointed(text: bytes, bits: int, little: bool, version: bytes = b"go1.17.13") -> bytes:
    """The form before Go 1.18: the header points to two string headers, these to the texts."""
    size, order = bits // 8, "<" if little else ">"
    word = order + ("I" if size == 4 else "Q")
    framed = START + text + END
    headers = DATA + 32
    texts = headers + 4 * size
    pointers = struct.pack(word, headers) + struct.pack(word, headers + 2 * size)
    flags = bytes([size, 0 if little else 1])
    strings = struct.pack(word, texts) + struct.pack(word, len(version))
    strings += struct.pack(word, texts + len(version)) + struct.pack(word, len(framed))
    return (MAGIC + flags + pointers).ljust(32, b"\0") + strings + version + framed


def read(data: bytes) -> BuildInfo | None:
    return read_buildinfo(io.BytesIO(data), read_headers(io.BytesIO(data)))


def test_a_real_section() -> None:
    info = read(make_elf(sections={".go.buildinfo": NODE_EXPORTER}))
    assert info is not None
    assert (info.go, info.path, info.name) == ("1.19.8", "github.com/prometheus/node_exporter", "node_exporter")
    assert (info.main, info.version, info.setting("GOARCH")) == (None, "", "amd64")


def test_modules_versions_and_settings() -> None:
    info = read(make_elf(sections={".go.buildinfo": inline(MKCERT)}))
    assert info is not None
    assert info.main == Module("filippo.io/mkcert", "v1.4.4")
    assert info.modules[1:] == (
        Module("golang.org/x/text", "v0.3.7"), Module("software.sslmate.com/src/go-pkcs12", "v0.2.0"),
    )  # fmt: skip
    assert info.setting("vcs.revision") == "2a46726cebac0ff4e1f133d90b4e4c42f1edf44a"


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("little", [True, False])
def test_the_form_before_go_1_18(bits: int, little: bool) -> None:
    data = pointed(MKCERT, bits, little)
    info = read(make_elf(bits=bits, little=little, data=data))
    assert info is not None
    assert (info.go, info.version, len(info.modules)) == ("1.17.13", "v1.4.4", 3)


def test_without_a_section_it_is_in_the_first_writable_segment_on_a_boundary_of_16() -> None:
    info = read(make_elf(data=b"\0" * 8 + MAGIC + b"\0" * 17 + b"." * 9 + inline(MKCERT), data_at=DATA))
    assert info is not None
    assert info.version == "v1.4.4"
    moved = read(make_elf(data=b"\0" * 8 + inline(MKCERT), data_at=DATA + 8))
    assert moved is not None
    assert read(make_elf(data=b"\0" * 8 + inline(MKCERT))) is None


def test_replaced_modules_and_those_of_a_checkout() -> None:
    text = (
        b"path\texample.org/shop/v2\nmod\texample.org/shop/v2\t(devel)\t\n"
        b"dep\tgithub.com/a/b\tv1.0.0\n=>\tgithub.com/fork/b\tv1.0.1\th1:x=\n=>\tno\tv1\th1:y=\ndep\tbad\n"
        b"build\t-ldflags=\"-s -w -X 'example.org/shop/v2/build.AppVersion=3.2.1' -X main.date=x\"\n"
    )
    info = parse_modinfo(b"go1.20 X:boringcrypto", START + text + END)
    assert (info.go, info.name, info.version) == ("1.20", "shop", "3.2.1")
    assert info.modules == (Module("github.com/fork/b", "v1.0.1"),)
    bare = parse_modinfo(b"go1.20", START + b"path\tcommand-line-arguments\nmod\tx\t(devel)\t\n" + END)
    assert (bare.name, bare.version, bare.main) == ("", "", Module("x", ""))


def test_lengths_that_lie() -> None:
    for tail in (b"\xff" * 12, b"\xff\xff\xff\xff\x7f", varint(10) + b"go1.21.5"):
        assert read(make_elf(sections={".go.buildinfo": MAGIC + b"\x08\x02" + bytes(16) + tail})) is None
    assert read(make_elf(sections={".go.buildinfo": MAGIC + b"\x07\x00" + bytes(16)})) is None
    assert read(make_elf(sections={".go.buildinfo": MAGIC})) is None


@given(st.binary(max_size=200))
def test_any_text_is_read(text: bytes) -> None:
    info = parse_modinfo(text, START + b"mod\t" + text + b"\n=>\t" + text + b"\nbuild\t" + text + b"\n" + END)
    assert isinstance(info.name + info.version, str)


def test_applications_and_their_modules() -> None:
    files: dict[str, Content] = {
        "/usr/local/bin/mkcert": program(make_elf(kind=2, sections={".go.buildinfo": inline(MKCERT)})),
        "/opt/node_exporter-1.5.0/node_exporter": program(
            make_elf(interpreter="/lib64/ld-linux-x86-64.so.2", needed=("libc.so.6",),
                     sections={".go.buildinfo": NODE_EXPORTER})
        ),
        "/srv/web/package.json": "{}",
        "/srv/web/node_modules/esbuild/bin/esbuild": program(
            make_elf(kind=2, sections={".go.buildinfo": inline(MKCERT.replace(b"filippo.io/mkcert", b"x.org/esbuild"))})
        ),
    }  # fmt: skip
    results = found(golang.ANALYZER, files, service("/usr/local/bin/mkcert"))
    apps = applications(results)
    assert {(a.root, a.name, a.version, a.ecosystem) for a in apps.values()} == {
        ("/usr/local/bin/mkcert", "mkcert", "v1.4.4", "golang"),
        ("/opt/node_exporter-1.5.0", "node_exporter", "", "golang"),
    }
    assert apps["/opt/node_exporter-1.5.0"].libraries == ("libc.so.6",)
    packages = {(f.name, f.version, f.location) for f in results if isinstance(f, LanguagePackage)}
    at = "/usr/local/bin/mkcert"
    assert {
        ("stdlib", "1.21.5", at),
        ("filippo.io/mkcert", "v1.4.4", at),
        ("golang.org/x/text", "v0.3.7", at),
    } <= packages
    assert ("stdlib", "1.19.8", "/opt/node_exporter-1.5.0/node_exporter") in packages
    assert ("x.org/esbuild", "v1.4.4", "/srv/web/node_modules/esbuild/bin/esbuild") in packages
    assert not applications(found(binaries.ANALYZER, files))


def test_every_package_says_where_it_was_seen() -> None:
    files: dict[str, Content] = {"/opt/m": program(make_elf(kind=2, sections={".go.buildinfo": inline(MKCERT)}))}
    for finding in found(golang.ANALYZER, files):
        assert isinstance(finding, Application | LanguagePackage)
        assert finding.seen_in == Place("/opt/m")


def test_mutations_end_in_notes() -> None:
    chance = random.Random(4)
    forms = [
        make_elf(kind=2, sections={".go.buildinfo": inline(MKCERT)}),
        make_elf(kind=2, sections={".go.buildinfo": NODE_EXPORTER}, data=pointed(MKCERT, 64, little=True)),
        make_elf(kind=2, bits=32, little=False, data=pointed(MKCERT, 32, little=False)),
    ]
    for number in range(600):
        numbers = [chance.randrange(5000) for _ in range(chance.randrange(1, 12))]
        files: dict[str, Content] = {"/opt/m": program(mutated(forms[number % 3], numbers))}
        for finding in (*found(golang.ANALYZER, files), *found(binaries.ANALYZER, files)):
            assert isinstance(finding, Application | LanguagePackage | Unread)
