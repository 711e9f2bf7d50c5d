"""Images out of the machine's own files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import PlanError
from migrate.generate.context import make_context
from migrate.generate.dockerfile import dockerfile
from migrate.generate.lift import closure, parse_status
from migrate.generate.tar import Member
from migrate.plan.model import Component, Image
from tests.analyzers.fake import Content, FakeGuest, File, Link
from tests.generate import shop

# As dpkg 1.21 writes it; descriptions cut.
STATUS = """Package: dash
Essential: yes
Status: install ok installed
Priority: required
Architecture: amd64
Version: 0.5.12-2
Depends: debianutils (>= 2.17), dpkg (>= 1.19.1)
Pre-Depends: libc6 (>= 2.34)
Description: POSIX-compliant shell
 The Debian Almquist Shell (dash) is a POSIX-compliant shell derived
 .
 from ash.

Package: libc6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 2.36-9+deb12u14
Depends: libgcc-s1, libcrypt1 (>= 1:4.4.10-10~)
Provides: libc6-api (= 1)

Package: redis-server
Status: install ok installed
Architecture: amd64
Version: 5:7.0.15-1~deb12u10
Depends: lsb-base | sysvinit-utils (>= 3.05-4~), redis-tools (= 5:7.0.15-1~deb12u10),
 default-mta | mail-transport-agent

Package: sysvinit-utils
Status: install ok installed
Architecture: amd64
Version: 3.06-4

Package: redis-tools
Status: install ok installed
Architecture: amd64
Version: 5:7.0.15-1~deb12u10
Depends: libc6-api

Package: exim4
Status: install ok installed
Architecture: all
Version: 4.96
Provides: mail-transport-agent

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def test_the_closure_of_what_is_installed() -> None:
    installed = parse_status(STATUS)
    assert "gone" not in installed
    assert installed["redis-server"].depends[0] == ("lsb-base", "sysvinit-utils")
    assert closure(installed, ["redis-server"]) == [
        "dash", "exim4", "libc6", "redis-server", "redis-tools", "sysvinit-utils",
    ]  # fmt: skip
    assert closure(installed, []) == ["dash", "libc6"]
    with pytest.raises(PlanError, match="not installed"):
        closure(installed, ["nginx"])


@given(st.text(st.sampled_from("Package: Status:installDepends\n ,|()=x")))
def test_any_status_gives_packages(text: str) -> None:
    assert isinstance(parse_status(text), dict)


TREE: dict[str, Content] = {
    "/bin": Link("usr/bin"),
    "/lib": Link("usr/lib"),
    "/var/run": Link("/run"),
    "/var/lib/dpkg/status": STATUS,
    "/var/lib/dpkg/info/dash.list": "/.\n/bin\n/bin/dash\n/bin/sh\n/usr/share/doc/dash\n/usr/share/doc/dash/copyright\n"
    "/usr/share/doc/dash/changelog.gz\n/usr/share/man/man1/dash.1.gz\n",
    "/usr/bin/dash": File("\x7fELF", mode=0o755),
    "/usr/bin/sh": Link("dash"),
    "/usr/share/doc/dash/copyright": "GPL",
    "/usr/share/doc/dash/changelog.gz": "x",
    "/usr/share/man/man1/dash.1.gz": "x",
    "/var/lib/dpkg/info/libc6:amd64.list": "/lib\n/lib/libc.so.6\n/etc/ld.so.conf.d/libc.conf\n/usr/lib/libtls.so\n",
    "/usr/lib/libc.so.6": File("\x7fELF", mode=0o755),
    "/usr/lib/libtls.so": "-----BEGIN PRIVATE KEY-----\n" + 3 * f"{'Ab1+' * 16}\n" + "-----END PRIVATE KEY-----\n",
    "/etc/ld.so.conf.d/libc.conf": "/usr/local/lib\n",
    "/etc/ld.so.cache": b"\0cache",
    "/var/lib/dpkg/info/redis-server.list": "/usr/bin/redis-server\n/etc/redis/redis.conf\n/missing/file\n",
    "/usr/bin/redis-server": Link("redis-check-rdb"),
    "/usr/bin/redis-check-rdb": File("\x7fELF", mode=0o755),
    "/var/lib/dpkg/info/redis-tools.list": "/usr/bin/redis-check-rdb\n",
    "/etc/redis/redis.conf": File("bind 127.0.0.1 -::1\nport 6379\n", mode=0o640, uid=108, gid=111),
    "/var/lib/dpkg/alternatives/editor": "manual\n/usr/bin/editor\ne.1.gz\n/usr/share/e.1.gz\n\n/usr/bin/dash\n40\n\n",
    "/etc/alternatives/editor": Link("/usr/bin/dash"),
    "/usr/bin/editor": Link("/etc/alternatives/editor"),
    "/var/lib/dpkg/alternatives/pager": "auto\n/usr/bin/pager\n\n/usr/bin/less\n77\n\n",
    "/etc/alternatives/pager": Link("/usr/bin/less"),
    "/usr/bin/pager": Link("/etc/alternatives/pager"),
    "/usr/bin/less": "of no package in the image",
    "/etc/passwd": "root:x:0:0::/root:/bin/bash\n",
    "/etc/group": "root:x:0:\n",
    "/etc/shadow": "root:$6$hash\n",
    "/etc/ssl/certs/ca.pem": "cert",
    "/etc/ssl/certs/stolen.key": f"x{shop.FLASK_KEY}",
    "/home/anna/.ssh/id": "private",
    "/var/lib/redis/dump.rdb": "data",
}


def lifted() -> Component:
    component = shop.redis()
    component.image = Image(
        strategy="lift", base="scratch", packages=["redis-server=5:7.0.15-1~deb12u10"], files=["/etc/redis"]
    )
    return component


def members(component: Component, tree: dict[str, Content]) -> dict[str, Member]:
    context = make_context(shop.plan(component), FakeGuest(tree), shop.SECRETS)
    assert context.moving[0].payload.secret_files == ()
    return {m.path: m for m in context.moving[0].payload.members}


def test_the_machines_own_files_and_no_others() -> None:
    found = members(lifted(), TREE)
    for path in (
        "/bin", "/lib", "/usr/bin/dash", "/usr/bin/sh", "/usr/lib/libc.so.6", "/usr/bin/redis-server",
        "/usr/bin/redis-check-rdb", "/etc/ld.so.cache", "/etc/ld.so.conf.d/libc.conf", "/etc/passwd", "/etc/group",
        "/usr/share/doc/dash/copyright", "/etc/alternatives/editor", "/usr/bin/editor", "/etc/ssl/certs/ca.pem",
        "/usr/lib/libtls.so", "/tmp", "/run", "/var/run",
    ):  # fmt: skip
        assert path in found, path
    for path in (
        "/usr/share/man/man1/dash.1.gz", "/usr/share/doc/dash/changelog.gz", "/etc/alternatives/pager", "/usr/bin/less",
        "/etc/shadow", "/home/anna/.ssh/id", "/var/lib/redis/dump.rdb", "/missing/file", "/etc/ssl/certs/stolen.key",
    ):  # fmt: skip
        assert path not in found, path
    assert found["/bin"].target == "usr/bin"
    assert found["/tmp"].mode == 0o1777
    assert found["/etc/redis/redis.conf"].content == b"bind * -::*\nport 6379\n"
    status = found["/var/lib/dpkg/status"].content
    assert status is not None
    assert sorted(parse_status(status.decode())) == [
        "dash", "exim4", "libc6", "redis-server", "redis-tools", "sysvinit-utils",
    ]  # fmt: skip


def test_the_dockerfile_runs_nothing() -> None:
    context = make_context(shop.plan(lifted()), FakeGuest(TREE), ())
    text = dockerfile(context.moving[0], context)
    assert "\nFROM scratch\n" in text
    assert "\nRUN " not in text


def test_a_system_without_dpkg_gives_its_software_whole() -> None:
    tree = {p: c for p, c in TREE.items() if "/dpkg/" not in p}
    tree |= {
        "/usr/local/bin/own": "x", "/usr/src/linux/x": "x", "/var/lib/app/db": "data", "/boot/vmlinuz": "k",
        "/lib/modules/6.1/x.ko": "m", "/usr/lib/os-release": "ID=fedora\n", "/etc/orders/env": shop.ENV,
    }  # fmt: skip
    found = members(lifted(), tree)
    for path in ("/usr/bin/less", "/usr/lib/os-release", "/bin", "/etc/ssl/certs/ca.pem"):
        assert path in found, path
    for path in ("/usr/local/bin/own", "/usr/src/linux/x", "/var/lib/app/db", "/boot/vmlinuz", "/etc/shadow",
                 "/usr/lib/modules/6.1/x.ko", "/home/anna/.ssh/id", "/etc/orders/env"):  # fmt: skip
        assert path not in found, path
    assert found["/var/lib/app"].kind == "directory"
