"""What a person changed in the packages a component runs on: its image must have that too, or it behaves otherwise.

Configuration is another matter (`parts.config`): here are programs, libraries and other files that are not as their
package brought them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrate.changes.model import Change
from migrate.facts import Facts
from migrate.plan.model import Image, Reason

RULE = "changed-from-its-package"
FEW = 3
"""So many files of a package have a reason each; more of them have one together."""
_NOTHING_RUNS_ON_IT = (
    "/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/",  # for people
    "/usr/lib/systemd/", "/lib/systemd/", "/usr/lib/udev/", "/usr/lib/tmpfiles.d/", "/etc/init.d/",  # for the machine
)  # fmt: skip


def closure(facts: Facts, names: Iterable[str]) -> set[str]:
    """Return packages and all that they depend on, as far as it is installed."""
    found: set[str] = set()
    todo = [name for name in names if name in facts.packages]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [other for other in facts.packages[name].depends if other in facts.packages]
    return found


def add_changed(facts: Facts, image: Image) -> list[Reason]:
    """Add to an image what was changed in its packages and their dependencies, and return why.

    A lifted image has the machine's files anyway. What a package brings and the machine does not have is removed.
    Documentation and units are left: nothing in a container runs on them, and many a machine has no documentation.
    """
    if image.strategy == "lift":
        return []
    names = closure(facts, (package.partition("=")[0] for package in image.packages))
    secret = {secret.seen_in.path for secret in facts.secrets}
    changes = [
        change
        for change in facts.comparison.changes
        if change.package in names
        and not change.configuration
        and change.path not in secret
        and not change.path.startswith(_NOTHING_RUNS_ON_IT)
    ]
    gone = {change.path for change in changes if "missing" in change.aspects}
    image.remove = sorted({*image.remove, *gone})
    image.files = sorted({*image.files, *(_named(facts, change.path) for change in changes if change.path not in gone)})
    return list(_reasons(changes))


def _named(facts: Facts, path: str) -> str:
    """Return a path as an image's files name it: of a directory the directory alone."""
    entry = facts.guest.lstat(path)
    return f"{path}/" if entry is not None and entry.kind == "directory" else path


def _reasons(changes: Iterable[Change]) -> Iterator[Reason]:
    by_package: dict[str, list[Change]] = {}
    for change in changes:
        by_package.setdefault(change.package, []).append(change)
    for package, same in sorted(by_package.items()):
        for change in same[:FEW] if len(same) <= FEW else ():
            what = f"was changed on the machine ({', '.join(change.aspects)}): the image has it so"
            what = "is missing on the machine: the image is without it" if "missing" in change.aspects else what
            says = f"{change.path} of {package} {what}"
            yield Reason(rule=RULE, says=says, seen_in=str(change.seen_in))
        if len(same) > FEW:
            what = f"{len(same)} files of {package} were changed on the machine, {same[0].path} first"
            says = f"{what}: the image has them so"
            yield Reason(rule=RULE, says=says, seen_in=str(same[0].seen_in))
