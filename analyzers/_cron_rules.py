"""What the cron of one guest would take: its daemon, the files it accepts, the accounts it knows.

cron(8) and run-parts(8) of Debian; cronie's `not_a_crontab` and `check_open` (database.c); the run-parts script of
Red Hat's crontabs package. A refusal is noted with its reason.
"""

from __future__ import annotations

import re
from functools import cached_property

from analyzers._boot import System, runs_systemd
from analyzers._initloops import started as looped
from analyzers._reading import Reader, meaningful
from analyzers.sysv import default_levels, start_links
from migrate.errors import GuestFileError
from migrate.guest.protocol import Entry, Guest

DAEMONS = {"cron", "crond", "cronie", "dcron", "fcron", "systemd-cron", "cron.target"}
ANACRON = {"anacron", "anacron.timer"}
_BINARIES = ("/usr/sbin/crond", "/usr/sbin/cron", "/usr/bin/crond")
_RUN_PARTS = "/usr/bin/run-parts"

# Mode bits a crontab must not have: (Debian's cron or cronie, a user's own or the system's).
_FORBIDDEN = {(True, True): 0o177, (True, False): 0o022, (False, True): 0o133, (False, False): 0o133}

_DEBIAN_NAME = re.compile(r"[A-Za-z0-9_-]+")
_LSB_NAME = re.compile(r"[a-z0-9]+|_?([a-z0-9_.]+-)+[a-z0-9]+|[A-Za-z0-9_-]+")  # with --lsbsysinit, or cron -l
_CRONIE_PASSES = re.compile(r"[.#].*|.*~|.*\.rpm(save|orig|new)")
_RED_HAT_PASSES = re.compile(r"\..*|.*[~,]|.*\.(rpm(save|orig|new)|swp|cfsaved)|.*,v")


class Rules:
    """The rules of one guest's cron."""

    def __init__(self, guest: Guest, reader: Reader) -> None:
        self.guest = guest
        self.reader = reader
        self.systemd = runs_systemd(guest)
        self.debian = guest.exists("/usr/sbin/cron") or not guest.exists("/usr/sbin/crond")
        self._passwd = reader.optional("/etc/passwd")

    @cached_property
    def started(self) -> frozenset[str]:
        """The names of what the boot starts: units (services without their suffix) or init scripts."""
        if self.systemd:
            boot = System(self.guest, "cron").boot
            names = (name for name in (*boot.direct, *boot.triggered) if boot.starts(name))
            return frozenset(name.removesuffix(".service") for name in names)
        openrc = {name for level in self.guest.glob("/etc/runlevels/*") for name in self.guest.listdir(level)}
        run_in_loops = {name for name, _, _ in looped(self.guest, self.reader)}
        return frozenset(openrc | run_in_loops | set(start_links(self.guest, default_levels(self.reader))))

    @property
    def runs(self) -> bool:
        """Whether the boot starts a cron daemon."""
        return bool(self.started & DAEMONS)

    @property
    def runs_anacron(self) -> bool:
        """Whether anacron is started: by its own units on Debian, by cron's hourly folder on Red Hat."""
        return bool(self.started & ANACRON) or (self.runs and not self.debian)

    @cached_property
    def knows_zones(self) -> bool:
        """Whether the daemon reads CRON_TZ: cronie does, Debian's does not (crontab(5)); its own text says which."""
        for path in _BINARIES:
            if self.guest.is_file(path):
                return b"CRON_TZ" in (self.reader.data(path, 8 << 20) or b"")
        return True

    # ------------------------------------------------------------ accounts

    @cached_property
    def _uids(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for line in (self._passwd or "").split("\n"):
            name, *rest = line.split(":")
            if len(rest) > 1 and rest[1].isascii() and rest[1].isdigit():
                found.setdefault(name, int(rest[1][:10]))
        return found

    @cached_property
    def _others_know_accounts(self) -> bool:
        """Whether passwd(5) is not the only word on accounts (nsswitch.conf(5)), or is missing."""
        text = self.reader.optional("/etc/nsswitch.conf") or ""
        return self._passwd is None or bool(
            re.search(r"^passwd:.*\b(ldap|sss|winbind|nis|nisplus|extrausers)\b", text, re.MULTILINE)
        )

    def knows(self, user: str) -> bool:
        """Tell whether an account exists, or may exist elsewhere."""
        return user in self._uids or self._others_know_accounts

    # ------------------------------------------------------------ files

    def takes_table(self, path: str, user: str = "") -> bool:
        """Tell whether cron takes a crontab; for a user's own, `user` is its name. The reason is noted if not."""
        link, node = self.guest.lstat(path), self.guest.stat(path)
        etc = self.guest.stat("/etc")
        owners_kept = etc is not None and etc.uid == 0  # an unpacked tree may belong to whoever unpacked it
        forbidden = _FORBIDDEN[self.debian, bool(user)]
        why = ""
        if link is None or node is None or node.kind != "file":
            why = "it leads to no regular file"
        elif owners_kept and node.uid not in {0, self._uids.get(user, 0)}:
            why = f"it belongs to uid {node.uid}"
        elif owners_kept and link.kind == "symlink" and link.uid != 0:
            why = f"the link belongs to uid {link.uid}"
        elif node.mode & forbidden:
            why = f"its mode is {node.mode:04o}"
        elif node.links > 1 and (user or self.debian):
            why = "it has several names (hard links)"
        if why:
            self.reader.note(path, f"cron passes over it: {why}")
        return not why

    def takes_name(self, path: str) -> bool:
        """Tell whether cron reads a file of /etc/cron.d by its name."""
        name = path.rpartition("/")[2]
        good = _CRONIE_PASSES.fullmatch(name) is None
        if self.debian:
            options = self.reader.optional("/etc/default/cron") or ""
            lsb = re.search(r"^\s*EXTRA_OPTS=.*-\w*l", options, re.MULTILINE) is not None
            good = (_LSB_NAME if lsb else _DEBIAN_NAME).fullmatch(name) is not None
        if not good:
            self._refuse(path, "cron passes over a file of that name")
        return good

    def takes_script(self, path: str, node: Entry) -> bool:
        """Tell whether run-parts starts a script, by its name and mode."""
        name = path.rpartition("/")[2]
        if self._run_parts_is_a_script:
            good = _RED_HAT_PASSES.fullmatch(name) is None
        else:
            good = _DEBIAN_NAME.fullmatch(name) is not None
        if not good:
            self._refuse(path, "run-parts passes over a file of that name")
        elif not node.mode & 0o111:
            self._refuse(path, "it is not executable, and run-parts passes over it")
        return good and bool(node.mode & 0o111)

    @cached_property
    def _run_parts_is_a_script(self) -> bool:
        try:
            return self.guest.read(_RUN_PARTS, 2) == b"#!"
        except GuestFileError:
            return False

    def _refuse(self, path: str, why: str) -> None:
        """Note a file that is passed over, where it holds more than comments (`.placeholder` does not)."""
        if any(True for _ in meaningful(self.reader.text(path) or "")):
            self.reader.note(path, why)
