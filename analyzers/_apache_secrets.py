"""Passwords and keys among Apache httpd's directives: `Name value`, without the `=` that other files have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._apache_conf import words
from analyzers._apache_tree import Directive, each
from analyzers._secret import secret_id, unique
from analyzers._secret_text import is_value, kind_of, names_secret
from migrate.guest.protocol import Guest
from migrate.model import Place, Secret

# mod_authnz_ldap, mod_session_crypto, mod_auth_openidc, mod_auth_cas; the value is the only argument.
_WHOLE = ("authldapbindpassword", "sessioncryptopassphrase", "oidcclientsecret", "oidccryptopassphrase",
          "oidcredispassword", "cascookiesecret")  # fmt: skip
_NAMED = ("setenv", "php_value", "php_admin_value", "passengerenvvar", "fcgidinitialenv", "define")
_WITHIN = ("dbdparams", "proxyset", "proxypass", "proxypassmatch", "balancermember", "wsgidaemonprocess")
_ALL = (*_WHOLE, *_NAMED, *_WITHIN, "requestheader")
_PAIR = re.compile(r"(?<![\w-])(?P<key>[A-Za-z_]\w{0,60})\s?=\s?'?(?P<value>[^\s,;']{1,1024})")


def secrets_of(guest: Guest, tree: Sequence[Directive]) -> Iterator[Secret]:
    """Yield the secrets in the lines that are in force; a reference to one (`exec:…`, `${NAME}`) is none.

    Their place is the file itself, not the link in sites-enabled: it is the file that must not be copied.
    """
    real = {path: guest.resolve(path) or path for path in {d.place.path for d, _ in each(tree, *_ALL)}}
    yield from unique(
        Secret(
            seen_in=Place(real[directive.place.path], directive.place.line),
            id=secret_id(real[directive.place.path], key),
            kind=kind,
            name=key,
            value=value,
        )
        for directive, _ in each(tree, *_ALL)
        for key, kind, value in _in(directive)
    )


def _in(directive: Directive) -> Iterator[tuple[str, str, str]]:
    args = words(directive.raw)
    name = directive.name
    if name in _WHOLE:
        value = args[0] if args else ""
        if is_value(value) and not value.startswith("exec:"):
            yield name, "password" if "pass" in name else "token", value
    elif name in _NAMED and len(args) > 1:
        if names_secret(args[0].rpartition(".")[2]) and is_value(args[1]):
            yield args[0], kind_of(args[0]), args[1]
    elif name == "requestheader" and len(args) > 2 and args[1].lower() == "authorization":
        scheme, _, value = args[2].partition(" ")
        if scheme.lower() in ("basic", "bearer", "token") and is_value(value):
            yield "Authorization", "token", value
    elif name in _WITHIN:
        for match in _PAIR.finditer(" ".join(args)):
            if names_secret(match["key"]) and is_value(match["value"]):
                yield match["key"], kind_of(match["key"]), match["value"]
