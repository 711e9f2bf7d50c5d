"""A machine as each reader sees it: the analysis must be the same, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from migrate import analysis
from migrate.guest.open import open_guest
from migrate.guest.protocol import Entry
from migrate.plan.propose import Chosen


def _analyzed(disks: Sequence[Path], reader: str) -> tuple[list[Entry], dict[str, bytes]]:
    with open_guest(disks, reader=reader) as guest, TemporaryDirectory() as place:  # type: ignore[arg-type]
        assert guest.source.reader == reader
        result = analysis.analyze(analysis.find(guest), Chosen(tuple(map(str, disks))), Path(place))
        # Where the appliance has a file system of its own number, the direct reader counts; FAT has no inodes at all.
        tree = [msgspec.structs.replace(each, inode=(0, 0)) for each in guest.walk()]
        return tree, {name: b"".join(file.pieces()) for name, file in result.files.items()}


def same_analysis(disks: Sequence[Path]) -> dict[str, object]:
    """Hold both readers' metadata, inventory, graph, plan and report against each other; return the inventory."""
    (tree, files), (other_tree, others) = (_analyzed(disks, reader) for reader in ("direct", "guestfs"))
    assert tree == other_tree
    assert files.keys() == others.keys()
    for name in files:
        without = [found[name].replace(b'"reader": "direct"', b"").replace(b'"reader": "guestfs"', b"")
                   for found in (files, others)]  # fmt: skip
        assert without[0] == without[1], name
    inventory: dict[str, object] = json.loads(files["inventory.json"])
    return inventory
