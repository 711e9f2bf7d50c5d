"""What can be found on a machine: the front door of the program.

    disks ─open─▶ Guest ─analyzers─▶ Finding… ─join─▶ Inventory + graph ─rules─▶ Plan ─generate─▶ files

An analyzer reads a `Guest` and yields findings. Each finding is one of the frozen types below, and
each says where on the disk it was seen. Nothing here does anything: functions elsewhere turn one of
these values into the next.

Paths of the guest are absolute `str`s; bytes that are no UTF-8 are kept as `surrogateescape` does it,
and `migrate.text.show` makes them printable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from migrate.guest.protocol import Guest


class Place(msgspec.Struct, frozen=True, order=True):
    """Where something was seen: a path on the guest and, where there is one, a line (from 1)."""

    path: str
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What all findings have: the place they were seen in."""

    seen_in: Place


# ---------------------------------------------------------------- the system


class System(Fact, frozen=True):
    """The operating system; `family` is what installs and upgrades packages in the same way.

    It is debian, rhel (Fedora, Amazon and all that is built from Red Hat's packages), suse, alpine, arch, openwrt,
    photon, azurelinux (CBL-Mariner too), gentoo, void, slackware, or linux (not known).
    `id`, `version` and `name` are os-release's ID, VERSION_ID and PRETTY_NAME (os-release(5)).
    `codename` is VERSION_CODENAME. `end_of_life` is an ISO date or None where it is not known.
    """

    family: str
    id: str
    version: str
    name: str
    codename: str = ""


class Trait(Fact, frozen=True):
    """One property of the machine.

    `key` is hostname, architecture, init, timezone, locale, machine_id, end_of_life or end_of_extended_support.
    """

    key: str
    value: str


class Package(Fact, frozen=True):
    """An installed package.

    `chosen` is true where a person asked for it, false where it was pulled in. `origin` is where it
    comes from as far as the disk says (distribution, third-party, local, or empty: not known).
    `depends` are the names of direct dependencies, first alternative first, without versions.
    `priority` is the distribution's own word (required, important, standard, optional).
    """

    name: str
    version: str
    architecture: str
    manager: str
    chosen: bool
    origin: str = ""
    source: str = ""
    section: str = ""
    priority: str = ""
    depends: tuple[str, ...] = ()


class Shipped(msgspec.Struct, frozen=True, gc=False):
    """One path as the package database recorded it, to compare the disk with; rpm knows all of this, dpkg none.

    `mode` has the type bits too (st_mode of stat(2)). `digest` is hex, by `PackageFiles.algorithm`, and empty
    for what is no regular file. `capabilities` is text as cap_from_text(3) takes it. `flags` are rpm's words
    config, noreplace, missingok, ghost (owned, not shipped), doc, artifact. `unchecked` names what the package
    wants nobody to compare (`%verify(not …)`): digest, size, target, user, group, mtime, mode, device, capabilities.
    """

    path: str
    mode: int = 0
    user: str = ""
    group: str = ""
    size: int = 0
    mtime: int = 0
    digest: str = ""
    target: str = ""
    capabilities: str = ""
    flags: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


class PackageFiles(Fact, frozen=True):
    """The paths a package owns; `conffiles` maps the configuration among them to the shipped digest (hex).

    That is an md5 (dpkg, rpm until EL 5), or what `algorithm` (as hashlib spells it) says. It is empty for
    configuration that the package owns and does not ship. `shipped` holds what else is known of the paths.
    """

    package: str
    paths: tuple[str, ...]
    conffiles: tuple[tuple[str, str], ...] = ()
    algorithm: str = "md5"
    shipped: tuple[Shipped, ...] = ()


class LanguagePackage(Fact, frozen=True):
    """A package of a language's own manager, as it is installed.

    `ecosystem` is purl's type: pypi, conda, npm, gem, composer, maven, golang, cargo, nuget (package-url/purl-spec).
    A maven name is `group:artifact`, an npm one has its scope (`@scope/name`), a composer one its vendor. `location`
    is the folder or file that it is installed in.
    """

    ecosystem: str
    name: str
    version: str
    location: str


class User(Fact, frozen=True):
    """A line of passwd(5). `system` is false for the people's accounts (uid in login.defs' UID_MIN…MAX)."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    gecos: str = ""
    system: bool = True


class Group(Fact, frozen=True):
    """A line of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...] = ()


class Mount(Fact, frozen=True):
    """A line of fstab(5), or a mount unit. `options` keeps the text; network file systems are never followed."""

    device: str
    mountpoint: str
    type: str
    options: str = ""


class Interface(Fact, frozen=True):
    """A configured network interface. `method` is dhcp, static, manual or loopback; addresses are CIDR."""

    name: str
    method: str
    addresses: tuple[str, ...] = ()
    gateway: str = ""
    dns: tuple[str, ...] = ()


class HostName(Fact, frozen=True):
    """A name that the machine itself resolves (/etc/hosts)."""

    name: str
    address: str


class Hardware(Fact, frozen=True):
    """Something bound to the machine: a kernel module, a device, a licence dongle. `kind` says which."""

    kind: str
    name: str


# ---------------------------------------------------------------- what runs


class Variable(msgspec.Struct, frozen=True, order=True):
    """An environment variable as the service gets it, with the place that sets it."""

    name: str
    value: str
    seen_in: Place


class EnvironmentFile(msgspec.Struct, frozen=True, order=True):
    """A file of variables; `optional` is systemd's leading `-`."""

    path: str
    optional: bool
    seen_in: Place


class Setting(msgspec.Struct, frozen=True, order=True):
    """One effective setting of a unit that matters to a container: `name` as systemd spells it."""

    name: str
    value: str
    seen_in: Place


class Service(Fact, frozen=True):
    """Something that is started and stays, or runs once: a unit, an init script, a supervised program.

    `id` is the unit's name without its suffix (`nginx`, `postgresql@15-main`). `enabled` says that a boot
    of this machine starts it. `command` is the argv of the main process after systemd's expansion;
    `seen_in` is the place of that command (or of the unit's first line). `settings` are the directives a
    container must honour (Type, RuntimeDirectory, MemoryMax, KillSignal, …), `after`/`requires`/`wants`
    other units by id. `unit` is the path of the unit file.
    """

    id: str
    manager: str
    enabled: bool
    unit: str
    type: str = "simple"
    description: str = ""
    command: tuple[str, ...] = ()
    before: tuple[tuple[str, ...], ...] = ()
    user: str = "root"
    group: str = ""
    working_directory: str = ""
    environment: tuple[Variable, ...] = ()
    environment_files: tuple[EnvironmentFile, ...] = ()
    settings: tuple[Setting, ...] = ()
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def setting(self, name: str) -> Setting | None:
        """Return the last setting of that name, which is the one in force."""
        return next((s for s in reversed(self.settings) if s.name == name), None)


class Job(Fact, frozen=True):
    """Something that runs at times.

    `schedule` is the five fields of crontab(5), or None where none can say it; `original` is the text on
    the disk; `at_boot` is `@reboot` and OnBootSec. `command` is what is run: `shell` is true where a
    shell reads it (crontab), and then it has one element. `service` is the id of the unit a timer starts,
    whose `Service` holds user, environment and settings.
    """

    id: str
    manager: str
    enabled: bool
    schedule: str | None
    original: str
    command: tuple[str, ...]
    shell: bool = False
    user: str = "root"
    environment: tuple[Variable, ...] = ()
    service: str = ""
    at_boot: bool = False
    timezone: str = ""


class Listen(Fact, frozen=True):
    """A service accepts connections: `port` with `protocol` tcp/udp at `address`, or `path` of a unix socket.

    `address` is as configured; `*` is every address. `assumed` marks a known default that nothing on the
    disk states.
    """

    service: str
    port: int | None = None
    protocol: str = "tcp"
    address: str = "*"
    path: str = ""
    assumed: bool = False


class Need(Fact, frozen=True):
    """A service or job needs something.

    `over` is `tcp:HOST:PORT`, `udp:HOST:PORT`, `unix:PATH` or `files:PATH`. `secret` is true where the line
    that says so holds a secret too.
    """

    service: str
    over: str
    detail: str = ""
    host_text: str = ""


class Covers(Fact, frozen=True):
    """Several units are one component: `service` is the id that speaks for them, `units` the ids it stands for."""

    service: str
    units: tuple[str, ...]


class Foreground(Fact, frozen=True):
    """How a service runs in the foreground with its log on standard output, and why that is so."""

    service: str
    command: tuple[str, ...]
    says: str


class RunsAs(Fact, frozen=True):
    """A service that starts as root and becomes `user` by its own configuration."""

    service: str
    user: str
    group: str = ""
    says: str = ""


class Uses(Fact, frozen=True):
    """A service uses a path. `role` says how.

    config: reads it (a directory means the whole tree) · data: must survive · log: writes text nobody reads
    back · runtime: made anew at each start (/run) · cache: may be lost · code: the application's own files.
    """

    service: str
    path: str
    role: Literal["config", "data", "log", "runtime", "cache", "code"]
    says: str = ""


class Requires(Fact, frozen=True):
    """A service needs a package installed beside the one its program is from."""

    service: str
    package: str
    says: str = ""


class Rebind(Fact, frozen=True):
    """How a service that listens on loopback is made to listen for its clients when it leaves their Pod.

    Each is one edit of one line: `before` is a substring of that line, `after` replaces it.
    """

    service: str
    before: str
    after: str
    says: str = ""


class Health(Fact, frozen=True):
    """A command, run inside the container, that exits 0 when the service answers."""

    service: str
    command: tuple[str, ...]
    says: str = ""


class Caution(Fact, frozen=True):
    """What a person must see to when a service moves, and no edit of one line on the machine brings about."""

    service: str
    says: str


class Application(Fact, frozen=True):
    """Code that nobody packaged: `root` is its tree, or the file that it is; `runtime` the packages it runs on.

    `ecosystem` is that of `LanguagePackage`, or elf (a binary no language's manager knows), script.
    `interpreter` is what a script's first line or a binary's PT_INTERP names; `libraries` what its DT_NEEDED do.
    """

    root: str
    ecosystem: str
    name: str
    version: str = ""
    runtime: tuple[str, ...] = ()
    interpreter: str = ""
    libraries: tuple[str, ...] = ()


class Secret(Fact, frozen=True):
    """A secret's place and kind. `value` never leaves the process: it is what outputs are checked against.

    `kind`: private-key, password, password-in-url, password-hash, token, certificate-key, other.
    `name` is the variable or key that holds it, where there is one.
    """

    id: str
    kind: str
    name: str = ""
    value: str = ""

    def __repr__(self) -> str:
        return f"Secret(id={self.id!r}, kind={self.kind!r}, seen_in={str(self.seen_in)!r})"

    def __rich_repr__(self) -> list[tuple[str, str]]:  # what pretty printers show
        return [("id", self.id), ("kind", self.kind)]


class Unread(Fact, frozen=True):
    """Something that could not be read or understood; `seen_in` says where. The rest goes on."""

    why: str
    analyzer: str


Finding: TypeAlias = (
    System | Trait | Package | PackageFiles | LanguagePackage | User | Group | Mount | Interface | HostName
    | Hardware | Service | Job | Listen | Need | Covers | Foreground | RunsAs | Uses | Requires | Rebind
    | Health | Caution | Application | Secret | Unread
)  # fmt: skip


class Analyzer(msgspec.Struct, frozen=True, kw_only=True):
    """What a module of `analyzers/` declares as its `ANALYZER`.

    `name` is unique. `says` is one line for `vm2c analyzers`. `reads` are the paths (directories mean whole
    trees; `*` as in glob) fetched in bulk before `analyze` runs: with a slow reader this is what makes it fast.
    `analyze` sees the guest alone. `join`, where it is given, runs after all `analyze` functions and sees
    what they found: for ties between things that different analyzers know of.
    `source` names the manual page or specification of what is parsed.
    """

    name: str
    says: str
    reads: tuple[str, ...]
    analyze: Callable[[Guest], Iterable[Finding]] | None = None
    join: Callable[[Guest, Sequence[Finding]], Iterable[Finding]] | None = None
    source: str = ""
