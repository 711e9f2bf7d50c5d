from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import snap
from migrate.model import Finding, Package, PackageFiles, Place, Unread
from tests.analyzers.fake import Broken, Content, FakeGuest, File, Link

STATE = {
    "data": {
        "auth": {"last-id": 0, "users": None, "device": {"brand": "generic", "session-macaroon": "SECRET"}},
        "conns": {
            "lxd:network snapd:network": {"auto": True, "interface": "network"},
            "paint:gtk themes:gtk": {"auto": True, "interface": "content"},
            "odd": 3,
        },
        "snaps": {
            "core20": {
                "type": "base",
                "sequence": [{"name": "core20", "snap-id": "DLqre5XG", "revision": "1587", "channel": "stable"}],
                "active": True,
                "current": "1587",
                "channel": "latest/stable",
            },
            "lxd": {
                "type": "app",
                "sequence": [
                    {"name": "lxd", "snap-id": "J60k4JY0", "revision": "21029"},
                    {"name": "lxd", "snap-id": "J60k4JY0", "revision": "22753", "channel": "4.0/stable"},
                ],
                "active": True,
                "current": "22753",
                "tracking-channel": "4.0/stable/ubuntu-20.04",
            },
            "my-tool_two": {"sequence": [{"name": "my-tool", "revision": "x3"}], "current": "x3"},
            "paint": {"type": "app", "sequence": [{"snap-id": "p", "revision": "7"}], "current": "7"},
            "themes": {"type": "app", "sequence": [{"snap-id": "t", "revision": "8"}], "current": "8"},
            "snapd": {"type": "snapd", "sequence": [{"snap-id": "s", "revision": "16292"}], "current": "16292"},
        },
    },
    "changes": {"1": {"id": "1"}},
}
YAML = """\
name: lxd
version: 'git-4.0.9' # shown
base: core20
architectures:
- amd64
apps:
  lxc:
    version: no
"""
SYSTEM: dict[str, Content] = {
    "/var/lib/snapd/state.json": json.dumps(STATE),
    "/var/lib/snapd/snaps/lxd_21029.snap": "hsqs",
    "/var/lib/snapd/snaps/lxd_22753.snap": "hsqs",
    "/var/lib/snapd/snaps/core20_1587.snap": "hsqs",
    "/var/lib/snapd/snaps/my-tool_two_x3.snap": "hsqs",
    "/var/lib/snapd/snaps/partial": "",
    "/snap/lxd/22753/meta/snap.yaml": YAML,
    "/snap/lxd/current": Link("22753"),
    "/snap/bin/lxd.lxc": Link("/usr/bin/snap"),
    "/snap/my-tool_two/current": Link("x3"),
    "/etc/systemd/system/snap-lxd-22753.mount": "[Mount]\n",
    "/etc/systemd/system/snap-my\\x2dtool_two-x3.mount": "[Mount]\n",
    "/etc/systemd/system/snap.lxd.daemon.service": "[Service]\n",
    "/etc/systemd/system/other.service": "[Service]\n",
}


def found(extra: dict[str, Content] | None = None) -> list[Finding]:
    return list(snap.analyze(FakeGuest({**SYSTEM, **(extra or {})})))


def packages(findings: list[Finding]) -> dict[str, Package]:
    return {f.name: f for f in findings if isinstance(f, Package)}


def unread(findings: list[Finding]) -> list[str]:
    return [f"{f.seen_in}: {f.why}" for f in findings if isinstance(f, Unread)]


def test_snaps() -> None:
    findings = found()
    assert list(packages(findings)) == ["core20", "lxd", "my-tool_two", "paint", "snapd", "themes"]
    assert packages(findings)["lxd"] == Package(
        seen_in=Place("/var/lib/snapd/state.json"),
        name="lxd",
        version="git-4.0.9",
        architecture="",
        manager="snap",
        chosen=True,
        origin="third-party",
        source="lxd",
        section="4.0/stable/ubuntu-20.04",
        depends=("core20",),
    )
    assert packages(findings)["core20"].version == "1587"
    assert packages(findings)["my-tool_two"].origin == "local"
    assert packages(findings)["my-tool_two"].source == "my-tool"
    assert packages(findings)["paint"].depends == ("themes",)
    assert {name for name, package in packages(findings).items() if package.chosen} == {"lxd", "my-tool_two", "paint"}
    assert unread(findings) == []


def test_no_word_of_the_session_with_the_store() -> None:
    assert "SECRET" not in repr(found())
    with pytest.raises(ValueError, match="state") as caught:
        snap.parse_state(b'{"data": {"auth": "SECRET", "snaps": 1}}')
    assert "SECRET" not in str(caught.value)


def test_files() -> None:
    files = {f.package: f.paths for f in found() if isinstance(f, PackageFiles)}
    assert files["lxd"] == (
        "/etc/systemd/system/snap-lxd-22753.mount",
        "/etc/systemd/system/snap.lxd.daemon.service",
        "/snap/bin/lxd.lxc",
        "/snap/lxd",
        "/snap/lxd/22753",
        "/snap/lxd/22753/meta",
        "/snap/lxd/22753/meta/snap.yaml",
        "/snap/lxd/current",
        "/var/lib/snapd/snaps/lxd_21029.snap",
        "/var/lib/snapd/snaps/lxd_22753.snap",
    )
    assert "/etc/systemd/system/snap-my\\x2dtool_two-x3.mount" in files["my-tool_two"]
    assert files["themes"] == ()


@pytest.mark.parametrize("state", ["", "{", "[]", '{"data": {"snaps": []}}', Broken(), File("", size=1 << 40)])
def test_without_a_state_the_files_names_are_read(state: Content) -> None:
    findings = found({"/var/lib/snapd/state.json": state, "/var/lib/snapd/snaps/lxd_3.snap": ""})
    assert [(p.name, p.version, p.chosen, p.origin) for p in packages(findings).values()] == [
        ("core20", "1587", False, "third-party"),
        ("lxd", "git-4.0.9", True, "third-party"),  # what `current` leads to, and not the highest
        ("my-tool_two", "x3", True, "local"),
    ]
    assert packages(findings)["core20"].seen_in == Place("/var/lib/snapd/snaps/core20_1587.snap")
    assert len(unread(findings)) == 1


def test_a_machine_without_snapd() -> None:
    assert list(snap.analyze(FakeGuest({"/etc/hostname": "x"}))) == []


def test_wrong_entries_are_told() -> None:
    snaps = {"../x": {"current": "1"}, "ok": {"current": "1"}, "b": {"current": "1/2"}, "c": {"current": 1}, "d": []}
    findings = found({"/var/lib/snapd/state.json": json.dumps({"data": {"snaps": snaps}})})
    assert list(packages(findings)) == ["ok"]
    assert len(unread(findings)) == 3  # of two kinds, one of them in two ways
    many = {f"!{i}": {"current": i} for i in range(5000)}
    assert len(unread(found({"/var/lib/snapd/state.json": json.dumps({"data": {"snaps": many}})}))) <= 10


def test_nesting_does_not_end_it() -> None:
    for text in ("[" * 200_000, '{"data":' * 200_000, '{"data":{"snaps":{"a":' + "[" * 200_000):
        with pytest.raises(ValueError, match="state"):
            snap.parse_state(text.encode())


@given(st.binary(max_size=200), st.text(max_size=200))
def test_no_input_breaks_the_parsers(data: bytes, text: str) -> None:
    for each in (data, text.encode("utf-8", "surrogatepass"), b'{"data":{"snaps":{"a":' + data + b"}}}"):
        try:
            snap.parse_state(each)
        except ValueError:
            continue
    snap.parse_yaml(text)


def test_a_state_changed_at_random() -> None:
    chance = random.Random(4)
    whole = json.dumps(STATE).encode()
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        findings = found({"/var/lib/snapd/state.json": bytes(data)})
        assert all(isinstance(f, Package | PackageFiles | Unread) for f in findings)
