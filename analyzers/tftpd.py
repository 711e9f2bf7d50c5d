"""tftpd-hpa: the folder it gives out, its address, and how it runs in the foreground as its init script starts it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from analyzers._addresses import is_every
from analyzers._argv import Word, argv, program_at
from analyzers._reading import Reader, absolute, assignments
from analyzers._servers import parse_bind
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Foreground, Listen, Place, Rebind, Service, Uses
from migrate.services import by_id

_NAME = "tftpd"
_PROGRAM = "/usr/sbin/in.tftpd"
_DEFAULTS = "/etc/default/tftpd-hpa"
# tftpd(8): the options that take a word, short and long.
_VALUED = ("-a", "--address", "-u", "--user", "-U", "--umask", "-P", "--pidfile", "-t", "--timeout", "-T",
           "--retransmit", "-m", "--mapfile", "--map-file", "-B", "--blocksize", "-R", "--port-range", "-r",
           "--refuse")  # fmt: skip
_STANDALONE = ("-l", "--listen", "-L", "--foreground", "-P", "--pidfile")


def defaults(reader: Reader) -> list[Word]:
    """Return the words that Debian's script gives it: address, user, options, folders (/etc/init.d/tftpd-hpa)."""
    told = assignments(reader.optional(_DEFAULTS) or "")
    found: list[Word] = []
    for name, option in (("TFTP_USERNAME", "--user"), ("TFTP_ADDRESS", "--address"), ("TFTP_OPTIONS", ""),
                         ("TFTP_DIRECTORY", "")):  # fmt: skip
        value, line = told.get(name, ("", 0))
        words = value.split()
        if words and option:
            words = [option, words[0]]
        found += [Word(word, Place(_DEFAULTS, line)) for word in words]
    return found


class _Findings:
    """Turns one server's words into findings."""

    def __init__(self, guest: Guest, service: Service) -> None:
        self.guest, self.service = guest, service
        self.reader = Reader(guest, _NAME)
        words = argv(self.reader, service)
        at = program_at(words, "in.tftpd", "tftpd")
        script = at is None or words[at].text == service.unit
        self.program = _PROGRAM if script or at is None else words[at].text
        self.words = defaults(self.reader) if script or at is None else words[at + 1 :]
        self.values, self.folders = self._split()

    def _split(self) -> tuple[dict[str, Word], list[Word]]:
        values: dict[str, Word] = {}
        folders: list[Word] = []
        waiting = ""
        for word in self.words:
            name, equals, value = word.text.partition("=")
            if waiting:
                values[waiting], waiting = word, ""
            elif word.text in _VALUED:
                waiting = word.text
            elif equals and name in _VALUED:
                values[name] = Word(value, word.place)
            elif word.text.startswith("/"):
                folders.append(word)
        return values, folders

    def run(self) -> Iterator[Finding]:
        ident = self.service.id
        if self.guest.is_file(self.program) and self.folders:
            rest, skip = [], False
            for word in self.words:
                if not skip and word.text not in _STANDALONE:
                    rest.append(word.text)
                skip = not skip and word.text in ("-P", "--pidfile")
            says = "in.tftpd stays in the foreground with --foreground; it logs to the system's log alone (tftpd(8))"
            command = (self.program, "--foreground", *rest)
            yield Foreground(seen_in=self.folders[0].place, service=ident, command=command, says=says)
        yield from self.listens()
        for word in self.folders:
            path = absolute(word.text, "/")
            yield Uses(seen_in=word.place, service=ident, path=path, role="data", says="the files that it gives out")
        for name in ("-m", "--mapfile", "--map-file"):
            if (file := self.values.get(name)) and file.text.startswith("/"):
                yield Uses(seen_in=file.place, service=ident, path=file.text, role="config", says="its map of names")
        if self.guest.is_file(_DEFAULTS) and self.words and self.words[0].place.path == _DEFAULTS:
            says = "its script reads it"
            yield Uses(seen_in=Place(_DEFAULTS), service=ident, path=_DEFAULTS, role="config", says=says)

    def listens(self) -> Iterator[Finding]:
        ident = self.service.id
        stated = self.values.get("--address") or self.values.get("-a")
        host, port = "", 69
        if stated is not None:
            bind = parse_bind(stated.text, 69)
            if bind is None or bind.port is None:
                self.reader.note(stated.place.path, "its address is none that can be read", stated.place.line)
                return
            host, port = bind.host, bind.port
        place = stated.place if stated is not None else self.service.seen_in
        address = "*" if is_every(host) else host.strip("[]")
        yield Listen(seen_in=place, service=ident, port=port, protocol="udp", address=address, assumed=stated is None)
        if stated is not None and is_loopback(host):
            says = "it listens on loopback only"
            yield Rebind(seen_in=place, service=ident, before=stated.text, after=f":{port}", says=says)


def _runs_tftpd(service: Service) -> bool:
    names = [posixpath.basename(word) for word in service.command[:4]]
    return "in.tftpd" in names or (service.unit == "/etc/init.d/tftpd-hpa" and bool(names))


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what the words of each tftpd that the machine has say."""
    for service in by_id(f for f in findings if isinstance(f, Service)).values():
        if _runs_tftpd(service):
            own = _Findings(guest, service)
            yield from own.run()
            yield from own.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="tftpd-hpa: address and the folder that it gives out.",
    reads=("/etc/default/tftpd-hpa",),
    join=join,
    source="tftpd(8); Debian's /etc/init.d/tftpd-hpa",
)
