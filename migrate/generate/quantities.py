"""Kubernetes' quantities (reference/kubernetes-api/common-definitions/quantity) as numbers, and back."""

from __future__ import annotations

import re
from decimal import Decimal

from migrate.errors import PlanError
from migrate.text import show

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_DECIMAL = {s: Decimal(1000) ** i for i, s in enumerate("kMGTPE", 1)}
_BINARY = {f"{s}i": Decimal(1024) ** i for i, s in enumerate("KMGTPE", 1)}
_UNITS = {"": Decimal(1), "m": Decimal("0.001"), **_DECIMAL, **_BINARY}
_GIB = 1 << 30


def _number(text: str) -> Decimal:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise PlanError(f"use the quantity '{show(text)}'", "Kubernetes has no such form", "write it as 300Mi or 500m")
    return Decimal(match[1]) * _UNITS[match[2] or ""]


def octets(text: str) -> int:
    """Return a quantity in bytes, rounded up. Raises PlanError where it is none."""
    return int(_number(text).to_integral_value(rounding="ROUND_CEILING"))


def cores(text: str) -> float:
    """Return a quantity in processors. Raises PlanError where it is none."""
    return float(_number(text))


def volume_size(used: int) -> str:
    """Return the size of a volume for so many bytes: twice as much, in whole GiB, at least one."""
    return f"{max(1, -(-2 * used // _GIB))}Gi"
