"""Which components share a Pod, so that what ties them goes on working.

Over a unix socket, or with the same files written by two services, they must share one. Over TCP on
loopback they share one too, unless the server keeps data of its own and is known to be able to listen for
others: a database gets a Pod of its own, and the client's line of configuration is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from migrate.addresses import is_loopback
from migrate.decide import Verdict
from migrate.join import Candidate, Tie


class Layout(msgspec.Struct, frozen=True):
    """Who moves, in which Pod, and what was decided of everybody."""

    moving: Mapping[str, Candidate]
    pods: Mapping[str, str]
    verdicts: Mapping[str, Verdict]

    def leaves(self, tie: Tie) -> bool:
        """Tell whether a tie over the network crosses from one Pod into another, or to what stays a machine."""
        if tie.kind not in {"tcp", "udp"} or tie.source not in self.moving:
            return False
        return self.pods[tie.source] != self.pods.get(tie.target, f"vm:{tie.target}")


def is_stateful(candidate: Candidate) -> bool:
    """Tell whether a service keeps data and is no application of the machine's owner: a database, a queue."""
    return candidate.kind == "service" and bool(candidate.paths("data")) and not candidate.paths("code")


def reachable_from_outside(candidate: Candidate, port: str) -> bool:
    """Tell whether a port answers, or can be made to answer, to clients outside the component's Pod."""
    if candidate.rebinds:
        return True
    on_port = [x for x in candidate.listens if str(x.port) == port]
    return any(not is_loopback(x.address) for x in on_port)


def pods(moving: Mapping[str, Candidate], ties: Iterable[Tie]) -> dict[str, str]:
    """Return the Pod of each moving component. A Pod is named after the component that most others lean on."""
    parent = {name: name for name in moving}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    weight = dict.fromkeys(moving, 0)
    for tie in ties:
        source, target = moving.get(tie.source), moving.get(tie.target)
        if source is None or target is None or "job" in {source.kind, target.kind}:
            continue
        weight[target.id] += tie.kind in {"tcp", "udp", "unix-socket"}
        if _must_share(target, tie):
            parent[root(source.id)] = root(target.id)
    members: dict[str, list[str]] = {}
    for name in sorted(moving):
        members.setdefault(root(name), []).append(name)
    return {name: min(group, key=lambda n: (-weight[n], n)) for group in members.values() for name in group}


def _must_share(target: Candidate, tie: Tie) -> bool:
    if tie.kind in {"unix-socket", "shared-files"}:
        return True
    if tie.kind not in {"tcp", "udp"}:
        return False
    return not (is_stateful(target) and reachable_from_outside(target, tie.detail.rpartition(":")[2]))
