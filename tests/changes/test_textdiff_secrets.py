from __future__ import annotations

import time

import pytest

from analyzers._secret_text import secrets_in
from migrate.changes.textdiff import unified
from migrate.changes.textdiff_secrets import HIDDEN, holds_only_secrets, is_suspicious, veiled
from migrate.model import Place, Secret
from migrate.redact import Redactor

PATH = "/etc/orders/orders.conf"
VALUE = "Tr0ub4dor-3xY"
KEY = "".join(f"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC{number:04d}BKcwggSjAgEAAoIBAQDabcdefghij\n" for number in range(6))
PEM = f"-----BEGIN PRIVATE KEY-----\n{KEY}c2hvcnQ=\n-----END PRIVATE KEY-----\n"


def difference(original: str, found: str, path: str = PATH, secrets: list[Secret] | None = None) -> str:
    """The difference as it would be shown, with the secrets that the analyzers see in what was found."""
    if secrets is None:
        secrets = [
            Secret(seen_in=Place(path, one.line), id="a-secret", kind=one.kind, name=one.name, value=one.value)
            for one in secrets_in(found, shell=True)
        ]
    return unified(*veiled(path, original.encode(), found.encode(), secrets, Redactor(secrets)), path).text


LINES = [
    f"password = {VALUE}",
    f"PASSWORD='{VALUE}'",
    f'db_password: "{VALUE}"',
    f"  password: {VALUE}",
    f"export DB_PASS={VALUE}",
    f'"clientSecret": "{VALUE}",',
    f"requirepass {VALUE}",
    f"masterauth {VALUE}",
    f"rocommunity {VALUE} 10.0.0.0/8",
    f"bindpw {VALUE}",
    f"psk={VALUE}",
    f"url = postgres://orders:{VALUE}@db/orders",
    f"<password>{VALUE}</password>",
    f'<add key="DbPassword" value="{VALUE}"/>',
    f'<user username="admin" password="{VALUE}" roles="manager"/>',
    f"identified by '{VALUE}';",
    f"$db['password'] = '{VALUE}';",
    f"define('DB_PASSWORD', '{VALUE}');",
    f"Environment=API_TOKEN={VALUE}",
    f"ExecStart=/usr/bin/x --password {VALUE}",
    f"mysql -u root -p{VALUE} orders",
    f"curl -u me:{VALUE} https://example.org/",
    f"Authorization: Bearer {VALUE}",
    f"user orders password {VALUE}",
    f"login orders password {VALUE}",
    f"wpa-psk {VALUE}",
    "admin:$6$salt$" + "h" * 60,
    f"secret_key_base: {VALUE}",
    f"set password {VALUE}",
    f"db.password={VALUE}",
    f"spring.datasource.password={VALUE}",
    f"password=correct horse battery {VALUE} and more",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("comment", ["", "#", "# ", "; ", "//", "    # "])
def test_no_side_shows_a_secret(line: str, comment: str) -> None:
    """A secret that was added, one that the package had, one that a person commented out, and one that stayed."""
    around = "[main]\nport = 1\n"
    with_secret = f"{around}{comment}{line}\nend = 1\n"
    for original, found in (
        (around, with_secret), (with_secret, around), (with_secret, with_secret.replace("port = 1", "port = 2")),
        (with_secret, with_secret.replace(VALUE, "An0ther-Va1ue").replace("h" * 60, "g" * 60)),
    ):  # fmt: skip
        text = difference(original, found)
        assert text
        for secret in (VALUE, "An0ther-Va1ue", "h" * 60, "g" * 60):
            assert secret not in text
        assert HIDDEN in text


def test_what_is_no_secret_is_shown() -> None:
    shown = [
        "PasswordAuthentication yes", "PermitEmptyPasswords no", "port = 8000", "# The password is stored elsewhere.",
        "passwd:         files systemd", "password_file = /etc/orders/password", "password requisite pam_pwquality.so",
        "token_ttl = 60", "worker_connections 512;", "server_tokens off;",
        "ssl_certificate_key /etc/ssl/private/x.key;",
        "listen = 0.0.0.0:8000", "requirepass = no",
    ]  # fmt: skip
    text = difference("", "".join(f"{line}\n" for line in shown), "/etc/x", [])
    assert text.splitlines()[3:] == [f"+{line}" for line in shown]


def test_a_line_where_a_secret_was_seen_is_not_shown_whatever_it_looks_like() -> None:
    secrets = [Secret(seen_in=Place(PATH, 2), id="x", kind="token", name="handshake", value="abc")]
    text = difference("a\nhandshake uvw\nz\n", "a\nhandshake abc\nz\nnew\n", secrets=secrets)
    assert text.splitlines()[2:] == ["@@ -1,3 +1,4 @@", " a", f"-{HIDDEN}", f"+{HIDDEN}", " z", "+new"]


def test_a_line_with_no_key_hides_what_stood_in_its_place() -> None:
    secrets = [Secret(seen_in=Place(PATH, 1), id="x", kind="password", value="abc")]
    assert "default" not in difference("the default\n", "abc\n", secrets=secrets)


def test_all_lines_of_a_secret_are_hidden_however_short() -> None:
    secrets = [Secret(seen_in=Place(PATH, 2), id="x", kind="other", value="uvw\nxyz")]
    text = difference("a\n", "a\nuvw\nxyz\nz\n", secrets=secrets)
    assert text.splitlines()[3:] == [" a", f"+{HIDDEN}", f"+{HIDDEN}", "+z"]


def test_a_known_value_elsewhere_is_replaced_by_its_id() -> None:
    secrets = [Secret(seen_in=Place("/etc/other", 1), id="other-token", kind="token", name="x", value=VALUE)]
    text = difference("a\n", f"path /hooks/{VALUE}/x\n", secrets=secrets)
    assert text.splitlines()[-1] == "+path /hooks/<secret other-token>/x"


def test_a_value_across_the_cut_is_replaced_before_it() -> None:
    secrets = [Secret(seen_in=Place("/etc/other", 1), id="other-token", kind="token", name="x", value=VALUE)]
    for before in range(380, 402):
        text = difference("a\n", "x" * before + VALUE + "y" * 500 + "\n", secrets=secrets)
        assert VALUE[:4] not in text


def test_a_line_longer_than_is_looked_at_is_not_shown() -> None:
    text = difference("a\n", f"{'x' * 1100} password={VALUE}\n", secrets=[])
    assert text.splitlines()[-1] == "+[a line of 1124 characters: not shown]"


@pytest.mark.parametrize("indent", ["", "    "])
def test_a_private_key_never_shows(indent: str) -> None:
    block = "".join(f"{indent}{line}\n" for line in PEM.splitlines())
    for original, found in (
        ("a\nz\n", f"a\n{block}z\n"), (f"a\n{block}z\n", "a\nz\n"), (f"a\n{block}z\n", f"b\n{block}y\n"),
        ("a\n", f"a\n{block[: len(block) // 2]}"), (f"key: |\n{block}", "a\n"), ("a\n", f"ssl_key: |\n{block}"),
    ):  # fmt: skip
        text = difference(original, found)
        assert "MIIE" not in text
        assert "c2hvcnQ" not in text
        assert "PRIVATE" not in text


def test_a_private_key_on_one_line_does_not_hide_the_rest() -> None:
    line = '"key": "' + PEM.replace("\n", "\\n") + '"\n'
    text = difference("", f"{line}port = 1\n")
    assert text.splitlines()[3:] == [f"+{HIDDEN}", "+port = 1"]


@pytest.mark.parametrize(
    "block",
    [
        f"password: |\n  {VALUE}\n", f"password: >-\n  {VALUE}\n", f'password = """\n{VALUE}\n"""\n',
        f"password = \\\n  {VALUE}\n", f"password = \\\n{VALUE}\n", f"passwords:\n  - {VALUE}\n  - {VALUE}\n",
        f"# password: |\n#   {VALUE}\n",
    ],
)  # fmt: skip
def test_a_value_below_its_key_never_shows(block: str) -> None:
    for original, found in (("a\n", f"a\n{block}z = 1\n"), (f"a\n{block}z = 1\n", "a\n"), (block, f"{block}z = 1\n")):
        text = difference(original, found)
        assert VALUE not in text
    assert "+z = 1" in difference("a\n", f"a\n{block}z = 1\n")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/etc/ppp/chap-secrets", f"client server {VALUE} *"),
        ("/etc/postfix/sasl_passwd", f"[mail.example.org]:587 user:{VALUE}"),
        ("/root/.pgpass", f"db:5432:orders:me:{VALUE}"),
        ("/etc/exim4/passwd.client", f"mail.example.org:me:{VALUE}"),
        ("/etc/rsyncd.secrets", f"backup:{VALUE}"),
    ],
)
@pytest.mark.parametrize("comment", ["", "# "])
def test_files_of_their_own_form(path: str, line: str, comment: str) -> None:
    for original, found in (
        ("# none\n", f"# none\n{comment}{line}\n"), (f"{comment}{line}\n", "# none\n"),
        (f"{comment}{line}\nx\n", f"{comment}{line}\ny\n"),
    ):  # fmt: skip
        assert VALUE not in difference(original, found, path, [])


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow", "/etc/gshadow-", "/etc/shadow.rpmnew", "/etc/security/opasswd", "/etc/nginx/.htpasswd",
        "/etc/nginx/htpasswd", "/etc/krb5.keytab", "/etc/ssh/ssh_host_rsa_key", "/etc/ssl/private/web.pem",
        "/etc/x.p12", "/etc/bind/rndc.key", "/root/.ssh/id_ed25519",
    ],
)  # fmt: skip
def test_files_of_secrets_are_not_compared(path: str) -> None:
    assert holds_only_secrets(path, []) == "it is a file of secrets"


def test_a_file_that_is_one_secret_is_not_compared() -> None:
    whole = Secret(seen_in=Place("/etc/x"), id="x", kind="certificate-key")
    assert holds_only_secrets("/etc/x", [whole]) == "the whole file is a secret"
    assert holds_only_secrets("/etc/y", [whole]) == ""
    assert holds_only_secrets("/etc/ssh/ssh_host_rsa_key.pub", []) == "it is a file of secrets"  # in doubt
    assert holds_only_secrets("/etc/nginx/nginx.conf", []) == ""


def test_a_hash_in_an_old_passwd_is_not_shown() -> None:
    text = difference("root:x:0:0::/root:/bin/sh\n", "root:abJnggxhB/yWI:0:0::/root:/bin/sh\n", "/etc/passwd")
    assert "abJnggxhB" not in text
    assert "-root:x:0:0::/root:/bin/sh" in text


@pytest.mark.parametrize(
    "line",
    [
        "a" * 4096, "a_" * 2048, "password " * 455, "password" * 512, "a=" * 2048, '"' * 4096, "key='" * 800,
        "$6$" * 1300, "<a>" * 1300, "-" * 4096, "# " * 2048, "a:" * 2048, "\t " * 2048, "set " * 1000, "http://" * 585,
        "a://b:c" * 500, "passwd: files" * 400, "passwd: " + "[a" * 2000,
    ],
)  # fmt: skip
def test_no_line_takes_long(line: str) -> None:
    start = time.process_time()
    is_suspicious(line)
    is_suspicious(line * 300)
    assert time.process_time() - start < 20
