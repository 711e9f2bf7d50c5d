"""The types of plan.yaml, schema vm2c.plan/1. What a field means to a person stands in its docstring.

A place (`seen_in`) is text here: a path on the guest, then `:line` where there is one.
Unknown keys are refused, so that a misspelt edit is noticed.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA = "vm2c.plan/1"

ComponentKind = Literal["service", "job", "host"]
Decision = Literal["containerize", "virtualize", "retire", "external", "undecided"]
Workload = Literal["deployment", "statefulset", "daemonset", "cronjob", "job"]
Strategy = Literal["packages", "app", "lift"]
Severity = Literal["critical", "warning", "information"]


class _Part(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all parts of a plan: named fields only; what has its default is not written."""


class Reason(_Part, omit_defaults=False):
    """Why something was decided: the rule, what it says about this machine, and where that was seen."""

    rule: str
    says: str
    seen_in: str


class Blocker(_Part):
    """Something that stops `generate` until it is solved or waived (`waived` is the reason, in words)."""

    rule: str
    says: str
    mitigation: str
    severity: Severity
    seen_in: str = ""
    waived: str | None = None


class Image(_Part):
    """How the image is made.

    `strategy`: packages (installed from the distribution, pinned), app (packages for the runtime, the
    application's tree from the disk) or lift (the packages' files from the disk itself; nothing is
    downloaded). `packages` are `name=version`. `files` are guest paths copied with owner and mode (a
    directory means its whole tree; ending in `/` the directory alone, empty). `remove` are paths that
    installing a package creates and the machine does not have. `exclude` are paths below `files` that
    stay out (data, logs, secrets). `base_inventory` is the digest (`sha256:…`, as `vm2c bases` prints it: 12
    digits of it are enough) of what the base image holds: what is equal there is not copied. Empty: nothing is
    left to the base.
    """

    strategy: Strategy
    base: str
    base_inventory: str = ""
    packages: list[str] = []
    files: list[str] = []
    exclude: list[str] = []
    remove: list[str] = []


class RunUser(_Part, omit_defaults=False):
    """Who the process is. Numbers are the machine's, so that data volumes keep their owner."""

    name: str
    uid: int
    gid: int
    groups: list[int] = []


class Account(_Part):
    """An account that must exist in the image, with the machine's numbers, before packages are installed."""

    name: str
    uid: int
    gid: int
    group: str
    home: str = "/nonexistent"
    shell: str = "/usr/sbin/nologin"


class Port(_Part):
    """A port the component listens on; `address` as it was configured on the machine."""

    port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    address: str = "*"
    seen_in: str = ""


class Socket(_Part):
    """A unix socket the component listens on."""

    path: str
    seen_in: str = ""


class NeedRef(_Part):
    """Something the component cannot do without: another component, or a system outside this machine.

    `over` is `tcp:HOST:PORT`, `unix:PATH`, `files:PATH` or, for an external, `tcp` or `udp`.
    """

    component: str | None = None
    external: str | None = None
    over: str = ""
    seen_in: str = ""


class Data(_Part):
    """A directory that must survive: `claim` is the PersistentVolumeClaim; one claim, one volume.

    `uid`, `gid` and `mode` (octal text) are the directory's own on the machine.
    """

    path: str
    claim: str
    bytes: int = 0
    uid: int = 0
    gid: int = 0
    mode: str = "0755"
    seen_in: str = ""


class Directory(_Part):
    """A directory made anew at each start, or shared inside the Pod (unix sockets)."""

    path: str
    uid: int = 0
    gid: int = 0
    mode: str = "0755"
    seen_in: str = ""


class SecretRef(_Part):
    """A secret's place and kind, never its value. `variable` is the environment variable that carries it."""

    id: str
    kind: str
    seen_in: str
    variable: str = ""


class EnvFile(_Part):
    """A file of variables (systemd's EnvironmentFile). Its values become the container's environment."""

    path: str
    optional: bool = False
    seen_in: str = ""


class Rewrite(_Part, rename={"from_": "from"}):
    """One edit of one line of configuration; `from` is a part of that line and `to` takes its place."""

    path: str
    line: int
    from_: str
    to: str
    because: str = ""


class Resources(_Part):
    """What the machine grants the component; quantities as Kubernetes writes them."""

    memory: str | None = None
    cpu: str | None = None
    open_files: int | None = None
    seen_in: str = ""


class Health(_Part):
    """A command, run in the container, that exits 0 when the component answers."""

    command: list[str]
    says: str = ""
    seen_in: str = ""


class Component(_Part):
    """What moves together: a service, a job, or a piece of the machine's own upkeep (`host`)."""

    id: str
    kind: ComponentKind
    decision: Decision
    confidence: float
    because: list[Reason]
    blockers: list[Blocker] = []
    pod: str | None = None
    workload: Workload | None = None
    image: Image | None = None
    command: list[str] = []
    prepare: list[list[str]] = []
    working_directory: str | None = None
    environment: dict[str, str] = {}
    environment_files: list[EnvFile] = []
    user: RunUser | None = None
    accounts: list[Account] = []
    ports: list[Port] = []
    sockets: list[Socket] = []
    needs: list[NeedRef] = []
    config: list[str] = []
    data: list[Data] = []
    directories: list[Directory] = []
    logs: list[str] = []
    secrets: list[SecretRef] = []
    rewrites: list[Rewrite] = []
    schedule: str | None = None
    timezone: str | None = None
    resources: Resources | None = None
    health: Health | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    capabilities: list[str] = []


class PlanSource(_Part):
    """What the plan was made from: disks in order, the system's name, and the digest of inventory.json.

    `root` and `snapshot` are what was chosen of the disks with these options; empty where nothing was.
    """

    disks: list[str]
    os: str
    inventory: str
    architecture: str = ""
    root: str = ""
    snapshot: str = ""


class Plan(_Part, rename={"schema_": "schema"}):
    """A machine's migration plan."""

    schema_: Literal["vm2c.plan/1"] = msgspec.field(name="schema")
    machine: str
    source: PlanSource
    components: list[Component]
