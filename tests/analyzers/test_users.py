from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analyzers import users
from migrate.model import Group, Place, Secret, Unread, User
from tests.analyzers.fake import FakeGuest

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
orders:x:996:996::/srv/orders:/usr/sbin/nologin
anna:x:1000:1000:Anna,,,:/home/anna:/bin/bash
+::::::
broken:x:notanumber:1:::
"""
SHADOW = """\
root:$y$j9T$Pq0Gk3nXWVzpPCLzUuW7N.$9lHUMkfM4X1vU4Ab7u0CsoMUVKvgHHvZ9l7mV3gkD/1:19800:0:99999:7:::
www-data:*:19800:0:99999:7:::
orders:!:19800::::::
anna:!$6$saltsalt$0123456789abcdef:19800:0:99999:7:::
old:rl0uE1tM8Pz6Q:12000::::::
empty::1::::::
"""


def test_accounts_groups_and_people() -> None:
    guest = FakeGuest(
        {
            "/etc/passwd": PASSWD,
            "/etc/group": "ssl-cert:x:112:postgres,orders\nbad\n",
            "/etc/login.defs": "UID_MIN\t\t\t 1000\n",
        }
    )
    found = list(users.analyze(guest))
    accounts = {f.name: f for f in found if isinstance(f, User)}
    assert sorted(accounts) == ["anna", "nobody", "orders", "root", "www-data"]
    assert [name for name, account in accounts.items() if not account.system] == ["anna"]
    assert accounts["orders"] == User(
        seen_in=Place("/etc/passwd", 4), name="orders", uid=996, gid=996, home="/srv/orders", shell="/usr/sbin/nologin"
    )
    assert [f for f in found if isinstance(f, Group)] == [
        Group(seen_in=Place("/etc/group", 1), name="ssl-cert", gid=112, members=("orders", "postgres"))
    ]
    assert {str(f.seen_in) for f in found if isinstance(f, Unread)} == {"/etc/passwd:7", "/etc/group:2"}


def test_who_is_a_person_is_for_login_defs_to_say() -> None:
    guest = FakeGuest(
        {"/etc/passwd": "a:x:500:500::/home/a:/bin/sh\n", "/etc/group": "", "/etc/login.defs": "UID_MIN 500\n"}
    )
    assert [f.system for f in users.analyze(guest) if isinstance(f, User)] == [False]


def test_password_hashes_are_secrets_whose_value_is_not_shown() -> None:
    guest = FakeGuest({"/etc/passwd": "", "/etc/group": "", "/etc/shadow": SHADOW, "/etc/shadow-": SHADOW})
    found = [f for f in users.analyze(guest) if isinstance(f, Secret)]
    assert [(f.id, f.name, str(f.seen_in)) for f in found] == [
        ("shadow-root", "root", "/etc/shadow:1"),
        ("shadow-anna", "anna", "/etc/shadow:4"),
        ("shadow-old", "old", "/etc/shadow:5"),
        ("shadow-backup-root", "root", "/etc/shadow-:1"),
        ("shadow-backup-anna", "anna", "/etc/shadow-:4"),
        ("shadow-backup-old", "old", "/etc/shadow-:5"),
    ]
    assert {f.kind for f in found} == {"password-hash"}
    assert found[1].value == "$6$saltsalt$0123456789abcdef"
    assert "saltsalt" not in repr(found)


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    list(users.parse_passwd(text, "/p"))
    list(users.parse_group(text, "/g"))
    list(users.parse_hashes(text, "/s"))
    users.parse_range(text)
