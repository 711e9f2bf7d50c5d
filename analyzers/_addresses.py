"""Addresses as configuration files write them, and how findings name them."""

from __future__ import annotations

import ipaddress
import re

from migrate.guest.protocol import Guest

# Ports by scheme or protocol: IANA's register, and for the last line each project's own default.
DEFAULT_PORTS = {
    "http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21, "ftps": 990, "sftp": 22, "ssh": 22,
    "smtp": 25, "smtps": 465, "submission": 587, "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995,
    "ldap": 389, "ldaps": 636, "mqtt": 1883, "mqtts": 8883, "nats": 4222, "syslog": 514, "sip": 5060,
    "postgres": 5432, "postgresql": 5432, "pgsql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433,
    "sqlserver": 1433, "oracle": 1521, "redis": 6379, "rediss": 6379, "valkey": 6379, "amqp": 5672, "amqps": 5671,
    "mongodb": 27017, "memcached": 11211, "memcache": 11211, "elasticsearch": 9200, "kafka": 9092, "zookeeper": 2181,
    "etcd": 2379, "consul": 8500, "vault": 8200, "statsd": 8125, "influxdb": 8086, "cassandra": 9042,
    "clickhouse": 8123, "rabbitmq": 5672, "beanstalk": 11300, "grpc": 80, "grpcs": 443, "nfs": 2049,
}  # fmt: skip

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?")


def port_number(text: str) -> int | None:
    """Return a port, 1 to 65535, or None where the text is none."""
    if not re.fullmatch(r"[0-9]{1,5}", text):
        return None
    port = int(text)
    return port if 0 < port < 65536 else None


def is_address(text: str) -> bool:
    """Tell whether the text is an IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_host(text: str) -> bool:
    """Tell whether the text can name a host: a DNS name, an IPv4 or a bracketed IPv6 address."""
    if text.startswith("["):
        return text.endswith("]") and is_address(text[1:-1])
    return bool(_HOST_NAME.fullmatch(text))


def is_every(address: str) -> bool:
    """Tell whether an address to listen on means all of them."""
    return address.strip("[]") in ("", "*", "0.0.0.0", "::", "0")  # noqa: S104


def split_host_port(text: str, default: int | None = None) -> tuple[str, int | None] | None:
    """Split `host`, `host:port`, `[v6]`, `[v6]:port`; None where it is none of them.

    >>> split_host_port("[::1]:8080")
    ('[::1]', 8080)
    """
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]+))?", text)
    if match is None or not is_host(match[1]):
        return None
    if match[2] is None:
        return match[1], default
    port = port_number(match[2])
    return None if port is None else (match[1], port)


def over_tcp(host: str, port: int, protocol: str = "tcp") -> str:
    """Return how findings name a TCP or UDP peer: `tcp:HOST:PORT`, IPv6 in brackets."""
    return f"{protocol}:[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{protocol}:{host}:{port}"


def run_path(path: str) -> str:
    """Return a path with /var/run as what it is everywhere since 2011: /run (Debian Policy 9.1.4)."""
    return path.replace("/var/run/", "/run/", 1) if path.startswith("/var/run/") else path


def tcp_check(guest: Guest, port: int, host: str = "127.0.0.1") -> tuple[str, ...] | None:
    """Return a command that exits 0 where something accepts connections, of programs this guest has; or None.

    bash opens /dev/tcp/HOST/PORT itself (bash(1), REDIRECTION); busybox's nc has -z.
    """
    for shell in ("/bin/bash", "/usr/bin/bash"):
        if guest.is_file(shell):
            return (shell, "-c", f"exec 3<>/dev/tcp/{host}/{port}")
    if guest.is_file("/bin/busybox"):
        return ("/bin/busybox", "nc", "-z", host, str(port))
    return None
