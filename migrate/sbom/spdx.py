"""SPDX 2.3 as JSON, by the project's own library (spdx.github.io/spdx-spec/v2.3, ISO/IEC 5962).

Where a package was seen is its `sourceInfo`. Licences are not asserted: nothing on a disk states them reliably for
all of it (debian/copyright is free text as often as not).
"""

from __future__ import annotations

import datetime
import io
import os
import re
import uuid
from typing import TYPE_CHECKING

from migrate import __version__
from migrate.errors import UsageError
from migrate.sbom.parts import Machine, Part
from migrate.text import show

if TYPE_CHECKING:
    from spdx_tools.spdx.model.package import Package

_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://spdx.org/spdxdocs/vm2c")
_DOCUMENT, _MACHINE, _SYSTEM = "SPDXRef-DOCUMENT", "SPDXRef-Machine", "SPDXRef-System"


def write(machine: Machine, digest: str) -> str:
    """Return the document. `digest` makes its namespace. Raises UsageError for a SOURCE_DATE_EPOCH that is no time."""
    from spdx_tools.spdx.model.actor import Actor, ActorType
    from spdx_tools.spdx.model.document import CreationInfo, Document
    from spdx_tools.spdx.model.relationship import Relationship, RelationshipType
    from spdx_tools.spdx.writer.json.json_writer import write_document_to_stream

    about = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id=_DOCUMENT,
        name=machine.name,
        document_namespace=f"https://spdx.org/spdxdocs/vm2c-{uuid.uuid5(_SPACE, digest)}",
        creators=[Actor(ActorType.TOOL, f"vm2c-{__version__}")],
        created=_now(),
    )
    ids = {part.key: f"SPDXRef-{re.sub(r'[^A-Za-z0-9.-]+', '-', part.name)[:60]}-{part.key}" for part in machine.parts}
    needs = [
        Relationship(ids[part.key], RelationshipType.DEPENDS_ON, ids[need])
        for part in machine.parts
        for need in part.needs
    ]
    held = [Relationship(_MACHINE, RelationshipType.CONTAINS, each) for each in (_SYSTEM, *ids.values())]
    document = Document(
        about,
        packages=[*_top(machine), *(_package(part, ids[part.key]) for part in machine.parts)],
        relationships=[Relationship(_DOCUMENT, RelationshipType.DESCRIBES, _MACHINE), *held, *needs],
    )
    stream = io.StringIO()
    # The library's own check takes 19 s of 4,000 packages, writing them 0.6: the tests run it, on a whole machine.
    write_document_to_stream(document, stream, validate=False, drop_duplicates=False)
    return stream.getvalue()


def _now() -> datetime.datetime:
    """Return the time of making, in UTC without a zone as the library wants it."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        seconds = None if given is None else int(given)
        now = datetime.datetime.now(datetime.UTC) if seconds is None else datetime.datetime.fromtimestamp(
            seconds, datetime.UTC
        )  # fmt: skip
    except (ValueError, OverflowError, OSError) as error:
        found = f"SOURCE_DATE_EPOCH is {show(given or '')}, which is no time in seconds"
        raise UsageError("write the bill of materials", found, "set it to seconds since 1970, or unset it") from error
    return now.replace(microsecond=0, tzinfo=None)


def _top(machine: Machine) -> list[Package]:
    from spdx_tools.spdx.model.package import Package, PackagePurpose
    from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion

    return [
        Package(
            spdx_id=_MACHINE, name=machine.name, download_location=SpdxNoAssertion(), files_analyzed=False,
            primary_package_purpose=PackagePurpose.DEVICE,
        ),
        Package(
            spdx_id=_SYSTEM, name=machine.system_id, download_location=SpdxNoAssertion(), files_analyzed=False,
            version=machine.system_version or None, summary=machine.system,
            primary_package_purpose=PackagePurpose.OPERATING_SYSTEM,
        ),
    ]  # fmt: skip


def _package(part: Part, ident: str) -> Package:
    from spdx_tools.spdx.model.package import (
        ExternalPackageRef,
        ExternalPackageRefCategory,
        Package,
        PackagePurpose,
    )
    from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion

    purl = [ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", part.purl)] if part.purl else []
    kind = PackagePurpose.APPLICATION if part.kind == "application" else PackagePurpose.LIBRARY
    where = part.path if part.line is None else f"{part.path}:{part.line}"
    return Package(
        spdx_id=ident,
        name=part.name or part.path,
        version=part.version or None,
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        source_info=f"seen in {where}",
        comment="; ".join(f"{name}: {value}" for name, value in part.properties) or None,
        external_references=purl,
        primary_package_purpose=kind,
    )
