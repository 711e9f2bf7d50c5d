"""Files whose own form holds secrets: .pgpass, .netrc, chap-secrets and their like; and which files are looked into."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from analyzers._reading import meaningful
from analyzers._secret_text import Found, is_value

MAX_FILE = 256 << 10  # bytes

_KEYSTORE = re.compile(r".*\.(p12|pfx|jks|keystore|kdbx|ppk)$")
_SOURCE = re.compile(r".*\.(py|php|rb|js|ts|mjs|cjs|pl|pm|go|java|lua|tf)$")
_SETTINGS = re.compile(
    r".*\.(env|conf|cnf|cfg|ini|ya?ml|json|toml|properties|xml|service|timer|socket|container|nmconnection|netdev"
    r"|secrets?|key|pem|credentials|local|sh|bash|cron|config|creds|crt|txt|rc|inc|sql)$|.*/\.env(\..*)?$"
)
_EXAMPLES = re.compile(
    r".*([.-](example|sample|dist|template|tmpl|default|md5sums|bak-example)|/(doc|docs|examples?|samples?|tests?)/.*)$"
)
_PASSED_OVER = re.compile(
    r"node_modules|(site|dist)-packages|__pycache__|\.git|\.svn|\.hg|\.cache|man|locale|zoneinfo|vendor|bower_components"
    r"|fonts|icons|doc"
)
# /etc: lists of words that look like keys (nsswitch.conf has `passwd: files`), public certificates, what
# other analyzers read (passwords' hashes).
_KNOWN_HARMLESS = re.compile(
    r"/etc/(nsswitch\.conf|services|protocols|mime\.types|ld\.so\.cache|(g?shadow|passwd|group|subuid|subgid)-?|magic"
    r"|ssl/certs/.*|ca-certificates/.*|alternatives/.*|pam\.d/.*|login\.defs|securetty|shells|bash_completion.*|ssh/moduli"
    r"|apparmor\.d/.*|terminfo/.*|rc\d\.d/.*|debconf\.conf|perl/.*|vim/.*|X11/.*|fonts/.*|grub\.d/.*|dpkg/.*|apt/trusted.*)"
)
_SHELL = re.compile(
    r"/etc/(cron.*|systemd/.*|init\.d/.*|rc\.local|fstab|profile.*|environment|default/.*|sysconfig/.*|supervisor/.*|network/.*)"
    r"|/var/spool/cron/.*|.*\.(sh|bash|cron|service)|.*/\.(bash|zsh|ash)?(_?history|rc|_profile|profile|env)"
)
_BY_NAME = re.compile(
    r".*/(\.?env|credentials|config|\.pgpass|\.netrc|\.my\.cnf|\.mylogin\.cnf|\.git-credentials|\.npmrc|\.pypirc|\.dockercfg|\.htpasswd"
    r"|\.s3cfg|\.boto|\.vault-token|\.rhosts|kubeconfig|secrets?|passwords?|id_(rsa|dsa|ecdsa|ed25519)(_sk)?|identity"
    r"|\.(bash|zsh|mysql|psql|ash)_history|\.(bash|zsh)rc|\.(bash_)?profile|hosts|Dockerfile|\.gitconfig|\.fetchmailrc|\.msmtprc"
    r"|chap-secrets|pap-secrets|sasl_passwd|passwd\.client|ipsec\.secrets|rsyncd\.secrets|\.erlang\.cookie|wpa_supplicant\.conf|authinfo)"
)


def is_looked_into(path: str) -> bool:
    """Tell whether a file may hold secrets in text, by its path alone."""
    if _EXAMPLES.fullmatch(path) or _KNOWN_HARMLESS.fullmatch(path):
        return False
    if path.startswith("/etc/"):
        return True
    return bool(
        _SETTINGS.fullmatch(path) or _BY_NAME.fullmatch(path) or _SOURCE.fullmatch(path) or _SHELL.fullmatch(path)
        or re.fullmatch(r"/usr/local/s?bin/[^/]+|/var/spool/cron/.*|.*/bin/[^/.]+", path)
    )  # fmt: skip


def is_passed_over(folder: str) -> bool:
    """Tell whether a folder's name says that it holds other people's files or caches."""
    return bool(_PASSED_OVER.fullmatch(folder.rpartition("/")[2]))


def is_source(path: str) -> bool:
    """Tell whether a file is a program's source, where a key with a value need not be one."""
    return bool(_SOURCE.fullmatch(path))


def is_shell(path: str, text: str) -> bool:
    """Tell whether a file's lines are commands or assignments as a shell writes them."""
    return bool(_SHELL.fullmatch(path)) or (text.startswith("#!") and "sh" in text.split("\n", 1)[0])


def is_keystore(path: str) -> bool:
    """Tell whether a file is a binary store of keys by its name."""
    return bool(_KEYSTORE.fullmatch(path))


# ---------------------------------------------------------------- files of their own form


def pgpass(text: str) -> Iterator[Found]:
    r"""hostname:port:database:username:password, `\:` is a colon (libpq 34.16)."""
    for number, line in meaningful(text):
        fields = re.split(r"(?<!\\):", line)
        if len(fields) == 5 and is_value(fields[4]):
            yield Found(number, "password", fields[3], fields[4].replace("\\:", ":").replace("\\\\", "\\"))


def netrc(text: str) -> Iterator[Found]:
    """`machine NAME login NAME password VALUE`, in any number of lines (netrc(5))."""
    login = ""
    for number, line in meaningful(text):
        words = line.split()
        for name, value in pairwise(words):
            if name == "login":
                login = value
            elif name == "password" and is_value(value):
                yield Found(number, "password", login, value)


def columns(column: int) -> Callable[[str], Iterator[Found]]:
    """Make a reader for tables by blanks: the secret's column counts from 0, the first is the name."""

    def read(text: str) -> Iterator[Found]:
        for number, line in meaningful(text):
            words = line.split()
            if len(words) > column:
                value = words[column].strip('"').rpartition(":")[2] if column == 1 else words[column].strip('"')
                if is_value(value):
                    yield Found(number, "password", words[0].strip('"'), value)

    return read


def last_field(text: str) -> Iterator[Found]:
    """Exim's passwd.client and rsync's secrets: the last of the fields that colons part."""
    for number, line in meaningful(text):
        fields = line.split(":")
        if len(fields) > 1 and is_value(fields[-1].strip()):
            yield Found(number, "password", fields[0], fields[-1].strip())


def ipsec(text: str) -> Iterator[Found]:
    """`…: PSK "value"` (ipsec.secrets(5))."""
    for number, line in meaningful(text):
        if match := re.search(r'\b(PSK|EAP|XAUTH|NTLM)\s+"?([^"\s]+)"?', line):
            yield Found(number, "password", match[1], match[2])


def bare(text: str) -> Iterator[Found]:
    """A file that is one word and nothing else, which whoever knows it may use."""
    word = text.strip()
    if len(word) >= 16 and len(word.split()) == 1 and is_value(word):
        yield Found(1, "token", "", word)


OWN_FORMS: Mapping[str, Callable[[str], Iterator[Found]]] = {
    ".pgpass": pgpass,
    ".netrc": netrc,
    "authinfo": netrc,
    "chap-secrets": columns(2),
    "pap-secrets": columns(2),
    "sasl_passwd": columns(1),
    "passwd.client": last_field,
    "rsyncd.secrets": last_field,
    "ipsec.secrets": ipsec,
    ".erlang.cookie": bare,  # erl(1), "Distributed Erlang"
    "/etc/varnish/secret": bare,  # varnishd(1), -S
}
"""By a file's name, or by its path where the name is common."""
