"""What makes a directory the root of a system. Pure."""

from __future__ import annotations

from collections.abc import Collection

from migrate.errors import NoSystemError
from migrate.guest.tree import Tree
from migrate.text import show

MARKS = ("bin", "boot", "etc", "home", "lib", "opt", "root", "sbin", "srv", "usr", "var")
"""Names of the Filesystem Hierarchy Standard (hier(7)) that a root has some of."""

SIGNS = ("fstab", "os-release", "passwd", "shadow")
"""Names in `etc` that a system in use has: more of them tell it from a rescue system or a leftover."""

WINDOWS = ("Windows", "WINDOWS", "windows", "WINNT")


def is_root(names: Collection[str]) -> bool:
    """Tell whether a directory with these names is the root of a system that could run.

    It has `etc` and somewhere for programs; nothing in either need be known.

    >>> is_root({"etc", "usr", "lost+found"}), is_root({"log", "lib", "spool"})
    (True, False)
    """
    return "etc" in names and any(name in names for name in ("bin", "sbin", "usr", "lib"))


def is_windows(names: Collection[str]) -> bool:
    """Tell whether a directory with these names is the root of a Windows system."""
    return any(name in names for name in WINDOWS)


def check_root(tree: Tree, title: str) -> None:
    """Refuse a directory or archive that somebody gave as a root and that is none.

    More is let through than on a disk, where it must be told from other file systems: here a person chose it,
    and a part of a root (only `etc`, say) is worth reading. Raises NoSystemError.
    """
    attempted = f"read {title} as a root directory"
    names = [entry.path[1:] for entry in tree.children("/")]
    if any(mark in names for mark in MARKS):
        return
    if is_windows(names):
        raise NoSystemError(attempted, "it holds a Windows system", "vm2c reads Linux systems")
    for name in names:
        below = [entry.path.rpartition("/")[2] for entry in tree.children(f"/{name}")]
        if is_root(below):
            raise NoSystemError(
                attempted, f"the root is one level down, in {show(name)}/", "give that directory itself"
            )
    found = f"it holds {', '.join(map(show, sorted(names)[:5]))}" if names else "it is empty"
    raise NoSystemError(attempted, f"none of /etc, /usr, /var, … is there; {found}")
