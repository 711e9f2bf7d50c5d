"""CycloneDX 1.6 as JSON, by the project's own library (ECMA-424; cyclonedx.org/docs/1.6/json).

Where a component was seen is its evidence (`evidence.occurrences`). There is no timestamp, which the format does not
demand: the same machine gives the same bytes.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from migrate import __version__
from migrate.sbom.parts import Machine, Part

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/vm2c")


def write(machine: Machine, digest: str) -> str:
    """Return the document. `digest` makes its serial number."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.dependency import Dependency
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    def registered(target: object, depends_on: object = None) -> None:
        """Do nothing: each component has its Dependency. The library would look for it among all, for each.

        That took 280 s of 290 for 20,000 components (cyclonedx-python-lib 11.12, Bom.validate).
        """

    top = Component(name=machine.name, type=ComponentType.DEVICE, bom_ref="machine")
    system = Component(
        name=machine.system_id, type=ComponentType.OPERATING_SYSTEM, bom_ref="system",
        version=machine.system_version or None, description=machine.system,
    )  # fmt: skip
    tool = Component(name="vm2c", type=ComponentType.APPLICATION, version=__version__)
    parts = {part.key: _component(part) for part in machine.parts}
    edges = [
        Dependency(parts[part.key].bom_ref, [Dependency(parts[need].bom_ref) for need in part.needs])
        for part in machine.parts
    ]
    held = [Dependency(each.bom_ref) for each in (system, *parts.values())]
    metadata = BomMetaData(component=top)
    metadata.tools.components.add(tool)
    bom = Bom(
        metadata=metadata,
        components=[system, *parts.values()],
        dependencies=[Dependency(top.bom_ref, held), Dependency(system.bom_ref), *edges],
        serial_number=uuid.uuid5(_SPACE, digest),
    )
    bom.register_dependency = registered  # type: ignore[method-assign]
    metadata.timestamp = None  # type: ignore[assignment]  # optional in the schema; the library sets the time of day
    return str(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())


def _component(part: Part) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
    from packageurl import PackageURL

    kind = ComponentType.APPLICATION if part.kind == "application" else ComponentType.LIBRARY
    return Component(
        name=part.name,
        version=part.version or None,
        type=kind,
        bom_ref=part.key,
        purl=PackageURL.from_string(part.purl) if part.purl else None,
        properties=[Property(name=f"vm2c:{name}", value=value) for name, value in part.properties],
        evidence=ComponentEvidence(occurrences=[Occurrence(location=part.path, line=part.line)]),
    )
