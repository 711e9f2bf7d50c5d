"""vsftpd: its ports, whose files it serves, its lists of users and certificates, and how it stays in the foreground."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

import msgspec

from analyzers._addresses import is_every, port_number, run_path, tcp_check
from analyzers._products import program_of
from analyzers._reading import Reader, absolute, numbered
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Foreground, Health, Listen, Place, Rebind, Uses

_NAME = "vsftpd"
_MAX_PORTS = 64  # so many passive ports are listed one by one
# vsftpd.conf(5): the defaults that matter here
_DEFAULTS = {
    "anonymous_enable": "YES", "local_enable": "NO", "listen": "NO", "listen_ipv6": "NO", "listen_port": "21",
    "ftp_username": "ftp", "userlist_file": "/etc/vsftpd.user_list", "chroot_list_file": "/etc/vsftpd.chroot_list",
    "banned_email_file": "/etc/vsftpd.banned_emails", "email_password_file": "/etc/vsftpd.email_passwords",
    "vsftpd_log_file": "/var/log/vsftpd.log", "xferlog_file": "/var/log/xferlog", "pasv_enable": "YES",
}  # fmt: skip
_LISTS = {  # a file, and the settings of which one must be on for it to be read
    "userlist_file": ("userlist_enable",), "chroot_list_file": ("chroot_list_enable",),
    "banned_email_file": ("deny_email_enable",), "email_password_file": ("secure_email_list_enable",),
    "rsa_cert_file": ("ssl_enable",), "rsa_private_key_file": ("ssl_enable",), "ca_certs_file": ("ssl_enable",),
    "dsa_cert_file": ("ssl_enable",), "dsa_private_key_file": ("ssl_enable",),
    "banner_file": (), "user_config_dir": (),
}  # fmt: skip


class Setting(msgspec.Struct, frozen=True):
    """A setting in force, and the line that says it."""

    value: str
    text: str
    line: int


def parse(text: str) -> tuple[dict[str, Setting], list[int]]:
    """Return the settings, the last of a name counting, and the lines that are none: `name=value`, no spaces around.

    >>> parse("listen=NO")[0]["listen"].value
    'NO'
    """
    found, wrong = {}, []
    for number, line in numbered(text):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"\s*(\w+)=(.*)", line)
        if match is None:
            wrong.append(number)
        else:
            found[match[1]] = Setting(match[2].strip(), line, number)
    return found, wrong


class _Findings:
    """Turns one configuration file into findings."""

    def __init__(self, guest: Guest, ident: str, path: str) -> None:
        self.guest, self.ident, self.path = guest, ident, path
        self.reader = Reader(guest, _NAME)
        self.settings, wrong = parse(self.reader.text(path) or "")
        for line in wrong:
            self.reader.note(path, "vsftpd does not start with such a line: it is no name=value", line)

    def value(self, name: str) -> str:
        return self.settings[name].value if name in self.settings else _DEFAULTS.get(name, "")

    def on(self, name: str) -> bool:
        return self.value(name).upper() in ("YES", "TRUE", "1")

    def place(self, name: str) -> Place:
        return Place(self.path, self.settings[name].line if name in self.settings else None)

    def use(self, name: str, path: str, role: str, says: str) -> Uses:
        return Uses(seen_in=self.place(name), service=self.ident, path=path, role=role, says=says)  # type: ignore[arg-type]

    def listens(self) -> Iterator[Listen]:
        port = port_number(self.value("listen_port"))
        if port is None:
            return
        for name, key in (("listen", "listen_address"), ("listen_ipv6", "listen_address6")):
            if self.on(name):
                address = self.value(key)
                place = self.place("listen_port" if "listen_port" in self.settings else name)
                bare = "*" if is_every(address) else address
                assumed = "listen_port" not in self.settings
                yield Listen(seen_in=place, service=self.ident, port=port, address=bare, assumed=assumed)

    def passive(self) -> Iterator[Listen]:
        first, last = (port_number(self.value(f"pasv_{end}_port")) for end in ("min", "max"))
        if not self.on("pasv_enable"):
            return
        if first is None or last is None or last - first >= _MAX_PORTS:
            says = "clients reach passive data connections at any port; set pasv_min_port, pasv_max_port, pasv_address"
            if first is not None and last is not None:
                says = f"passive data connections use the {last - first + 1} ports {first} to {last}"
            self.reader.caution(self.ident, self.place("pasv_min_port"), says)
            return
        for port in range(first, last + 1):
            yield Listen(seen_in=self.place("pasv_min_port"), service=self.ident, port=port)

    def rebinds(self) -> Iterator[Rebind]:
        for name, after in (("listen_address", "listen_address=0.0.0.0"), ("listen_address6", "listen_address6=::")):
            if name in self.settings and is_loopback(self.value(name)):
                before, says = self.settings[name].text, "it listens on the machine itself only"
                yield Rebind(seen_in=self.place(name), service=self.ident, before=before, after=after, says=says)

    def uses(self) -> Iterator[Uses]:
        yield Uses(
            seen_in=Place(self.path), service=self.ident, path=self.path, role="config", says="its configuration"
        )
        for name, switches in _LISTS.items():
            path = self.value(name)
            if path.startswith("/") and all(map(self.on, switches)) and (switches or name in self.settings):
                yield self.use(name, path, "config", name)
        if service := self.value("pam_service_name"):
            path = f"/etc/pam.d/{service}"
            if "/" not in service and self.guest.is_file(path):
                yield self.use("pam_service_name", path, "config", "how it checks passwords")
        if self.on("xferlog_enable"):
            name = "xferlog_file" if self.on("xferlog_std_format") else "vsftpd_log_file"
            if self.value(name).startswith("/") and not self.value(name).startswith("/dev/"):
                yield self.use(name if name in self.settings else "xferlog_enable", self.value(name), "log", name)
        folder = run_path(self.value("secure_chroot_dir"))
        if folder.startswith("/run/"):
            yield self.use("secure_chroot_dir", folder, "runtime", "an empty directory it is locked in")
        yield from self.data()

    def data(self) -> Iterator[Uses]:
        if self.on("anonymous_enable"):
            root = self.value("anon_root") or self.home(self.value("ftp_username"))
            if root.startswith("/") and root != "/":
                name = next((n for n in ("anon_root", "anonymous_enable") if n in self.settings), "anon_root")
                yield self.use(name, absolute(root, "/"), "data", "what anybody may fetch")
        if self.on("local_enable") or self.on("guest_enable"):
            root = self.value("local_root")
            if root.startswith("/"):
                top = re.split(r"/[^/$]*\$", root)[0] if self.value("user_sub_token") else root
                if top.strip("/"):
                    yield self.use("local_root", absolute(top, "/"), "data", "the files of those who log in")
            elif self.guest.listdir("/home"):
                yield self.use("local_enable", "/home", "data", "those who log in get their home directories")

    def home(self, user: str) -> str:
        for line in (self.reader.optional("/etc/passwd") or "").split("\n"):
            fields = line.split(":")
            if len(fields) > 5 and fields[0] == user:
                return fields[5]
        return ""

    def running(self) -> Iterator[Finding]:
        listens = list(self.listens())
        if not listens:
            self.reader.note(self.path, "neither listen nor listen_ipv6 is on: inetd would start it, and nothing else")
            return
        if program := program_of(self.guest, ("vsftpd",)):
            command = (program, self.path, "-obackground=NO")
            says = "background=NO: it stays in the foreground; its log goes to files only"
            place = self.place("background")
            yield Foreground(seen_in=place, service=self.ident, command=command, says=says)
        host = listens[0].address if listens[0].address != "*" else "127.0.0.1"
        if re.fullmatch(r"[0-9.]+", host) and listens[0].port and (c := tcp_check(self.guest, listens[0].port, host)):
            yield Health(seen_in=listens[0].seen_in, service=self.ident, command=c, says="it accepts connections")


def _servers(guest: Guest) -> Iterator[tuple[str, str]]:
    """Yield (unit, configuration): Debian has one file, Red Hat one for each `vsftpd@` too."""
    main = next((p for p in ("/etc/vsftpd/vsftpd.conf", "/etc/vsftpd.conf") if guest.is_file(p)), "")
    if main:
        yield "vsftpd", main
    for link in guest.glob("/etc/systemd/system/*.wants/vsftpd@*.service"):
        name = posixpath.basename(link).removeprefix("vsftpd@").removesuffix(".service")
        if guest.is_file(f"/etc/vsftpd/{name}.conf"):
            yield f"vsftpd@{name}", f"/etc/vsftpd/{name}.conf"


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what each server's configuration says."""
    for ident, path in _servers(guest):
        findings = _Findings(guest, ident, path)
        yield from findings.running()
        yield from findings.listens()
        yield from findings.passive()
        yield from findings.uses()
        yield from findings.rebinds()
        yield from findings.reader.unread
        yield from findings.reader.cautions


ANALYZER = Analyzer(
    name=_NAME,
    says="vsftpd: ports with the passive range, what it serves, lists of users, certificates.",
    reads=("/etc/vsftpd.conf", "/etc/vsftpd", "/etc/passwd"),
    analyze=analyze,
    source="vsftpd.conf(5), vsftpd(8)",
)
