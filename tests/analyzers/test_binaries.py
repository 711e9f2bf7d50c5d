from __future__ import annotations

import io
import random
import struct
import sysconfig
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import binaries, dotnet, golang, java_apps, rust, scripts
from analyzers._binary import inspect
from analyzers._elf_sections import read_headers, section_data
from analyzers._nobodys import Nobodys, is_in_bin, tree_of
from analyzers._package_note import PackageNote, parse_note
from migrate.discover import run_analyzers
from migrate.model import Analyzer, Application, Finding, Job, Package, PackageFiles, Place, Service, Unread
from tests.analyzers.elf_made import make_elf, mutated
from tests.analyzers.fake import Broken, Content, FakeGuest, File, Link

HERE = Place("/var/lib/dpkg/status", 1)
UNIT = Place("/etc/systemd/system/x.service", 7)
LOADER = "/lib64/ld-linux-x86-64.so.2"
PROGRAM = make_elf(interpreter=LOADER, needed=("libpq.so.5", "libc.so.6"))


def owned(package: str, *paths: str) -> list[Finding]:
    return [
        Package(seen_in=HERE, name=package, version="1", architecture="amd64", manager="dpkg", chosen=True),
        PackageFiles(seen_in=HERE, package=package, paths=paths),
    ]


def service(*command: str, ident: str = "x", **more: object) -> Service:
    return Service(
        seen_in=UNIT,
        id=ident,
        manager="systemd",
        enabled=True,
        unit=UNIT.path,
        command=command,
        **more,  # type: ignore[arg-type]
    )


def cron(command: str) -> Job:
    return Job(
        seen_in=Place("/etc/crontab", 3), id="nightly", manager="cron", enabled=True, schedule="1 2 * * *",
        original="", command=(command,), shell=True,
    )  # fmt: skip


def found(analyzer: Analyzer, files: dict[str, Content], *findings: Finding) -> list[Finding]:
    base = owned("base-files", "/etc/debian_version", "/usr/bin", "/usr/lib")
    assert analyzer.join is not None
    return list(analyzer.join(FakeGuest(files), (*base, *findings)))


def applications(results: list[Finding]) -> dict[str, Application]:
    return {f.root: f for f in results if isinstance(f, Application)}


def program(content: bytes = PROGRAM) -> File:
    return File(content, mode=0o755)


# ---------------------------------------------------------------- headers


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("little", [True, False])
def test_headers_of_both_classes_and_byte_orders(bits: int, little: bool) -> None:
    data = make_elf(
        bits=bits, little=little, interpreter="/lib/ld.so.1", needed=("liba.so", "libb.so"), pie=True,
        sections={".comment": b"GCC: (Debian)\0"}, data=b"writable",
    )  # fmt: skip
    headers = read_headers(io.BytesIO(data))
    assert (headers.bits, headers.little, headers.interpreter) == (bits, little, "/lib/ld.so.1")
    assert headers.needed == ("liba.so", "libb.so")
    assert headers.pie
    assert headers.is_program
    assert section_data(io.BytesIO(data), headers, ".comment", 4) == b"GCC:"
    assert section_data(io.BytesIO(data), headers, ".none", 4) is None
    at = headers.offset(0x800000)
    assert at is not None
    assert data[at[0] : at[0] + at[1]] == b"writable"
    assert headers.offset(1) is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (make_elf(kind=2), True),  # static
        (make_elf(kind=3, interpreter=LOADER), True),
        (make_elf(kind=3, pie=True), True),  # static-pie
        (make_elf(kind=3, soname="libx.so.1"), False),
        (make_elf(kind=3, soname="libc.so.6", interpreter=LOADER), False),  # glibc's own can be run, and is none
        (make_elf(kind=3, needed=("libc.so.6",)), False),  # a module that another program loads
        (make_elf(kind=1), False),  # an object file, a kernel module
        (make_elf(kind=4), False),  # a core dump
    ],
)
def test_what_is_a_program(data: bytes, expected: bool) -> None:
    assert read_headers(io.BytesIO(data)).is_program is expected


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x03\x01" + bytes(60), b"MZ" + bytes(60), PROGRAM[:70]])
def test_what_is_no_elf_file_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="ELF"):
        read_headers(io.BytesIO(data))


def test_counts_that_no_file_has_take_no_time() -> None:
    table = struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 64, 0, 64, 0, 0xFFFF, 64, 0xFFFF, 1)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    begun = time.process_time()
    with pytest.raises(ValueError, match="program headers of 0 bytes"):
        read_headers(io.BytesIO(head + table + bytes(64)))
    huge = PROGRAM[:60] + struct.pack("<H", 0xFFFF) + PROGRAM[62:]
    assert read_headers(io.BytesIO(huge)).needed == ("libpq.so.5", "libc.so.6")
    assert time.process_time() - begun < 20


@given(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=40))
def test_no_bytes_raise_anything_else(numbers: list[int]) -> None:
    data = mutated(make_elf(interpreter=LOADER, needed=("a",), pie=True, sections={".x": b"1"}, data=b"2"), numbers)
    try:
        headers = read_headers(io.BytesIO(data))
    except ValueError:
        return
    section_data(io.BytesIO(data), headers, ".x", 10)


def test_package_notes() -> None:
    text = b'{"type":"rpm","name":"hello","version":"2.10-1.fc39","architecture":"x86_64"}\0\0\0'
    build_id = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(20)
    note = build_id + struct.pack("<III", 4, len(text), 0xCAFE1A7E) + b"FDO\0" + text
    assert parse_note(note, little=True) == PackageNote("rpm", "hello", "2.10-1.fc39")
    assert parse_note(note, little=False) is None
    assert parse_note(note[:-20], little=True) is None
    assert parse_note(b"\0" * 100, little=True) is None
    assert parse_note(struct.pack("<III", 4, 2, 0xCAFE1A7E) + b"FDO\0[]", little=True) is None


# ---------------------------------------------------------------- which are applications


@pytest.mark.parametrize(
    ("path", "tree"),
    [
        ("/opt/shop/bin/shop", "/opt/shop"),
        ("/opt/shop", "/opt/shop"),
        ("/opt/apps/shop/x", "/opt/apps/shop"),
        ("/srv/app/App.dll", "/srv/app"),
        ("/srv/shop/releases/3/bin/x", "/srv/shop"),
        ("/usr/local/bin/gitea", "/usr/local/bin/gitea"),
        ("/usr/local/go/bin/go", "/usr/local/go"),
        ("/usr/lib/jvm/jdk-17/bin/java", "/usr/lib/jvm/jdk-17"),
        ("/home/anna/bin/x", "/home/anna/bin/x"),
        ("/home/deploy/shop/x", "/home/deploy/shop"),
        ("/root/.local/bin/x", "/root/.local/bin/x"),
        ("/var/lib/gitea/custom/x", "/var/lib/gitea"),
    ],
)
def test_the_tree_that_a_program_is_of(path: str, tree: str) -> None:
    assert tree_of(path) == tree


def test_places_of_many() -> None:
    assert [is_in_bin(p) for p in ("/usr/local/bin/x", "/root/bin/x", "/opt/shop/bin/x")] == [True, True, False]


def test_binaries_with_their_libraries_and_whose_they_are() -> None:
    files: dict[str, Content] = {
        "/usr/local/bin/shopd": program(),
        "/usr/local/lib/libown.so": File(make_elf(soname="libown.so"), mode=0o755),
        "/usr/lib/x86_64-linux-gnu/libpq.so.5": Link("libpq.so.5.15"),
        "/usr/lib/x86_64-linux-gnu/libpq.so.5.15": "",
        "/usr/bin/packaged": program(),
        "/usr/bin/laid": program(make_elf(kind=2)),
    }
    packages = [*owned("libpq5", "/usr/lib/x86_64-linux-gnu/libpq.so.5.15"), *owned("tool", "/usr/bin/packaged")]
    results = found(binaries.ANALYZER, files, *packages)
    assert applications(results) == {
        "/usr/bin/laid": Application(
            seen_in=Place("/usr/bin/laid"), root="/usr/bin/laid", ecosystem="elf", name="laid"
        ),
        "/usr/local/bin/shopd": Application(
            seen_in=Place("/usr/local/bin/shopd"), root="/usr/local/bin/shopd", ecosystem="elf", name="shopd",
            runtime=("libpq5",), interpreter=LOADER, libraries=("libpq.so.5", "libc.so.6"),
        ),
    }  # fmt: skip


def test_a_package_note_states_name_and_version() -> None:
    text = b'{"type":"rpm","name":"hello","version":"2.10-1.fc39"}\0\0'
    note = struct.pack("<III", 4, len(text), 0xCAFE1A7E) + b"FDO\0" + text
    app = applications(
        found(binaries.ANALYZER, {"/opt/hi": program(make_elf(kind=2, sections={".note.package": note}))})
    )
    assert (app["/opt/hi"].name, app["/opt/hi"].version) == ("hello", "2.10-1.fc39")


def test_a_tree_is_one_application_and_what_else_is_called_in_it_another() -> None:
    files: dict[str, Content] = {
        "/opt/shop/bin/shop": program(make_elf(kind=2)),
        "/opt/shop/bin/shop-admin": program(make_elf(kind=2)),
        "/opt/shop/libexec/helper": program(),
        "/opt/shop/worker": File(make_elf(kind=2), mode=0o644),  # no x bit, and a job calls it all the same
    }
    alone = found(binaries.ANALYZER, files)
    assert {(a.root, a.name) for a in applications(alone).values()} == {("/opt/shop", "shop")}
    run = (service("/opt/shop/bin/shop-admin", "serve"), cron("/lib64/ld.so /opt/shop/worker"))
    both = found(binaries.ANALYZER, {**files, "/lib64/ld.so": program()}, *run)
    named = {(a.root, a.name) for a in applications(both).values() if a.root.startswith("/opt")}
    assert named == {("/opt/shop", "shop-admin"), ("/opt/shop/worker", "worker")}


def test_what_is_nobodys_application() -> None:
    files: dict[str, Content] = {
        "/srv/orders/venv/pyvenv.cfg": "home = /usr/bin\n",
        "/srv/orders/venv/bin/tool": program(),
        "/srv/web/package.json": "{}",
        "/srv/web/node_modules/esbuild/bin/esbuild": program(),
        "/srv/web/bin/native": program(),
        "/var/lib/docker/overlay2/abc/diff/usr/bin/redis-server": program(),
        "/root/.cache/go-build/x": program(),
        "/home/anna/src/thing/thing": program(),
        "/opt/shop/.git/hooks/pre-commit.sample": File("#!/bin/sh\n", mode=0o755),
        "/opt/site/index.html": File("<html>", mode=0o755),
        "/opt/cut": program(b"\x7fELF\x02\x01"),
        "/opt/unreadable": Broken("input/output error", size=5000, mode=0o755),
    }
    results = [*found(binaries.ANALYZER, files), *found(scripts.ANALYZER, files)]
    assert applications(results) == {}
    assert [(str(f.seen_in), f.why) for f in results if isinstance(f, Unread)] == [("/opt/cut", "not an ELF file")]


def test_a_packages_folder_lends_its_name_to_nothing() -> None:
    files: dict[str, Content] = {"/opt/vendor/agent": program(), "/opt/vendor/added": program()}
    results = found(binaries.ANALYZER, files, *owned("vendor", "/opt/vendor", "/opt/vendor/agent"))
    assert list(applications(results)) == ["/opt/vendor/added"]


def test_without_a_package_database_the_system_is_nobodys_loss() -> None:
    guest = FakeGuest({"/usr/bin/ls": program(), "/usr/local/bin/x": program()})
    assert [e.path for e in Nobodys.of(guest, ()).programs] == ["/usr/local/bin/x"]


def test_a_file_is_read_once_and_only_where_it_may_be_a_program() -> None:
    files: dict[str, Content] = {f"/srv/data/{n}.bin": "x" * 50 for n in range(50)}
    guest = FakeGuest({**files, "/opt/x": program()})
    mine = [a.ANALYZER for a in (binaries, golang, rust, dotnet, java_apps, scripts)]
    run_analyzers(guest, mine)
    assert guest.read_paths.count("/opt/x") == 2  # its head, then all of it
    assert not [path for path in guest.read_paths if path.startswith("/srv/data")]


# ---------------------------------------------------------------- scripts


def test_scripts_by_their_first_line() -> None:
    files: dict[str, Content] = {
        "/usr/local/bin/report": File("#!/usr/bin/env -S python3 -u\nprint()\n", mode=0o755),
        "/usr/bin/python3": Link("python3.11"),
        "/usr/bin/python3.11": program(),
        "/usr/local/bin/aws": File(
            "#!/usr/bin/python3\nimport sys\nfrom awscli import main\nif __name__ == '__main__':\n", mode=0o755
        ),
        "/usr/local/bin/lost": File("#!/opt/gone/ruby\n", mode=0o755),
        "/opt/backup/run.sh": File("#!/bin/sh\n", mode=0o755),
        "/opt/backup/lib.sh": File("#!/bin/sh\n", mode=0o755),
        "/bin/sh": program(),
        "/srv/jobs/clean.pl": "print 1;\n",
        "/usr/bin/perl": program(),
        "/usr/local/bin/README": File("not a script", mode=0o755),
    }
    run = (service("/opt/backup/run.sh"), cron("perl -w /srv/jobs/clean.pl --all"))
    packages = [
        *owned("python3-minimal", "/usr/bin/python3"), *owned("python3.11-minimal", "/usr/bin/python3.11"),
        *owned("perl-base", "/usr/bin/perl"), *owned("dash", "/bin/sh"),
    ]  # fmt: skip
    apps = applications(found(scripts.ANALYZER, files, *packages, *run))
    assert {root: (a.interpreter, a.runtime, str(a.seen_in)) for root, a in apps.items()} == {
        "/usr/local/bin/report": (
            "/usr/bin/python3", ("python3-minimal", "python3.11-minimal"), "/usr/local/bin/report:1",
        ),
        "/usr/local/bin/lost": ("/opt/gone/ruby", (), "/usr/local/bin/lost:1"),
        "/opt/backup/run.sh": ("/bin/sh", ("dash",), "/opt/backup/run.sh:1"),
        "/srv/jobs/clean.pl": ("/usr/bin/perl", ("perl-base",), "/etc/crontab:3"),
    }  # fmt: skip


def test_a_script_in_an_applications_tree_is_that_applications() -> None:
    files: dict[str, Content] = {
        "/opt/shop/shop": program(make_elf(kind=2)),
        "/opt/shop/start.sh": File("#!/bin/sh\nexec ./shop\n", mode=0o755),
        "/srv/orders/venv/pyvenv.cfg": "",
        "/srv/orders/venv/bin/gunicorn": File("#!/srv/orders/venv/bin/python\n", mode=0o755),
    }
    run = (service("/opt/shop/start.sh"), service("/srv/orders/venv/bin/gunicorn", ident="y"))
    assert applications(found(scripts.ANALYZER, files, *run)) == {}


# ---------------------------------------------------------------- real ones, and broken ones


def real(name: str) -> bytes:
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.is_file():
        pytest.skip(f"{name} is not installed")
    return path.read_bytes()


def test_a_real_static_binary_that_no_language_knows() -> None:
    data = real("hadolint")  # GHC's, of 55 MB: read through a temporary file
    guest = FakeGuest({"/usr/local/bin/hadolint": program(data)})
    each = inspect(guest, "/usr/local/bin/hadolint")
    assert (each.ecosystem, each.broken) == ("elf", "")
    assert each.headers is not None
    assert (each.headers.interpreter, each.headers.needed) == ("", ())


def test_mutations_of_a_real_binary_end_in_notes() -> None:
    start = real("hadolint")[: 1 << 16]
    chance = random.Random(20261123)
    for _ in range(150):
        numbers = [chance.randrange(4096) for _ in range(chance.randrange(1, 30))]
        files: dict[str, Content] = {"/opt/x": program(mutated(start, numbers))}
        for analyzer in (binaries, golang, rust, dotnet):
            for finding in found(analyzer.ANALYZER, files):
                assert isinstance(finding, Application | Unread)
