"""RabbitMQ's files as values: rabbitmq.conf, rabbitmq-env.conf, enabled_plugins (rabbitmq.com/docs/configure)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from analyzers._reading import assignments, meaningful
from migrate.model import Place


class Line(msgspec.Struct, frozen=True):
    """A key with its value, the line as written, and its place."""

    key: str
    value: str
    text: str
    place: Place


def conf_lines(text: str, path: str) -> Iterator[Line]:
    """Yield the lines of the sysctl-like form: `key = value`, a comment behind a `#` that follows a space.

    >>> [(l.key, l.value) for l in conf_lines("listeners.tcp.1 = ::1:5672 # x\\n# y", "/x")]
    [('listeners.tcp.1', '::1:5672')]
    """
    for number, line in meaningful(text):
        key, equals, value = line.partition("=")
        if equals and len(line) < 4096:
            bare = re.split(r"\s#", value, maxsplit=1)[0].strip()
            if len(bare) > 1 and bare[0] == bare[-1] == "'":
                bare = bare[1:-1]
            yield Line(key.strip(), bare, line, Place(path, number))


def environment(text: str, path: str) -> dict[str, Line]:
    """Return what rabbitmq-env.conf sets; names stand with and without RABBITMQ_ before them (rabbitmq-env.conf(5))."""
    lines = text.split("\n")
    return {
        name.removeprefix("RABBITMQ_"): Line(name, value, lines[number - 1].strip(), Place(path, number))
        for name, (value, number) in assignments(text).items()
    }


def plugins(text: str) -> list[str]:
    """Return the plugins of an Erlang list: `[rabbitmq_management,rabbitmq_mqtt].`"""
    bare = re.sub(r"%[^\n]*", "", text[: 1 << 16])
    return re.findall(r"\b[a-z][a-z0-9_]{2,60}\b", bare)


def split_listener(value: str) -> tuple[str, str]:
    """Return address and port of a listener: `5672`, `127.0.0.1:5672`, `:::5672`, `[::1]:5672`.

    >>> split_listener(":::5672"), split_listener("5672")
    (('::', '5672'), ('', '5672'))
    """
    address, _, port = value.rpartition(":")
    return address.strip("[]"), port


def cluster_nodes(text: str) -> list[str]:
    """Return the hosts of the nodes that a cluster remembers (cluster_nodes.config in the database's folder)."""
    return list(dict.fromkeys(re.findall(r"'?[\w-]{1,100}@([A-Za-z0-9][A-Za-z0-9.-]{0,250})'?", text[: 1 << 16])))
