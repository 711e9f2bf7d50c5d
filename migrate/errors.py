"""The errors a user sees. Each says what was attempted, what was found and what to do next.

The numbers are the exit codes of the command line (documented in the README).
"""

from __future__ import annotations


class Vm2cError(Exception):
    """Something that stops a command, told in words a person can act on.

    Parameters
    ----------
    attempted: what was being done, without a capital: "open shop.qcow2".
    found: what was there instead: "the file is 12 bytes long and holds text".
    do: what the person can do about it; may be empty.

    """

    exit_code = 1

    def __init__(self, attempted: str, found: str, do: str = "") -> None:
        super().__init__(attempted, found, do)
        self.attempted = attempted
        self.found = found
        self.do = do

    def __str__(self) -> str:
        text = f"cannot {self.attempted}: {self.found}"
        return f"{text}; {self.do}" if self.do else text


class DiskError(Vm2cError):
    """A disk image cannot be opened or read."""


class NoSystemError(DiskError):
    """A disk was opened, and no operating system's root was found on it."""


class GuestFileError(Vm2cError):
    """One file of the guest cannot be read; a caller that can go on reports it under `unread`."""


class UsageError(Vm2cError):
    """The command was called in a way that cannot work."""

    exit_code = 2


class PlanError(Vm2cError):
    """plan.yaml does not say something that can be used."""


class PlanStopsError(Vm2cError):
    """The plan itself forbids going on: undecided, blocked, or not approved."""

    exit_code = 4


class EngineError(Vm2cError):
    """The Docker engine cannot be reached or refused what was asked."""
