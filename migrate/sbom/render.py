"""A machine's bill of materials in either format, with nothing in it that must not be shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from migrate.facts import Facts
from migrate.redact import Redactor
from migrate.sbom.parts import parts
from migrate.sbom.standard import Standard
from migrate.text import show


def render(facts: Facts, standard: Standard, redact: Redactor, digest: str) -> bytes:
    """Return a machine's bill of materials. `digest` is that of its inventory: it makes the document's identity.

    The same machine gives the same bytes, but for the time of making in SPDX, which demands one: that is
    SOURCE_DATE_EPOCH where it is set (reproducible-builds.org/specs/source-date-epoch).
    """
    from migrate.sbom import cyclonedx, spdx

    write: Callable[[Any, str], str] = cyclonedx.write if standard is Standard.cyclonedx else spdx.write
    document = msgspec.json.decode(write(parts(facts, redact), digest))
    return msgspec.json.format(msgspec.json.encode(_clean(document, redact)), indent=2) + b"\n"


def _clean(value: Any, redact: Redactor) -> Any:  # JSON
    """Return a document without secrets and characters that hide or turn text, whatever the library made of them."""
    if isinstance(value, str):
        return show(redact(value))
    if isinstance(value, dict):
        return {show(key): _clean(each, redact) for key, each in value.items()}
    return [_clean(each, redact) for each in value] if isinstance(value, list) else value
