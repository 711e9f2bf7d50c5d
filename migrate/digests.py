"""Whether content is what a package shipped, by the digest that its database recorded. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from migrate.model import Finding, PackageFiles


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """A digest in hex, by an algorithm as hashlib spells it; empty for configuration that was never shipped."""

    package: str
    algorithm: str
    digest: str

    def matches(self, data: bytes) -> bool:
        """Tell whether content has this digest; what cannot be computed here matches nothing.

        >>> Recorded("x", "md5", "d41d8cd98f00b204e9800998ecf8427e").matches(b"")
        True
        """
        if not self.digest:
            return False
        try:
            return hashlib.new(self.algorithm, data, usedforsecurity=False).hexdigest() == self.digest
        except ValueError:
            return False


def conffiles(findings: Iterable[Finding]) -> dict[str, Recorded]:
    """Return what packages recorded of their configuration, by path."""
    return {
        path: Recorded(each.package, each.algorithm, digest)
        for each in findings
        if isinstance(each, PackageFiles)
        for path, digest in each.conffiles
    }
