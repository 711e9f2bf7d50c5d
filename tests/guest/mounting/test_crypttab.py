"""crypttab, as installers and people write it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from migrate.guest.mounting.crypttab import Mapping, parse_crypttab

SAMPLE = """\
# <target name> <source device> <key file> <options>
sda5_crypt UUID=b8f1e0a2-52d5-4c8f-9a3e-0d6b6c1f7a11 none luks,discard
luks-71cf\t/dev/disk/by-partlabel/root\t-\tdiscard
  dm_crypt-0 "PARTUUID=77aa-03" none luks\r
swap /dev/vda3 /dev/urandom swap,cipher=aes-xts-plain64

alone
sda5_crypt /dev/sdz9 none
../escape UUID=1 none
"""


def test_what_installers_write() -> None:
    assert parse_crypttab(SAMPLE) == [
        Mapping("sda5_crypt", "UUID=b8f1e0a2-52d5-4c8f-9a3e-0d6b6c1f7a11"),
        Mapping("luks-71cf", "/dev/disk/by-partlabel/root"),
        Mapping("dm_crypt-0", "PARTUUID=77aa-03"),
        Mapping("swap", "/dev/vda3"),
    ]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    found = parse_crypttab(text)
    assert len({mapping.name for mapping in found}) == len(found)
    assert not any("/" in mapping.name for mapping in found)
