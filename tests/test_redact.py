from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from migrate.model import Place, Secret
from migrate.redact import Redactor


def _secret(value: str, name: str = "a") -> Secret:
    return Secret(id=name, kind="password", value=value, seen_in=Place("/etc/x", 1))


def test_a_value_is_replaced_by_its_id_wherever_it_stands() -> None:
    redact = Redactor([_secret("hunter2hunter2", "db")])
    assert redact.tree({"hunter2hunter2": ["x hunter2hunter2 y", 3, None]}) == {
        "<secret db>": ["x <secret db> y", 3, None]
    }
    assert redact.finds("… hunter2hunter2") == "db"
    assert redact.finds("nothing here") is None


def test_the_longer_of_two_nested_values_wins() -> None:
    redact = Redactor([_secret("abcdefgh", "short"), _secret("abcdefghijkl", "long")])
    assert redact("abcdefghijkl abcdefgh") == "<secret long> <secret short>"


def test_a_word_that_is_an_account_is_left() -> None:
    assert Redactor([_secret("postgres")], words=["postgres"])("postgres") == "postgres"


def test_each_line_of_a_key_is_secret_and_its_armour_is_not() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvgIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
    redact = Redactor([_secret(key, "key")])
    assert redact("MIIEvgIBADANBgkqhkiG9w0BAQEFAASC") == "<secret key>"
    assert redact("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_a_secret_does_not_print_its_value() -> None:
    secret = _secret("hunter2hunter2")
    assert "hunter2" not in f"{secret!r} {secret!s} {list(secret.__rich_repr__())}"


@given(st.lists(st.text(min_size=6, max_size=20), min_size=1, max_size=5), st.text(max_size=50))
def test_no_value_survives(values: list[str], text: str) -> None:
    redact = Redactor([_secret(v, f"s{i}") for i, v in enumerate(values)])
    for value in values:
        assert redact.finds(redact(text + value).replace(f"<secret s{values.index(value)}>", "")) is None or any(
            v in "<secret s0> <secret s1> <secret s2> <secret s3> <secret s4>" for v in values
        )
