"""What would break if a component moved as it is. Each blocker says why and what to do; `generate` stops at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from migrate.facts import Facts
from migrate.join import Candidate, Tie
from migrate.model import Place, Secret
from migrate.plan import parts
from migrate.plan.grouping import Layout, reachable_from_outside
from migrate.plan.model import Blocker, Component

SHORT = 3
"""A secret of so few characters is a word that stands everywhere."""


def blockers(
    facts: Facts,
    candidate: Candidate,
    component: Component,
    ties: Sequence[Tie],
    secrets: Sequence[Secret],
    layout: Layout,
) -> Iterable[Blocker]:
    """Yield the blockers of a moving component; `ties` are those that start from it, `secrets` those it reads."""
    for tie in ties:
        yield from _broken_tie(tie, layout)
    job = candidate.job
    if job is not None and parts.days_differ(job):
        says = f"cron runs {job.schedule} where both day fields fit, a CronJob where either fits"
        do = "write the days as a list in one of the two fields, and `*` in the other"
        yield _blocker("cron-days-differ", says, do, job.seen_in)
    for path, seen_in in parts.data_beside_code(facts, candidate):
        says = f"it keeps data in {path}, among its own code, and a volume there would hide the code"
        yield _blocker("data-beside-code", says, "let it keep its data in a directory of its own", seen_in)
    words = [w for command in (component.command, *component.prepare) for w in command]
    for secret in secrets:
        if len(secret.value) > SHORT and any(secret.value in w for w in words):
            says = "a secret is an argument of its command, where every list of processes shows it"
            do = "pass it by environment or file on the machine and analyze again"
            yield _blocker("secret-on-command-line", says, do, secret.seen_in)


def _broken_tie(tie: Tie, layout: Layout) -> Iterable[Blocker]:
    verdict, other = layout.verdicts.get(tie.target), layout.moving.get(tie.target)
    if verdict is not None and verdict.decision == "retire" and tie.kind in {"tcp", "udp", "unix-socket"}:
        says = f"it needs {tie.target} over {tie.detail}, which is retired"
        do = f"point it at a service of the platform, or change {tie.target}'s decision"
        yield _blocker("needs-what-retires", says, do, tie.seen_in)
    elif tie.kind == "unix-socket" and layout.pods.get(tie.target) != layout.pods[tie.source]:
        says = f"it talks to {tie.target} over {tie.detail}, which another Pod cannot open"
        do = f"let it use TCP to {tie.target}, or keep both on the machine (virtualize)"
        yield _blocker("unix-socket-leaves-pod", says, do, tie.seen_in)
    elif other is not None and layout.leaves(tie) and not reachable_from_outside(other, tie.detail.rpartition(":")[2]):
        says = f"{tie.target} listens on loopback alone ({tie.detail}), and this is another Pod"
        do = f"let {tie.target} listen on every address, and change this line to its name"
        yield _blocker("loopback-only", says, do, tie.seen_in)


def _blocker(rule: str, says: str, mitigation: str, seen_in: Place | str) -> Blocker:
    return Blocker(rule=rule, says=says, mitigation=mitigation, severity="critical", seen_in=str(seen_in))
