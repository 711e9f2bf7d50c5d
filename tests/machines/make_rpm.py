"""The machine rpmbox: the AlmaLinux 9 root of the corpus, and packages that rpmbuild makes of the specs beside it.

Nothing of the root is run: rpm installs into it with neither scripts nor triggers.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.disks import as_owner
from tests.guest.made import CORPUS
from tests.machines.build import OR_ONE, run

ROOT = CORPUS.parent / "rootfs" / "almalinux-9-docker-aarch64-micro.tar.xz"
PROGRAMS = ("rpm", "rpmbuild", "xz")
ACCOUNT = ("acme:x:990:990:Acme:/var/lib/acme:/sbin/nologin\n", "acme:x:990:\n")
WORDS = {
    "x86_64": {"folder": "lib64", "class": "2", "machine": "76"},
    "i686": {"folder": "lib", "class": "1", "machine": "3"},
}
_SETTINGS = {
    "__os_install_post": "%{nil}",
    "debug_package": "%{nil}",
    "_build_id_links": "none",
    "_buildhost": "builder",
}


def _defines(values: dict[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in ("--define", f"{name} {value}")]


def _package(work: Path, spec: Path, target: str = "noarch", **macros: str) -> None:
    settings = _SETTINGS | {"_topdir": str(work / "rpmbuild")} | macros
    run("rpmbuild", "-bb", "--quiet", "--target", target, *_defines(settings), spec)


def _rpm(tree: Path, *arguments: str | Path) -> list[str | Path]:
    """Return a call of rpm on the tree, with the database where EL 9 has it; Debian's default is in a home."""
    return ["rpm", f"--root={tree}", "--dbpath=/var/lib/rpm", *arguments]


def make(work: Path, recipe: Path) -> None:
    """Unpack the root, build the packages and install them, one in two versions."""
    tree = work / "tree"
    run(*as_owner(), "mkdir", "--mode=0755", tree)
    run(
        *as_owner(),
        "tar",
        "--extract",
        "--xz",
        "--numeric-owner",
        "--same-permissions",
        f"--file={ROOT}",
        f"--directory={tree}",
    )
    # What a root of containers leaves out and the package filesystem brings.
    run(*as_owner(), "mkdir", "-m", "0555", tree / "boot")
    run(*as_owner(), "chmod", "0555", tree)
    for name, line in zip(("passwd", "group"), ACCOUNT, strict=True):
        _add(tree / "etc" / name, line)
    _add(tree / "etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n")
    for edition in "01":
        _package(work, recipe / "acme-web.spec", edition=edition)
    _package(work, recipe / "acme-theme.spec")
    for target, macros in WORDS.items():
        _package(work, recipe / "acme-libs.spec", target, **macros)
    built = work / "rpmbuild" / "RPMS"
    run("chmod", "-R", "a+rX", built)
    install = ("--nodeps", "--nosignature", "--ignorearch", "--noplugins", "--noscripts", "--notriggers")
    run(*as_owner(), *_rpm(tree, "-i", *install, built / "noarch" / "acme-web-1.0-1.noarch.rpm"))
    for name in ("workers.conf", "theme.conf"):
        _add(tree / "etc/acme" / name, "mine = yes\n")
    run(*as_owner(), *_rpm(tree, "-U", *install, built / "noarch" / "acme-web-1.1-1.noarch.rpm"))
    run(*as_owner(), *_rpm(tree, "-i", *install, "--replacefiles", built / "noarch" / "acme-theme-2.0-1.noarch.rpm"))
    # rpm's own default on a machine of two word lengths; 2 is the 64-bit one.
    words = _defines({"_transaction_color": "3", "_prefer_color": "2"})
    run(*as_owner(), *_rpm(tree, "-i", *install, *words, *sorted(built.glob("*/acme-libs-*.rpm"))))


def _add(path: Path, line: str) -> None:
    run(*as_owner(), "tee", "--append", path, stdin=line)


def ask(tree: Path) -> str:
    """Return what `rpm -Va` says: rpm(8), VERIFY OPTIONS, nine letters, what kind of file, and the path."""
    return run(*as_owner(), *OR_ONE, *_rpm(tree, "-Va", "--noscripts", "--nodeps"))
