"""A component's story in the words of a terminal: sections of sentences, each with the place that says so."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from migrate.exchange.model import Edge
from migrate.explain import Story
from migrate.found import Job, Service
from migrate.lines import WIDTH, Line, columns, fold
from migrate.plan.model import Blocker, Component, Data, Image
from migrate.svg import size

_DIFF_LINES = 12
"""So many lines are shown of how a changed file differs from its original."""

Told = tuple[str, str]
"""A sentence, and where it was seen; what stands below another begins with two spaces."""

_KINDS = {"service": "a service", "job": "a job", "host": "part of the machine's own upkeep"}
_DECISIONS = {
    "containerize": "It moves into a container",
    "virtualize": "It stays a virtual machine",
    "retire": "It is not needed: the platform does it",
    "external": "It is served from elsewhere from now on",
    "undecided": "It is undecided: a question for you",
}
_WORKLOADS = {
    "deployment": "a Deployment", "statefulset": "a StatefulSet", "daemonset": "a DaemonSet", "cronjob": "a CronJob",
    "job": "a Job",
}  # fmt: skip
_STRATEGIES = {
    "packages": "installs the distribution's packages",
    "app": "takes the application's files from the disk, on its runtime's packages",
    "lift": "takes all its files from the disk; nothing is downloaded",
}


def tell(story: Story) -> list[Line]:
    """Return the lines of a story; each fits in WIDTH columns."""
    component = story.component
    title = f"{component.id}: {_KINDS[component.kind]} of {story.machine}"
    lines = [Line(text, "title") for text in fold(f"{title}, {story.os}" if story.os else title)]
    sections: tuple[tuple[str, Iterable[Told]], ...] = (
        ("What becomes of it, and why", _fate(story)),
        ("What stops it", _blockers(component.blockers)),
        ("How it is started", _start(story)),
        ("How the container starts it", _container(component)),
        ("As whom", _whom(story)),
        ("Where it listens", _listens(story)),
        ("What it needs", _needs(story)),
        ("Who needs it", [(_tie(e, e.source, "it"), e.seen_in) for e in story.needed_by]),
        ("What changes because it leaves its machine", _rewrites(component)),
        ("Configuration", [(path, "") for path in component.config]),
        ("Its code", _code(story)),
        ("Data", map(_data, component.data)),
        ("Logs", _logs(story)),
        ("Secrets (places alone)", _secrets(component)),
        ("Packages", [(f"{p.name} {p.version} ({p.architecture})", p.seen_in) for p in story.packages]),
        ("Files changed from their packages", _changes(story)),
        ("Image", _image(component.image)),
        ("What could not be read or understood", [(f"{u.analyzer}: {u.why}", u.path) for u in story.unread]),
    )
    for heading, told in sections:
        rows = list(told)
        if rows:
            lines += [Line(""), Line(heading, "heading"), *(line for row in rows for line in _lines(row))]
    return lines


def _lines(told: Told) -> Iterator[Line]:
    """Yield a sentence's lines; its place stands behind it where there is room, else below it."""
    text, place = told
    indent = "    " if text.startswith("  ") else "  "
    lines = fold(text.strip(" "), indent=indent, hang=indent + "    ")
    if place and columns(lines[-1]) + columns(place) + 4 <= WIDTH:
        lines = [*lines[:-1], *fold(f"{lines[-1]}  ({place})"[len(indent) :], indent=indent)]
        place = ""
    yield from map(Line, lines)
    if place:
        yield from (Line(each, "place") for each in fold(f"({place})", indent=indent + "    "))


# ---------------------------------------------------------------- sections


def _fate(story: Story) -> Iterator[Told]:
    component = story.component
    parts = [_DECISIONS[component.decision]]
    if component.decision == "containerize":
        parts += [f"as {_WORKLOADS[component.workload]}"] if component.workload else []
        parts += [f"in the Pod {component.pod}" + _shared(story.beside)] if component.pod else []
    yield f"{', '.join(parts)}. How sure: {component.confidence:.2f}", ""
    for reason in component.because:
        yield f"  {reason.rule}: {reason.says}", reason.seen_in


def _shared(beside: Sequence[str]) -> str:
    return f", which it shares with {', '.join(beside)}" if beside else ""


def _blockers(blockers: Iterable[Blocker]) -> Iterator[Told]:
    for blocker in blockers:
        state = "waived" if blocker.waived else blocker.severity
        yield f"{blocker.rule} ({state}): {blocker.says}", blocker.seen_in
        yield f"  to do: {blocker.mitigation}", ""
        if blocker.waived:
            yield f"  waived: {blocker.waived}", "plan.yaml"


def _start(story: Story) -> Iterator[Told]:
    for job in story.jobs:
        yield from _job(job)
    for service in story.services:
        yield from _service(service)


def _job(job: Job) -> Iterator[Told]:
    when = job.schedule or ("at each boot" if job.at_boot else "at times that cron's form cannot say")
    zone = f" ({job.timezone})" if job.timezone else ""
    yield f"{job.manager} runs the job {job.id}: {when}{zone}", job.seen_in
    yield f"  as the disk has it: {job.original}", ""
    if job.command:
        yield f"  {' '.join(job.command) if len(job.command) == 1 else shlex.join(job.command)}", ""
    for variable in job.environment:
        yield f"  {variable.name}={variable.value}", variable.seen_in


def _service(service: Service) -> Iterator[Told]:
    enabled = "at boot" if service.enabled else "when something asks for it"
    yield f"{service.manager} starts {service.id} {enabled}", service.unit
    if service.description:
        yield f"  it says of itself: {service.description}", ""
    for command in service.before:
        yield f"  first: {shlex.join(command)}", ""
    if service.command:
        yield f"  {shlex.join(service.command)}", service.seen_in
    for other, word in ((service.requires, "requires"), (service.wants, "wants"), (service.after, "starts after")):
        if other:
            yield f"  {word} {', '.join(other)}", ""
    for file in service.environment_files:
        yield f"  variables of {file.path}{', where it is there' if file.optional else ''}", file.seen_in
    for variable in service.environment:
        yield f"  Environment={variable.name}={variable.value}", variable.seen_in
    for setting in service.settings:
        if setting.name != "ExecStart":
            yield f"  {setting.name}={setting.value}", setting.seen_in


def _container(component: Component) -> Iterator[Told]:
    for command in component.prepare:
        yield f"first: {shlex.join(command)}", ""
    if component.command and component.decision == "containerize":
        yield shlex.join(component.command), ""
    if component.working_directory:
        yield f"in the directory {component.working_directory}", ""
    if component.schedule and component.decision == "containerize":
        yield f"at {component.schedule}" + (f" ({component.timezone})" if component.timezone else ""), ""
    if component.health is not None:
        yield (
            f"it answers when {component.health.says or shlex.join(component.health.command)}",
            component.health.seen_in,
        )
    if component.stop_signal or component.stop_timeout:
        seconds = f", and has {component.stop_timeout} seconds" if component.stop_timeout else ""
        yield f"it is stopped with {component.stop_signal or 'SIGTERM'}{seconds}", ""
    if component.capabilities:
        yield f"it keeps {', '.join(component.capabilities)}", ""
    resources = component.resources
    if resources is not None:
        given = (("memory", resources.memory), ("processors", resources.cpu), ("open files", resources.open_files))
        yield f"it gets {', '.join(f'{value} {name}' for name, value in given if value)}", resources.seen_in


def _whom(story: Story) -> Iterator[Told]:
    user = story.component.user
    service = next(iter(story.services), None)
    name, seen = _started_as(story)
    if user is None:
        if name:
            group = f", group {service.group}" if service is not None and service.group else ""
            yield f"{name}{group}", seen
        return
    groups = f"; also in the groups {', '.join(map(str, user.groups))}" if user.groups else ""
    same = name in {"", user.name, str(user.uid)}
    yield f"{user.name} (uid {user.uid}, gid {user.gid}{groups})", seen if same else ""
    if not same:
        yield f"  started as {name}, which it leaves by itself", seen


def _started_as(story: Story) -> Told:
    """Return the account that a component is started as, and where that is said."""
    if story.services:
        service = story.services[0]
        setting = next((s for s in service.settings if s.name == "User"), None)
        return service.user, setting.seen_in if setting is not None else service.unit
    return next(((job.user, job.seen_in) for job in story.jobs), ("", ""))


def _listens(story: Story) -> Iterator[Told]:
    told: dict[str, Told] = {}
    for listen in sorted(story.listens, key=lambda found: found.assumed):
        where = f"unix {listen.path}" if listen.path else f"{listen.protocol} {_address(listen.address)}:{listen.port}"
        note = ", assumed: its own default, which nothing on the disk states" if listen.assumed else ""
        told.setdefault(where, (where + note, listen.seen_in))
    for port in story.component.ports:  # a person may have added one
        where = f"{port.protocol} {_address(port.address)}:{port.port}"
        told.setdefault(where, (where, port.seen_in))
    for socket in story.component.sockets:
        told.setdefault(f"unix {socket.path}", (f"unix {socket.path}", socket.seen_in))
    yield from (told[where] for where in sorted(told))
    if not told and story.component.kind == "service":
        yield "Nowhere that was seen.", ""


def _address(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _needs(story: Story) -> Iterator[Told]:
    for edge in story.needs:
        yield _tie(edge, "it", edge.target), edge.seen_in
    known = {edge.target for edge in story.needs}
    for need in story.component.needs:  # what a person added to the plan
        target = need.component or need.external or ""
        if target not in known:
            yield f"{target} over {need.over}", need.seen_in
    if not story.needs and not story.component.needs and story.component.kind != "host":
        yield "Nothing that was seen.", ""


def _tie(edge: Edge, source: str, target: str) -> str:
    """Return a tie as it is told of the end that is `it`."""
    other = target if source == "it" else source
    words = {
        "unix-socket": f"{other} over the socket {edge.detail}",
        "shared-files": f"{other} by the files of {edge.detail}",
        "external": f"{other} outside this machine, over {edge.detail}",
        "runs": f"{source} runs code of {target}: {edge.detail}",
        "starts-after": f"{source} starts after {target}" + (" and requires it" if edge.detail == "requires" else ""),
    }
    return words.get(edge.kind, f"{other} over {edge.kind} {edge.detail}")


def _rewrites(component: Component) -> Iterator[Told]:
    for edit in component.rewrites:
        because = f": {edit.because}" if edit.because else ""
        yield f"{edit.from_} becomes {edit.to}{because}", f"{edit.path}:{edit.line}"


def _code(story: Story) -> Iterator[Told]:
    for each in story.applications:
        version = f" {each.version}" if each.version else ""
        yield f"{each.root}: {each.name}{version} ({each.ecosystem}), which no package brought", each.seen_in


def _data(data: Data) -> Told:
    claim = f", kept in the volume {data.claim}" if data.claim else ""
    return f"{data.path}: {size(data.bytes)}, owner {data.uid}:{data.gid}, mode {data.mode}{claim}", data.seen_in


def _logs(story: Story) -> Iterator[Told]:
    told = {use.path: use.seen_in for use in story.logs} | dict.fromkeys(story.component.logs, "")
    told |= {use.path: use.seen_in for use in story.logs}
    yield from sorted(told.items())


def _secrets(component: Component) -> Iterator[Told]:
    for secret in component.secrets:
        carried = f", in the variable {secret.variable}" if secret.variable else ""
        yield f"{secret.id}: {secret.kind}{carried}", secret.seen_in


def _changes(story: Story) -> Iterator[Told]:
    if not story.compared:
        yield "Packaged files were not compared with their packages (analyze without --quick does).", ""
    for change in story.changes:
        aspects = ", ".join(
            each.aspect if each.aspect == "content" else f"{each.aspect} {each.shipped or '-'} → {each.found or '-'}"
            for each in change.differences
        )
        yield f"{change.path} of {change.package}: {aspects}", change.seen_in
        lines = change.diff or []
        yield from ((f"  {line}", "") for line in lines[:_DIFF_LINES])
        if len(lines) > _DIFF_LINES:
            yield f"  … and {len(lines) - _DIFF_LINES} more lines, which report.html shows", ""


def _image(image: Image | None) -> Iterator[Told]:
    if image is None:
        return
    yield f"It {_STRATEGIES[image.strategy]}, on {image.base}", ""
    for title, values in (
        ("installs", image.packages),
        ("copies", image.files),
        ("leaves out", image.exclude),
        ("removes", image.remove),
    ):
        if values:
            yield f"  {title} {', '.join(values)}", ""
