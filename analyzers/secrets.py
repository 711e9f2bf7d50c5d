"""Secrets: where keys, passwords and tokens are, and of what kind. Their values never leave the process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._owners import Owners
from analyzers._reading import Reader
from analyzers._secret import secret_id, unique
from analyzers._secret_files import (
    MAX_FILE,
    OWN_FORMS,
    is_keystore,
    is_looked_into,
    is_passed_over,
    is_shell,
    is_source,
)
from analyzers._secret_text import Found, once, secrets_in
from analyzers._sweep import outside_layers
from migrate.digests import conffiles
from migrate.guest.protocol import Entry, Guest
from migrate.model import Analyzer, Finding, Place, Secret

_NAME = "secrets"
_TOPS = ("/etc", "/root", "/home", "/srv", "/opt", "/usr/local", "/var/www", "/var/spool/cron", "/data", "/app")
# In /var/lib only what is named as a secret is looked at: it is full of other things.
_STATE = re.compile(
    r".*/(\.ssh/.*|\.pgpass|\.netrc|\.my\.cnf|[^/]*\.(pem|key)|id_[a-z0-9]+|\.vault-token|\.erlang\.cookie|credentials)"
)
_MAX_FILES = 20_000
_MAX_BYTES = 64 << 20


def is_searched(entry: Entry) -> bool:
    """Tell whether a file is looked into, by its path and size."""
    return is_keystore(entry.path) or (entry.size <= MAX_FILE and is_looked_into(entry.path))


class _Search:
    """One search of one guest."""

    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest = guest
        self.reader = Reader(guest, _NAME)
        self.owners = Owners(guest, findings)
        self.shipped = conffiles(findings)

    def candidates(self) -> list[Entry]:
        """Return the files to look into, by their metadata."""
        found: list[Entry] = []
        for top in _TOPS:
            found += self.below(top)
        found += (e for e in outside_layers(self.guest, "/var/lib") if e.kind == "file" and _STATE.fullmatch(e.path))
        found = [entry for entry in found if self.is_own(entry)]
        kept: list[Entry] = []
        size = 0
        for entry in found:
            size += entry.size
            if len(kept) >= _MAX_FILES or size > _MAX_BYTES:
                self.reader.note(
                    entry.path, f"secrets were looked for in {len(kept)} files; this and what follows was not read"
                )
                break
            kept.append(entry)
        return kept

    def below(self, top: str) -> Iterator[Entry]:
        environments = {path.rpartition("/")[0] for path in self.guest.glob(f"{top}/**/pyvenv.cfg")}
        for entry in outside_layers(self.guest, top, lambda path: is_passed_over(path) or path in environments):
            if entry.kind == "file" and entry.size > 0 and is_searched(entry):
                yield entry

    def is_own(self, entry: Entry) -> bool:
        """Tell whether a file is the machine's: nobody's, or configuration that may have been changed."""
        return entry.path in self.shipped or self.owners.own(entry.path) is None

    def run(self) -> Iterator[Secret]:
        entries = self.candidates()
        self.guest.prefetch([entry.path for entry in entries if entry.size <= MAX_FILE])
        for entry in entries:
            if is_keystore(entry.path):
                yield Secret(seen_in=Place(entry.path), id=secret_id(entry.path), kind="certificate-key")
                continue
            data = self.reader.data(entry.path, MAX_FILE)
            if data is None or b"\0" in data[:4096]:
                continue
            if entry.path in self.shipped and self.shipped[entry.path].matches(data):
                continue
            yield from self.file(entry.path, data.decode("utf-8", "surrogateescape"))

    def file(self, path: str, text: str) -> Iterator[Secret]:
        own = OWN_FORMS.get(path) or OWN_FORMS.get(path.rpartition("/")[2])
        found: list[Found] = list(own(text)) if own else []
        if not own:
            found = secrets_in(text, source=is_source(path), shell=is_shell(path, text))
        for one in found if own is None else once(found):
            ident = secret_id(path, one.name)
            yield Secret(seen_in=Place(path, one.line), id=ident, kind=one.kind, name=one.name, value=one.value)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the secrets in files that no package owns, or that differ from what their package shipped."""
    search = _Search(guest, findings)
    yield from unique(search.run())
    yield from search.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Private keys, passwords and tokens: their places and kinds, never their values.",
    reads=("/etc",),
    join=join,
    source="RFC 7468, libpq 34.16 (.pgpass), netrc(5), ipsec.secrets(5), the token formats of their issuers",
)
