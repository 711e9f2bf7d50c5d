"""A component's image: Dockerfile, .dockerignore, rootfs.tar and the list of what is in it.

The Dockerfile is for the classic builder as much as for BuildKit: no heredoc, no `# syntax=`, no COPY --chmod.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from migrate.addresses import is_loopback
from migrate.bases.model import NAME, LeftToBase
from migrate.errors import PlanError
from migrate.generate import quoting
from migrate.generate.context import Context, Moving
from migrate.generate.known import GENERATED_KEYS, PRESEEDS, STATIC_ACCOUNTS, STATIC_GROUPS
from migrate.generate.leave import Remainder, leave, removed
from migrate.generate.tar import stream
from migrate.generate.templates import render
from migrate.guest.protocol import Guest
from migrate.output import File
from migrate.plan.model import Component
from migrate.text import show

_ACCOUNT = re.compile(r"[^:\n\0/\s][^:\n\0]*")
_SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9]*(?:[+-][0-9]+)?|[0-9]{1,2}")
_BASH_TCP = 'exec 3<>"/dev/tcp/$0/$1"'  # bash(1), REDIRECTION
_PERL_UNIX = "exit(IO::Socket::UNIX->new(Peer=>$ARGV[0])?0:1)"  # Debian's perl-base is Essential and has it

INTERVAL, TIMEOUT, START, RETRIES = 10, 5, 60, 3
"""Seconds, seconds, seconds and tries of a health check."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """How a component is asked whether it answers: a command, and why it is that one."""

    command: tuple[str, ...]
    says: str


def image_files(moving: Moving, context: Context) -> dict[str, File]:
    """Return the build context of a component's image, by name below `images/ID/`."""
    guest = context.guest
    rest = leave(moving, context)
    members = rest.members if rest else moving.payload.members

    def rootfs() -> Iterator[bytes]:
        return stream(members, guest)

    files = {
        ".dockerignore": File(b"*\n!rootfs.tar\n"),
        "Dockerfile": File(_dockerfile(moving, context, rest).encode()),
        "files.tsv": File(msgspec.structs.replace(moving.payload, members=members).table().encode()),
        "rootfs.tar": File(rootfs),
    }
    if rest:
        files[NAME] = File(_one_a_line(rest.left))
    return files


def _one_a_line(left: LeftToBase) -> bytes:
    """Return base.json with one file a line: what a person reads, and what a comparison of versions shows well."""
    files = b",\n  ".join(msgspec.json.encode(file) for file in left.files)
    head = msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(left, files=())), indent=1)
    return head.replace(b'"files": []', b'"files": [\n  ' + files + b"\n ]" if files else b'"files": []') + b"\n"


def dockerfile(moving: Moving, context: Context) -> str:
    """Return the Dockerfile of a component. Raises PlanError for a text that no quoting makes safe."""
    return _dockerfile(moving, context, leave(moving, context))


def _dockerfile(moving: Moving, context: Context, rest: Remainder | None) -> str:
    component = moving.component
    image = component.image
    assert image is not None  # noqa: S101  # the context has looked
    healthy = probe(component, context)
    return render(
        "Dockerfile.j2",
        id=component.id,
        strategy=image.strategy,
        base=quoting.base_image(image.base),
        labels=_labels(component, context),
        steps=[] if image.base == "scratch" else list(_steps(moving, context.guest, rest)),
        environment=sorted((k, v) for k, v in moving.environment.items() if "\n" not in v),
        workdir=quoting.guest_path(component.working_directory, "the directory")
        if component.working_directory
        else None,
        ports=sorted({f"{p.port}/{p.protocol}" for p in component.ports}),
        stop_signal=stop_signal(component),
        health=healthy,
        interval=INTERVAL, timeout=TIMEOUT, start=START, retries=RETRIES,
        user=moving.user,
        entrypoint=entrypoint(moving),
    )  # fmt: skip


def entrypoint(moving: Moving) -> list[str]:
    """Return the argv of the image: the command, through a shell where something must be done before it.

    The shell prepares, sets variables that a Dockerfile cannot hold (line breaks), and becomes the command.
    """
    lines = [f"export {k}={shlex.quote(v)}" for k, v in sorted(moving.environment.items()) if "\n" in v]
    lines += [shlex.join(argv) for argv in moving.definition.prepare]
    if not lines:
        return list(moving.definition.command)
    script = "\n".join([*lines, 'exec "$@"'])
    return ["/bin/sh", "-e", "-c", script, "sh", *moving.definition.command]


def stop_signal(component: Component) -> str | None:
    """Return the component's stop signal, or None. Raises PlanError where it is none."""
    signal = component.stop_signal
    if signal is not None and not _SIGNAL.fullmatch(signal):
        raise PlanError(f"stop {component.id}", f"'{show(signal)}' is no signal", "write it as SIGTERM in plan.yaml")
    return signal


def probe(component: Component, context: Context) -> Probe | None:
    """Return how a component is asked whether it answers, or None for jobs and what does not listen."""
    if component.workload in {"cronjob", "job"}:
        return None
    if component.health is not None:
        return Probe(command=tuple(component.health.command), says=component.health.says)
    for port in component.ports:
        if port.protocol == "tcp":
            address = port.address if is_loopback(port.address) and ":" not in port.address else "127.0.0.1"
            address = "127.0.0.1" if address == "localhost" else address
            says = f"port {port.port} accepts a connection"
            return Probe(command=("/bin/bash", "-c", _BASH_TCP, address, str(port.port)), says=says)
    for socket in component.sockets:
        if context.guest.is_file("/usr/bin/perl"):
            says = f"{show(socket.path)} accepts a connection"
            return Probe(command=("/usr/bin/perl", "-MIO::Socket::UNIX", "-e", _PERL_UNIX, socket.path), says=says)
        return Probe(command=("/usr/bin/test", "-S", socket.path), says=f"{show(socket.path)} is there")
    return None


def _labels(component: Component, context: Context) -> list[tuple[str, str]]:
    plan = context.plan
    return [
        ("org.opencontainers.image.title", show(component.id)),
        ("org.opencontainers.image.description", show(f"{component.id} of {plan.machine} ({plan.source.os})")),
        ("org.opencontainers.image.vendor", "vm2c"),
        ("vm2c.component", show(component.id)),
        ("vm2c.machine", show(plan.machine)),
    ]


# ---------------------------------------------------------------- the one RUN


def _steps(moving: Moving, guest: Guest, rest: Remainder | None) -> Iterator[str]:
    """Yield the shell commands of the one layer that is made by running something.

    A lifted image has the machine's own accounts; one whose packages are all in its base installs nothing.
    """
    component = moving.component
    image = component.image
    assert image is not None  # noqa: S101  # the context has looked
    if image.strategy != "lift":
        yield from _accounts(component, guest)
    if image.packages and image.strategy != "lift" and (rest is None or rest.left.installs):
        if not guest.is_file("/var/lib/dpkg/status"):
            found = "the machine's packages are not Debian's, and no other installer is known"
            raise PlanError(f"install packages for {component.id}", found, "set its strategy to lift in plan.yaml")
        yield from _packages(image.packages)
    gone = removed(component) if rest is None else rest.gone
    if gone:
        yield "rm -rf -- " + " ".join(quoting.shell(p) for p in dict.fromkeys(gone))


def _accounts(component: Component, guest: Guest) -> Iterator[str]:
    """Yield what gives accounts and groups the machine's numbers before a package takes whatever is free.

    Lines are written as passwd(5), group(5) and shadow(5) have them: useradd(8) refuses names that
    Debian's own packages use (Debian-exim), and numbers that another name has.
    """
    groups: dict[str, int] = {a.group: a.gid for a in component.accounts}
    user = component.user
    members: dict[str, list[str]] = {}
    if user is not None:
        names = _group_names(guest)
        for gid in (user.gid, *user.groups):
            if gid in names and names[gid] not in groups:
                groups[names[gid]] = gid
            if gid in user.groups and gid in names:
                members.setdefault(names[gid], []).append(user.name)
    for name, gid in sorted(groups.items()):
        if STATIC_GROUPS.get(name) != gid or name in members:
            yield from _line("/etc/group", [_account_name(name), "x", str(gid), ",".join(members.get(name, ()))])
    for account in sorted(component.accounts, key=lambda a: a.name):
        if STATIC_ACCOUNTS.get(account.name) == (account.uid, account.gid):
            continue
        fields = [_account_name(account.name), "x", str(account.uid), str(account.gid), "", account.home, account.shell]
        yield from _line("/etc/passwd", fields)
        yield from _line("/etc/shadow", [account.name, "*", "", "", "", "", "", "", ""])


def _line(file: str, fields: Sequence[str]) -> Iterator[str]:
    """Yield the commands that replace the line of that name in an account file."""
    text = ":".join(fields)
    if text.count(":") != len(fields) - 1:
        raise PlanError(f"write {show(text)} into {file}", "a field holds a colon", "correct the account in plan.yaml")
    pattern = "/^" + re.sub(r"([.\\*\[\]^$/+-])", r"\\\1", fields[0]).replace("\\-", "-").replace("\\+", "+") + ":/d"
    yield f"sed -i -e {quoting.shell(pattern, 'the account')} {file}"
    yield f"printf '%s\\n' {quoting.shell(text, 'the account')} >> {file}"


def _account_name(name: str) -> str:
    if not _ACCOUNT.fullmatch(name) or name.startswith("-"):
        raise PlanError(f"make the account '{show(name)}'", "that is no name of an account", "correct it in plan.yaml")
    return name


def _group_names(guest: Guest) -> dict[int, str]:
    lines = guest.text("/etc/group").splitlines() if guest.is_file("/etc/group") else []
    found: dict[int, str] = {}
    for line in lines:
        fields = line.split(":")
        if len(fields) >= 3 and fields[2].isdigit() and len(fields[2]) < 10:
            found.setdefault(int(fields[2]), fields[0])
    return found


def _packages(packages: Iterable[str]) -> Iterator[str]:
    wanted = sorted({quoting.package(p) for p in packages})
    names = [p.partition("=")[0].partition(":")[0] for p in wanted]
    seeds = [s for s in PRESEEDS if any(s.packages.fullmatch(n) for n in names)]
    for seed in seeds:
        yield f"mkdir -p {shlex.quote(seed.path.rpartition('/')[0])}"
        yield f"printf '%s\\n' {shlex.quote(seed.content)} > {shlex.quote(seed.path)}"
    # invoke-rc.d(8): 101 is "action forbidden by policy".
    yield r"printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d"
    yield "chmod 0755 /usr/sbin/policy-rc.d"
    yield "export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1"
    yield "apt-get update"
    listed = "".join(f" \\\n        {p}" for p in wanted)
    yield ("apt-get install -y --no-install-recommends --allow-downgrades -o Dpkg::Options::=--force-confold" + listed)
    yield "apt-get clean"
    keys = " ".join(f"{pair.key} {pair.certificate}" for pair in GENERATED_KEYS)
    yield (
        "rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old"
        " /var/log/apt /var/log/dpkg.log /var/log/alternatives.log"
    )
    yield f"rm -f {keys} /etc/ssh/ssh_host_*"
    yield "if [ -d /etc/ssl/certs ]; then find /etc/ssl/certs -xtype l -delete; fi"
