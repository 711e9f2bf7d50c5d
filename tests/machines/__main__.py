"""`python -m tests.machines [NAME...]`: make the disks that are missing, or were made by another recipe."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.machines.kinds import KINDS


def say(words: str) -> None:
    """Tell what is being done."""
    print(f"machines: {words}", file=sys.stderr, flush=True)


def main(names: list[str]) -> int:
    """Make the machines of these names, or all that can be made here. Returns the exit code."""
    if unknown := set(names) - {kind.name for kind in KINDS}:
        say(f"no machine {', '.join(sorted(unknown))}; there are {', '.join(kind.name for kind in KINDS)}")
        return 2
    code = 0
    for kind in KINDS:
        if names and kind.name not in names:
            continue
        start = time.monotonic()
        try:
            kind.build(say)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            say("\n".join([str(error), *getattr(error, "__notes__", ())]))
            code = 1
            continue
        say(f"{kind.disk} is ready after {time.monotonic() - start:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
