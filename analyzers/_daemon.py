"""The programs that init scripts start daemons with, and what their options say of the daemon.

start-stop-daemon(8) of OpenRC and of Debian, supervise-daemon(8), runit's chpst(8) and setuidgid, softlimit, envdir of
daemontools, s6's s6-setuidgid and s6-softlimit, and su, sudo, env, nice and their like, which only wrap a command.
"""

from __future__ import annotations

import getopt
import re
from collections.abc import Sequence
from typing import Literal

import msgspec

# The options as getopt(3) takes them: OpenRC's (src/start-stop-daemon, src/supervise-daemon), and dpkg's program.
_LONG = [
    "start", "stop", "background", "make-pidfile", "quiet", "verbose", "nocolor", "oknodo", "test", "progress",
    "no-close", "remove-pidfile", "interpreted", "no-new-privs", "merge-stderr", "help", "version", "status", "user=",
    "chuid=", "group=", "exec=", "startas=", "chdir=", "pidfile=", "env=", "name=", "chroot=", "umask=", "nicelevel=",
    "stdout=", "stderr=", "stdin=", "stdout-logger=", "stderr-logger=", "wait=", "retry=", "ionice=", "signal=",
    "respawn-delay=", "respawn-delay-step=", "respawn-delay-cap=", "respawn-max=", "respawn-period=", "capabilities=",
    "secbits=", "healthcheck-timer=", "healthcheck-delay=", "scheduler=", "scheduler-priority=", "oom-score-adj=",
    "notify=", "procsched=", "iosched=", "ppid=", "pid=", "output=", "notify-await", "notify-timeout=",
]  # fmt: skip
_SHORT = {
    "openrc": "I:KN:PR:Sa:bc:d:e:g:ik:mn:op:s:tu:r:w:x:1:2:3:4:ChqVv",
    "dpkg": "HKSVa:bc:Cd:g:I:k:mn:N:oO:p:P:qr:R:s:tTu:vx:",
    "supervise": "D:d:e:g:H:I:Kk:m:N:p:P:R:r:Su:1:2:3:ChqVv",
}
_NAMES = {
    "x": "exec", "a": "startas", "u": "user", "c": "chuid", "g": "group", "d": "chdir", "p": "pidfile", "e": "env",
    "n": "name", "r": "chroot", "k": "umask", "N": "nicelevel", "1": "stdout", "2": "stderr", "w": "wait",
    "R": "retry", "I": "ionice", "s": "signal", "b": "background", "m": "make-pidfile", "S": "start", "K": "stop",
    "t": "test",
}  # fmt: skip


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """A daemon as it is started: `command` is its argv, `options` what the starting program was told, by long name."""

    command: tuple[str, ...] = ()
    options: dict[str, str] = {}
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def user(self) -> tuple[str, str]:
        """User and group as they are named; empty where nothing is said."""
        text = self.options.get("chuid") or self.options.get("user", "")
        user, _, group = text.partition(":")
        return user, self.options.get("group", group)


def start_stop_daemon(words: Sequence[str], kind: Literal["openrc", "dpkg", "supervise"] = "openrc") -> Daemon | None:
    """Read the words behind `start-stop-daemon` or, with its service's name taken off, `supervise-daemon`.

    `-u` names whom the daemon runs as for OpenRC, and whose process it is for dpkg's. None where an option is of none.
    """
    try:
        pairs, rest = getopt.getopt(list(words), _SHORT[kind], _LONG)
    except getopt.GetoptError:
        return None
    options: dict[str, str] = {}
    environment: list[tuple[str, str]] = []
    for option, value in pairs:
        name = option.lstrip("-") if option.startswith("--") else _NAMES.get(option[1:], option[1:])
        if name == "env":
            key, _, text = value.partition("=")
            environment.append((key, text))
        else:
            options[name] = value
    if kind == "dpkg":
        options.pop("user", None)
    program = options.get("startas") or options.get("exec", "")
    return Daemon(command=(program, *rest) if program else tuple(rest), options=options, environment=tuple(environment))


# ---------------------------------------------------------------- wrappers

# chpst(8): options with a value; -u also sets the groups.
_CHPST_VALUES = frozenset("uUbe/nlLmdorpftcC")
_LIMITS = {"m": "LimitAS", "d": "LimitDATA", "o": "LimitNOFILE", "p": "LimitNPROC", "f": "LimitFSIZE",
           "t": "LimitCPU", "c": "LimitCORE", "l": "LimitMEMLOCK", "s": "LimitSTACK"}  # fmt: skip
_SETUID = frozenset({"setuidgid", "s6-setuidgid"})
_SOFTLIMIT = frozenset({"softlimit", "s6-softlimit"})
# How many words of their own come before the command, behind their options.
_PLAIN = {"exec": 0, "nohup": 0, "setsid": 0, "env": 0, "nice": 0, "ionice": 0, "chrt": 1, "command": 0, "time": 0,
          "s6-env": 0, "pgrphack": 0, "fdmove": 2, "s6-fdmove": 2, "with-contenv": 0, "stdbuf": 0,
          "setlock": 1, "s6-setlock": 1, "s6-setsid": 0, "umask": 1, "s6-umask": 1, "cd": 1, "s6-cd": 1, "vlogger": 0,
          "s6-notifyoncheck": 0, "s6-envuidgid": 1, "envuidgid": 1, "snooze": 0}  # fmt: skip
_WITH_VALUE = {"nice": "n", "ionice": "cnp", "env": "uCS", "setsid": "", "chrt": "", "stdbuf": "ioe", "exec": "a",
               "s6-notifyoncheck": "nstwc3", "fdmove": "", "s6-fdmove": "", "snooze": "dmwDWHMStTrsS"}  # fmt: skip
_MAX_WRAPPERS = 12


class Wrapped(msgspec.Struct, frozen=True, kw_only=True):
    """A command without what wraps it, and what that says; `settings` are named as systemd does."""

    command: tuple[str, ...]
    user: str = ""
    group: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    environment_directory: str = ""
    directory: str = ""
    settings: tuple[tuple[str, str], ...] = ()


def unwrap(words: Sequence[str]) -> Wrapped:
    """Take the wrappers from around a command, and say what they do to it."""
    here = Wrapped(command=tuple(words))
    for _ in range(_MAX_WRAPPERS):
        after = _unwrap_one(here)
        if after is None:
            return here
        here = after
    return here


def _unwrap_one(here: Wrapped) -> Wrapped | None:
    words = here.command
    name = words[0].rpartition("/")[2] if words else ""
    if name == "chpst":
        return _chpst(here, words[1:])
    if name in _SETUID and len(words) > 2:
        user, _, group = words[1].partition(":")
        return msgspec.structs.replace(here, command=words[2:], user=user, group=group)
    if name in _SOFTLIMIT:
        return _softlimit(here, words[1:])
    if name in ("envdir", "s6-envdir") and (rest := _past_options(words[1:], "")) and len(rest) > 1:
        return msgspec.structs.replace(here, command=rest[1:], environment_directory=rest[0])
    if name == "export" and len(words) > 3:  # execline
        return msgspec.structs.replace(here, command=words[3:], environment=(*here.environment, (words[1], words[2])))
    if name in ("runuser", "su-exec", "gosu", "sudo", "doas"):
        return _as_user(here, name, words[1:])
    if name not in _PLAIN:
        return None
    rest = _past_options(words[1:], _WITH_VALUE.get(name, ""))
    variables = []
    while name in ("env", "s6-env") and rest and re.match(r"[A-Za-z_]\w*=", rest[0]):
        key, _, value = rest[0].partition("=")
        variables.append((key, value))
        rest = rest[1:]
    own = rest[: _PLAIN[name]]
    if not rest[len(own) :]:
        return None
    directory = own[0] if name in ("cd", "s6-cd") else here.directory
    settings = (*here.settings, ("UMask", own[0])) if name in ("umask", "s6-umask") else here.settings
    return msgspec.structs.replace(here, command=rest[len(own) :], environment=(*here.environment, *variables),
                                   directory=directory, settings=settings)  # fmt: skip


def _past_options(words: tuple[str, ...], values: str) -> tuple[str, ...]:
    """Return what comes behind the options, of which those with a letter of `values` take a word."""
    at = 0
    while at < len(words) and words[at].startswith("-") and len(words[at]) > 1:
        if words[at] == "--":
            return words[at + 1 :]
        at += 2 if len(words[at]) == 2 and words[at][1] in values else 1
    return words[at:]


def _chpst(here: Wrapped, words: tuple[str, ...]) -> Wrapped | None:
    user, group, directory, folder = here.user, here.group, here.directory, here.environment_directory
    settings = list(here.settings)
    at = 0
    while at < len(words) and words[at].startswith("-") and len(words[at]) > 1 and words[at] != "--":
        letter, value = words[at][1], words[at][2:]
        at += 1
        if letter not in _CHPST_VALUES:
            if value and not value.isdigit():  # -Pv: flags together
                words = (*words[:at], f"-{value}", *words[at:])
            continue
        if not value:
            value = words[at] if at < len(words) else ""
            at += 1
        if letter == "u":
            user, _, group = value.lstrip(":").partition(":")
        elif letter == "C":
            directory = value
        elif letter == "e":
            folder = value
        elif letter in _LIMITS:
            settings.append((_LIMITS[letter], value))
        elif letter == "/":
            settings.append(("RootDirectory", value))
    at += at < len(words) and words[at] == "--"
    if at >= len(words):
        return None
    return msgspec.structs.replace(here, command=words[at:], user=user, group=group, directory=directory,
                                   environment_directory=folder, settings=tuple(settings))  # fmt: skip


def _softlimit(here: Wrapped, words: tuple[str, ...]) -> Wrapped | None:
    settings = list(here.settings)
    at = 0
    while at + 1 < len(words) and re.fullmatch(r"-[a-zA-Z]\d*", words[at]):
        letter, value = words[at][1], words[at][2:]
        at += 1
        if letter not in "hH" and not value:
            value, at = words[at], at + 1
        if letter in _LIMITS:
            settings.append((_LIMITS[letter], value))
    return msgspec.structs.replace(here, command=words[at:], settings=tuple(settings)) if words[at:] else None


def _as_user(here: Wrapped, name: str, words: tuple[str, ...]) -> Wrapped | None:
    if name in ("su-exec", "gosu"):
        user, rest = (words[0], words[1:]) if words else ("", ())
    else:
        user = "root"
        rest = words
        while rest and rest[0].startswith("-"):
            if rest[0] in ("-u", "--user", "-g", "--group") and len(rest) > 1:
                user, rest = (rest[1] if "u" in rest[0][:4] else user), rest[2:]
            elif rest[0] == "--":
                rest = rest[1:]
                break
            elif rest[0] in ("-E", "-H", "-n", "-P"):
                rest = rest[1:]
            else:
                return None
    if not rest:
        return None
    user, _, group = user.partition(":")
    return msgspec.structs.replace(here, command=rest, user=user, group=group or here.group)
