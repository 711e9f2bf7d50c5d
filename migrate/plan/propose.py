"""From components, ties and verdicts to a proposed plan. Nothing here reads a person's edits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from migrate.decide import Verdict, decide
from migrate.facts import Facts
from migrate.join import Candidate, Joined, Tie, secrets_of
from migrate.model import Caution, Secret
from migrate.plan import parts
from migrate.plan.blockers import blockers
from migrate.plan.changed import add_changed
from migrate.plan.grouping import Layout, pods
from migrate.plan.image import image_of
from migrate.plan.model import Component, NeedRef, Plan, PlanSource, Reason, Rewrite, SecretRef


class Chosen(msgspec.Struct, frozen=True):
    """What was opened, as a person named it: the disks in order, and which root and snapshot of them."""

    disks: tuple[str, ...] = ()
    root: str = ""
    snapshot: str = ""


def propose(facts: Facts, joined: Joined, chosen: Chosen, inventory: str) -> Plan:
    """Return the plan for a machine; `inventory` is the digest of its inventory.json (`sha256:…`)."""
    verdicts = {c.id: decide(facts, c) for c in joined.candidates}
    moving = {c.id: c for c in joined.candidates if verdicts[c.id].decision == "containerize"}
    proposal = _Proposal(facts, joined, verdicts, moving)
    order = {"service": 0, "job": 1, "host": 2}
    components = sorted(map(proposal.component, joined.candidates), key=lambda c: (order[c.kind], c.id))
    _share_directories(components)
    system = facts.system
    return Plan(
        schema_="vm2c.plan/1",
        machine=facts.trait("hostname") or "machine",
        source=PlanSource(
            disks=list(chosen.disks),
            root=chosen.root,
            snapshot=chosen.snapshot,
            os=system.name if system is not None else "",
            inventory=inventory,
            architecture=facts.trait("architecture"),
        ),
        components=components,
    )


def _share_directories(components: list[Component]) -> None:
    """Give a socket's directory the owner that the component which makes the socket gives it, in every Pod."""
    owners = {
        d.path: d for c in components for d in c.directories if any(s.path.startswith(d.path + "/") for s in c.sockets)
    }
    for component in components:
        for directory in component.directories:
            owner = owners.get(directory.path, directory)
            directory.uid, directory.gid, directory.mode = owner.uid, owner.gid, owner.mode


class _Proposal:
    """What all components of one plan share while it is made."""

    def __init__(
        self, facts: Facts, joined: Joined, verdicts: Mapping[str, Verdict], moving: Mapping[str, Candidate]
    ) -> None:
        self.facts = facts
        self.joined = joined
        self.verdicts = verdicts
        self.layout = Layout(moving, pods(moving, joined.ties), verdicts)
        self.claims = parts.claims(facts, moving)

    def component(self, candidate: Candidate) -> Component:
        verdict = self.verdicts[candidate.id]
        base = Component(
            id=candidate.id,
            kind="host" if verdict.host else candidate.kind,
            decision=verdict.decision,
            confidence=verdict.confidence,
            because=list(verdict.because),
        )
        if verdict.host:
            return base
        base.command = parts.command(candidate)
        base.user = parts.run_user(self.facts, candidate)
        base.ports = parts.ports(candidate)
        base.sockets = parts.sockets(self.facts, candidate)
        base.needs = list(self._needs(candidate))
        base.config = parts.config(self.facts, candidate)
        base.data = self.claims[candidate.id] if candidate.id in self.claims else parts.data(self.facts, candidate)
        base.schedule = candidate.job.schedule if candidate.job is not None else None
        secrets = secrets_of(self.facts, candidate)
        base.secrets = [
            SecretRef(id=s.id, kind=s.kind, seen_in=str(s.seen_in), variable=parts.variable(candidate, s))
            for s in secrets
        ]
        if verdict.decision == "containerize":
            self._runs(base, candidate, secrets)
        return base

    def _runs(self, component: Component, candidate: Candidate, secrets: list[Secret]) -> None:
        """Fill in what only a component that moves into a container has."""
        facts = self.facts
        component.pod = self.layout.pods[candidate.id]
        component.workload = parts.workload(candidate)
        component.prepare = parts.prepare(candidate)
        component.working_directory = parts.working_directory(facts, candidate)
        component.environment = parts.environment(candidate, secrets)
        component.environment_files = parts.environment_files(facts, candidate)
        component.directories = parts.directories(facts, candidate, self._sockets_of_others(candidate))
        component.logs = parts.logs(facts, candidate)
        component.timezone = parts.timezone(facts, candidate)
        component.resources = parts.resources(candidate)
        component.health = parts.health(candidate)
        component.stop_signal = parts.stop_signal(candidate)
        component.stop_timeout = parts.stop_timeout(candidate)
        component.capabilities = parts.capabilities(candidate)
        component.rewrites = list(self._rewrites(component, candidate))
        component.config = sorted({*component.config, *(r.path for r in component.rewrites)})
        data = {d.path for items in self.claims.values() for d in items}
        data |= {path for other in self.layout.moving.values() for path, _ in parts.data_beside_code(facts, other)}
        component.image = image_of(facts, candidate, component, data)
        component.because += add_changed(facts, component.image)
        component.because += [
            Reason(rule="to-see-to", says=each.says, seen_in=str(each.seen_in))
            for each in dict.fromkeys(facts.about(Caution, candidate.ids))
        ]
        component.accounts = parts.accounts(facts, candidate, component)
        component.blockers = list(blockers(facts, candidate, component, self._ties(candidate), secrets, self.layout))

    def _ties(self, candidate: Candidate) -> list[Tie]:
        return [t for t in self.joined.ties if t.source == candidate.id]

    def _needs(self, candidate: Candidate) -> Iterable[NeedRef]:
        seen: set[tuple[str, str]] = set()
        for tie in self._ties(candidate):
            over = {"tcp": "tcp:", "udp": "udp:", "unix-socket": "unix:", "shared-files": "files:"}.get(tie.kind)
            if tie.kind == "external":
                need = NeedRef(external=tie.target, over=tie.detail, seen_in=str(tie.seen_in))
            elif over is not None:
                need = NeedRef(component=tie.target, over=over + tie.detail, seen_in=str(tie.seen_in))
            else:
                continue
            key = (need.component or need.external or "", need.over)
            if key not in seen:
                seen.add(key)
                yield need

    def _sockets_of_others(self, candidate: Candidate) -> list[str]:
        return [t.detail for t in self._ties(candidate) if t.kind == "unix-socket"]

    def _rewrites(self, component: Component, candidate: Candidate) -> Iterable[Rewrite]:
        found: dict[tuple[str, int, str], Rewrite] = {}
        for tie in filter(self.layout.leaves, self._ties(candidate)):
            rewrite = parts.rewrite(self.facts, component, tie)
            if rewrite is not None:
                found.setdefault((rewrite.path, rewrite.line, rewrite.from_), rewrite)
        clients = sorted({t.source for t in filter(self.layout.leaves, self.joined.ties) if t.target == candidate.id})
        if clients:
            for bind in candidate.rebinds:
                line = bind.seen_in.line
                if line is not None:
                    because = f"{', '.join(clients)} reach it from another Pod: {bind.says}"
                    key = (bind.seen_in.path, line, bind.before)
                    edit = Rewrite(path=key[0], line=line, from_=bind.before, to=bind.after, because=because)
                    found.setdefault(key, edit)
        yield from sorted(found.values(), key=lambda r: (r.path, r.line, r.from_))
