"""The plan, checked and worked out: what every generator reads.

Nothing here writes; a plan that cannot become containers is refused with a message that names the place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

from migrate.addresses import is_loopback
from migrate.errors import PlanError, PlanStopsError
from migrate.facts import is_below
from migrate.generate import lift
from migrate.generate.envfile import is_name
from migrate.generate.known import DEFINITIONS, FHS
from migrate.generate.payload import Collector, Payload, can, collect, octal
from migrate.generate.quoting import guest_path
from migrate.generate.rewrites import Definition, rewritten_definition
from migrate.generate.system import SystemSettings, host_of, system_settings, zone_files
from migrate.generate.tripwire import Tripwire
from migrate.generate.variables import Variables, environment_paths, place_path, secret_refs_in_definition, variables
from migrate.guest.protocol import Guest
from migrate.model import Secret
from migrate.naming import image_tag, slug
from migrate.plan.model import Component, Plan, Port, RunUser
from migrate.text import show

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,50}[a-z0-9])?")
"""RFC 1123, and at most 52 characters: the name of a CronJob (its documentation, "Schedule syntax" note)."""


class Scratch(msgspec.Struct, frozen=True, kw_only=True):
    """A directory that starts empty. `volume` names the one that components of a Pod share, or is empty."""

    path: str
    uid: int
    gid: int
    mode: int
    volume: str = ""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A volume of data at `path`."""

    name: str
    path: str
    read_only: bool = False


class ConfigFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of configuration that holds no secret, as it is after its rewrites."""

    path: str
    key: str
    content: bytes
    mode: int


class Moving(msgspec.Struct, frozen=True, kw_only=True):
    """A component on its way into a container."""

    component: Component
    image: str
    user: RunUser
    definition: Definition
    variables: Variables
    environment: dict[str, str]
    payload: Payload
    scratch: tuple[Scratch, ...]
    claims: tuple[Claim, ...]
    config: tuple[ConfigFile, ...]

    @property
    def id(self) -> str:
        """The component's id, which is its name everywhere."""
        return self.component.id

    @property
    def is_job(self) -> bool:
        """Tell whether it runs and ends, now and then."""
        return self.component.workload in {"cronjob", "job"}


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """Components that share network and sockets, in an order in which each starts after those it needs."""

    name: str
    members: tuple[Moving, ...]

    @property
    def ids(self) -> frozenset[str]:
        """The components' ids."""
        return frozenset(m.id for m in self.members)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """All that is generated from."""

    plan: Plan
    guest: Guest
    name: str
    pods: tuple[Pod, ...]
    virtual: tuple[Component, ...]
    external: tuple[Component, ...]
    system: SystemSettings
    notices: tuple[str, ...]

    @property
    def moving(self) -> list[Moving]:
        """All components that become containers, in the plan's order."""
        order = {c.id: i for i, c in enumerate(self.plan.components)}
        return sorted((m for pod in self.pods for m in pod.members), key=lambda m: order[m.id])

    def hosts(self, pod: Pod) -> dict[str, str]:
        """Return the addresses of the externals a Pod needs that only the machine's own hosts(5) knows."""
        wanted = {host_of(n.external) for m in pod.members for n in m.component.needs if n.external}
        return {name: address for name, address in self.system.hosts.items() if name in wanted}

    def pods_of_claim(self, claim: str) -> list[str]:
        """Return the names of the Pods that mount a claim."""
        return sorted(p.name for p in self.pods if any(c.name == claim for m in p.members for c in m.claims))


def check(plan: Plan) -> None:
    """Raise PlanStopsError where something is undecided or blocked, PlanError where an id or name cannot be used."""
    stops = [f"{c.id} is undecided" for c in plan.components if c.decision == "undecided"]
    stops += [
        f"{c.id}: {show(b.says)} ({show(b.seen_in)})" if b.seen_in else f"{c.id}: {show(b.says)}"
        for c in plan.components
        for b in c.blockers
        if c.decision == "containerize" and b.waived is None
    ]
    if stops:
        do = "decide, solve or waive each of them in plan.yaml (`waived:` takes the reason)"
        raise PlanStopsError("generate from the plan", "; ".join(stops), do)
    seen: set[str] = set()
    for component in plan.components:
        if component.decision not in {"containerize", "virtualize"}:
            continue
        if not _LABEL.fullmatch(component.id):
            do = "use small letters, digits and -, at most 52 of them, for a name that DNS knows"
            raise PlanError(f"generate for '{show(component.id)}'", "its id cannot be a host name", do)
        if component.id in seen:
            raise PlanError(f"generate for {component.id}", "two components have that id", "rename one of them")
        seen.add(component.id)


def make_context(plan: Plan, guest: Guest, secrets: Sequence[Secret]) -> Context:
    """Return the plan worked out against the guest. `secrets` are the findings of a fresh scan, with their values."""
    check(plan)
    tripwire = Tripwire(secrets, plan)
    places = {place_path(s.seen_in) for c in plan.components for s in c.secrets}
    secret_paths = frozenset({*places, *(s.seen_in.path for s in secrets)})
    system = system_settings(plan, guest)
    maker = _Maker(plan, guest, secret_paths, tripwire, system)
    moving = [maker.moving(c) for c in plan.components if c.decision == "containerize"]
    notices = [f"{m.id}: {n}" for m in moving for n in m.payload.notices]
    notices += [
        f"the secret {s.id} ({show(str(s.seen_in))}) is also a name of the plan: outputs are not searched for it"
        for s in dict.fromkeys(tripwire.passed_over)
    ]
    return Context(
        plan=plan,
        guest=guest,
        name=slug(plan.machine),
        pods=tuple(_pods(moving)),
        virtual=tuple(c for c in plan.components if c.decision == "virtualize"),
        external=tuple(c for c in plan.components if c.decision == "external"),
        system=system,
        notices=tuple(notices),
    )


class _Maker:
    """What all components share while they are worked out."""

    def __init__(
        self, plan: Plan, guest: Guest, secret_paths: frozenset[str], tripwire: Tripwire, system: SystemSettings
    ) -> None:
        self.plan = plan
        self.guest = guest
        self.secret_paths = secret_paths
        self.tripwire = tripwire
        self.system = system
        self.by_id = {c.id: c for c in plan.components if c.decision == "containerize"}

    def moving(self, component: Component) -> Moving:
        if component.image is None or not component.command or component.workload is None:
            missing = "image" if component.image is None else "command" if not component.command else "workload"
            raise PlanError(f"generate for {component.id}", f"it has no {missing}", f"give it one in {'plan.yaml'}")
        for name in component.environment:
            if not is_name(name):
                do = "letters, digits and _, no digit first"
                raise PlanError(f"set '{show(name)}' in {component.id}", "that is no name of a variable", do)
        user = component.user or RunUser(name="root", uid=0, gid=0)
        definition = rewritten_definition(component, self.guest)
        found = variables(component, definition.environment, self.guest, self.secret_paths, self.tripwire)
        payload = self._payload(component)
        zone = {"TZ": component.timezone} if component.timezone else {}
        hidden = {*found.secret}
        environment = {**self.system.environment, **zone, **found.plain}
        return Moving(
            component=component,
            image=image_tag(self.plan.machine, component.id),
            user=user,
            definition=definition,
            variables=found,
            environment={k: v for k, v in sorted(environment.items()) if k not in hidden},
            payload=payload,
            scratch=tuple(self._scratch(component, user)),
            claims=tuple(self._claims(component)),
            config=tuple(self._config(component, payload)),
        )

    def _payload(self, component: Component) -> Payload:
        image = component.image
        assert image is not None  # noqa: S101  # moving() looked
        collector = Collector(
            component, self.guest, self.secret_paths, self.tripwire, on_scratch=image.base == "scratch"
        )
        if image.strategy == "lift":
            lift.add_lifted(collector, image.packages)
        self.guest.prefetch([*(f.rstrip("/") for f in image.files), *component.config])
        zone = zone_files(component.timezone, self.guest) if component.timezone else []
        return collect(collector, self._secret_files(component), [*self.system.files, *zone])

    def _secret_files(self, component: Component) -> list[str]:
        """Return the files with secrets that the process itself reads: not those that only carry its variables."""
        by_variable = {place_path(s.seen_in) for s in secret_refs_in_definition(component)}
        carriers = {*environment_paths(component, self.guest), *by_variable}
        files = component.image.files if component.image is not None else []
        data = [d.path for d in component.data]
        found = {place_path(s.seen_in) for s in component.secrets}
        return sorted(
            path
            for path in found
            if (path not in carriers or path in files)
            and not any(is_below(path, d) for d in data)
            and self.guest.is_file(path)
            and not DEFINITIONS.fullmatch(path)
        )

    def _scratch(self, component: Component, user: RunUser) -> Iterable[Scratch]:
        logs = {str(PurePosixPath(guest_path(p, "the log")).parent) for p in component.logs} | set(component.logs)
        found: dict[str, Scratch] = {}
        for directory in component.directories:
            path = mountable(directory.path, "the directory")
            if path in FHS or any(is_below(log, path) for log in logs):
                continue
            uid, gid, mode = directory.uid, directory.gid, octal(directory.mode)
            if not can(user, uid, gid, mode, 7):
                uid, gid = user.uid, user.gid
            found[path] = Scratch(path=path, uid=uid, gid=gid, mode=mode)
        for shared in self._shared(component):
            found[shared.path] = shared
        yield from (found[path] for path in sorted(found))

    def _shared(self, component: Component) -> Iterable[Scratch]:
        """Yield the directories of sockets between this component and others of its Pod, as their owner has them."""
        pod = component.pod or component.id
        others = [c for c in self.by_id.values() if (c.pod or c.id) == pod and c.id != component.id]
        for owner, client in [*((component, o) for o in others), *((o, component) for o in others)]:
            for need in client.needs:
                scheme, _, path = need.over.partition(":")
                if need.component != owner.id or scheme != "unix" or not path.startswith("/"):
                    continue
                folder = str(PurePosixPath(mountable(path, "the socket")).parent)
                user = owner.user or RunUser(name="root", uid=0, gid=0)
                made = next((d for d in owner.directories if d.path == folder), None)
                mode = octal(made.mode) if made is not None else 0o755
                yield Scratch(path=folder, uid=user.uid, gid=user.gid, mode=mode, volume=slug(f"{pod}{folder}"))

    def _claims(self, component: Component) -> Iterable[Claim]:
        own = {d.path for d in component.data}
        for data in component.data:
            if not _LABEL.fullmatch(data.claim):
                raise PlanError(
                    f"make a volume for {show(data.path)}", f"'{show(data.claim)}' cannot be its name",
                    "use small letters, digits and - for the claim",
                )  # fmt: skip
            yield Claim(name=data.claim, path=mountable(data.path, "the data"))
        for need in component.needs:
            scheme, _, path = need.over.partition(":")
            provider = self.by_id.get(need.component or "")
            if scheme == "files" and provider is not None and not any(is_below(path, o) for o in own):
                yield from (Claim(name=d.claim, path=d.path) for d in provider.data if is_below(path, d.path))

    def _config(self, component: Component, payload: Payload) -> Iterable[ConfigFile]:
        keys: set[str] = set()
        for member in payload.members:
            if (
                member.kind == "file"
                and ":" not in member.path
                and any(is_below(member.path, c.rstrip("/")) for c in component.config)
            ):
                content = member.content if member.content is not None else self.guest.read(member.source)
                yield ConfigFile(path=member.path, key=flat_key(member.path, keys), content=content, mode=member.mode)


def mountable(path: str, what: str) -> str:
    """Return a path where something can be mounted: Docker and Kubernetes allow no colon in it."""
    if ":" in path:
        raise PlanError(f"mount {what} '{show(path)}'", "its name holds a colon", "rename it on the machine")
    return guest_path(path, what)


def flat_key(path: str, taken: set[str]) -> str:
    """Return a key of a ConfigMap or Secret for a path (letters, digits, `-_.`), and add it to those taken."""
    key = re.sub(r"[^A-Za-z0-9._-]", "_", path.lstrip("/"))[:200]
    if key in taken or key in {"", ".", ".."}:
        key = f"{key}_{slug(path, 20).replace('-', '_')}"
    taken.add(key)
    return key


def _pods(moving: Sequence[Moving]) -> Iterable[Pod]:
    """Group the components; a job is a Pod of its own, whatever the plan says: it starts and ends by itself."""
    groups: dict[str, list[Moving]] = {}
    for m in moving:
        name = m.id if m.is_job else (m.component.pod or m.id)
        if not _LABEL.fullmatch(name):
            raise PlanError(f"make the Pod '{show(name)}'", "that is no host name", "rename it in plan.yaml")
        groups.setdefault(name, []).append(m)
    for name, group in groups.items():
        if len(group) > 1 and any(m.is_job for m in group):
            raise PlanError(f"make the Pod {name}", "a job and a service have that name", "rename one in plan.yaml")
        yield Pod(name=name, members=tuple(start_order(group)))


def start_order(group: Sequence[Moving]) -> list[Moving]:
    """Return components so that each comes after those it needs; a circle is cut at its first in the plan's order."""
    inside = {m.id: m for m in group}
    done: dict[str, Moving] = {}

    def visit(m: Moving, path: frozenset[str]) -> None:
        for need in m.component.needs:
            target = inside.get(need.component or "")
            if target is not None and target.id not in done and target.id not in path:
                visit(target, path | {target.id})
        done.setdefault(m.id, m)

    for m in group:
        visit(m, frozenset({m.id}))
    return list(done.values())


def outside_ports(component: Component) -> list[Port]:
    """Return the ports that answered to other machines, each once."""
    return unique_ports(p for p in component.ports if not is_loopback(p.address))


def unique_ports(ports: Iterable[Port]) -> list[Port]:
    """Return ports by number and protocol, each once, sorted."""
    found: Mapping[tuple[int, str], Port] = {(p.port, p.protocol): p for p in reversed(list(ports))}
    return [found[key] for key in sorted(found)]


def reached_ports(context: Context, component: Component, pod: frozenset[str]) -> list[Port]:
    """Return the ports that something outside the Pod reaches: another Pod, a machine that stays, the world."""
    asked: set[int] = set()
    for other in context.plan.components:
        if other.id in pod or other.decision in {"retire", "external"}:
            continue
        for need in other.needs:
            if need.component == component.id and need.over.startswith(("tcp", "udp")):
                last = need.over.rpartition(":")[2]
                asked |= {int(last)} if last.isdigit() else {p.port for p in component.ports}
    outside = {(p.port, p.protocol) for p in outside_ports(component)}
    return unique_ports(p for p in component.ports if p.port in asked or (p.port, p.protocol) in outside)
