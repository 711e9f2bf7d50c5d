from __future__ import annotations

import hashlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import secrets
from analyzers._secret import secret_id, unique
from analyzers._secret_files import OWN_FORMS, is_looked_into
from analyzers._secret_text import is_value, names_secret, secrets_in
from migrate.model import Finding, PackageFiles, Place, Secret, Unread
from tests.analyzers.fake import Broken, Content, FakeGuest, File

OPENVPN = """\
-----BEGIN OpenVPN Static key V1-----
6acef03f62675b4b1bbd03e53b187727
423cea742242106cb2916a8a4c829756
-----END OpenVPN Static key V1-----
"""
ENV = """\
DATABASE_URL=postgresql://orders:PLANTED-8f2c61@127.0.0.1:5432/orders
REDIS_URL=redis://127.0.0.1:6379/0
SECRET_KEY=PLANTED-flask-3b9d27e4
# OLD_PASSWORD=gone
SMTP_URL=smtp://smtp.corp.example:25
LOG_LEVEL=info
"""
# Made for this test with `openssl ecparam -genkey`; it opens nothing.
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4b2xuOjK0MWL7gfq
ajHdEhZFWVuA70t59FHOq/DrzVmhRANCAASiRqCeaX65nhoy2oOeQIMq4aPn6RJi
-----END PRIVATE KEY-----
"""


def joined(files: dict[str, Content], *findings: Finding) -> list[Secret]:
    return [f for f in secrets.join(FakeGuest(files), findings) if isinstance(f, Secret)]


def places(files: dict[str, Content], *findings: Finding) -> list[tuple[str, str, str]]:
    return [(f.id, f.kind, str(f.seen_in)) for f in joined(files, *findings)]


def found_in(text: str, **options: bool) -> list[tuple[int, str, str, str]]:
    return [(f.line, f.kind, f.name, f.value) for f in secrets_in(text, **options)]


def test_an_environment_file_and_a_key() -> None:
    found = joined({"/etc/orders/env": ENV, "/etc/ssl/private/shop.key": f"# key\n{KEY}"})
    assert [(f.id, f.kind, str(f.seen_in), f.value.strip()) for f in found] == [
        ("orders-env-database-url", "password-in-url", "/etc/orders/env:1", "PLANTED-8f2c61"),
        ("orders-env-secret-key", "token", "/etc/orders/env:3", "PLANTED-flask-3b9d27e4"),
        ("ssl-private-shop-key", "private-key", "/etc/ssl/private/shop.key:2", KEY.strip()),
    ]
    assert "PLANTED" not in repr(found)
    assert "MIGHAg" not in repr(found)


# Files of every kind, with a secret or two in each.
CASES: dict[str, tuple[str, list[tuple[int, str, str]]]] = {
    "/etc/app/config.yml": (
        "db:\n  password: 's3 cr#t'\n  user: x\n  client_secret: abc # why\n",
        [(2, "password", "s3 cr#t"), (4, "token", "abc")],
    ),
    "/etc/app/app.ini": (
        "[db]\npassword = hunter2 ; old\nPassword_File = /run/x\n",
        [(2, "password", "hunter2")],
    ),
    "/etc/app/x.json": (
        '{\n  "tokenTtl": 5,\n  "apiKey": "k-124",\n}\n',
        [(3, "token", "k-124")],
    ),
    "/etc/systemd/system/x.service": (
        '[Service]\nEnvironment=DB_PASSWORD=hunter2 "API_TOKEN=a b" D=1\nExecStart=/x --password hunter3 --user u\n',
        [(2, "token", "a b"), (2, "password", "hunter2"), (3, "password", "hunter3")],
    ),
    "/etc/cron.d/x": (
        "0 1 * * * root mysqldump -uroot -pTopSecret shop | sshpass -p sp1 ssh h\n",
        [(1, "password", "TopSecret"), (1, "password", "sp1")],
    ),
    "/etc/fstab": (
        "//nas/x /mnt cifs username=a,password=nasPW1,uid=5 0 0\n",
        [(1, "password", "nasPW1")],
    ),
    "/usr/local/bin/backup": (
        "#!/bin/bash\nexport PGPASSWORD='pg 1'\ncurl -u me:curlpw https://x/\n",
        [(2, "password", "pg 1"), (3, "password", "curlpw")],
    ),
    "/home/anna/.bash_history": ("ls\nPGPASSWORD=typed psql\n", [(2, "password", "typed")]),
    "/var/www/shop/wp-config.php": (
        "<?php\ndefine( 'DB_PASSWORD', 'wp-P4ss' );\n$password = $_POST['password'];\n",
        [(2, "password", "wp-P4ss")],
    ),
    "/srv/shop/settings.py": (
        "SECRET_KEY = 'django-1a2b3c'\nDB = {'PASSWORD': 'db-Pass1'}\ntoken = args['token']\npassword = 'password'\n",
        [(1, "token", "django-1a2b3c"), (2, "password", "db-Pass1")],
    ),
    "/root/.pgpass": ("# c\ndb:5432:*:me:pg\\:pw\nx:1:y:z:*\n", [(2, "password", "pg:pw")]),
    "/root/.netrc": ("machine h login me password np1\n", [(1, "password", "np1")]),
    "/root/.my.cnf": ('[client]\nuser=root\npassword="my pw"\n', [(3, "password", "my pw")]),
    "/root/.aws/credentials": (
        "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPL1\naws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCY1\n",
        [(2, "token", "AKIAIOSFODNN7EXAMPL1"), (3, "token", "wJalrXUtnFEMIK7MDENGbPxRfiCY1")],
    ),
    "/root/.git-credentials": (
        "https://me:ghp_0123456789abcdef0123456789abcdef0123@github.com\n",
        [(1, "password-in-url", "ghp_0123456789abcdef0123456789abcdef0123")],
    ),
    "/etc/ppp/chap-secrets": ("# client server secret IP\nme * chapPW *\n", [(2, "password", "chapPW")]),
    "/etc/postfix/sasl_passwd": ("[smtp.x]:587 me:sasl1\n", [(1, "password", "sasl1")]),
    "/etc/openvpn/server/ta.key": (
        "#\n# 2048 bit OpenVPN static key\n#\n" + OPENVPN,
        [(4, "private-key", OPENVPN.strip())],
    ),
    "/etc/varnish/secret": (
        "3b9e1c0e-62f2-4d8a-9f8f-2f9f8a3c1d11\n",
        [(1, "token", "3b9e1c0e-62f2-4d8a-9f8f-2f9f8a3c1d11")],
    ),
    "/var/lib/rabbitmq/.erlang.cookie": ("QWERTYUIOPASDFGHJKLZ", [(1, "token", "QWERTYUIOPASDFGHJKLZ")]),
    "/etc/ipsec.secrets": ('a b : PSK "ike1"\n', [(1, "password", "ike1")]),
    "/etc/nginx/htpasswd": (
        "anna:$apr1$abcdefgh$0123456789abcdefghij.\n",
        [(1, "password-hash", "$apr1$abcdefgh$0123456789abcdefghij.")],
    ),
    "/etc/msmtprc": ("account x\npassword   ms1\n", [(2, "password", "ms1")]),
    "/etc/bind/rndc.key": (
        'key "rndc-key" {\n\talgorithm hmac-sha256;\n\tsecret "q2F1Hw==";\n};\n',
        [(3, "token", "q2F1Hw==")],
    ),
    "/etc/NetworkManager/system-connections/x.nmconnection": (
        "[wifi-security]\npsk=wifi pass\npsk-flags=0\n",
        [(2, "password", "wifi pass")],
    ),
    "/srv/shop/.env.production": (
        "STRIPE=sk_live_0123456789abcdefABCDEF\nJWT=eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4\n",
        [
            (1, "token", "sk_live_0123456789abcdefABCDEF"),
            (2, "token", "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4"),
        ],
    ),
}


@pytest.mark.parametrize("path", CASES)
def test_files_of_every_kind(path: str) -> None:
    text, expected = CASES[path]
    found = joined({path: text})
    assert [(f.seen_in.line, f.kind, f.value) for f in found] == expected
    assert len({f.id for f in found}) == len(found)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/nsswitch.conf", "passwd:         files systemd\nshadow: files\n"),
        ("/etc/ssh/sshd_config", "PasswordAuthentication yes\nHostKey /etc/ssh/ssh_host_rsa_key\n"),
        ("/etc/pam.d/common-password", "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n"),
        ("/etc/app.conf", "# password = x\n; password = x\n// password = x\npassword =\npassword: ''\n"),
        ("/etc/app.conf", "password = ${DB_PASS}\npassword = $DB_PASS\ntoken: {{ token }}\nsecret: <secret>\n"),
        ("/etc/app.conf", "password: ********\ntoken = xxxx\nsecret = %(secret)s\npassword: changeme-placeholder\n"),
        ("/etc/app.conf", "key_file=/etc/x.key\nsecret = /run/secrets/x\npassword_file: ./pw\ntoken = token.json\n"),
        ("/etc/app.conf", "password_encryption = md5x\ntoken_ttl = 3600\npasswd_policy: strong\nsecret_name: db\n"),
        ("/etc/app.conf", "auth = http://$USER:$PASS@host/\nproxy = http://host:8080/x@y\nurl = http://u:{{ p }}@h/\n"),
        ("/etc/app.conf.example", "password = hunter2\n"),
        ("/srv/shop/docs/x.conf", "password = hunter2\n"),
        ("/srv/shop/node_modules/a/config.json", '{\n"password": "hunter2"\n}\n'),
        ("/srv/shop/venv/lib/python3.11/site-packages/x/conf.py", "password = 'hunter2'\n"),
        ("/srv/shop/app.py", "password = getpass()\nif key == 'secret': pass\nL = {'password': 'Your password'}\n"),
        ("/etc/ssl/certs/x.pem", KEY),
        ("/etc/x.pub", KEY.replace("PRIVATE", "PUBLIC")),
        ("/etc/manual.txt", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n"),
        ("/etc/issue", "password hint: ask the owner of this house for it\n"),
    ],
)
def test_what_is_no_secret(path: str, text: str) -> None:
    files: dict[str, Content] = {path: text}
    if "venv" in path:
        files["/srv/shop/venv/pyvenv.cfg"] = ""
    assert joined(files) == []


def test_files_that_a_package_shipped_as_they_are() -> None:
    text = "password = shipped\n"
    digest = hashlib.md5(text.encode()).hexdigest()
    owned = PackageFiles(
        seen_in=Place("/x"),
        package="p",
        paths=("/etc/p/a.conf", "/etc/p/b.conf", "/opt/p/c.conf"),
        conffiles=(("/etc/p/a.conf", digest), ("/etc/p/b.conf", digest)),
    )
    files: dict[str, Content] = {
        "/etc/p/a.conf": text,
        "/etc/p/b.conf": text + "token = mine1\n",
        "/opt/p/c.conf": text,
    }
    assert places(files, owned) == [
        ("p-b-conf-password", "password", "/etc/p/b.conf:1"),
        ("p-b-conf-token", "token", "/etc/p/b.conf:2"),
    ]


def test_keys_in_state_and_binary_stores() -> None:
    files: dict[str, Content] = {
        "/var/lib/app/.ssh/id_ed25519": KEY.replace("PRIVATE", "OPENSSH PRIVATE"),
        "/var/lib/app/data.conf": "password = no\n",
        "/srv/shop/keys.p12": b"\x30\x82\0\0",
        "/etc/big": File("password = x1\n" + "#" * 300_000),
        "/etc/binary": b"password = x1\n\0",
    }
    assert places(files) == [
        ("srv-shop-keys-p12", "certificate-key", "/srv/shop/keys.p12"),
        ("var-lib-app-ssh-id-ed25519", "private-key", "/var/lib/app/.ssh/id_ed25519:1"),
    ]


def test_a_file_that_cannot_be_read_is_told() -> None:
    guest = FakeGuest({"/etc/x.conf": File("password = a1", size=13), "/etc/y.conf": Broken()})
    guest._entries["/etc/y.conf"] = guest._entries["/etc/x.conf"].__class__(
        path="/etc/y.conf", kind="file", mode=0o644, uid=0, gid=0, size=5
    )
    found = list(secrets.join(guest, []))
    assert [str(f.seen_in) for f in found if isinstance(f, Unread)] == ["/etc/y.conf"]
    assert [str(f.seen_in) for f in found if isinstance(f, Secret)] == ["/etc/x.conf:1"]


def test_ids_are_unique_and_the_same_every_time() -> None:
    one = Secret(seen_in=Place("/b", 1), id="x", kind="token")
    two = Secret(seen_in=Place("/a", 2), id="x", kind="token")
    assert [(s.id, s.seen_in.path) for s in unique([one, two])] == [("x", "/a"), ("x-2", "/b")]
    assert secret_id("/srv/shop/.env", "Api Key") == "srv-shop-env-api-key"


# ---------------------------------------------------------------- the parts


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "DB_PASSWORD",
        "PGPASSWORD",
        "dbpass",
        "clientSecret",
        "api-key",
        "AWS_SECRET_ACCESS_KEY",
        "redis.pass",
        "SECRET_KEY_BASE",
        "authToken",
        "psk",
        "db_pass_1",
        "_authToken",
        "passphrase",
    ],
)
def test_names_of_secrets(key: str) -> None:
    assert names_secret(key)


@pytest.mark.parametrize(
    "key",
    [
        "password_file",
        "token_ttl",
        "passthrough",
        "bypass",
        "compass",
        "keyboard",
        "secret_name",
        "access_key_id",
        "password_encryption",
        "tokens_per_minute",
        "public_key",
        "pwd_dir",
    ],
)
def test_names_of_other_things(key: str) -> None:
    assert not names_secret(key)


def test_values() -> None:
    assert is_value("hunter2")
    assert is_value("/aB3+x9Zq0123456789abcdefghijklmnop")
    assert not is_value("/etc/ssl/private/x.key")
    assert not is_value("Yes")


def test_the_key_that_holds_a_secret_is_the_one_before_it() -> None:
    text = 'Environment=PORT=1 "DB_URL=mongodb://u:pw123@h/x" A=b\nurl: redis://:pw124@h\nhttp://u:pw125@h/\n'
    assert [(name, value) for _, _, name, value in found_in(text, shell=True)] == [
        ("DB_URL", "pw123"),
        ("url", "pw124"),
        ("", "pw125"),
    ]


def test_each_value_of_a_line_once() -> None:
    assert found_in("API_TOKEN=ghp_0123456789abcdef0123456789abcdef0123\n", shell=True) == [
        (1, "token", "API_TOKEN", "ghp_0123456789abcdef0123456789abcdef0123")
    ]
    assert len(found_in(f"key: |\n{KEY}x: 1\npassword: {'p' * 9}\n")) == 2


def test_which_files_are_looked_into() -> None:
    assert is_looked_into("/etc/anything")
    assert is_looked_into("/srv/x/.env")
    assert not is_looked_into("/srv/x/photo.jpg")
    assert not is_looked_into("/etc/nsswitch.conf")


SAMPLES = """password|=|: |://|@|-----BEGIN PRIVATE KEY-----|-----END PRIVATE KEY-----|'|"|\n|token=|mysql -p|curl -u
|machine|PSK|$apr1$|eyJ|.|\\|#|\0"""
PIECES = st.sampled_from(SAMPLES.split("|"))


@settings(deadline=None)
@given(st.lists(PIECES | st.text(max_size=5)).map("".join))
def test_any_text_is_read(text: str) -> None:
    for found in secrets_in(text, shell=True) + secrets_in(text, source=True):
        assert found.value
    for form in OWN_FORMS.values():
        list(form(text))


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "password=",
        "a://",
        "a:",
        "mysql ",
        "-----BEGIN PRIVATE KEY-----\n",
        "{{",
        "curl ",
        "eyJ",
        "--password ",
        "= ",
        "a=b\n",
        "A B C ",
        '"a" : ',
        "'x'=>'y',",
    ],
)
def test_hostile_text_takes_little_time(piece: str) -> None:
    for text in (piece * (200_000 // len(piece)), "\n".join([piece * (4000 // len(piece))] * 50)):
        began = time.process_time()
        secrets_in(text, shell=True)
        secrets_in(text, source=True)
        assert time.process_time() - began < 10
