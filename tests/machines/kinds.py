"""The machines that there are."""

from __future__ import annotations

from tests.machines import make_alpine, make_debian, make_rpm
from tests.machines.build import Kind

FORTY = Kind(
    name="forty",
    make=make_debian.make,
    ask=make_debian.ask,
    mebibytes=4096,
    inodes=200_000,
    programs=make_debian.PROGRAMS,
    network=True,
)
RPMBOX = Kind(
    name="rpmbox",
    make=make_rpm.make,
    ask=make_rpm.ask,
    mebibytes=256,
    inodes=16_000,
    sources=(make_rpm.ROOT,),
    programs=make_rpm.PROGRAMS,
)
ALPINE = Kind(
    name="alpine",
    make=make_alpine.make,
    ask=make_alpine.ask,
    mebibytes=128,
    inodes=8_000,
    sources=(make_alpine.ROOT,),
)
KINDS = (ALPINE, RPMBOX, FORTY)
