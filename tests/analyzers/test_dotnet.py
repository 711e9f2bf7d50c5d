from __future__ import annotations

import json
import random
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import binaries, dotnet, programs
from analyzers._dotnet_files import Framework, Library, parse_config, parse_deps
from migrate.model import Application, LanguagePackage, Place, Requires, Unread, Uses
from tests.analyzers.elf_made import make_elf, mutated
from tests.analyzers.fake import Content, FakeGuest, File, Link
from tests.analyzers.test_binaries import applications, found, owned, program, service

# As `dotnet publish` writes them (dotnet/sdk, runtime-configuration-file.md).
DEPS = """\
{
  "runtimeTarget": {
    "name": ".NETCoreApp,Version=v8.0",
    "signature": ""
  },
  "compilationOptions": {},
  "targets": {
    ".NETCoreApp,Version=v8.0": {
      "Shop.Api/2.1.0": {
        "dependencies": {
          "Npgsql": "8.0.1"
        },
        "runtime": {
          "Shop.Api.dll": {}
        }
      },
      "Npgsql/8.0.1": {
        "runtime": {
          "lib/net8.0/Npgsql.dll": {
            "assemblyVersion": "8.0.1.0",
            "fileVersion": "8.0.1.0"
          }
        }
      }
    }
  },
  "libraries": {
    "Shop.Api/2.1.0": {
      "type": "project",
      "serviceable": false,
      "sha512": ""
    },
    "Npgsql/8.0.1": {
      "type": "package",
      "serviceable": true,
      "sha512": "sha512-x==",
      "path": "npgsql/8.0.1",
      "hashPath": "npgsql.8.0.1.nupkg.sha512"
    }
  }
}
"""
CONFIG = """\
{
  "runtimeOptions": {
    "tfm": "net8.0",
    "frameworks": [
      {
        "name": "Microsoft.NETCore.App",
        "version": "8.0.0"
      },
      {
        "name": "Microsoft.AspNetCore.App",
        "version": "8.0.0"
      }
    ],
    "configProperties": {
      "System.GC.Server": true
    }
  }
}
"""
SHARED = "/usr/lib/dotnet/shared"
FILES: dict[str, Content] = {
    "/srv/shop/Shop.Api.dll": "MZ",
    "/srv/shop/Npgsql.dll": "MZ",
    "/srv/shop/Shop.Api.deps.json": DEPS,
    "/srv/shop/Shop.Api.runtimeconfig.json": CONFIG,
    "/usr/bin/dotnet": Link("../lib/dotnet/dotnet"),
    "/usr/lib/dotnet/dotnet": program(),
    f"{SHARED}/Microsoft.NETCore.App/8.0.11/System.Private.CoreLib.dll": "MZ",
    f"{SHARED}/Microsoft.AspNetCore.App/8.0.11/Microsoft.AspNetCore.dll": "MZ",
    f"{SHARED}/Microsoft.AspNetCore.App/6.0.36/Microsoft.AspNetCore.dll": "MZ",
}
PACKAGES = [
    *owned("dotnet-host-8.0", "/usr/bin/dotnet", "/usr/lib/dotnet/dotnet"),
    *owned("dotnet-runtime-8.0", f"{SHARED}/Microsoft.NETCore.App/8.0.11/System.Private.CoreLib.dll"),
    *owned("aspnetcore-runtime-8.0", f"{SHARED}/Microsoft.AspNetCore.App/8.0.11/Microsoft.AspNetCore.dll"),
    *owned("aspnetcore-runtime-6.0", f"{SHARED}/Microsoft.AspNetCore.App/6.0.36/Microsoft.AspNetCore.dll"),
]
MARK = bytes.fromhex("8b1202b96a612038727b930214d7a03213f5b9e6efae3318ee3b2dce24b36aae")


def bundle(major: int = 6, deps: str = DEPS, *, real: bool = True) -> bytes:
    """A single-file application: a host, then the bundle whose header the eight bytes before the mark point to."""
    size = len(make_elf(kind=2, data=bytes(8) + MARK))
    identity = b"abcDEF123456"
    fixed = struct.pack("<IIi", major, 0, 3) + bytes([len(identity)]) + identity
    deps_at = size + 128
    locations = struct.pack("<qqqqQ", deps_at, len(deps), deps_at + len(deps), len(CONFIG), 0) if major > 1 else b""
    host = make_elf(kind=2, data=struct.pack("<q", size if real else 0) + MARK)
    return host + (fixed + locations).ljust(128, b"\0") + deps.encode() + CONFIG.encode() if real else host


def test_deps_and_config() -> None:
    deps = parse_deps(DEPS)
    assert deps.target == ".NETCoreApp,Version=v8.0"
    assert deps.libraries == (Library("Shop.Api", "2.1.0", "project", 28), Library("Npgsql", "8.0.1", "package", 33))
    assert parse_config("\ufeff" + CONFIG) == (
        Framework("Microsoft.NETCore.App", "8.0.0"), Framework("Microsoft.AspNetCore.App", "8.0.0"),
    )  # fmt: skip
    single = '{"runtimeOptions": {"framework": {"name": "Microsoft.NETCore.App", "version": "3.1.0"}}}'
    assert parse_config(single) == (Framework("Microsoft.NETCore.App", "3.1.0"),)
    contained = '{"runtimeOptions": {"includedFrameworks": [{"name": "Microsoft.NETCore.App", "version": "8.0.1"}]}}'
    assert parse_config(contained) == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"libraries": []}', '{"runtimeOptions": 1}', "\0"])
def test_what_is_none_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"no deps.json"):
        parse_deps(text)
    with pytest.raises(ValueError, match=r"no runtimeconfig.json"):
        parse_config(text.encode())


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.text() | st.integers(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
def test_any_json_is_read(value: object) -> None:
    parse_deps(json.dumps({"runtimeTarget": value, "libraries": {"a/1": value, "/": value, "b": value}}))
    parse_config(json.dumps({"runtimeOptions": {"framework": value, "frameworks": [value, {"name": value}]}}))


def test_an_application_with_its_packages_and_frameworks() -> None:
    results = found(dotnet.ANALYZER, FILES, *PACKAGES, service("/usr/bin/dotnet", "/srv/shop/Shop.Api.dll"))
    assert applications(results) == {
        "/srv/shop": Application(
            seen_in=Place("/srv/shop/Shop.Api.deps.json", 28), root="/srv/shop", ecosystem="nuget", name="Shop.Api",
            version="2.1.0", runtime=("aspnetcore-runtime-8.0", "dotnet-runtime-8.0"),
        )
    }  # fmt: skip
    assert [f for f in results if isinstance(f, LanguagePackage)] == [
        LanguagePackage(
            seen_in=Place("/srv/shop/Shop.Api.deps.json", 33), ecosystem="nuget", name="Npgsql", version="8.0.1",
            location="/srv/shop",
        )
    ]  # fmt: skip


def test_who_runs_it_needs_the_tree_the_host_and_the_frameworks() -> None:
    for run in (
        service("dotnet", "/srv/shop/Shop.Api.dll"),
        service("dotnet", "Shop.Api.dll", "--urls", "http://*:5000", working_directory="/srv/shop"),
    ):
        guest = FakeGuest(FILES)
        mine = tuple(found(dotnet.ANALYZER, FILES, *PACKAGES, run))
        results = [*mine, *programs.join(guest, (*PACKAGES, run, *mine))]
        required = {f.package for f in results if isinstance(f, Requires)}
        assert required == {"dotnet-host-8.0", "dotnet-runtime-8.0", "aspnetcore-runtime-8.0"}
        assert {f.path for f in results if isinstance(f, Uses) and f.role == "code"} == {"/srv/shop"}


def test_a_framework_that_nobody_packaged_or_that_is_gone() -> None:
    run = service("/usr/bin/dotnet", "/srv/shop/Shop.Api.dll")
    results = found(dotnet.ANALYZER, FILES, *PACKAGES[:2], run)
    assert {f.path for f in results if isinstance(f, Uses)} == {"/usr/lib/dotnet"}
    less = {path: content for path, content in FILES.items() if "AspNetCore" not in path}
    results = found(dotnet.ANALYZER, less, *PACKAGES, run)
    assert [f.why for f in results if isinstance(f, Unread)] == [
        "its framework Microsoft.AspNetCore.App 8.0.0 is not on the disk"
    ]


def test_programs_beside_libraries_and_one_another() -> None:
    files: dict[str, Content] = {
        **FILES,
        "/srv/shop/Shop.Api": program(bundle(real=False)),  # the host that the SDK puts beside the dll
        "/srv/shop/Shop.Model.deps.json": DEPS.replace("Shop.Api", "Shop.Model"),
        "/srv/two/a/A.runtimeconfig.json": CONFIG,
        "/srv/two/b/B.runtimeconfig.json": CONFIG,
        "/opt/vendor/V.runtimeconfig.json": CONFIG,
    }
    packages = [*PACKAGES, *owned("vendor", "/opt/vendor", "/opt/vendor/V.runtimeconfig.json")]
    roots = set(applications(found(dotnet.ANALYZER, files, *packages)))
    assert roots == {"/srv/shop", "/srv/two/a", "/srv/two/b"}
    assert not applications(found(binaries.ANALYZER, files, *packages))


def test_single_file_applications() -> None:
    files: dict[str, Content] = {"/usr/local/bin/shop": program(bundle()), "/usr/local/bin/old": program(bundle(1))}
    results = found(dotnet.ANALYZER, files)
    assert {(a.root, a.name, a.version) for a in applications(results).values()} == {
        ("/usr/local/bin/shop", "Shop.Api", "2.1.0"), ("/usr/local/bin/old", "old", ""),
    }  # fmt: skip
    assert [(f.name, str(f.seen_in)) for f in results if isinstance(f, LanguagePackage)] == [
        ("Npgsql", "/usr/local/bin/shop")
    ]
    broken = found(dotnet.ANALYZER, {"/usr/local/bin/shop": program(bundle(deps="{"))})
    assert [f.why for f in broken if isinstance(f, Unread)] == ["in its bundle: no deps.json: JSONDecodeError"]


def test_mutations_end_in_notes() -> None:
    chance = random.Random(6)
    for _ in range(300):
        numbers = [chance.randrange(4000) for _ in range(chance.randrange(1, 12))]
        files: dict[str, Content] = {
            **FILES,
            "/srv/shop/Shop.Api.deps.json": mutated(DEPS.encode(), numbers),
            "/srv/shop/Shop.Api.runtimeconfig.json": mutated(CONFIG.encode(), numbers),
            "/usr/local/bin/shop": File(mutated(bundle(), numbers), mode=0o755),
        }
        for finding in found(dotnet.ANALYZER, files, *PACKAGES):
            assert isinstance(finding, Application | LanguagePackage | Unread)


def test_segments_that_overlap_are_searched_once_over() -> None:
    data = bytearray(make_elf(kind=2, data=bytes(1 << 20)))
    segments = 1024
    head = bytes(data[64 + 56 : 64 + 112])  # the writable segment's header, again and again
    table = head * segments
    data[32:40] = len(data).to_bytes(8, "little")
    data[56:58] = segments.to_bytes(2, "little")
    begun = time.process_time()
    assert found(dotnet.ANALYZER, {"/opt/x": program(bytes(data) + table)}) == []
    assert time.process_time() - begun < 20
