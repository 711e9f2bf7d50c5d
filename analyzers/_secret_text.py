"""Recognising secrets in text. Functions on text alone; what they return holds values and must not be shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

import msgspec

from analyzers._reading import numbered


class Found(msgspec.Struct, frozen=True):
    """A secret in a text: its line, kind, the key that holds it, and its value."""

    line: int
    kind: str
    name: str
    value: str

    def __repr__(self) -> str:
        return f"Found(line={self.line}, kind={self.kind!r}, name={self.name!r})"


# ---------------------------------------------------------------- what a key's name and a value tell

_SECRET_NAME = re.compile(
    r"(^|_)([a-z0-9]*(?:password|passwd|passwort|passphrase)|(?:db|user|root|admin|my|ldap|smtp|mail|ftp)?pass|pwd|pw|psk|secret|token|apikey|api_key|app_key|access_key|secret_key"
    r"|private_key|auth_key|encryption_key|signing_key|master_key|session_key|shared_key|client_key_data|dnpass|bindpw"
    r"|rootpw|bind_pw|auth_token|authtoken|storepass|keypass|webhook)s?(_?\d+)?(_(base|value|key|string|text|prod|production|live))?$"
)
_NOT_VALUES = re.compile(
    r"yes|no|true|false|none|null|nil|on|off|[01]|optional|required|requisite|sufficient|never|always|default|auto"
    r"|prompt|ask|md5|sha1|sha256|sha512|scram-sha-256|yescrypt|bcrypt|plain|peer|trust|ident|files|compat|systemd|sss"
    r"|string|str|text|env|password|passwd|secret|token|key|disabled|enabled|unset|undefined|redacted|hidden",
    re.IGNORECASE,
)
# References to a value that is elsewhere, and what manuals put in a value's place.
_PLACEHOLDER = re.compile(
    r"\$[A-Za-z_(].*|%\(?[A-Za-z_]\w*\)?[%s]?|<[^<>]*>|@[A-Za-z_]+@|\[[A-Za-z_ ]+\]|\{[A-Za-z_]*\}|[*x.•-]+|`.*"
    r"|(ENC\[|!vault|\$ANSIBLE_VAULT|vault:|file:|env:|op://|ssm:|arn:aws:).*"
    r"|(os\.)?(environ|getenv|ENV|process\.env)\b.*|(your|enter|insert|put|replace)[-_ ].*",
    re.IGNORECASE,
)
_WITHIN = re.compile(r"\$\{|\{\{|placeholder|example\.com", re.IGNORECASE)
_LONGEST = 4096  # of a value; keys in PEM form are no values of this kind
_PATH = re.compile(
    r"(~|\.{0,2})/[\w.@-]+(/[\w.@-]*)*|[\w.-]+\.(pem|key|crt|cer|txt|conf|ini|json|ya?ml|sock|p12|jks|env)"
)


def words_of(key: str) -> str:
    """Return a key as lower-case words: `clientSecret`, `client-secret` and `CLIENT_SECRET` are one."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.rsplit("}", 1)[-1])
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def names_secret(key: str) -> bool:
    """Tell whether a key's name says that its value is a secret; `password_file`, `token_ttl` do not."""
    return bool(_SECRET_NAME.search(words_of(key)))


def is_value(text: str) -> bool:
    """Tell whether a text is a value itself: not empty, no reference to one, no path, no plain word of options."""
    if not text or len(text) > _LONGEST or _NOT_VALUES.fullmatch(text) or text.count(" ") > 3:
        return False
    if _PLACEHOLDER.fullmatch(text) or _WITHIN.search(text):
        return False
    path = _PATH.fullmatch(text)
    return path is None or (len(text) > 30 and text.count("/") < 3 and bool(re.search(r"\d", text)) and "." not in text)


def kind_of(key: str) -> str:
    """Return the kind of a secret by its key."""
    return "password" if re.search(r"pass|pwd|psk|_pw|^pw|bindpw|rootpw", words_of(key)) else "token"


# ---------------------------------------------------------------- shapes

_KEY_BLOCK = re.compile(
    r"-----BEGIN ((?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?"
    r"|OpenVPN (?:Static key V1|tls-crypt-v2 (?:client|server) key))-----"
    r"(?P<body>(?:(?!-----BEGIN)[\s\S]){40,20000}?)-----END \1-----"
)
_URL_PASSWORD = re.compile(
    r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,40}://[^\s:/@'\"<>]{0,256}:(?P<value>[^\s/@'\"<>]{1,1024})@[^\s'\"<>]"
)
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255}|glpat-[A-Za-z0-9_-]{20,64}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,250}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}|AIza[0-9A-Za-z_-]{35}|npm_[A-Za-z0-9]{36}"
    r"|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|pypi-AgEI[A-Za-z0-9_-]{50,500}|hf_[A-Za-z]{34}|sk-[A-Za-z0-9_-]{40,200}"
    r"|eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{16,1000}"
    r")(?![A-Za-z0-9_-])"
)
_HOOK = re.compile(r"https://hooks\.slack\.com/services/(?P<value>[A-Za-z0-9]+/[A-Za-z0-9]+/[A-Za-z0-9]+)")
_HEADER = re.compile(r"Authorization:\s*(?:Bearer|Basic|Token)\s+(?P<value>[A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_HASH = re.compile(
    r"(?P<name>[\w.@-]+):(?P<value>\$(?:apr1|2[aby]|[1567y])\$[^\s:]{8,}|\{S?SHA\d*\}[A-Za-z0-9+/=]{20,})"
)
_KEY = re.compile(r"""(?<![\w.-])([A-Za-z_][\w.-]{0,100})["']?\s{0,9}(?:=>|[:=])(?!//)""")
_COMMENT = re.compile(r"\s*(#|;|//|/?\*\s|--\s|<!--|%%)")
_SHELL_COMMENT = re.compile(r"\s*[#;]")  # fstab's `//server/share` is none


def private_keys(text: str) -> Iterator[Found]:
    """Yield the private keys in PEM and OpenSSH form (RFC 7468), encrypted too, OpenVPN's (openvpn(8)) and PuTTY's."""
    for match in _KEY_BLOCK.finditer(text):
        if len(re.sub(r"[^A-Za-z0-9+/=]", "", match["body"])) >= 40:
            yield Found(text.count("\n", 0, match.start()) + 1, "private-key", "", match[0])
    if text.startswith("PuTTY-User-Key-File-"):
        yield Found(1, "private-key", "", text.strip())


def _name_before(line: str, end: int) -> str:
    """Return the last key with `=` or `:` behind it that stands before a place in a line, or nothing."""
    keys = _KEY.findall(line[max(0, end - 500) : end])
    return str(keys[-1]) if keys else ""


def shapes(line: str, number: int) -> Iterator[Found]:
    """Yield what its form alone gives away: passwords in URLs, well-known tokens, headers, hashes of htpasswd."""
    for match in _URL_PASSWORD.finditer(line):
        if is_value(unquote(match["value"])) or match["value"].lower() in ("password", "secret", "passwd"):
            yield Found(number, "password-in-url", _name_before(line, match.start()), match["value"])
    for match in _TOKENS.finditer(line):
        yield Found(number, "token", _name_before(line, match.start()), match[0])
    for pattern in (_HOOK, _HEADER):
        for match in pattern.finditer(line):
            if is_value(match["value"]):
                yield Found(number, "token", _name_before(line, match.start()), match["value"])
    if hashed := _HASH.match(line):
        yield Found(number, "password-hash", hashed["name"], hashed["value"])


# ---------------------------------------------------------------- keys with values

_PAIR = re.compile(
    r"""\s*(?:-\s+)?(?:export\s+)?(?P<quote>["']?)(?P<key>[A-Za-z_][\w.\[\]-]*)(?P=quote)\s*(?:=>|:=|[:=])\s*(?P<value>\S.*)"""
)
# The value is only looked at, so that one inside another's (`Environment=A=1`) is found too.
_INLINE = re.compile(
    r"""(?<![A-Za-z0-9_-])(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?=(?P<value>"[^"]*"|'[^']*'|[^\s"';&|),]+))"""
)
_WHOLE = re.compile(r"""(?P<quote>["'])(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>[^"']*)(?P=quote)""")
_WORDS = re.compile(
    r"\s*(?P<key>password|passwd|secret|(?:wpa-)?psk|bindpw|rootpw|rootbindpw|dnpass|token|key)\s+(?P<value>\"[^\"]+\"|[^\s;=:{]+)\s*;?\s*$",
    re.IGNORECASE,
)
_OPTION = re.compile(
    r"""(?<=\s)(?P<key>--(?:[a-z-]*-)?(?:password|passwd|pass|secret|token|api-key|secret-key))(?:=|\s+)(?P<value>"[^"]*"|'[^']*'|[^\s"'-][^\s"']*)"""
)
_MYSQL = re.compile(
    r"\b(?:mysql|mysqldump|mysqladmin|mariadb|mariadb-dump)\b[^|;&]*?\s-p(?P<value>[^\s'\"]+|'[^']*'|\"[^\"]*\")"
)
_SSHPASS = re.compile(r"\bsshpass\s+-p\s*(?P<value>'[^']*'|\"[^\"]*\"|\S+)")
_CURL = re.compile(r"\bcurl\b[^|;&]*?\s(?:-u|--user)\s*(?:=|\s)['\"]?[^\s:'\"]+:(?P<value>[^\s'\"]+)")
_LITERAL = re.compile(
    r"""(?:^|[\s,({\[$.>])["']?(?P<key>[A-Za-z_]\w*)["']?(?:\s*\])?\s*(?:=>|:=|[:=,])\s*(?P<quote>["'])(?P<value>[^"'\n]{4,200})(?P=quote)"""
)


def _bare(value: str) -> str:
    """Take quotes, a trailing comment, comma or semicolon off a value."""
    value = value.strip()
    if value[:1] in ("'", '"'):
        end = value.find(value[0], 1)
        return value[1:end] if end > 0 else value[1:]
    value = re.split(r"\s+[#;]", value, maxsplit=1)[0]
    return value.strip().rstrip(",;").rstrip()


def settings(line: str, number: int) -> Iterator[Found]:
    """Yield the secret that a line of env, ini, yaml, toml, json or properties gives to a key."""
    match = _PAIR.fullmatch(line) or _WORDS.fullmatch(line)
    if match and names_secret(match["key"]) and is_value(value := _bare(match["value"])):
        yield Found(number, kind_of(match["key"]), match["key"], value)


def commands(line: str, number: int) -> Iterator[Found]:
    """Yield the secrets on a command line or in assignments within it: unit files, crontabs, scripts, fstab."""
    for pattern in (_WHOLE, _INLINE, _OPTION):
        for match in pattern.finditer(line):
            key = match["key"].lstrip("-")
            if names_secret(key) and is_value(value := _bare(match["value"])):
                yield Found(number, kind_of(key), key, value)
    for pattern, name in ((_MYSQL, "mysql -p"), (_SSHPASS, "sshpass -p"), (_CURL, "curl -u")):
        for match in pattern.finditer(line):
            if is_value(value := _bare(match["value"])):
                yield Found(number, "password", name, value)


def literals(line: str, number: int) -> Iterator[Found]:
    """Yield the quoted values that a program's source gives to a name: `SECRET_KEY = "…"`, `'password' => '…'`.

    A source compares and labels such words too, so the value must look like no word and no name.
    """
    for match in _LITERAL.finditer(line):
        value = match["value"]
        plain = words_of(value) == words_of(match["key"]) or re.fullmatch(r"[a-z_ -]+|[A-Z][a-z ]+|[A-Z_]+", value)
        if names_secret(match["key"]) and is_value(value) and not plain:
            yield Found(number, kind_of(match["key"]), match["key"], value)


def secrets_in(text: str, *, source: bool = False, shell: bool = False) -> list[Found]:
    """Return the secrets in a file's text: `source` for a program's source, `shell` where lines are commands too."""
    found: list[Found] = list(private_keys(text))
    inside = [(f.line, f.line + f.value.count("\n")) for f in found]
    comment = _SHELL_COMMENT if shell else _COMMENT
    for number, line in numbered(text):
        if comment.match(line) or any(first <= number <= last for first, last in inside):
            continue
        here = list(shapes(line[:_LONGEST], number))
        if len(line) <= _LONGEST:
            here += commands(line, number) if shell else ()
            here += (literals if source else settings)(line, number)
        found += once(here)
    return found


def once(found: Iterable[Found]) -> Iterator[Found]:
    """Yield each value of one line once; one that holds another (a URL with its password) gives way to it."""
    kept: list[Found] = []
    for one in found:
        if not any(other.value in one.value or one.value in other.value for other in kept):
            kept.append(one)
    yield from kept
