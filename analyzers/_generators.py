"""What unit generators would make at boot (systemd.generator(7)): on a disk that is not running /run is empty.

A generator is a program, and nothing of a guest is run here. Those that start services are retold, each from
its own source; a generator that is not known is a blind spot and reported as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from analyzers._reading import Reader, assignments, meaningful
from migrate.guest.protocol import Guest
from migrate.model import Place

FOLDERS = (
    "/etc/systemd/system-generators",
    "/usr/local/lib/systemd/system-generators",
    "/usr/lib/systemd/system-generators",
    "/lib/systemd/system-generators",
)

# Generators that make no service beyond what is read elsewhere: mounts, network configuration, ordering,
# debugging. Those named systemd-* come with systemd itself.
_QUIET = {
    "anaconda-generator", "bootc-systemd-generator", "coreos-liveiso-autologin-generator",
    "ds-identify", "friendly-recovery", "gpsd-generator", "ibft-rule-generator", "kdump-dep-generator.sh",
    "lvm2-activation-generator", "netplan", "nfs-blkmap-generator", "nfs-server-generator",
    "ostree-system-generator", "rpc-pipefs-generator", "selinux-autorelabel-generator.sh", "snapd-generator",
    "zfs-mount-generator", "zram-generator",
}  # fmt: skip

Wanted = tuple[str, str, Place]
"""A unit, the unit it is made to want, and the place that says so."""


def _postgresql(guest: Guest, reader: Reader) -> Iterable[Wanted]:
    """postgresql-common's postgresql-generator: every cluster whose start.conf says auto (or that has none)."""
    for conf in guest.glob("/etc/postgresql/*/*/postgresql.conf"):
        folder = conf.rpartition("/")[0]
        version, cluster = folder.split("/")[-2:]
        path, line, word = f"{folder}/start.conf", None, "auto"
        text = reader.optional(path)
        if text is not None:
            words = [(n, w) for n, raw in meaningful(text) if (w := raw.partition("#")[0].strip())]
            line, word = words[-1] if words else (1, "")
        else:
            path = conf
        server = guest.stat(f"/usr/lib/postgresql/{version}/bin/postgres")
        if word == "auto" and server is not None and server.mode & 0o111:
            yield "postgresql.service", f"postgresql@{version}-{cluster}.service", Place(path, line)


def _openvpn(guest: Guest, reader: Reader) -> Iterable[Wanted]:
    """Debian's openvpn-generator: AUTOSTART of /etc/default/openvpn names configurations, `all` or `none`."""
    path = "/etc/default/openvpn"
    words, line = assignments(reader.optional(path) or "").get("AUTOSTART", ("all", None))
    names = {c.rpartition("/")[2].removesuffix(".conf") for c in guest.glob("/etc/openvpn/*.conf")}
    chosen = names if words in {"", "all"} else names & set(words.split())
    for name in sorted(chosen):
        yield (
            "openvpn.service",
            f"openvpn@{name}.service",
            Place(path, line) if line else Place(f"/etc/openvpn/{name}.conf"),
        )


def _tor(guest: Guest, reader: Reader) -> Iterable[Wanted]:
    """Debian's tor-generator: the default instance, and one for each folder of /etc/tor/instances."""
    del reader
    if guest.is_file("/etc/tor/torrc"):
        yield "tor.service", "tor@default.service", Place("/etc/tor/torrc")
    for torrc in guest.glob("/etc/tor/instances/*/torrc"):
        yield "tor.service", f"tor@{torrc.split('/')[-2]}.service", Place(torrc)


def _postfix(guest: Guest, reader: Reader) -> Iterable[Wanted]:
    """Debian's postfix-instance-generator: the default instance, and those of multi_instance_directories."""
    del guest
    main = "/etc/postfix/main.cf"
    text = reader.optional(main) or ""
    yield "postfix.service", "postfix@-.service", Place(main)
    folders = assignments(text).get("multi_instance_directories", ("", 0))
    for folder in folders[0].replace(",", " ").split():
        name = assignments(reader.optional(f"{folder}/main.cf") or "").get("multi_instance_name")
        if name is not None and name[0]:
            yield "postfix.service", f"postfix@{name[0]}.service", Place(f"{folder}/main.cf", name[1])


def _cloud_init(guest: Guest, reader: Reader) -> Iterable[Wanted]:
    """cloud-init-generator: cloud-init.target where a source of data is found; a boot has found one already."""
    del reader
    seen = "/var/lib/cloud/instance"
    if guest.lstat(seen) is not None and not guest.exists("/etc/cloud/cloud-init.disabled"):
        yield "multi-user.target", "cloud-init.target", Place(seen)


def _quadlet(guest: Guest, reader: Reader) -> Iterable[Wanted]:
    """podman-systemd.unit(5): each of its files is a service that runs a container; analyzers.podman reads them."""
    del guest, reader
    return ()


def _rc_local(guest: Guest, reader: Reader) -> Iterable[Wanted]:
    """systemd-rc-local-generator(8): rc-local.service, where the script is executable."""
    del reader
    for path in ("/etc/rc.local", "/etc/rc.d/rc.local"):
        entry = guest.stat(path)
        if entry is not None and entry.kind == "file" and entry.mode & 0o111:
            yield "multi-user.target", "rc-local.service", Place(path)
            return


_RETOLD: dict[str, Callable[[Guest, Reader], Iterable[Wanted]]] = {
    "cloud-init-generator": _cloud_init,
    "openvpn-generator": _openvpn,
    "podman-system-generator": _quadlet,
    "postfix-instance-generator": _postfix,
    "postgresql-generator": _postgresql,
    "systemd-rc-local-generator": _rc_local,
    "tor-generator": _tor,
}


def _installed(guest: Guest) -> dict[str, str]:
    """Return the generators that a boot would run: executable and not masked; the first folder wins."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        for name in guest.listdir(folder):
            found.setdefault(name, f"{folder}/{name}")
    kept = {}
    for name in sorted(found):
        entry = guest.stat(found[name])
        if entry is not None and entry.kind == "file" and entry.size and entry.mode & 0o111:
            kept[name] = entry.path
    return kept


def generated(guest: Guest, reader: Reader) -> list[Wanted]:
    """Return what the guest's generators would tie to what at boot; unknown generators are noted as unread."""
    wanted: list[Wanted] = []
    for name, path in _installed(guest).items():
        if name in _RETOLD:
            wanted.extend(_RETOLD[name](guest, reader))
        elif name not in _QUIET and not name.startswith("systemd-"):
            reader.note(path, "a unit generator that is not known: the units it makes at boot are not seen")
    return sorted(wanted)
