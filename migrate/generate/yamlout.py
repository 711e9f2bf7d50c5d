"""YAML by a serializer, the same bytes for the same values: texts of several lines stand as such."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from migrate.errors import PlanError
from migrate.text import show

HEADER = "# Made by vm2c from plan.yaml. Change the plan, not this file.\n"

_SURROGATE = re.compile(r"[\ud800-\udfff]")


class _Dumper(yaml.SafeDumper):
    """Block style for lines, and no anchors: equal values are written out each time."""

    def ignore_aliases(self, data: Any) -> bool:  # as the base class has it
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if _SURROGATE.search(text):
        raise PlanError(f"write '{show(text)}' into YAML", "it is not UTF-8", "rename it on the machine")
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


class Octal(int):
    """A file mode, written as `0444`: Kubernetes reads YAML 1.1, where that is octal."""


def _octal(dumper: yaml.SafeDumper, mode: Octal) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:int", f"0{mode:03o}")


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Octal, _octal)


def dump(*documents: Any) -> str:
    """Return YAML of one or more documents. Raises PlanError for text that is not Unicode."""
    body: Sequence[Any] = documents
    return HEADER + yaml.dump_all(
        body, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=1000, explicit_start=len(body) > 1,
    )  # fmt: skip
