"""What is known of base images and packages: tables, each with where it comes from."""

from __future__ import annotations

import re
from typing import NamedTuple

_FHS = """
/ /bin /boot /dev /etc /home /lib /lib32 /lib64 /libx32 /media /mnt /opt /proc /root /run /run/lock /sbin /srv /sys
/tmp /usr /usr/bin /usr/games /usr/include /usr/lib /usr/lib/locale /usr/lib64 /usr/libexec /usr/local
/usr/local/bin /usr/local/etc /usr/local/lib /usr/local/sbin /usr/local/share /usr/sbin /usr/share
/usr/share/zoneinfo /usr/src /var /var/backups /var/cache /var/lib /var/local /var/lock /var/log /var/mail
/var/opt /var/run /var/spool /var/tmp
"""
FHS = frozenset(_FHS.split())
"""Directories (or links) every distribution's base image has: hier(7), FHS 3.0. The image's own are left alone."""

NEVER = re.compile(
    r"/(?:proc|sys|dev|boot|run|tmp|lost\+found|var/run|var/tmp|\.vm2c)(?:/.*)?"
    r"|/etc/(?:shadow|gshadow)-?|/etc/\.pwd\.lock|/etc/security/opasswd|/etc/ssh/ssh_host_.*|/etc/machine-id"
    r"|/var/lib/dbus/machine-id|/var/lib/systemd/random-seed"
)
"""What no image gets from a machine: kernel interfaces, what starts empty, password hashes, host identity."""

DATA_OF_PLATFORM = ("/var/lib/apt/lists", "/var/cache")
"""Indexes and caches: made anew from the network or at run time."""

STATIC_ACCOUNTS = {
    "root": (0, 0), "daemon": (1, 1), "bin": (2, 2), "sys": (3, 3), "sync": (4, 65534), "games": (5, 60),
    "man": (6, 12), "lp": (7, 7), "mail": (8, 8), "news": (9, 9), "uucp": (10, 10), "proxy": (13, 13),
    "www-data": (33, 33), "backup": (34, 34), "list": (38, 38), "irc": (39, 39), "nobody": (65534, 65534),
}  # fmt: skip
"""Accounts that every Debian and Ubuntu image has with these numbers: base-passwd 3.6.1, passwd.master."""

STATIC_GROUPS = {
    "root": 0, "daemon": 1, "bin": 2, "sys": 3, "adm": 4, "tty": 5, "disk": 6, "lp": 7, "mail": 8, "news": 9,
    "uucp": 10, "man": 12, "proxy": 13, "kmem": 15, "dialout": 20, "fax": 21, "voice": 22, "cdrom": 24, "floppy": 25,
    "tape": 26, "sudo": 27, "audio": 29, "dip": 30, "www-data": 33, "backup": 34, "operator": 37, "list": 38,
    "irc": 39, "src": 40, "shadow": 42, "utmp": 43, "video": 44, "sasl": 45, "plugdev": 46, "staff": 50, "games": 60,
    "users": 100, "nogroup": 65534,
}  # fmt: skip
"""base-passwd 3.6.1, group.master; gnats (41), dropped in 3.6.0, is left out."""


class Preseed(NamedTuple):
    """A file that keeps a package's maintainer scripts from making what the machine brings itself.

    `packages` matches names of packages; `path` gets `content` before they are installed.
    """

    packages: re.Pattern[str]
    path: str
    content: str


PRESEEDS = (
    # postgresql-common's pg_createcluster(1): README.Debian, "create_main_cluster". Its postinst hands the file
    # to ucf, which keeps the one that is there (UCF_FORCE_CONFFOLD).
    Preseed(re.compile(r"postgresql(-common|-[0-9.]+)?"), "/etc/postgresql-common/createcluster.conf",
            "create_main_cluster = false"),
)  # fmt: skip


class KeyPair(NamedTuple):
    """A private key that a maintainer script makes, and the certificate that goes with it."""

    key: str
    certificate: str


GENERATED_KEYS = (
    KeyPair("/etc/ssl/private/ssl-cert-snakeoil.key", "/etc/ssl/certs/ssl-cert-snakeoil.pem"),  # ssl-cert's postinst
)
"""Removed in the layer that made them: a key in a published image is no secret."""

DEFINITIONS = re.compile(
    r"(?:/etc|/usr/lib|/lib|/run|/usr/local/lib)/systemd/(?:system|user)/.*"
    r"|/etc/crontab|/etc/cron\.d/.*|/var/spool/cron/.*|/etc/init\.d/.*|/etc/anacrontab|/etc/supervisor/.*\.conf"
)
"""Files that define a service or job: they go into no image, so an edit of them is one of the plan's own fields."""

DEFAULT_STOP_TIMEOUT = 90
"""Seconds; DefaultTimeoutStopSec= of systemd-system.conf(5)."""

ROOT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID",
    "SYS_CHROOT",
)  # fmt: skip
"""What a daemon of root needs to take its files and change to its user: Docker's default set
(moby, oci/caps/defaults.go) without AUDIT_WRITE, MKNOD, NET_RAW and SETFCAP."""

LOADER = "debian:12-slim"
"""An image with GNU tar, which keeps owners, extended attributes and holes."""
