"""The parts of a component's plan, each a function of what was found."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from migrate.facts import Facts, is_below
from migrate.guest.protocol import Entry
from migrate.join import Candidate, Tie
from migrate.model import Job, Secret, Variable
from migrate.plan.grouping import is_stateful
from migrate.plan.model import (
    Account,
    Component,
    Data,
    Directory,
    EnvFile,
    Health,
    Port,
    Resources,
    Rewrite,
    RunUser,
    Socket,
    Workload,
)

STATIC_IDS = 100
"""Debian's base-passwd hands out the numbers below this one, the same on every machine (Policy 9.2.2)."""

_MEMORY = re.compile(r"(\d+)([KMGT]?)B?")
_RETRY_SIGNAL = re.compile(r"--retry[= ](?:SIG)?([A-Z]+)/|(?:-s|-)\s*(?:SIG)?([A-Z]+)\s+\$?\{?MAINPID")
_RUNTIME_FILE = (".pid", ".sock", ".socket", ".lock")


def command(candidate: Candidate) -> list[str]:
    """Return the argv of the container's main process."""
    if candidate.foreground is not None:
        argv: Sequence[str] = candidate.foreground.command
    elif candidate.service is not None:
        argv = candidate.service.command
    elif candidate.job is not None:
        argv = candidate.job.command
        if candidate.job.shell:
            return ["/bin/sh", "-c", *argv]
    else:
        return []
    return _with_variables(argv)


def _with_variables(argv: Sequence[str]) -> list[str]:
    """Let a shell fill in `${NAME}` and `$NAME`, which systemd takes from the environment and exec form does not.

    systemd splits a word that is `$NAME` alone at white space and never `${NAME}` (systemd.service(5)).
    """
    if not any(re.search(r"\$\{\w+\}|^\$\w+$", word) for word in argv):
        return list(argv)
    return ["/bin/sh", "-c", "exec " + " ".join(map(_shell_word, argv))]


def _shell_word(word: str) -> str:
    if re.fullmatch(r"\$[A-Za-z_]\w*", word):
        return word
    pieces = re.split(r"\$\{([A-Za-z_]\w*)\}", word)
    quoted = [f'"${{{p}}}"' if i % 2 else (shlex.quote(p) if p else "") for i, p in enumerate(pieces)]
    return "".join(quoted) or "''"


def prepare(candidate: Candidate) -> list[list[str]]:
    """Return what runs before the main process (ExecStartPre); a known daemon's own checks are left out."""
    if candidate.service is None or candidate.foreground is not None:
        return []
    return [list(argv) for argv in candidate.service.before if argv]


def working_directory(facts: Facts, candidate: Candidate) -> str | None:
    """Return the directory the process starts in; cron starts a job in its user's home."""
    if candidate.service is not None:
        path = candidate.service.working_directory.lstrip("-")
        if path == "~":
            user = facts.user(candidate.service.user)
            return user.home if user else None
        return path or None
    user = facts.user(candidate.job.user) if candidate.job is not None else None
    return user.home if user is not None and facts.guest.is_dir(user.home) else None


def _variables(candidate: Candidate) -> Sequence[Variable]:
    if candidate.service is not None:
        return candidate.service.environment
    return candidate.job.environment if candidate.job is not None else ()


def variable(candidate: Candidate, secret: Secret) -> str:
    """Return the name of the variable that carries a secret, where the unit or crontab itself sets it."""
    here = [v.name for v in _variables(candidate) if v.seen_in == secret.seen_in]
    return secret.name if secret.name in here else ""


def environment(candidate: Candidate, secrets: Sequence[Secret]) -> dict[str, str]:
    """Return the variables the unit or crontab sets, without those that carry a secret and cron's own."""
    hidden = {variable(candidate, s) for s in secrets}
    own = {"MAILTO", "MAILFROM", "CRON_TZ", "RANDOM_DELAY", "START_HOURS_RANGE"} if candidate.service is None else set()
    return {v.name: v.value for v in sorted(_variables(candidate)) if v.name not in hidden | own}


def environment_files(facts: Facts, candidate: Candidate) -> list[EnvFile]:
    """Return the files of variables that are there; an optional one that is missing is no loss."""
    files = candidate.service.environment_files if candidate.service is not None else ()
    return [
        EnvFile(path=f.path, optional=f.optional, seen_in=str(f.seen_in))
        for f in files
        if not f.optional or facts.guest.exists(f.path)
    ]


def run_user(facts: Facts, candidate: Candidate) -> RunUser | None:
    """Return who the process is: the user it becomes by itself, or the one it is started as."""
    if candidate.runs_as is not None:
        name, group = candidate.runs_as.user, candidate.runs_as.group
    elif candidate.service is not None:
        name, group = candidate.service.user, candidate.service.group
    else:
        name, group = (candidate.job.user if candidate.job is not None else "root"), ""
    user = facts.user(name)
    if user is None:
        return None
    primary = facts.group(group) if group else None
    gid = primary.gid if primary is not None else user.gid
    extra = candidate.service.setting("SupplementaryGroups") if candidate.service is not None else None
    names = set(extra.value.split()) if extra is not None else set()
    groups = {g.gid for g in facts.groups.values() if user.name in g.members or g.name in names} - {gid}
    if gid != user.gid:
        groups.add(user.gid)
    return RunUser(name=user.name, uid=user.uid, gid=gid, groups=sorted(groups))


def ports(candidate: Candidate) -> list[Port]:
    """Return the ports, each once per address."""
    found: dict[tuple[int, str, str], Port] = {}
    for x in candidate.listens:
        if x.port is not None and x.protocol in {"tcp", "udp"}:
            protocol = "udp" if x.protocol == "udp" else "tcp"
            port = Port(port=x.port, protocol=protocol, address=x.address, seen_in=str(x.seen_in))  # type: ignore[arg-type]
            found.setdefault((x.port, protocol, x.address), port)
    return [found[key] for key in sorted(found)]


def sockets(facts: Facts, candidate: Candidate) -> list[Socket]:
    """Return the unix sockets in the file system (abstract ones have no path to share)."""
    found = {facts.run_path(x.path): str(x.seen_in) for x in reversed(candidate.listens) if x.path.startswith("/")}
    return [Socket(path=path, seen_in=found[path]) for path in sorted(found)]


# ---------------------------------------------------------------- files


def claims(facts: Facts, moving: Mapping[str, Candidate]) -> dict[str, list[Data]]:
    """Return each component's data with its claim. The same path is the same claim, in however many Pods."""
    names: dict[str, str] = {}
    found: dict[str, list[Data]] = {}
    for candidate in sorted(moving.values(), key=lambda c: (c.kind != "service", c.id)):
        found[candidate.id] = data(facts, candidate)
        for item in found[candidate.id]:
            item.claim = names.setdefault(item.path, _unused(item.claim, names.values()))
    return found


def _unused(name: str, taken: Iterable[str]) -> str:
    taken, base, count = set(taken), name, 2
    while name in taken:
        name, count = f"{base}-{count}", count + 1
    return name


def data(facts: Facts, candidate: Candidate) -> list[Data]:
    """Return the directories that must survive, with size and owner. A file stands for its directory."""
    places: dict[str, str] = {}
    beside = {path for path, _ in data_beside_code(facts, candidate)}
    for use in candidate.uses:
        if use.role == "data":
            path = facts.guest.resolve(use.path) or use.path
            if path not in beside:
                places.setdefault(_directory_of(facts, path), str(use.seen_in))
    tops = [p for p in sorted(places) if not any(p != q and is_below(p, q) for q in places)]
    user = run_user(facts, candidate)
    return [_data(facts, candidate.id, path, places[path], user) for path in tops]


def data_beside_code(facts: Facts, candidate: Candidate) -> list[tuple[str, str]]:
    """Return the data files that lie among the application's own files, each with its place.

    A volume takes a directory's place, and here the code would go with it.
    """
    code = candidate.paths("code")
    found = {}
    for use in candidate.uses:
        path = facts.guest.resolve(use.path) or use.path
        parent = _directory_of(facts, path)
        if use.role == "data" and parent != path and any(is_below(top, parent) for top in code):
            found[path] = str(use.seen_in)
    return sorted(found.items())


def _directory_of(facts: Facts, path: str) -> str:
    entry = facts.guest.lstat(path)
    return path if entry is None or entry.kind == "directory" else str(PurePosixPath(path).parent)


def _data(facts: Facts, component: str, path: str, seen_in: str, user: RunUser | None) -> Data:
    top = facts.guest.lstat(path)
    words = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(path).name.lower()).strip("-")
    claim = component if words in {"", component} else f"{component}-{words}"
    return Data(
        path=path,
        claim=claim[:63].strip("-"),
        bytes=tree_bytes(facts, path),
        uid=top.uid if top is not None else (user.uid if user else 0),
        gid=top.gid if top is not None else (user.gid if user else 0),
        mode=f"{top.mode if top is not None else 0o755:04o}",
        seen_in=seen_in,
    )


def tree_bytes(facts: Facts, top: str) -> int:
    """Return the bytes of all regular files at and below `top`; a hard-linked one counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for entry in facts.guest.walk(top):
        if entry.kind == "file" and (entry.links == 1 or entry.inode not in seen):
            seen.add(entry.inode)
            total += entry.size
    return total


def config(facts: Facts, candidate: Candidate) -> list[str]:
    """Return the configuration that is the machine's own: files that no package brought, or not like this."""
    found = set()
    for top in candidate.paths("config"):
        for entry in facts.guest.walk(facts.guest.resolve(top) or top):
            if entry.kind == "file" and not facts.is_as_shipped(entry.path):
                found.add(entry.path)
    return sorted(found)


def directories(facts: Facts, candidate: Candidate, sockets_of_others: Iterable[str]) -> list[Directory]:
    """Return the directories that start empty: below /run, caches, log directories, sockets' directories."""
    wanted: dict[str, str] = {}
    for use in candidate.uses:
        path = facts.run_path(use.path)
        entry = facts.guest.lstat(path)
        if use.role in {"runtime", "cache"}:
            is_file = path.endswith(_RUNTIME_FILE) or (entry is not None and entry.kind != "directory")
            wanted.setdefault(str(PurePosixPath(path).parent) if is_file else path, str(use.seen_in))
        elif use.role == "log":
            is_dir = entry is not None and entry.kind == "directory"
            wanted.setdefault(path if is_dir else str(PurePosixPath(path).parent), str(use.seen_in))
    for path in (*(s.path for s in sockets(facts, candidate)), *sockets_of_others):
        wanted.setdefault(str(PurePosixPath(path).parent), str(candidate.seen_in))
    for system in ("/run", "/tmp", "/var/tmp", "/var/log", "/dev", "/"):  # noqa: S108  # guest paths every image has
        wanted.pop(system, None)
    user = run_user(facts, candidate)
    mode = candidate.service.setting("RuntimeDirectoryMode") if candidate.service is not None else None
    found = [_directory(facts, p, wanted[p], user, mode.value if mode else "0755") for p in sorted(wanted)]
    if candidate.runs_as is not None and user is not None:
        # On the machine root makes these and drops its rights; the container never has them.
        for directory in found:
            if directory.uid == 0:
                directory.uid, directory.gid = user.uid, user.gid
    return found


def _directory(facts: Facts, path: str, seen_in: str, user: RunUser | None, mode: str) -> Directory:
    entry: Entry | None = facts.guest.stat(path)
    if entry is not None and entry.kind == "directory":
        return Directory(path=path, uid=entry.uid, gid=entry.gid, mode=f"{entry.mode:04o}", seen_in=seen_in)
    uid, gid = (user.uid, user.gid) if user is not None else (0, 0)
    return Directory(path=path, uid=uid, gid=gid, mode=mode.rjust(4, "0"), seen_in=seen_in)


def logs(facts: Facts, candidate: Candidate) -> list[str]:
    """Return the log files, which go to standard output."""
    found = {u.path for u in candidate.uses if u.role == "log"}
    return sorted(p for p in found if p.startswith("/") and not facts.guest.is_dir(p) and not p.startswith("/dev/"))


def accounts(facts: Facts, candidate: Candidate, component: Component) -> list[Account]:
    """Return the accounts that own what goes into the image, or run it, where their number is the machine's own."""
    uids = {e.uid for path in (component.image.files if component.image else []) for e in facts.guest.walk(path)}
    uids |= {d.uid for d in component.data} | {d.uid for d in component.directories}
    if component.user is not None:
        uids.add(component.user.uid)
    packaged = {c for c in (candidate.service.user if candidate.service else "",) if c}
    uids |= {u.uid for name in packaged if (u := facts.user(name)) is not None}
    found = []
    for uid in sorted(uids):
        user = facts.users_by_uid.get(uid)
        if user is not None and uid >= STATIC_IDS and user.name != "nobody":
            group = facts.groups_by_gid.get(user.gid)
            name = group.name if group is not None else user.name
            found.append(Account(name=user.name, uid=uid, gid=user.gid, group=name, home=user.home, shell=user.shell))
    return found


# ---------------------------------------------------------------- running


def workload(candidate: Candidate) -> Workload:
    """Return the kind of workload."""
    if candidate.kind == "job":
        return "cronjob"
    return "statefulset" if is_stateful(candidate) else "deployment"


def timezone(facts: Facts, candidate: Candidate) -> str | None:
    """Return the time zone a schedule is meant in, or the machine's for a service, or None for UTC."""
    named = candidate.job.timezone if candidate.job is not None else ""
    zone = named or facts.trait("timezone")
    return None if zone in {"", "UTC", "Etc/UTC"} and candidate.kind != "job" else zone or "Etc/UTC"


def resources(candidate: Candidate) -> Resources | None:
    """Return what the unit grants: MemoryMax, CPUQuota, LimitNOFILE (systemd.resource-control(5))."""
    service = candidate.service
    if service is None:
        return None
    found = Resources()
    for name in ("MemoryMax", "MemoryLimit"):
        setting = service.setting(name)
        if setting is not None and found.memory is None and (match := _MEMORY.fullmatch(setting.value)):
            unit = f"{match[2]}i" if match[2] else ""
            found.memory, found.seen_in = f"{match[1]}{unit}", str(setting.seen_in)
    quota = service.setting("CPUQuota")
    if quota is not None and re.fullmatch(r"\d+%", quota.value):
        found.cpu, found.seen_in = f"{int(quota.value[:-1]) * 10}m", found.seen_in or str(quota.seen_in)
    # A package's own LimitNOFILE lifts systemd's soft limit of 1024, which no engine has; an engine that is
    # itself limited (nested, CI) refuses to start a container that asks for more than it has.
    files = service.setting("LimitNOFILE")
    if (
        files is not None
        and files.seen_in.path.startswith("/etc/")
        and (limit := files.value.partition(":")[0]).isdigit()
    ):
        found.open_files, found.seen_in = int(limit), found.seen_in or str(files.seen_in)
    return found if found.seen_in else None


def health(candidate: Candidate) -> Health | None:
    """Return how the component is asked whether it answers."""
    found = candidate.health
    if found is None:
        return None
    return Health(command=list(found.command), says=found.says, seen_in=str(found.seen_in))


def stop_signal(candidate: Candidate) -> str | None:
    """Return the signal that ends the service in order: KillSignal, or the one its ExecStop sends."""
    service = candidate.service
    if service is None:
        return None
    kill = service.setting("KillSignal")
    if kill is not None:
        return kill.value if kill.value.startswith("SIG") else f"SIG{kill.value}"
    stop = service.setting("ExecStop")
    match = _RETRY_SIGNAL.search(stop.value) if stop is not None else None
    return f"SIG{match[1] or match[2]}" if match else None


def stop_timeout(candidate: Candidate) -> int | None:
    """Return the seconds the service may take to end (TimeoutStopSec, systemd.time(7)); None for the default."""
    setting = candidate.service.setting("TimeoutStopSec") if candidate.service is not None else None
    if setting is None:
        return None
    units = {"": 1, "s": 1, "sec": 1, "second": 1, "seconds": 1, "min": 60, "m": 60, "h": 3600, "hr": 3600}
    parts = re.findall(r"(\d+)\s*([a-z]*)", setting.value)
    if not parts or any(unit not in units for _, unit in parts):
        return None
    return sum(int(number) * units[unit] for number, unit in parts) or None


def capabilities(candidate: Candidate) -> list[str]:
    """Return the capabilities the unit grants beyond its user's (AmbientCapabilities), without `CAP_`."""
    setting = candidate.service.setting("AmbientCapabilities") if candidate.service is not None else None
    words = setting.value.split() if setting is not None else []
    return sorted({w.removeprefix("CAP_") for w in words if w.startswith("CAP_")})


def days_differ(job: Job) -> bool:
    """Tell whether cron and Kubernetes run a crontab line on different days.

    Where both day fields are restricted either is enough for both (crontab(5)); but Vixie's cron wants both
    where one begins with `*` (`*/2`), which Kubernetes' parser (robfig/cron) takes for a restriction like any other.
    """
    fields = (job.schedule or "").split()
    if job.manager == "systemd" or len(fields) != 5:  # crontab(5)
        return False
    days = (fields[2], fields[4])
    return "*" not in days and any(d.startswith("*") for d in days)


# ---------------------------------------------------------------- leaving the Pod


def rewrite(facts: Facts, component: Component, tie: Tie) -> Rewrite | None:
    """Return the edit of one line that lets a client find a server in another Pod.

    Where the line is the unit's own `Environment=`, the variable of the plan is changed instead and there is
    nothing to edit. The address is taken with its port where the bare host stands on the line twice.
    """
    host, _, port = tie.detail.rpartition(":")
    text = tie.host_text or host
    for name, value in component.environment.items():
        if tie.seen_in.path not in component.config and text in value:
            component.environment[name] = value.replace(text, tie.target)
            return None
    if tie.seen_in.line is None or not facts.guest.is_file(tie.seen_in.path):
        return None
    lines = facts.guest.text(tie.seen_in.path).splitlines()
    line = lines[tie.seen_in.line - 1] if tie.seen_in.line <= len(lines) else ""
    before, after = text, tie.target
    if line.count(text) > 1 and f"{text}:{port}" in line:
        before, after = f"{text}:{port}", f"{tie.target}:{port}"
    if before not in line:
        return None
    because = f"{tie.target} is in another Pod"
    return Rewrite(path=tie.seen_in.path, line=tie.seen_in.line, from_=before, to=after, because=because)
