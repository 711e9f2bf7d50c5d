"""beanstalkd: its address and its binlog, from its command line and the defaults that fill it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers._addresses import is_every, port_number, run_path, tcp_check
from analyzers._invoked import Invocation, Option, getopt, invocations
from analyzers._reading import Reader, absolute
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Health, Listen, Rebind, RunsAs, Uses

_NAME = "beanstalkd"
_VALUED = "bflpsuz"  # beanstalkd(1), OPTIONS


def _listens(guest: Guest, reader: Reader, found: Invocation, options: dict[str, Option]) -> Iterator[Finding]:
    ident = found.ident
    address, port = options.get("l"), options.get("p")
    if address and address.value.startswith("unix:"):
        path = run_path(address.value.removeprefix("unix:"))
        if path.startswith("/"):
            yield Listen(seen_in=address.place, service=ident, path=path)
        return
    number = port_number(port.value) if port else 11300
    place = port.place if port else address.place if address else found.service.seen_in
    if number is None:
        reader.note(place.path, f"-p {port.value if port else ''} is no port", place.line)
        return
    host = address.value.strip("[]") if address else ""
    yield Listen(
        seen_in=place, service=ident, port=number, address="*" if is_every(host) else host, assumed=port is None
    )
    if address and not is_every(host):
        every = "::" if ":" in host else "0.0.0.0"  # noqa: S104
        says = f"it listens on {host} only"
        yield Rebind(seen_in=address.place, service=ident, before=address.value, after=every, says=says)
    if check := tcp_check(guest, number):
        yield Health(seen_in=place, service=ident, command=check, says="it accepts connections")


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what the options of each beanstalkd say; with no -b its jobs are in memory alone."""
    reader = Reader(guest, _NAME)
    for found in invocations(reader, findings, (_NAME,)):
        options = {option.name: option for option in getopt(found.arguments, _VALUED)}
        yield from _listens(guest, reader, found, options)
        if user := options.get("u"):
            yield RunsAs(seen_in=user.place, service=found.ident, user=user.value, says="-u: it becomes that user")
        binlog = options.get("b")
        if binlog and binlog.value:
            path = absolute(binlog.value, found.service.working_directory or "/")
            says = "-b: the binlog keeps the jobs"
            yield Uses(seen_in=binlog.place, service=found.ident, path=path, role="data", says=says)
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="beanstalkd: its address and the binlog that keeps its jobs.",
    reads=("/etc/default/beanstalkd", "/etc/sysconfig/beanstalkd"),
    join=join,
    source="beanstalkd(1)",
)
