"""Samba: its daemons with their ports, the shares' directories, the domain it belongs to, and its own state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import over_tcp, port_number, split_host_port, tcp_check
from analyzers._products import program_of, unit_of
from analyzers._reading import Reader, absolute, inside
from analyzers._smb_conf import Setting, load
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Covers,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Package,
    Place,
    Rebind,
    Uses,
)

_NAME = "samba"
_MAIN = "/etc/samba/smb.conf"
_CONTROLLER = ("active directory domain controller", "domain controller", "dc")
_MAX = 64  # addresses, ports
# What the services of a domain controller listen at (wiki.samba.org, Samba AD DC Port Usage).
_CONTROLLER_PORTS = (
    (53, "tcp"), (53, "udp"), (88, "tcp"), (88, "udp"), (135, "tcp"), (137, "udp"), (138, "udp"), (139, "tcp"),
    (389, "tcp"), (389, "udp"), (445, "tcp"), (464, "tcp"), (464, "udp"), (636, "tcp"), (3268, "tcp"), (3269, "tcp"),
)  # fmt: skip


class _Findings:
    """Turns smb.conf into findings."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.reader = Reader(guest, _NAME)
        self.config = load(self.reader, _MAIN)
        self.settings = self.config.sections.get("global", {})
        self.smbd, self.nmbd = unit_of(guest, ("smbd", "smb")), unit_of(guest, ("nmbd", "nmb"))
        self.winbind = unit_of(guest, ("winbind", "winbindd"))
        self.controller_unit = unit_of(guest, ("samba-ad-dc", "samba"))
        self.controller = self.value("serverrole").lower() in _CONTROLLER
        self.main = self.controller_unit if self.controller else self.smbd

    def value(self, name: str, default: str = "") -> str:
        return self.settings[name].value if name in self.settings else default

    def on(self, name: str) -> bool:
        return self.value(name).lower() in ("yes", "true", "1", "on")

    def place(self, name: str) -> Place:
        return self.settings[name].place if name in self.settings else Place(_MAIN)

    def daemons(self) -> list[tuple[str, str]]:
        """Return (unit, program) of what this role runs: a controller starts the others itself (samba(8))."""
        if self.controller:
            return [(self.controller_unit, "samba")]
        found = [(self.smbd, "smbd"), (self.nmbd, "nmbd"), (self.winbind, "winbindd")]
        if self.on("disablenetbios"):
            found.pop(1)
        return [(unit, program) for unit, program in found if program_of(self.guest, (program,))]

    def covers(self) -> Iterator[Covers]:
        """A unit that this role has no use for ends at once (its ExecCondition): the one that runs speaks for it."""
        units: tuple[str, ...] = (self.smbd, self.nmbd, self.winbind) if self.controller else (self.controller_unit,)
        if not self.controller and self.on("disablenetbios"):
            units = (self.nmbd, self.controller_unit)
        yield Covers(seen_in=self.place("serverrole"), service=self.main, units=units)

    # ---------------------------------------------------------------- where it listens

    def listens(self) -> Iterator[Listen]:
        place = self.place("interfaces")
        for address in self.addresses():
            if self.controller:
                for number, protocol in _CONTROLLER_PORTS:
                    yield Listen(seen_in=place, service=self.main, port=number, protocol=protocol, address=address,
                                 assumed=True)  # fmt: skip
                continue
            stated = "smbports" in self.settings
            for word in re.split(r"[\s,]+", self.value("smbports", "445 139"))[:_MAX]:
                port = port_number(word)
                if port is not None:
                    where = self.place("smbports") if stated else place
                    yield Listen(seen_in=where, service=self.smbd, port=port, address=address, assumed=not stated)
            if not self.on("disablenetbios"):
                for udp in (137, 138):
                    yield Listen(
                        seen_in=place, service=self.nmbd, port=udp, protocol="udp", address=address, assumed=True
                    )

    def addresses(self) -> list[str]:
        """Return the addresses of `interfaces` where it binds to those only; names of interfaces have none here."""
        words = re.split(r"[\s,]+", self.value("interfaces").strip())[:_MAX]
        if not self.on("bindinterfacesonly") or words == [""]:
            return ["*"]
        bare = [word.partition("/")[0].partition(";")[0].strip("[]") for word in words]
        found = ["127.0.0.1" if word in ("lo", "127.0.0.0") else word for word in bare]
        known = [word for word in found if re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:]*", word)]
        return list(dict.fromkeys(known if len(known) == len(found) else [*known, "*"]))

    def rebinds(self) -> Iterator[Rebind]:
        line = self.settings.get("bindinterfacesonly")
        if line and self.on("bindinterfacesonly") and self.addresses() != ["*"]:
            local = all(map(is_loopback, self.addresses()))
            says = f"it listens on {'the machine itself' if local else 'the interfaces of this machine'} only"
            for unit, _ in self.daemons():
                yield Rebind(seen_in=line.place, service=unit, before=line.text, after="bind interfaces only = no",
                             says=says)  # fmt: skip

    # ---------------------------------------------------------------- what it talks to

    def needs(self) -> Iterator[Need]:
        realm = self.value("realm")
        if not self.controller and realm and self.value("security").lower() in ("ads", "auto", ""):
            says = f"it is a member of the domain {realm}: its controllers"
            yield from self.peers("realm", [realm.lower()], 389, says)
        if self.value("passwordserver") not in ("", "*"):
            says = "it has passwords checked there"
            yield from self.peers("passwordserver", re.split(r"[\s,]+", self.value("passwordserver")), 445, says)
        if self.value("winsserver"):
            words = [word.rpartition(":")[2] for word in re.split(r"[\s,]+", self.value("winsserver"))]
            yield from self.peers("winsserver", words, 137, "WINS", "udp")
        for scheme, host in re.findall(r"ldapsam:\"?(ldaps?)://([^\s/\"]+)", self.value("passdbbackend")):
            yield from self.peers("passdbbackend", [host], 636 if scheme == "ldaps" else 389, "its accounts are there")

    def peers(self, name: str, words: Sequence[str], port: int, says: str, protocol: str = "tcp") -> Iterator[Need]:
        for word in words:
            parts = split_host_port(word, port)
            if parts and parts[0] and word != "*":
                over = over_tcp(parts[0], parts[1] or port, protocol)
                for unit in (self.main, self.winbind) if name == "realm" else (self.main,):
                    yield Need(seen_in=self.place(name), service=unit, over=over, detail=says, host_text=parts[0])

    # ---------------------------------------------------------------- its files

    def uses(self) -> Iterator[Uses]:
        state = absolute(self.value("statedirectory", "/var/lib/samba"), "/")
        for unit, _ in self.daemons():
            for path in ("/etc/samba", *(p for p in dict.fromkeys(self.config.files) if not inside(p, "/etc/samba"))):
                yield Uses(seen_in=Place(_MAIN), service=unit, path=path, role="config", says="its configuration")
            says = "accounts, secrets of the domain, shares that users made"
            yield Uses(seen_in=self.place("statedirectory"), service=unit, path=state, role="data", says=says)
            yield Uses(seen_in=Place(_MAIN), service=unit, path="/run/samba", role="runtime", says="its sockets")
            path = absolute(self.value("cachedirectory", "/var/cache/samba"), "/")
            yield Uses(seen_in=self.place("cachedirectory"), service=unit, path=path, role="cache", says="its caches")
            log = self.value("logfile", "/var/log/samba/log")
            if log.startswith("/") and not log.startswith("/dev/"):
                folder = log.partition("%")[0].rpartition("/")[0]
                yield Uses(seen_in=self.place("logfile"), service=unit, path=folder, role="log", says="log file")
        for name in ("usernamemap", "usershareowneronly", "tlskeyfile", "tlscertfile", "tlscafile", "smbpasswdfile"):
            if (path := self.value(name)).startswith("/") and not inside(path, "/etc/samba"):
                yield Uses(seen_in=self.place(name), service=self.main, path=path, role="config", says=name)
        yield from self.shares(state)

    def shares(self, state: str) -> Iterator[Uses]:
        for name, own in sorted(self.config.sections.items()):
            path = own.get("path") or (self.settings.get("path") if name != "global" else None)
            if name == "global" or (own.get("printable") or Setting("no", "", Place(""))).value.lower() in ("yes", "1"):
                continue
            if own.get("available") and own["available"].value.lower() in ("no", "false", "0"):
                continue
            if name == "homes" and path is None:
                # With no account of Samba's own nobody gets at a home.
                if self.guest.is_file(f"{state}/private/passdb.tdb") and self.guest.listdir("/home"):
                    says = "the share [homes]: users' home directories"
                    yield Uses(
                        seen_in=self.config.opened[name], service=self.main, path="/home", role="data", says=says
                    )
            elif path and path.value.startswith("/"):
                # A macro of smb.conf(5) stands for the client's part of the path.
                top = path.value.partition("%")[0]
                top = absolute(top if top == path.value else top.rpartition("/")[0], "/")
                if top != "/" and not inside(top, state):
                    yield Uses(seen_in=path.place, service=self.main, path=top, role="data", says=f"the share [{name}]")

    def health(self) -> Iterator[Health]:
        listen = next((each for each in self.listens() if each.service == self.main and each.port == 445), None)
        if listen and listen.address in ("*", "127.0.0.1") and (check := tcp_check(self.guest, 445)):
            yield Health(seen_in=listen.seen_in, service=self.main, command=check, says="it accepts connections")

    def foreground(self, version: tuple[int, ...]) -> Iterator[Foreground]:
        """4.15 renamed the option for logging to standard output (its release notes)."""
        if not version:
            return
        for unit, program in self.daemons():
            command = [program_of(self.guest, (program,)), "--foreground"]
            command += ["--no-process-group"] if version >= (4, 7) else []
            if version >= (4, 15):
                command.append("--debug-stdout")
            elif program != "samba":
                command.append("-S")
            says = f"{program} stays in the foreground and logs to standard output"
            if command[0]:
                yield Foreground(seen_in=self.place("logging"), service=unit, command=tuple(command), says=says)


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what smb.conf says of each daemon that its role runs."""
    if not guest.is_file(_MAIN) or not program_of(guest, ("smbd", "samba")):
        return
    findings = _Findings(guest)
    yield from findings.covers()
    yield from findings.listens()
    yield from findings.needs()
    yield from findings.uses()
    yield from findings.health()
    yield from findings.rebinds()
    yield from findings.reader.unread


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield how this version runs in the foreground."""
    if not guest.is_file(_MAIN) or not program_of(guest, ("smbd", "samba")):
        return
    package = next((f for f in findings if isinstance(f, Package) and f.name in ("samba", "samba-server")), None)
    match = re.match(r"(?:\d+:)?(\d{1,3})\.(\d{1,3})", package.version) if package else None
    yield from _Findings(guest).foreground((int(match[1]), int(match[2])) if match else ())


ANALYZER = Analyzer(
    name=_NAME,
    says="Samba: ports, shares, the domain it is in or serves, its accounts and state.",
    reads=("/etc/samba",),
    analyze=analyze,
    join=join,
    source="smb.conf(5), smbd(8), nmbd(8), samba(8); wiki.samba.org: Samba AD DC Port Usage; release notes of 4.15",
)
