"""Keys as `--key` takes them: what is a selector, which device it is for, and that no key is ever shown."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import UsageError
from migrate.guest.mounting.keys import LARGEST_FILE, Key, as_argument, parse_key, secrets_for
from migrate.guest.mounting.layout import LUKS, FileSystemSeen

SECRET = "hunter2-hunter2"
HOME = FileSystemSeen(
    device="/dev/sdb3", type=LUKS, uuid="d806b968-2f02-4138-ae61-54586be6f8ec", part_uuid="77aa-03", disk=1, partition=3
)
VOLUME = FileSystemSeen(device="/dev/my-vg/root-1", type=LUKS, uuid="240912c0-2035-4b4e-b139-97ff071f2f86")
EVERY = [HOME, VOLUME]


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("all", EVERY),
        ("/dev/sdb3", [HOME]),
        ("/dev/vdb3", [HOME]),
        ("d806b968-2f02-4138-ae61-54586be6f8ec", [HOME]),
        ("D806B968-2F02-4138-AE61-54586BE6F8EC", [HOME]),
        ("UUID=240912c0-2035-4b4e-b139-97ff071f2f86", [VOLUME]),
        ("/dev/disk/by-uuid/240912c0-2035-4b4e-b139-97ff071f2f86", [VOLUME]),
        ("/dev/disk/by-partuuid/77aa-03", [HOME]),
        ("/dev/my-vg/root-1", [VOLUME]),
        ("/dev/mapper/my--vg-root--1", [VOLUME]),
        ("/dev/sdb", []),
        ("/dev/sda3", []),
        ("ALL", []),
    ],
)
def test_which_devices_a_key_is_for(name: str, devices: list[FileSystemSeen]) -> None:
    key = parse_key(f"{name}:key:{SECRET}")
    assert [seen for seen in EVERY if secrets_for([key], seen, EVERY)] == devices


def test_an_unnamed_volume_is_not_everybodys() -> None:
    nameless = FileSystemSeen(device="/dev/sda1", type=LUKS)
    assert secrets_for([Key("", (b"x",))], nameless, [nameless]) == []


def test_keys_are_tried_in_their_order_and_once() -> None:
    keys = [parse_key(text) for text in ("/dev/sdb3:key:one", "all:key:two", "/dev/sdb3:key:one", "/dev/sdx1:key:no")]
    assert secrets_for(keys, HOME, EVERY) == [b"one", b"two"]
    assert secrets_for(keys, VOLUME, EVERY) == [b"two"]


@pytest.mark.parametrize(
    ("text", "name", "secret"),
    [
        ("all:key:a:b:c", "all", b"a:b:c"),
        ("all:key:x:file:y", "all", b"x:file:y"),
        ("/dev/disk/by-path/pci-0000:00:10.0-part1:key:x", "/dev/disk/by-path/pci-0000:00:10.0-part1", b"x"),
        ("all:key: with blanks ", "all", b" with blanks "),
        ("all:key:schlüssel", "all", "schlüssel".encode()),
        ("all:key:\udce9", "all", b"\xe9"),
    ],
)
def test_what_a_selector_says(text: str, name: str, secret: bytes) -> None:
    assert parse_key(text) == Key(name, (secret,))


@pytest.mark.parametrize(
    ("content", "secrets"),
    [
        (b"pass", (b"pass",)),
        (b"pass\n", (b"pass", b"pass\n")),
        (b"pass\nsecond\n", (b"pass", b"pass\nsecond\n")),
        (b"\n\x00\xff", (b"\n\x00\xff",)),
    ],
)
def test_a_key_file_is_its_first_line_or_all_of_it(tmp_path: Path, content: bytes, secrets: tuple[bytes, ...]) -> None:
    (tmp_path / "a:key").write_bytes(content)
    assert parse_key(f"all:file:{tmp_path / 'a:key'}") == Key("all", secrets)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            SECRET,
            "it is no selector; write NAME:key:KEY or NAME:file:FILENAME, where NAME is a device, a UUID or `all`",
        ),
        (f":key:{SECRET}", "it is no selector"),
        (f"all:{SECRET}", "it is no selector"),
        (f"{SECRET}:key:", "there is nothing after `key`"),
        (f"{SECRET}:file", "there is nothing after `file`"),
        (f"{SECRET}:clevis", "clevis asks a server of the network for the key, and the appliance .* has no network"),
        (f"all:file:/no/such/{SECRET}", "the key file cannot be read: No such file or directory"),
        (f"all:file:/dev/\0{SECRET}", "the key file cannot be read: embedded null byte"),
        (f"all:key:{SECRET}\0", "a passphrase holds no NUL"),
    ],
)
def test_what_is_no_selector_is_refused_without_repeating_it(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_key(text)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_file_that_is_none(tmp_path: Path) -> None:
    for content, words in ((b"", "is empty"), (b"\n", "is empty"), (b"x" * (LARGEST_FILE + 1), "is longer than 1 MiB")):
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(UsageError, match=words):
            parse_key(f"all:file:{tmp_path / 'key'}")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        parse_key(f"all:file:{tmp_path}")


def test_no_key_is_in_what_is_printed() -> None:
    key = parse_key(f"all:key:{SECRET}")
    for shown in (repr(key), str(key), f"{key}", repr([key]), list(key.__rich_repr__())):
        assert SECRET not in str(shown)


@given(st.text())
def test_any_text_is_a_key_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        key = parse_key(text.replace(":file", ":key"))
        assert key.name
        assert all(key.secrets)


def test_how_a_library_takes_a_key() -> None:
    assert as_argument(b"plain", (1, 48)) == "plain"
    assert as_argument(b"\xff\xfe", (1, 48)) is None
    assert as_argument(b"a\0b", (1, 48)) is None
    assert as_argument(b"base64:x", (1, 60)) == "text:base64:x"
    assert as_argument(b"a\0b", (2, 0)) == "base64:YQBi"
