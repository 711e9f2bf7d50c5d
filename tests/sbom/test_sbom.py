from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from migrate.errors import UsageError
from migrate.facts import Facts
from migrate.model import Application, Finding, LanguagePackage, Package, Place, Secret, System
from migrate.redact import Redactor
from migrate.sbom.purl import language_purl, package_purl
from migrate.sbom.render import render
from migrate.sbom.standard import Standard
from tests import shop
from tests.analyzers.fake import FakeGuest

HERE = Place("/var/lib/dpkg/status", 12)
DEBIAN = System(family="debian", id="debian", version="12", name="Debian GNU/Linux 12 (bookworm)", seen_in=HERE)


def _package(name: str, **more: Any) -> Package:
    values: dict[str, Any] = {"version": "1.0-1", "architecture": "amd64", "manager": "dpkg", "chosen": True} | more
    return Package(seen_in=HERE, name=name, **values)


def _machine(*findings: Finding) -> Facts:
    return Facts([DEBIAN, *findings], FakeGuest({}))


def _json(facts: Facts, standard: Standard, secrets: Redactor | None = None) -> Any:
    return json.loads(render(facts, standard, secrets or Redactor([]), "sha256:00"))


def _schema_is_kept(text: bytes) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None


def _spdx_is_valid(text: bytes, folder: Path) -> None:
    file = folder / "x.spdx.json"
    file.write_bytes(text)
    messages = validate_full_spdx_document(parse_file(str(file)))
    assert [each.validation_message for each in messages] == []


EVERYTHING: tuple[Finding, ...] = (
    _package("nginx", depends=("libc6", "nginx", "gone")),
    _package("libc6", chosen=False, source="glibc"),
    _package("libc6", architecture="i386", chosen=False, source="glibc"),
    LanguagePackage(seen_in=Place("/srv/a/x", 3), ecosystem="npm", name="@b/c", version="1.2.3", location="/srv/a"),
    LanguagePackage(seen_in=Place("/srv/b/x", 3), ecosystem="npm", name="@b/c", version="1.2.3", location="/srv/b"),
    Application(seen_in=Place("/srv/a/package.json", 2), root="/srv/a", ecosystem="npm", name="a", runtime=("nginx",)),
    Application(seen_in=Place("/opt/x"), root="/opt/x", ecosystem="elf", name="x", libraries=("libc.so.6",)),
)


@pytest.mark.filterwarnings("error")
def test_both_formats_are_as_their_schemas_demand(tmp_path: Path) -> None:
    for facts in (_machine(*EVERYTHING), Facts(shop.findings(), shop.guest()), Facts([], FakeGuest({}))):
        _schema_is_kept(render(facts, Standard.cyclonedx, Redactor([]), "sha256:00"))
        _spdx_is_valid(render(facts, Standard.spdx, Redactor([]), "sha256:00"), tmp_path)


def test_cyclonedx_says_what_is_there_where_it_was_seen_and_what_it_needs() -> None:
    document = _json(_machine(*EVERYTHING), Standard.cyclonedx)
    found = {(c["name"], c.get("purl"), tuple(map(str, c["evidence"]["occurrences"][0].values())))
             for c in document["components"] if c["type"] != "operating-system"}  # fmt: skip
    status = ("12", "/var/lib/dpkg/status")
    assert found == {
        ("nginx", "pkg:deb/debian/nginx@1.0-1?arch=amd64&distro=debian-12", status),
        ("libc6", "pkg:deb/debian/libc6@1.0-1?arch=amd64&distro=debian-12&upstream=glibc", status),
        ("libc6", "pkg:deb/debian/libc6@1.0-1?arch=i386&distro=debian-12&upstream=glibc", status),
        ("@b/c", "pkg:npm/%40b/c@1.2.3", ("3", "/srv/a/x")),
        ("@b/c", "pkg:npm/%40b/c@1.2.3", ("3", "/srv/b/x")),
        ("a", None, ("2", "/srv/a/package.json")),
        ("x", None, ("/opt/x",)),
    }
    names = {c["bom-ref"]: c["name"] for c in document["components"]}
    needs = {
        (names[d["ref"]], names[n])
        for d in document["dependencies"]
        if d["ref"] in names
        for n in d.get("dependsOn", ())
    }
    assert needs == {("nginx", "libc6"), ("a", "nginx")}
    top = next(d for d in document["dependencies"] if d["ref"] == "machine")
    assert sorted(top["dependsOn"]) == sorted(names)
    system = next(c for c in document["components"] if c["type"] == "operating-system")
    assert (system["name"], system["version"]) == ("debian", "12")


def test_spdx_says_the_same() -> None:
    document = _json(_machine(*EVERYTHING), Standard.spdx)
    names = {p["SPDXID"]: p["name"] for p in document["packages"]}
    assert sorted(names.values()) == ["@b/c", "@b/c", "a", "debian", "libc6", "libc6", "machine", "nginx", "x"]
    ties = {(r["relationshipType"], names.get(r["spdxElementId"]), names.get(r["relatedSpdxElement"]))
            for r in document["relationships"]}  # fmt: skip
    assert {tie for tie in ties if tie[0] == "DEPENDS_ON"} == {
        ("DEPENDS_ON", "nginx", "libc6"),
        ("DEPENDS_ON", "a", "nginx"),
    }
    assert {tie[2] for tie in ties if tie[0] == "CONTAINS"} == set(names.values()) - {"machine"}
    nginx = next(p for p in document["packages"] if p["name"] == "nginx")
    assert nginx["sourceInfo"] == "seen in /var/lib/dpkg/status:12"
    assert nginx["externalRefs"][0]["referenceLocator"] == "pkg:deb/debian/nginx@1.0-1?arch=amd64&distro=debian-12"


def test_the_same_machine_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of SPDX, which demands a time, where SOURCE_DATE_EPOCH says it; in whatever order things were found."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for standard in Standard:
        first = render(_machine(*EVERYTHING), standard, Redactor([]), "sha256:00")
        # Of libc6's two architectures the first found is what others depend on: those two keep their order.
        mixed = (*EVERYTHING[3:], *EVERYTHING[:3])
        assert render(_machine(*mixed), standard, Redactor([]), "sha256:00") == first
    assert _json(_machine(), Standard.spdx)["creationInfo"]["created"] == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize("wrong", ["", "yesterday", "9" * 40])
def test_a_time_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        render(_machine(), Standard.spdx, Redactor([]), "sha256:00")


def test_no_secret_is_in_it() -> None:
    secret = Secret(id="s1", kind="token", value="hunter2-hunter2", seen_in=HERE)
    package = LanguagePackage(
        seen_in=Place("/srv/hunter2-hunter2/x"), ecosystem="pypi", name="p-hunter2-hunter2", version="1",
        location="/srv/hunter2-hunter2",
    )  # fmt: skip
    for standard in Standard:
        text = render(_machine(package), standard, Redactor([secret]), "sha256:00").decode()
        assert "hunter2" not in text
        assert "s1" in text


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_what_stands_on_a_disk_makes_no_invalid_document(name: str, version: str, place: str) -> None:
    wild = (
        LanguagePackage(seen_in=Place(f"/{place}", 1), ecosystem="npm", name=name, version=version, location=place),
        Application(seen_in=Place(f"/{place}"), root=place, ecosystem="elf", name=name, version=version),
        _package(name, version=version, architecture=place),
        Application(seen_in=Place("/a\udcff\n\u202e"), root="/\udcff", ecosystem="elf", name="\udcff\u202e"),
    )
    _schema_is_kept(render(_machine(*wild), Standard.cyclonedx, Redactor([]), "sha256:00"))
    text = render(_machine(*wild), Standard.spdx, Redactor([]), "sha256:00").decode()
    assert "\u202e" not in text
    assert all(each["name"] for each in json.loads(text)["packages"])


@pytest.mark.parametrize(
    ("manager", "name", "version", "url"),
    [
        ("dpkg", "libstdc++6", "12.2.0-14", "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=a&distro=debian-12"),
        ("dpkg", "attr", "1:2.4.48-6", "pkg:deb/debian/attr@1:2.4.48-6?arch=a&distro=debian-12"),
        ("rpm", "bind", "32:9.16-1", "pkg:rpm/debian/bind@9.16-1?arch=a&distro=debian-12&epoch=32"),
        ("pacman", "pacman", "6.0.1-1", "pkg:alpm/debian/pacman@6.0.1-1?arch=a&distro=debian-12"),
        ("snap", "core22", "123", "pkg:generic/core22@123?arch=a&manager=snap"),
    ],
)
def test_package_urls(manager: str, name: str, version: str, url: str) -> None:
    assert package_purl(_package(name, version=version, architecture="a", manager=manager), DEBIAN) == url


def test_urls_of_languages() -> None:
    assert language_purl("golang", "github.com/gin-gonic/gin", "v1.9.0") == "pkg:golang/github.com/gin-gonic/gin@v1.9.0"
    assert language_purl("composer", "monolog/monolog", "3.0.0") == "pkg:composer/monolog/monolog@3.0.0"
    assert language_purl("elf", "x", "1") == ""
    assert language_purl("npm", "", "1") == ""
    assert language_purl("npm", "/", "1") == ""
