from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import flatpak
from analyzers._gvariant import parse_deploy
from migrate.model import Finding, Package, PackageFiles, Place, Unread
from tests.analyzers.fake import Broken, Content, FakeGuest, Link

# GLib 2.74's own bytes for ('flathub', 'abab…', ['/de'], 1234567, {'deploy-version': <4>, 'timestamp': <…>,
# 'previous-ids': <['a', 'b']>, 'runtime': <'org.gnome.Platform/x86_64/45'>, 'appdata-version': <'3.2.1'>,
# 'appdata-name': <{'': 'Nëme'}>})
COMMIT = "ab" * 32
DEPLOY = bytes.fromhex(
    "666c617468756200"
    + "6162" * 32
    + "002f64650004000087d61200000000006465706c6f792d76657273696f6e00000400000000690f0074696d657374616d7000"
    "00000000000000f153650000000000740a000000000070726576696f75732d696473000000006100620002040061730d0000"
    "0000000072756e74696d65006f72672e676e6f6d652e506c6174666f726d2f7838365f36342f343500007308617070646174"
    "612d76657273696f6e00332e322e310000731000000000000000617070646174612d6e616d6500000000004ec3ab6d650001"
    "0800617b73737d0d1733528099c04e0049000800"
)
CONFIG = """\
[core]
repo_version=1
mode=bare-user-only
xa.pinned=runtime/org.gnome.Sdk/x86_64/4*;runtime/org.none/*/*

[remote "flathub"]
url=https://dl.flathub.org/repo/
gpg-verify=true

[remote "fedora"]
url=oci+https://registry.fedoraproject.org

[remote "mine-origin"]
xa.noenumerate=true
"""
TOP = "/var/lib/flatpak"
APP = f"{TOP}/app/org.example.Paint/x86_64/stable"
SYSTEM: dict[str, Content] = {
    f"{TOP}/repo/config": CONFIG,
    f"{TOP}/app/org.example.Paint/current": Link("x86_64/stable"),
    f"{APP}/active": Link(COMMIT),
    f"{APP}/{COMMIT}/deploy": DEPLOY,
    f"{APP}/{COMMIT}/metadata": "[Application]\nname=org.example.Paint\nruntime=org.gnome.Platform/x86_64/45\n",
    f"{APP}/{COMMIT}/files/bin/paint": "ELF",
    f"{APP}/older/files/bin/paint": "ELF",
    f"{TOP}/runtime/org.gnome.Platform/x86_64/45/active": Link("c1"),
    f"{TOP}/runtime/org.gnome.Platform/x86_64/45/c1/metadata": "[Runtime]\nname=org.gnome.Platform\n",
    f"{TOP}/runtime/org.gnome.Sdk/x86_64/45/active": Link("c1"),
    f"{TOP}/runtime/org.gnome.Sdk/x86_64/45/c1/files/x": "",
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/srv/ann:/bin/sh\nwrong\n",
    "/srv/ann/.local/share/flatpak/app/mine/x86_64/master/active": Link("c2"),
    "/srv/ann/.local/share/flatpak/app/mine/x86_64/master/c2/files/y": "",
    "/etc/flatpak/installations.d/extra.conf": '[Installation "extra"]\nPath=/opt/flatpak\n',
    "/opt/flatpak/app/third/aarch64/b/active": Link("c3"),
    "/opt/flatpak/app/third/aarch64/b/c3/files/z": "",
}


def found(extra: dict[str, Content] | None = None) -> list[Finding]:
    return list(flatpak.analyze(FakeGuest({**SYSTEM, **(extra or {})})))


def packages(findings: list[Finding]) -> dict[str, Package]:
    return {f.name: f for f in findings if isinstance(f, Package)}


def unread(findings: list[Finding]) -> list[str]:
    return [f"{f.seen_in}: {f.why}" for f in findings if isinstance(f, Unread)]


def test_applications_and_runtimes() -> None:
    findings = found()
    assert list(packages(findings)) == ["mine", "org.example.Paint", "org.gnome.Platform", "org.gnome.Sdk", "third"]
    assert packages(findings)["org.example.Paint"] == Package(
        seen_in=Place(f"{APP}/{COMMIT}/metadata"),
        name="org.example.Paint",
        version="3.2.1",
        architecture="x86_64",
        manager="flatpak",
        chosen=True,
        origin="third-party",
        source="org.example.Paint",
        section="stable",
        depends=("org.gnome.Platform",),
    )
    assert {p.name for p in packages(findings).values() if not p.chosen} == {"org.gnome.Platform"}  # the Sdk is pinned
    assert packages(findings)["org.gnome.Platform"].version == "45"
    assert unread(findings) == []


def test_files_are_those_of_the_active_deployment() -> None:
    files = {f.package: f.paths for f in found() if isinstance(f, PackageFiles)}
    assert files["org.example.Paint"] == tuple(
        f"{APP}/{COMMIT}{name}" for name in ("", "/deploy", "/files", "/files/bin", "/files/bin/paint", "/metadata")
    )
    assert files["mine"][-1].endswith("/c2/files/y")


def test_origins() -> None:
    remotes = {"flathub": "https://dl.flathub.org/repo/", "fedora": "oci+https://registry.fedoraproject.org"}
    installation = flatpak.Installation("/", {**remotes, "a": "", "b": "file:///srv"}, ())
    names = ["flathub", "fedora", "a", "b", "gone"]
    assert [installation.origin(name) for name in names] == ["third-party", "distribution", "local", "local", ""]


def test_the_bytes_of_a_deployment() -> None:
    deploy = parse_deploy(DEPLOY)
    assert (deploy.origin, deploy.commit) == ("flathub", COMMIT)
    assert deploy.metadata == {"runtime": "org.gnome.Platform/x86_64/45", "appdata-version": "3.2.1"}
    assert parse_deploy(bytes.fromhex("6100620000000000" + "00" * 7 + "01" + "040402")).metadata == {}


def test_a_machine_without_flatpak() -> None:
    assert list(flatpak.analyze(FakeGuest({"/etc/hostname": "x"}))) == []


# ---------------------------------------------------------------- hostile input


def test_what_cannot_be_read_is_told() -> None:
    findings = found(
        {
            f"{APP}/{COMMIT}/deploy": DEPLOY[:-3],
            f"{TOP}/runtime/org.gnome.Sdk/x86_64/45/c1/deploy": Broken(),
            f"{TOP}/app/evil name/x86_64/1/active": Link("c"),
            f"{TOP}/app/evil name/x86_64/1/c/files/x": "",
            f"{TOP}/app/out/x86_64/1/active": Link("/etc"),
            f"{TOP}/app/loop/x86_64/1/active": Link("active"),
        }
    )
    assert {line.split(": ")[0] for line in unread(findings)} == {
        f"{APP}/{COMMIT}/deploy", f"{TOP}/runtime/org.gnome.Sdk/x86_64/45/c1/deploy", TOP,
    }  # fmt: skip
    assert packages(findings)["org.example.Paint"].version == "stable"
    assert not {"evil name", "out", "loop"} & set(packages(findings))


def test_so_many_packages_and_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flatpak, "MAX_PACKAGES", 2)
    monkeypatch.setattr(flatpak, "MAX_PATHS", 3)
    findings = found()
    assert len(packages(findings)) == 2
    assert sum(len(f.paths) for f in findings if isinstance(f, PackageFiles)) == 3
    assert any("only 2 packages" in line for line in unread(findings))
    assert any("only 3 paths" in line for line in unread(findings))


@given(st.binary(max_size=300), st.text(max_size=200))
def test_no_input_breaks_the_parsers(data: bytes, text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_deploy(data)
    flatpak.parse_keyfile(text)


def test_a_deployment_changed_at_random() -> None:
    chance = random.Random(4)
    refused = 0
    for _ in range(500):
        data = bytearray(DEPLOY)
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            parse_deploy(bytes(data[: chance.randrange(len(data) + 1)]))
        except ValueError:
            refused += 1
    assert refused > 100
