"""prometheus.yml and alertmanager.yml: the values of keys with their lines (prometheus.io, Configuration)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import yaml

_MAX_TEXT = 256 << 10  # characters: the parser is slow
_MAX_NODES = 50_000


class Scalar(msgspec.Struct, frozen=True):
    """One value: the keys that lead to it (a list's items have that of their list), its text and line."""

    keys: tuple[str, ...]
    value: str
    line: int

    @property
    def key(self) -> str:
        """The key next to it."""
        return self.keys[-1] if self.keys else ""


def scalars(text: str) -> list[Scalar] | None:
    """Return all values of a document; None where it is none that can be read."""
    if len(text) > _MAX_TEXT:
        return None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    return list(_walk(root)) if root is not None else []


def _walk(root: yaml.Node) -> Iterator[Scalar]:
    waiting: list[tuple[yaml.Node, tuple[str, ...]]] = [(root, ())]
    for _ in range(_MAX_NODES):  # an alias is walked again, so that references to references have an end
        if not waiting:
            return
        node, keys = waiting.pop()
        if isinstance(node, yaml.ScalarNode):
            yield Scalar(keys, str(node.value), node.start_mark.line + 1)
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(item, keys) for item in reversed(node.value)][: _MAX_NODES - len(waiting)]
        elif isinstance(node, yaml.MappingNode) and len(keys) < 40:
            waiting += [(value, (*keys, str(key.value)[:200])) for key, value in reversed(node.value)
                        if isinstance(key, yaml.ScalarNode)][: _MAX_NODES - len(waiting)]  # fmt: skip
