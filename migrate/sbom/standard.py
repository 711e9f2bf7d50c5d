"""The formats of a bill of materials."""

from __future__ import annotations

from enum import StrEnum


class Standard(StrEnum):
    """The format of a bill of materials."""

    cyclonedx = "cyclonedx"
    spdx = "spdx"


NAMES = {Standard.cyclonedx: "sbom.cdx.json", Standard.spdx: "sbom.spdx.json"}
"""How the files are called, as both projects recommend (cyclonedx.org, "Recognized file patterns"; SPDX 2.3, 7)."""
