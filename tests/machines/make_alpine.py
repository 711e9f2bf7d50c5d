"""The machine alpine: the Alpine root of the corpus, and packages written into its database as apk writes them.

Nothing of the root is run, so that apk itself cannot install them: a package is its files, and its lines in
/lib/apk/db/installed (apk-tools, src/database.c, apk_db_fdb_write and apk_blob_push_db_acl).
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from benchmarks.disks import as_owner
from tests.guest.made import CORPUS
from tests.machines.build import run

ROOT = CORPUS.parent / "rootfs" / "alpine-minirootfs-3.20.3-x86_64.tar.gz"
_MTIME = 1_715_000_000
_ACCOUNTS = {
    "etc/passwd": "relay:x:990:990:relay:/var/lib/relay:/sbin/nologin\n",
    "etc/group": "relay:x:990:\n",
    "etc/shadow": "relay:!::0:::::\n",
}
_SERVICE = (
    '#!/sbin/openrc-run\n# starts the relay\ncommand=/usr/sbin/relay\ncommand_args="$RELAY_OPTS"\ncommand_user=relay\n'
)


class Item(msgspec.Struct, frozen=True):
    """One path of a package, relative to the root; `target` makes it a link, neither content nor target a folder."""

    path: str
    content: str | None = None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    target: str = ""


RUNLEVELS = Item("etc/runlevels/default/relay", target="/etc/init.d/relay")
PACKAGES: dict[str, tuple[Item, ...]] = {
    "openrc": (
        Item("sbin/openrc", "\x7fELF openrc", 0o755),
        Item("sbin/openrc-run", "\x7fELF openrc-run", 0o755),
        Item("sbin/rc-update", "\x7fELF rc-update", 0o755),
        Item("etc/rc.conf", "# rc_parallel=NO\n"),
        Item("etc/init.d/hostname", "#!/sbin/openrc-run\nstart() { hostname -F /etc/hostname; }\n", 0o755),
        Item("etc/init.d/crond", "#!/sbin/openrc-run\ncommand=/usr/sbin/crond\n", 0o755),
        Item("etc/conf.d/hostname", 'hostname="localhost"\n'),
    ),
    "relay": (
        Item("etc/init.d/relay", _SERVICE, 0o755),
        Item("etc/conf.d/relay", 'RELAY_OPTS=""\n'),
        Item("etc/relay/relay.conf", "listen = 0.0.0.0:2525\n"),
        Item("etc/relay/key.conf", "key = /etc/relay/relay.key\n", 0o640, 0, 990),
        Item("usr/sbin/relay", "\x7fELF relay", 0o755),
        Item("usr/sbin/relay-su", "\x7fELF relay-su", 0o4755),
        Item("usr/sbin/relayctl", target="relay"),
        Item("usr/sbin/relayd", target="relay"),
        Item("var/lib/relay", mode=0o750, uid=990, gid=990),
    ),
    "relay-pages": (
        Item("usr/share/relay/banner.txt", "relay\n"),
        Item("usr/share/relay/logo.txt", "==>\n"),
        Item("usr/share/relay/pages", mode=0o755),
        *(Item(f"usr/share/relay/pages/{number}.html", f"<p>{number}\n") for number in range(20)),
    ),
}


def digest(data: bytes) -> str:
    """Return a checksum as the database has it."""
    return "Q1" + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def folders(items: Iterable[Item]) -> dict[str, Item]:
    """Return the directories of a package, parents first."""
    found: dict[str, Item] = {}
    for item in items:
        parts = item.path.split("/")
        for depth in range(1, len(parts)):
            path = "/".join(parts[:depth])
            found.setdefault(path, Item(path, mode=0o755))
        if item.content is None and not item.target:
            found[item.path] = item
    return dict(sorted(found.items()))


def lines(name: str, items: Iterable[Item]) -> Iterator[str]:
    """Yield the lines of a package."""
    items = tuple(items)
    yield from (f"C:{digest(name.encode())}", f"P:{name}", "V:1.2-r0", "A:x86_64", f"T:{name}", "L:MIT", f"o:{name}")
    for folder in folders(items).values():
        yield f"F:{folder.path}"
        if (folder.uid, folder.gid, folder.mode) != (0, 0, 0o755):
            yield f"M:{folder.uid}:{folder.gid}:{folder.mode:o}"
        for item in items:
            above, _, base = item.path.rpartition("/")
            if above != folder.path or (item.content is None and not item.target):
                continue
            yield f"R:{base}"
            mode = 0o777 if item.target else item.mode
            if (item.uid, item.gid, mode) != (0, 0, 0o644):
                yield f"a:{item.uid}:{item.gid}:{mode:o}"
            yield f"Z:{digest((item.target or item.content or '').encode())}"
    yield ""


def archive(items: Iterable[Item]) -> bytes:
    """Return the items as a tar archive, with their owners and modes."""
    items = tuple(items)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for item in (*folders(items).values(), *(i for i in items if i.content is not None or i.target)):
            info = tarfile.TarInfo(item.path)
            info.uid, info.gid, info.mode, info.mtime = item.uid, item.gid, item.mode, _MTIME
            data = (item.content or "").encode()
            if item.target:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, item.target, 0o777
            elif item.content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def make(work: Path, recipe: Path) -> None:
    """Unpack the root, and lay the packages into it."""
    tree = work / "tree"
    run(*as_owner(), "mkdir", "--mode=0755", tree)
    unpack = (*as_owner(), "tar", "--extract", "--numeric-owner", "--same-permissions", f"--directory={tree}")
    run(*unpack, "--gzip", f"--file={ROOT}")
    for name, text in _ACCOUNTS.items():
        _add(tree / name, text)
    items = [item for package in PACKAGES.values() for item in package]
    (work / "packages.tar").write_bytes(archive([*items, RUNLEVELS]))
    run(*unpack, "--no-overwrite-dir", f"--file={work / 'packages.tar'}")
    text = "".join(f"{line}\n" for name, package in PACKAGES.items() for line in lines(name, package))
    _add(tree / "lib/apk/db/installed", text)
    _add(tree / "etc/apk/world", "openrc\nrelay\n")


def _add(path: Path, text: str) -> None:
    run(*as_owner(), "tee", "--append", path, stdin=text)


def ask(tree: Path) -> str:
    """Return nothing: apk's own word on a tree is `apk audit`, and no distribution but Alpine has apk."""
    return ""
