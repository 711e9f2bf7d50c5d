"""The lines of a file as a difference may show them: none that holds a secret, on whichever side it stands.

Hidden whole are the lines on which a secret was seen, blocks of private keys, and each line that looks as if it gave a
value to a password, in comments too: a person's old password is often one, and a package's own default is no better.
In doubt a line is hidden. What else holds the value of a secret of this machine has it replaced by the secret's id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence

# The same eyes that look for secrets on the disk; the package of analyzers is always there.
from analyzers._secret_files import OWN_FORMS, is_keystore
from analyzers._secret_text import commands, literals, names_secret, settings, shapes, words_of
from migrate.changes.textdiff import Shown, lines_of, safe
from migrate.model import Secret
from migrate.redact import Redactor

HIDDEN = "[a line that holds a secret, or may: not shown]"

LONGEST = 1024
"""Characters of a line that may be shown (MAX_WIDTH of it): to look for secrets in one takes its length squared.

Of `a=a=a=…` 1,024 characters take 8 ms, 4,096 take 55 ms.
"""

_SECRET_FILES = re.compile(
    r".*/(g?shadow|opasswd|\.?htpasswd|\.?htdigest|smbpasswd|passwd\.(tdb|client)|[^/]*\.keytab|\.vault-token|\.erlang\.cookie"
    r"|secrets\.tdb|id_(rsa|dsa|ecdsa|ed25519)(_sk)?|ssh_host_[a-z0-9]+_key|[^/]*\.key|rndc\.key)([-~.][^/]*)?"
    r"|/etc/ssl/private/.*|/etc/pki/tls/private/.*"
)
_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,80}PRIVATE KEY|PuTTY-User-Key-File-|BEGIN SSH2 ENCRYPTED PRIVATE KEY")
_END = re.compile(r"-----END [A-Z0-9 ]{0,80}PRIVATE KEY|END SSH2 ENCRYPTED PRIVATE KEY")
_COMMENT = re.compile(r"[\s#;/*!<-]*")
_HASH = re.compile(
    r"\$(?:1|2[abxy]?|5|6|7|y|gy|apr1|argon2[a-z]*|scrypt|pbkdf2[\w-]*|ml|sha1|md5)\$\S{4}|\{[A-Z0-9-]{2,20}\}[A-Za-z0-9+/=]{8}"
    r"|SCRAM-SHA-\d+\$|^[^:\s]{1,64}:[./0-9A-Za-z]{13}(?::|$)"
)
_TOKEN = re.compile(r"[A-Za-z_][\w.-]{0,100}")
_AFTER = re.compile(r"""["'\])]*\s*(?P<sign>=>|:=|[:=,>]|\s)\s*["'(\[]*(?P<value>\S.*)?""", re.DOTALL)
_NAMED = re.compile(r"""\b(?:key|name|id)\s*=\s*["']([^"']{1,100})["']""", re.IGNORECASE)
_SQL = re.compile(r"\bidentified\s+(?:with|by|as|via)\b|\bset\s+password\b", re.IGNORECASE)
_SPACED = re.compile(r"[\w.-]*(?:pass|password|passwd|passphrase|secret|psk|token|masterauth|community)", re.IGNORECASE)
# What stands behind such a word and is no secret: options, databases of nsswitch.conf(5), controls of pam.d(5).
_HARMLESS = re.compile(
    r"(?:yes|no|true|false|on|off|none|null|nil|[01]|required|requisite|sufficient|optional|include|substack|never|always"
    r"|prompt|ask|files|compat|systemd|sss|ldap|nis|db|\$\{?\w+\}?|%\(?\w+\)?s?|@\w+@|/[\w./-]+)(?:[\"',;)\]\s}/>].*)?",
    re.IGNORECASE | re.DOTALL,
)
_NSSWITCH = re.compile(
    r"passwd:(?:\s+(?:files|compat|db|systemd|sss|nis|nisplus|ldap|winbind|altfiles|\[[A-Za-z=!]{1,40}\]))+\s*"
)
_BLOCK_VALUE = re.compile(r"""(?:[|>][-+0-9]*|\\|\"\"\"|'''|[\[{(])?\s*""")
_MOST_BLOCK = 200


def holds_only_secrets(path: str, secrets: Iterable[Secret]) -> str:
    """Return why nothing of a file is shown, or nothing where lines of it may be.

    >>> holds_only_secrets("/etc/shadow-", [])
    'it is a file of secrets'
    """
    if _SECRET_FILES.fullmatch(path) or is_keystore(path):
        return "it is a file of secrets"
    if any(secret.seen_in.path == path and secret.seen_in.line is None for secret in secrets):
        return "the whole file is a secret"
    return ""


def veiled(
    path: str, original: bytes, found: bytes, secrets: Iterable[Secret], redactor: Redactor
) -> tuple[Shown, Shown]:
    """Return both versions of a file, `secrets` being those that were seen in the one that was found."""
    here = [secret for secret in secrets if secret.seen_in.path == path]
    names = frozenset(words_of(secret.name) for secret in here if secret.name)
    sides = [lines_of(original), lines_of(found)]
    texts = [[line.decode("utf-8", "surrogateescape") for line in side] for side in sides]
    own = OWN_FORMS.get(path.rpartition("/")[2])
    marked = [_blocks(lines) | _by_form(own, lines) for lines in texts]
    marked[1] |= _seen(here)
    contents = {side[at] for side, places in zip(sides, marked, strict=True) for at in places if at < len(side)}
    if own or any(not secret.name and secret.kind in ("password", "token", "other") for secret in here):
        contents.update(set(sides[0]) - set(sides[1]))  # nothing tells which of them stood in the secret's place

    def shown(raw: Sequence[bytes], lines: Sequence[str]) -> Shown:
        def render(at: int) -> str:
            if raw[at] in contents:
                return HIDDEN
            if len(lines[at]) > LONGEST:
                return f"[a line of {len(lines[at])} characters: not shown]"
            if is_suspicious(lines[at], names):
                return HIDDEN
            return safe(redactor(lines[at]))

        return Shown(raw, render)

    return shown(sides[0], texts[0]), shown(sides[1], texts[1])


def _seen(secrets: Iterable[Secret]) -> set[int]:
    """Return the places (from 0) of the lines that secrets are on, all lines of those that have several."""
    return {
        secret.seen_in.line - 1 + more
        for secret in secrets
        if secret.seen_in.line is not None
        for more in range(secret.value.count("\n") + 1)
    }


def _by_form(own: Callable[[str], Iterable[object]] | None, lines: Sequence[str]) -> set[int]:
    """Return the lines of a file of its own form (.pgpass, chap-secrets) that hold a secret, commented out or not."""
    if own is None:
        return set()
    return {at for at, line in enumerate(lines) if any(True for _ in own(_COMMENT.sub("", line, count=1)))}


def _blocks(lines: Sequence[str]) -> set[int]:
    """Return the lines of private keys, to their end or the file's, and of values that begin on their key's line."""
    found: set[int] = set()
    inside = False
    at = 0
    while at < len(lines):
        line = lines[at]
        if not inside and _BEGIN.search(line):
            inside = True
        if inside:
            found.add(at)
            inside = not (_END.search(line) and line.rfind("-----END") > line.rfind("-----BEGIN"))
        elif (length := _value_below(lines, at)) > 0:
            found.update(range(at, at + length + 1))
            at += length
        at += 1
    return found


def _value_below(lines: Sequence[str], at: int) -> int:
    """Return how many lines below a key that names a secret are its value: `key: |`, `key = \\`, triple quotes."""
    head = lines[at][:LONGEST].rstrip("\n")
    key, sign, value = re.sub(r"^[\s#;\"'-]+", "", head).partition("=" if "=" in head else ":")
    key = key.strip().rstrip("\"'")
    if not sign or len(key) > 100 or not names_secret(key) or not _BLOCK_VALUE.fullmatch(value.strip()):
        return 0
    quote = value.strip()[:3] if value.strip()[:3] in ('"""', "'''") else ""
    depth = _depth(head)
    length = 0
    for line in lines[at + 1 : at + 1 + _MOST_BLOCK]:
        text = line.strip()
        if quote:
            length += 1
            if quote in text:
                break
        elif text and _depth(line) <= depth and not lines[at + length].rstrip().endswith("\\"):
            break
        else:
            length += 1
    return length


def _depth(line: str) -> int:
    """Return where a line's text begins, behind blanks and the signs of a comment."""
    lead = _COMMENT.match(line)
    return lead.end() if lead else 0


def is_suspicious(line: str, names: Collection[str] = ()) -> bool:
    """Tell whether a line holds a secret or looks as if it did; `names` are keys that hold one in this file.

    >>> is_suspicious("#db_password = hunter2"), is_suspicious("PasswordAuthentication no")
    (True, False)
    """
    text = line[:LONGEST].rstrip("\r\n")
    bare = _COMMENT.sub("", text, count=1)
    if _NSSWITCH.fullmatch(bare):
        return False
    if _HASH.search(bare) or _SQL.search(bare):
        return True
    for each in (settings, commands, literals, shapes):
        if any(True for form in {bare, text} for _ in each(form, 1)):
            return True
    if any(names_secret(named) for named in _NAMED.findall(bare)):
        return True
    comment = bare != text.lstrip()
    return any(_is_given(bare, match, names, comment=comment) for match in _TOKEN.finditer(bare))


def _is_given(line: str, token: re.Match[str], names: Collection[str], *, comment: bool) -> bool:
    """Tell whether the word at a place of a line is a secret's name and has a value behind it."""
    word = token.group().rstrip(".-")
    spaced = token.start() == 0 and bool(_SPACED.fullmatch(word))
    if not (spaced or names_secret(word) or words_of(word) in names):
        return False
    after = _AFTER.match(line, token.end() - (len(token.group()) - len(word)))
    if after is None or not (value := after["value"]):
        return False
    if after["sign"].isspace() and comment and len(value.split()) > 2:
        return False  # prose
    return not _HARMLESS.fullmatch(value)
