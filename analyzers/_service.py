"""From a unit with its drop-ins to findings: the service, the paths it uses.

systemd.service(5), systemd.exec(5), systemd.resource-control(5), systemd.kill(5). The values of variables from
files (EnvironmentFile=) are never taken up: references to them stay as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from analyzers._boot import System
from analyzers._expand import Command, Environment, looks_secret, parse_commands, replace_variables, variable_names
from analyzers._reading import inside
from analyzers._unit import Line, Unit, parse_name
from migrate.model import EnvironmentFile, Place, Service, Setting, Uses, Variable

Role = Literal["runtime", "data", "log", "cache", "config"]

# systemd.exec(5), RuntimeDirectory= and its kin: setting → where it lies, its variable, what it is for.
DIRECTORIES: dict[str, tuple[str, str, Role]] = {
    "RuntimeDirectory": ("/run", "RUNTIME_DIRECTORY", "runtime"),
    "StateDirectory": ("/var/lib", "STATE_DIRECTORY", "data"),
    "CacheDirectory": ("/var/cache", "CACHE_DIRECTORY", "cache"),
    "LogsDirectory": ("/var/log", "LOGS_DIRECTORY", "log"),
    "ConfigurationDirectory": ("/etc", "CONFIGURATION_DIRECTORY", "config"),
}

# Lists: several lines add up. All other settings hold one value, the last.
_LISTS = frozenset(
    {
        *DIRECTORIES, "AmbientCapabilities", "BindPaths", "BindReadOnlyPaths", "CapabilityBoundingSet", "DeviceAllow",
        "ExecPaths", "IPAddressAllow", "IPAddressDeny", "ImportCredential", "InaccessiblePaths", "LoadCredential",
        "LoadCredentialEncrypted", "NoExecPaths", "PassEnvironment", "ReadOnlyPaths", "ReadWritePaths",
        "RestartForceExitStatus", "RestartPreventExitStatus", "RestrictAddressFamilies", "Sockets",
        "SuccessExitStatus", "SupplementaryGroups", "SystemCallFilter", "TemporaryFileSystem", "UnsetEnvironment",
    }
)  # fmt: skip
_SILENT = {"Environment", "EnvironmentFile", "SetCredential", "SetCredentialEncrypted"}  # values that may be secrets
_OF_UNIT = ("JoinsNamespaceOf", "OnFailure", "PartOf", "RequiresMountsFor")  # settings of [Unit] that bind a component
_MANAGER_DEFAULTS = re.compile(
    r"Default((?:Limit[A-Z]+|Timeout(?:Start|Stop|Abort)Sec|RestartSec|TasksMax|OOMPolicy|Standard(?:Output|Error)))"
)  # systemd-system.conf(5)

# systemd.exec(5), "Environment variables in spawned processes": set by the manager, to what a disk does not say.
_AT_RUN_TIME = frozenset(
    """
    CREDENTIALS_DIRECTORY EXIT_CODE EXIT_STATUS INVOCATION_ID JOURNAL_STREAM LANG LANGUAGE LISTEN_FDNAMES LISTEN_FDS
    LISTEN_PID LOG_NAMESPACE MAINPID MANAGERPID MEMORY_PRESSURE_WATCH NOTIFY_SOCKET PATH PIDFILE REMOTE_ADDR
    REMOTE_PORT SERVICE_RESULT SYSTEMD_EXEC_PID TERM WATCHDOG_PID WATCHDOG_USEC
    """.split()  # noqa: SIM905  # a list of words
)


class Account(msgspec.Struct, frozen=True):
    """What passwd(5) says of a user that variables and `~` need."""

    home: str
    shell: str


def accounts(passwd: str) -> dict[str, Account]:
    """Return the accounts of a passwd(5) text by name and by number; lines that are none are left out."""
    found: dict[str, Account] = {}
    for line in passwd.split("\n"):
        fields = line.split(":")
        if len(fields) == 7:  # passwd(5) has seven
            for key in (fields[0], fields[2]):
                found.setdefault(key, Account(fields[5], fields[6]))
    return found


class Services:
    """Turns units of one guest into findings."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.accounts = accounts(system.reader.optional("/etc/passwd") or "")
        self.manager = system.units.manager()

    def service(self, unit: Unit) -> Service:
        """Return the service a unit describes."""
        name, boot = unit.name.full, self.system.boot
        user = self._user(unit)
        variables = self._variables(unit)
        files = list(self._environment_files(unit))
        environment = self._environment(unit, user, variables, files)
        commands = self._commands(unit, "ExecStart")
        kind = self._type(unit, commands)
        faulty = len(commands) > 1 and kind != "oneshot"
        if faulty:
            line = commands[-1][0]
            why = f"more than one ExecStart= with Type={kind}: systemd refuses to start the unit"
            self.system.reader.note(line.place.path, why, line.place.line)
        first, main = commands[:-1], commands[-1] if commands else None
        return Service(
            id=unit.name.id,
            manager="systemd",
            enabled=boot.starts(name) and not unit.mask and not faulty,
            unit=unit.path,
            type=kind,
            description=self._text(unit, unit.last("Unit", "Description")),
            command=_argv(main[1], environment) if main else (),
            before=tuple(_argv(c, environment) for _, c in (*self._commands(unit, "ExecStartPre"), *first)),
            user=user,
            group=self._text(unit, unit.last("Service", "Group")),
            working_directory=self._working_directory(unit, user),
            environment=tuple(variables[key] for key in sorted(variables)),
            environment_files=tuple(files),
            settings=tuple(self._settings(unit)),
            after=self._others(unit, ("After",)),
            requires=self._others(unit, ("Requires", "Requisite", "BindsTo"), "requires"),
            wants=self._others(unit, ("Wants", "Upholds"), "wants"),
            aliases=tuple(n.stem for a in self.system.units.aliases(name) if (n := parse_name(a)) is not None),
            seen_in=main[0].place if main else Place(unit.path, 1),
        )

    def uses(self, unit: Unit, service: Service) -> Iterator[Uses]:
        """Yield the directories systemd makes for a service and the files of variables it reads."""
        for key, (top, _, role) in DIRECTORIES.items():
            for line in unit.all("Service", key):
                for path in self._below(unit, line, top):
                    says = f"{key}= of {unit.name.full}"
                    yield Uses(seen_in=line.place, service=service.id, path=path, role=role, says=says)
        for file in service.environment_files:
            says = f"EnvironmentFile= of {unit.name.full}"
            yield Uses(seen_in=file.seen_in, service=service.id, path=file.path, role="config", says=says)

    # ------------------------------------------------------------ parts

    def _text(self, unit: Unit, line: Line | None) -> str:
        return self.system.expand(unit, line.value) if line else ""

    def _below(self, unit: Unit, line: Line, top: str) -> list[str]:
        """Return the paths of RuntimeDirectory= and its kin: `name` or, since systemd 251, `name:link`."""
        names = (word.partition(":")[0].strip("/") for word in self.system.words(unit, line))
        return [f"{top}/{name}" for name in names if name and ".." not in name.split("/")]

    def _type(self, unit: Unit, commands: list[tuple[Line, Command]]) -> str:
        named = unit.value("Service", "Type")
        if named:
            return named
        if unit.last("Service", "BusName"):
            return "dbus"
        return "simple" if commands else "oneshot"

    def _user(self, unit: Unit) -> str:
        line = unit.last("Service", "User")
        if line:
            return self.system.expand(unit, line.value)
        return unit.name.prefix if unit.yes("Service", "DynamicUser") else "root"

    def _working_directory(self, unit: Unit, user: str) -> str:
        path = self._text(unit, unit.last("Service", "WorkingDirectory")).removeprefix("-")
        if path != "~":
            return path
        account = self.accounts.get(user)
        return account.home if account else path

    def _commands(self, unit: Unit, key: str) -> list[tuple[Line, Command]]:
        found: list[tuple[Line, Command]] = []
        for line in unit.all("Service", key):
            try:
                commands = parse_commands(line.value, lambda text: self.system.expand(unit, text))
            except ValueError as error:
                self.system.reader.note(line.place.path, f"{key}=: {error}", line.place.line)
                continue
            found += [(line, command) for command in commands]
        return found

    def _others(self, unit: Unit, keys: tuple[str, ...], folder: str = "") -> tuple[str, ...]:
        names = {word for key in keys for line in unit.all("Unit", key) for word in self.system.words(unit, line)}
        if folder:
            names |= {name for name, _ in self.system.units.linked(unit.name.full, folder)}
        known = {self.system.units.canonical(name) or name for name in names}
        return tuple(sorted({n.id for name in known if (n := parse_name(name)) is not None}))

    # ------------------------------------------------------------ settings

    def _settings(self, unit: Unit) -> Iterator[Setting]:
        def setting(line: Line, value: str | None = None) -> Setting:
            return Setting(line.key, self.system.expand(unit, line.value) if value is None else value, line.place)

        keys = sorted({line.key for line in unit.lines if line.section == "Service"} - _SILENT)
        for key in keys:
            lines = unit.all("Service", key)
            if key.startswith("Exec") and key not in _LISTS:
                yield from map(setting, lines)
            elif key in _LISTS and lines:
                yield setting(lines[-1], " ".join(self.system.expand(unit, line.value) for line in lines))
            elif lines and (last := unit.last("Service", key)):
                yield setting(last)
            elif key == "CapabilityBoundingSet":  # empty is the empty set, not the default (systemd.exec(5))
                yield setting(next(ln for ln in reversed(unit.lines) if ln.key == key), "")
        for key, line in self.manager.items():
            match = _MANAGER_DEFAULTS.fullmatch(key)
            if match and match[1] not in keys:
                yield Setting(match[1], line.value, line.place)
        for key in _OF_UNIT:
            lines = unit.all("Unit", key)
            if lines:
                yield setting(lines[-1], " ".join(self.system.expand(unit, line.value) for line in lines))
        yield from self._state(unit)

    def _state(self, unit: Unit) -> Iterator[Setting]:
        """Yield why a boot starts the unit, or does not, under the names `systemctl show` has for it."""
        boot, name = self.system.boot, unit.name.full
        cause, bar = boot.cause(name), boot.barred.get(name)
        if cause is not None and cause.relation:
            yield Setting(cause.relation, cause.unit, cause.place)
        if bar is not None:
            yield Setting(bar.key, bar.value, bar.place)
        if unit.mask is not None:
            yield Setting("LoadState", "masked", unit.mask)

    # ------------------------------------------------------------ environment

    def _variables(self, unit: Unit) -> dict[str, Variable]:
        """Return the variables that Environment= and the manager's DefaultEnvironment= set, by name."""
        found: dict[str, Variable] = {}
        default = self.manager.get("DefaultEnvironment")
        for line in ([default] if default else []) + unit.all("Service", "Environment"):
            for word in self.system.words(unit, line):
                name, equals, value = word.partition("=")
                if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                    why = f"{line.key}=: no NAME=VALUE, and systemd passes over it"
                    self.system.reader.note(line.place.path, why, line.place.line)
                else:
                    found[name] = Variable(name, value, line.place)
        for line in unit.all("Service", "UnsetEnvironment"):
            for word in self.system.words(unit, line):
                name, equals, value = word.partition("=")
                if name in found and (not equals or found[name].value == value):
                    del found[name]
        return found

    def _environment_files(self, unit: Unit) -> Iterable[EnvironmentFile]:
        """Yield the files of EnvironmentFile=, a pattern as the files that match it now."""
        for line in unit.all("Service", "EnvironmentFile"):
            path = self.system.expand(unit, line.value)
            optional = path.startswith("-")
            path = path.removeprefix("-")
            matches = self.system.guest.glob(path) if re.search(r"[*?\[]", path) and path.startswith("/") else []
            for match in matches or [path]:
                yield EnvironmentFile(match, optional, line.place)

    def _environment(
        self, unit: Unit, user: str, variables: dict[str, Variable], files: list[EnvironmentFile]
    ) -> Environment:
        known = dict(self._of_account(unit, user))
        for key, (top, variable, _) in DIRECTORIES.items():
            paths = [path for line in unit.all("Service", key) for path in self._below(unit, line, top)]
            if paths:
                known[variable] = ":".join(paths)
        held = set(_AT_RUN_TIME)
        for line in unit.all("Service", "PassEnvironment"):
            held.update(self.system.words(unit, line))
        for variable, found in variables.items():
            known[variable] = found.value
            (held.add if looks_secret(variable, found.value) else held.discard)(variable)
        unsure = False
        for file in files:
            names = self._names_in(unit, file)
            unsure = unsure or names is None
            for name, empty in (names or {}).items():
                known[name] = ""
                (held.discard if empty else held.add)(name)
        for line in unit.all("Service", "UnsetEnvironment"):
            for word in self.system.words(unit, line):
                if "=" not in word:
                    known.pop(word, None)
                    held.discard(word)
        return Environment(known, frozenset(held), unsure)

    def _of_account(self, unit: Unit, user: str) -> Iterator[tuple[str, str]]:
        """Yield what systemd sets where User= is given (systemd.exec(5): USER, LOGNAME, HOME, SHELL)."""
        account = self.accounts.get(user)
        if unit.last("Service", "User") and account is not None:
            yield from (("USER", user), ("LOGNAME", user), ("HOME", account.home), ("SHELL", account.shell))

    def _names_in(self, unit: Unit, file: EnvironmentFile) -> dict[str, bool] | None:
        """Return the names a file sets; None where the disk does not say (it is made at run time, or missing)."""
        guest = self.system.guest
        if guest.is_file(file.path):
            text = self.system.reader.text(file.path)
            return None if text is None else variable_names(text)
        if any(inside(file.path, top) for top in ("/run", "/var/run")):
            return None
        if file.optional:
            return {}
        if self.system.boot.starts(unit.name.full):
            why = f"EnvironmentFile={file.path} is missing, and systemd does not start the unit without it"
            self.system.reader.note(file.seen_in.path, why, file.seen_in.line)
        return None


def _argv(command: Command, environment: Environment) -> tuple[str, ...]:
    return command.argv if ":" in command.prefixes else replace_variables(command.argv, environment)


def is_lasting(unit: Unit) -> bool:
    """Tell whether a unit has a main process that stays, by its Type= (systemd.service(5))."""
    return unit.value("Service", "Type") != "oneshot" and unit.last("Service", "ExecStart") is not None
