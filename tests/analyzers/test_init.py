"""Which init a boot runs, and what the boot loader's configuration says of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import _inittab, _kernelline
from analyzers._init import Init, booted
from analyzers._kernelline import init_parameter
from analyzers._reading import Reader
from migrate.model import Place
from tests.analyzers.fake import Broken, Content, FakeGuest, File, Link

ELF = b"\x7fELF\x02\x01\x01" + bytes(60)


def program(*strings: bytes) -> File:
    return File(ELF + b"\0".join(strings) + b"\0", mode=0o755)


ALPINE = """\
::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default
tty1::respawn:/sbin/getty 38400 tty1
"""
OPENRC: dict[str, Content] = {
    "/sbin/init": Link("/bin/busybox"),
    "/bin/busybox": program(b"BusyBox v1.36.1 (2024-06-10)"),
    "/sbin/openrc": program(),
    "/etc/inittab": ALPINE,
}
DEBIAN_RCS = "#!/bin/sh\nPATH=/sbin\n# was: exec /etc/init.d/rc S\nexec /sbin/openrc sysinit\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/sbin/init": Link("../lib/systemd/systemd"), "/lib/systemd/systemd": program()}, "systemd"),
        ({"/lib/systemd/systemd": program()}, "systemd"),
        ({"/sbin/init": program(b"/run/initctl", b"no more processes left in this runlevel")}, "sysvinit"),
        ({"/sbin/init": program(b"com.ubuntu.Upstart0_6", b"/etc/init")}, "upstart"),
        ({"/sbin/init": Link("runit-init"), "/sbin/runit-init": program(b"/etc/runit/stopit")}, "runit"),
        ({"/sbin/init": program(b"- runit: $Id: 25da3b86", b"/etc/runit/1")}, "runit"),
        ({"/sbin/init": program(b"BusyBox v1.16.1")}, "busybox"),
        ({"/sbin/init": Link("/sbin/openrc-init"), "/sbin/openrc-init": program()}, "openrc"),
        ({"/sbin/init": File("#!/bin/execlineb -S0\ns6-linux-init -c /etc/s6-linux-init/current -- $@\n")}, "s6"),
        ({"/sbin/init": Link("dinit"), "/sbin/dinit": program()}, "dinit"),
        ({"/sbin/init": program(b"/sbin/procd", b"/etc/preinit")}, "procd"),
        ({"/sbin/init": program(b"finit")}, "init"),  # one that nobody knows is called what it is called
        ({"/sbin/init": File("#!/bin/sh\nexec /lib/systemd/systemd\n"), "/lib/systemd/systemd": program()}, "systemd"),
        ({"/sbin/init": File("#!/bin/sh\nexec /sbin/init\n")}, "init"),  # round and round
        ({"/sbin/init": Link("gone"), "/bin/init": Link("/bin/busybox"), "/bin/busybox": program()}, "busybox"),
        ({"/sbin/init": Broken()}, "init"),
    ],
)
def test_inits_by_name_and_content(files: Mapping[str, Content], expected: str) -> None:
    found = booted(FakeGuest(files))
    assert found is not None
    assert found.name == expected


def test_nothing_to_start() -> None:
    assert booted(FakeGuest({})) is None


def test_openrc_is_what_inittab_calls_and_not_what_is_installed() -> None:
    assert booted(FakeGuest(OPENRC)) == Init("openrc", "busybox", "/bin/busybox", Place("/etc/inittab", 1))
    without = {path: content for path, content in OPENRC.items() if path != "/sbin/openrc"}
    assert booted(FakeGuest(without)) == Init("busybox", "busybox", "/bin/busybox", Place("/sbin/init"))
    other = {
        **OPENRC,
        "/etc/inittab": "::sysinit:/etc/init.d/rcS\n",
        "/etc/init.d/rcS": "#!/bin/sh\n# openrc default\n",
    }
    assert booted(FakeGuest(other)) == Init("busybox", "busybox", "/bin/busybox", Place("/sbin/init"))
    debian: dict[str, Content] = {
        "/sbin/init": program(b"no more processes left in this runlevel"),
        "/sbin/openrc": program(),
        "/etc/inittab": "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\n",
        "/etc/init.d/rcS": DEBIAN_RCS,
    }
    assert booted(FakeGuest(debian)) == Init("openrc", "sysvinit", "/sbin/init", Place("/etc/init.d/rcS", 4))


# grub-mkconfig's, Ubuntu 15.04: upstart is an entry that is not the default.
GRUB = """\
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set boot_once=true
else
   set default="0"
fi
menuentry 'Ubuntu' --class ubuntu $menuentry_id_option 'gnulinux-simple-1' {
	linux	/boot/vmlinuz-3.19 root=UUID=1 ro quiet
	initrd	/boot/initrd.img-3.19
}
submenu 'Advanced options for Ubuntu' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Ubuntu, with Linux 3.19' --class ubuntu $menuentry_id_option 'gnulinux-3.19-1' {
		linux	/boot/vmlinuz-3.19 root=UUID=1 ro quiet
	}
	menuentry 'Ubuntu, with Linux 3.19 (upstart)' --class ubuntu $menuentry_id_option 'gnulinux-3.19-upstart-1' {
		linux	/boot/vmlinuz-3.19 root=UUID=1 ro quiet init=/sbin/upstart
	}
}
"""
EXTLINUX = "DEFAULT menu.c32\nMENU TITLE x\nLABEL lts\n  MENU DEFAULT\n  LINUX vmlinuz\n  APPEND root=x init=/sbin/a\n"
LILO = """\
boot=/dev/sda
append="init=/sbin/top"
default=old
image=/boot/vmlinuz
  label=new
image=/boot/vmlinuz.old
  label=old
  append="ro init=/sbin/old"
"""
LEGACY = "default 1\ntimeout 5\ntitle a\n\tkernel /vmlinuz ro\ntitle b\n\tkernel /vmlinuz ro init=/sbin/b single\n"


def told(files: Mapping[str, Content]) -> tuple[tuple[str, str] | None, list[str]]:
    reader = Reader(FakeGuest(files), "test")
    found = init_parameter(reader)
    return (None if found is None else (str(found[0]), found[1])), [str(u.seen_in) for u in reader.unread]


@pytest.mark.parametrize(
    ("files", "expected", "unread"),
    [
        ({"/boot/grub/grub.cfg": GRUB}, None, []),
        (
            {"/boot/grub/grub.cfg": GRUB.replace('"0"', '"gnulinux-advanced-1>gnulinux-3.19-upstart-1"')},
            ("/boot/grub/grub.cfg:16", "/sbin/upstart"),
            [],
        ),
        (
            {"/boot/grub/grub.cfg": GRUB.replace('"0"', '"1>1"')},
            ("/boot/grub/grub.cfg:16", "/sbin/upstart"),
            [],
        ),
        (
            {
                "/boot/grub2/grub.cfg": GRUB.replace('"0"', '"${saved_entry}"'),
                "/boot/grub2/grubenv": "# GRUB\nsaved_entry=1>Ubuntu, with Linux 3.19 (upstart)\n#####",
            },
            ("/boot/grub2/grub.cfg:16", "/sbin/upstart"),
            [],
        ),
        # which entry boots is not to be known: no answer, and it is said
        ({"/boot/grub/grub.cfg": GRUB.replace('"0"', '"$other"')}, None, ["/boot/grub/grub.cfg:16"]),
        ({"/boot/extlinux.conf": EXTLINUX}, ("/boot/extlinux.conf:6", "/sbin/a"), []),
        ({"/etc/lilo.conf": LILO}, ("/etc/lilo.conf:8", "/sbin/old"), []),
        ({"/etc/lilo.conf": LILO.replace("default=old", "")}, ("/etc/lilo.conf:2", "/sbin/top"), []),
        ({"/boot/grub/menu.lst": LEGACY}, ("/boot/grub/menu.lst:6", "/sbin/b"), []),
        (
            {
                "/boot/loader/entries/a-5.14.conf": "title A\noptions root=x $kernelopts\n",
                "/boot/loader/entries/a-0-rescue.conf": "options root=x\n",
                "/boot/grub2/grubenv": "kernelopts=ro init=/sbin/kept\n",
            },
            ("/boot/loader/entries/a-5.14.conf:2", "/sbin/kept"),
            [],
        ),
        ({}, None, []),
    ],
)
def test_the_kernels_parameters(
    files: Mapping[str, Content], expected: tuple[str, str] | None, unread: list[str]
) -> None:
    assert told(files) == (expected, unread)


def test_init_on_the_kernels_line_goes_first() -> None:
    files: dict[str, Content] = {
        "/sbin/init": Link("/lib/systemd/systemd"),
        "/lib/systemd/systemd": program(),
        "/sbin/upstart": program(),
        "/boot/extlinux.conf": EXTLINUX.replace("/sbin/a", "/sbin/upstart"),
    }
    assert booted(FakeGuest(files)) == Init("upstart", "upstart", "/sbin/upstart", Place("/boot/extlinux.conf", 6))
    found = booted(FakeGuest({**files, "/boot/extlinux.conf": EXTLINUX}))  # init=/sbin/a, which is not there
    assert found is not None
    assert found.name == "systemd"


def test_inittab_lines() -> None:
    text = "# c\nid:35:initdefault:\n1:2345:respawn:/sbin/getty 38400 tty1\nx:5:once:+/bin/x a:b\n"
    text += "::askfirst:-/bin/sh\nnone\n"
    lines = list(_inittab.parse(text))
    assert [(ln.number, ln.ident, ln.levels, ln.action, ln.process) for ln in lines] == [
        (2, "id", "35", "initdefault", ""),
        (3, "1", "2345", "respawn", "/sbin/getty 38400 tty1"),
        (4, "x", "5", "once", "/bin/x a:b"),
        (5, "", "", "askfirst", "/bin/sh"),
    ]
    assert _inittab.default_level(lines) == "5"
    assert [ln.in_level("3") for ln in lines] == [True, True, False, True]


PIECES = ["menuentry 'a' {", "submenu x {", "}", "linux /v init=/x", "set default=1>0", "title a", "kernel /v",
          "label", "append init=/y", "default a", "image=/v", "append=", "\n", "\t", "'", '"', "\udcff", "=",
          "options init="]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("\n".join))
def test_hostile_boot_loaders(text: str) -> None:
    for parse in (_kernelline.parse_grub, _kernelline.parse_legacy, _kernelline.parse_syslinux, _kernelline.parse_lilo):
        _kernelline.chosen(*parse(text))
    told(dict.fromkeys(["/boot/grub/grub.cfg", "/etc/lilo.conf", "/boot/extlinux.conf"], text))
    booted(FakeGuest({"/sbin/init": File(f"#!/bin/sh\n{text}"), "/etc/inittab": text}))
