"""Varnish: where it listens and stores, the backends of its VCL, and its log daemons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from analyzers._addresses import is_every, over_tcp, port_number, run_path, split_host_port, tcp_check
from analyzers._invoked import Invocation, Option, getopt, invocations
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute
from analyzers._vcl import Vcl, load
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Place,
    Rebind,
    Requires,
    RunsAs,
    Uses,
)

_NAME = "varnish"
_VALUED = "abfghIijlMnPprSsTtuWwx"  # varnishd(1); -g, -u and -w until 4.0
_LOG_VALUED = "FfgIikLmNnPQqrRTtwXx"  # varnishncsa(1), varnishlog(1)
_LOGGERS = ("varnishncsa", "varnishlog")
_WORK = "/var/lib/varnish"  # compiled into Debian's and Red Hat's packages
_VCL_PATH = ("/etc/varnish", "/usr/share/varnish/vcl")  # varnishd(1), vcl_path

Role = Literal["config", "runtime", "cache", "log"]


def parse_listen(text: str) -> tuple[str, int | None, str] | None:
    """Read the address of `-a` and `-T`: (host, port, path of a unix socket); None where it is none.

    >>> parse_listen("web=[::1]:8080,PROXY"), parse_listen("/run/v.sock,mode=666")
    (('::1', 8080, ''), ('', None, '/run/v.sock'))
    """
    first = text.partition(",")[0]
    name, equals, rest = first.partition("=")
    first = rest if equals and re.fullmatch(r"[\w.-]+", name) else first
    if first.startswith("/"):
        return "", None, run_path(first)
    if port_number(first.removeprefix(":")) and first.startswith(":"):
        return "*", port_number(first[1:]), ""
    parts = split_host_port(first, 80)
    return ("*" if is_every(parts[0]) else parts[0].strip("[]"), parts[1], "") if parts and parts[1] else None


class _Cache:
    """Turns one varnishd's options and VCL into findings."""

    def __init__(self, guest: Guest, reader: Reader, findings: Sequence[Finding], found: Invocation) -> None:
        self.guest, self.reader, self.findings, self.invocation, self.ident = (
            guest,
            reader,
            findings,
            found,
            found.ident,
        )
        self.options = list(getopt(found.arguments, _VALUED))
        folders: tuple[str, ...] = _VCL_PATH
        for option in self.of("p"):
            name, _, value = option.value.partition("=")
            if name in ("vcl_path", "vcl_dir"):
                folders = tuple(value.split(":"))
        self.programs: list[Vcl] = []
        for option in self.of("f"):
            if option.value:
                paths = [option.value] if option.value.startswith("/") else [f"{f}/{option.value}" for f in folders]
                path = next((each for each in paths if guest.is_file(each)), paths[0])
                self.programs.append(load(reader, absolute(path, "/"), folders))

    def of(self, letter: str) -> Iterator[Option]:
        return (option for option in self.options if option.name == letter)

    def use(self, place: Place, path: str, role: Role, says: str) -> Uses:
        return Uses(seen_in=place, service=self.ident, path=absolute(path, "/"), role=role, says=says)

    # ---------------------------------------------------------------- addresses

    def listens(self) -> Iterator[Finding]:
        given = list(self.of("a"))
        if not given:
            yield Listen(seen_in=self.invocation.service.seen_in, service=self.ident, port=80, assumed=True)
        checked = False
        for option in [*given, *(o for o in self.of("T") if o.value != "none")]:
            found = parse_listen(option.value)
            if found is None:
                self.reader.note(
                    option.place.path, f"-{option.name} {option.value} is not understood", option.place.line
                )
                continue
            host, port, path = found
            yield Listen(seen_in=option.place, service=self.ident, port=port, address=host or "*", path=path)
            if path.startswith("/run/") and path.count("/") > 2:
                yield self.use(option.place, path.rpartition("/")[0], "runtime", "its unix socket is there")
            # The management port is made for the machine itself; it stays there.
            if host not in ("", "*") and option.name == "a":
                every = option.value.replace(f"[{host}]" if ":" in host else host, "", 1)
                says = f"it listens on {host} only"
                if f":{port}" in every:
                    yield Rebind(seen_in=option.place, service=self.ident, before=option.value, after=every, says=says)
            if port and not checked and "PROXY" not in option.value and option.name == "a":
                checked = True
                if check := tcp_check(self.guest, port, host if is_loopback(host) else "127.0.0.1"):
                    says = "it accepts connections"
                    yield Health(seen_in=option.place, service=self.ident, command=check, says=says)

    def needs(self) -> Iterator[Need]:
        for vcl in self.programs:
            for backend in vcl.backends:
                detail = f"backend {backend.name}"
                if backend.path:
                    over = f"unix:{run_path(backend.path)}"
                    yield Need(seen_in=backend.place, service=self.ident, over=over, detail=detail)
                    continue
                host, _, joined = (
                    backend.host.rpartition(":") if backend.host.count(":") == 1 else (backend.host, "", "")
                )
                port = port_number({"http": "80", "https": "443"}.get(backend.port, backend.port or joined or "80"))
                if host and port:
                    over = over_tcp(host, port)
                    yield Need(seen_in=backend.place, service=self.ident, over=over, detail=detail, host_text=host)
                else:
                    self.reader.note(backend.place.path, f"{detail} is not understood", backend.place.line)
        for option in [*self.of("b"), *self.of("M")]:
            found = split_host_port(option.value, 8080)
            if option.value.startswith("/"):
                over = f"unix:{run_path(option.value)}"
                yield Need(seen_in=option.place, service=self.ident, over=over, detail="backend of -b")
            elif found and found[1]:
                over = over_tcp(found[0], found[1])
                detail = f"-{option.name}"
                yield Need(seen_in=option.place, service=self.ident, over=over, detail=detail, host_text=found[0])

    # ---------------------------------------------------------------- files

    def work(self) -> str:
        """Return the folder of the shared memory log and the compiled VCL."""
        given = next((option.value for option in self.of("n") if option.value), "")
        return absolute(given, _WORK) if given else _WORK

    def uses(self) -> Iterator[Finding]:
        option = next(self.of("n"), None)
        place = option.place if option else self.invocation.service.seen_in
        yield self.use(place, self.work(), "runtime", "its shared memory log and compiled VCL, made anew at each start")
        for option in self.of("S"):
            if option.value.startswith("/"):
                yield self.use(option.place, option.value, "config", "-S: the secret of its management port")
        for option in self.of("I"):
            if option.value.startswith("/"):
                yield self.use(option.place, option.value, "config", "-I: commands at its start")
        for option in self.of("s"):
            kind, *words = re.sub(r"^\w+=", "", option.value).split(",")
            if kind in ("file", "persistent", "deprecated_persistent") and words and words[0].startswith("/"):
                yield self.use(option.place, words[0], "cache", f"-s {kind}: what it cached")
        for vcl in self.programs:
            for path in dict.fromkeys(vcl.files):
                yield self.use(Place(path), path, "config", "its VCL")
            for text, where in vcl.strings:
                if text.startswith("/") and not text.startswith(("/dev/", "/proc/")) and self.guest.is_file(text):
                    yield self.use(where, text, "config", "its VCL names it")
        yield from self.modules()

    def modules(self) -> Iterator[Requires]:
        """Yield the packages of imported modules that varnish's own does not bring."""
        owners = Owners(self.guest, self.findings)
        own = owners.package(self.invocation.program)
        for vcl in self.programs:
            for name, given, place in vcl.modules:
                patterns = [given] if given else [f"/usr/lib*/varnish/vmods/libvmod_{name}.so",
                                                  f"/usr/lib/*/varnish/vmods/libvmod_{name}.so"]  # fmt: skip
                paths = [path for pattern in patterns for path in self.guest.glob(pattern)]
                package = next((p for path in paths if (p := owners.package(path))), None)
                if package and package != own:
                    yield Requires(seen_in=place, service=self.ident, package=package, says=f"import {name}")
                if name in ("dynamic", "goto", "udo", "reqwest"):
                    self.reader.note(place.path, f"import {name}: it finds backends when it runs", place.line)

    def running(self) -> Iterator[Finding]:
        jail = next((o for o in self.of("j") if o.value.startswith("unix")), None)
        user = re.search(r"(?:^|,)user=([^,]+)", jail.value) if jail else None
        # With its variables as they are, so that an edit of the file that sets them counts.
        words = list(self.invocation.service.command[1:])
        if any(re.fullmatch(r"\$[A-Za-z_]\w*", word) for word in words):
            words = list(self.invocation.words)
        if jail and user:
            says = "-j: its jail drops root"
            yield RunsAs(seen_in=jail.place, service=self.ident, user=user[1], says=says)
            words = _without(words, "-j", jail.value)  # "Unix Jail: Must be root", which the container is not
        for option in self.of("P"):
            words = _without(words, "-P", option.value)
        stays = any(True for _ in self.of("F"))
        says = "-F keeps it in the foreground" + ("; it needs no jail where it is no root" if user else "")
        command = (self.invocation.program, *(() if stays else ("-F",)), *words)
        yield Foreground(seen_in=self.invocation.service.seen_in, service=self.ident, command=command, says=says)


def _without(words: Sequence[str], option: str, value: str) -> list[str]:
    """Take an option and its value out of a command."""
    kept = list(words)
    for at, word in enumerate(kept):
        if word == option and kept[at + 1 : at + 2] == [value]:
            del kept[at : at + 2]
            return kept
        if word == option + value:
            del kept[at]
            return kept
    return kept


def _logger(found: Invocation, work: str) -> Iterator[Finding]:
    """A log daemon reads varnishd's shared memory: it runs beside it, and prints where it wrote a file."""
    place, ident = found.service.seen_in, found.ident
    options = list(getopt(found.arguments, _LOG_VALUED))
    words = [word for word in found.words if word != "-D"]
    for option in options:
        if option.name in ("P", "w"):
            words = _without(words, f"-{option.name}", option.value)
        if option.name == "w" and option.value.startswith("/"):
            yield Uses(seen_in=option.place, service=ident, path=option.value, role="log", says="-w: its output")
    if found.program.endswith("varnishncsa"):  # varnishlog -w writes binary records, which are no text to print
        says = "without -D it stays in the foreground, and without -w it prints"
        yield Foreground(seen_in=place, service=ident, command=(found.program, *words), says=says)
    yield Need(seen_in=place, service=ident, over=f"files:{work}", detail="varnishd's shared memory log")


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each varnishd's options and VCL say, and what its log daemons do."""
    reader = Reader(guest, _NAME)
    folders: list[str] = []
    for found in invocations(reader, findings, ("varnishd",)):
        cache = _Cache(guest, reader, findings, found)
        yield from cache.listens()
        yield from cache.needs()
        yield from cache.uses()
        yield from cache.running()
        folders.append(cache.work())
    for found in invocations(reader, findings, _LOGGERS):
        if folders:
            given = next((o.value for o in getopt(found.arguments, _LOG_VALUED) if o.name == "n"), "")
            yield from _logger(found, absolute(given, _WORK) if given else folders[0])
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Varnish: addresses, backends of its VCL, storage, modules, log daemons.",
    reads=("/etc/varnish", "/etc/default/varnish", "/etc/sysconfig/varnish"),
    join=join,
    source="varnishd(1), vcl(7), varnishncsa(1)",
)
