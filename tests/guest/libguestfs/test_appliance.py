"""Whether KVM can be trusted, found out with stand-ins for qemu."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from migrate.guest.libguestfs import appliance
from migrate.guest.libguestfs.appliance import (
    Kvm,
    known_kvm,
    needs_emulation,
    readable_kernel,
    remember,
    status,
    try_kvm,
)

VERSION = '[ "$1" = --version ] && { echo "QEMU emulator version 9.9.9"; exit 0; }\n'
BOOTS = "echo '[    1.5] Kernel panic - not syncing: VFS: Unable to mount root fs'\n"


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose KVM opens, with a kernel and an empty memory."""
    for name in ("LIBGUESTFS_BACKEND_SETTINGS", "LIBGUESTFS_PATH", "SUPERMIN_KERNEL", "LIBGUESTFS_HV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "kvm").touch()
    (tmp_path / "vmlinuz").touch()
    monkeypatch.setattr(appliance, "KVM_DEVICE", tmp_path / "kvm")
    monkeypatch.setenv("SUPERMIN_KERNEL", str(tmp_path / "vmlinuz"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return tmp_path


def qemu(host: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    program = host / "qemu"
    program.write_text(f'#!/bin/sh\n{VERSION}echo "$@" >> {host}/calls\n{script}')
    program.chmod(0o755)
    monkeypatch.setenv("LIBGUESTFS_HV", str(program))
    return program


def calls(host: Path) -> int:
    return len((host / "calls").read_text().splitlines()) if (host / "calls").exists() else 0


def test_a_kernel_that_boots_is_remembered(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(host, monkeypatch, BOOTS)
    assert known_kvm().state == "untested"
    said: list[str] = []
    assert needs_emulation(said.append) is False
    assert needs_emulation(said.append) is False
    assert (said, calls(host), known_kvm().state) == ([], 1, "usable")
    assert "accel=kvm" in (host / "calls").read_text()


def test_qemu_that_crashes(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(host, monkeypatch, "echo 'qemu-system-x86_64: error: failed to set MSR 0x10a' >&2; kill -ABRT $$\n")
    said: list[str] = []
    assert needs_emulation(said.append) is True
    assert needs_emulation(said.append) is True
    assert calls(host) == 1
    assert said[0].startswith("KVM is not used (qemu stopped: error: failed to set MSR 0x10a): the disk is read under")
    assert said[0] == said[1]


def test_qemu_that_hangs_is_ended(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(host, monkeypatch, "exec sleep 100\n")
    start = time.monotonic()
    assert try_kvm(0.5) == Kvm("broken", "a kernel did not boot under it within 0.5 s")
    assert time.monotonic() - start < 10


def test_qemu_that_ends_without_a_word_is_not_trusted(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(host, monkeypatch, "exit 0\n")
    assert try_kvm() == Kvm("broken", "qemu stopped")


def test_another_qemu_or_boot_is_tried_anew(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = qemu(host, monkeypatch, BOOTS)
    remember(Kvm("broken", "once"))
    assert known_kvm().state == "broken"
    program.write_text(program.read_text().replace("9.9.9", "10.0.0"))
    assert known_kvm().state == "untested"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"key": 1}', b'{"key":"","kvm":{"state":"fine"}}'])
def test_a_memory_that_is_damaged_is_none(host: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    qemu(host, monkeypatch, BOOTS)
    remember(Kvm("broken"))
    (host / "cache" / "vm2c" / "kvm.json").write_bytes(content)
    assert known_kvm().state == "untested"


def test_nothing_can_be_remembered(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(host, monkeypatch, BOOTS)
    (host / "cache").write_text("a file")
    assert try_kvm().state == "usable"
    assert known_kvm().state == "untested"


def test_no_kvm(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(host, monkeypatch, BOOTS)
    monkeypatch.setattr(appliance, "KVM_DEVICE", host / "nothing")
    said: list[str] = []
    assert needs_emulation(said.append) is True
    assert calls(host) == 0
    assert "there is no /dev/kvm" in said[0]


@pytest.mark.parametrize("setting", ["force_tcg", "network_bridge=virbr0:force_kvm"])
def test_what_the_user_set_is_left(host: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    qemu(host, monkeypatch, "exit 1\n")
    monkeypatch.setenv("LIBGUESTFS_BACKEND_SETTINGS", setting)
    said: list[str] = []
    assert needs_emulation(said.append) is False
    assert (said, calls(host)) == ([], 0)


def test_without_a_kernel_it_stays_untested(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(host, monkeypatch, BOOTS)
    monkeypatch.setenv("SUPERMIN_KERNEL", str(host / "gone"))
    assert try_kvm().state == "untested"
    assert needs_emulation(lambda _text: None) is False


def test_the_kernel(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert readable_kernel() == str(host / "vmlinuz")
    monkeypatch.delenv("SUPERMIN_KERNEL")
    monkeypatch.setattr(appliance, "_kernels", lambda: [str(host / "no"), str(host / "vmlinuz")])
    assert readable_kernel() == str(host / "vmlinuz")
    if os.geteuid() != 0:
        (host / "vmlinuz").chmod(0)
        assert readable_kernel() is None
    assert "sudo chmod 0644 /boot/vmlinuz-*" in appliance.kernel_advice()
    monkeypatch.setattr(appliance, "_kernels", list)
    assert readable_kernel() is None
    assert appliance.kernel_advice().startswith("install a kernel")
    (host / "kernel").touch()
    monkeypatch.setenv("LIBGUESTFS_PATH", f"/nothing:{host}")
    assert readable_kernel() == f"{host}/kernel"


def test_status_names_what_mends_each(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.guest.libguestfs.reader.version", lambda: None)
    monkeypatch.setenv("SUPERMIN_KERNEL", str(host / "gone"))
    monkeypatch.setenv("LIBGUESTFS_HV", str(host / "no-qemu"))
    monkeypatch.setattr(appliance, "KVM_DEVICE", host / "nothing")
    found = status()
    assert (found.bindings, found.kernel, found.qemu, found.kvm.state) == ("", "", "", "absent")
    assert all((found.bindings_do, found.kernel_do, found.qemu_do, found.kvm_do))


def test_status_of_what_is_there(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.guest.libguestfs.reader.version", lambda: "1.48.6")
    qemu(host, monkeypatch, BOOTS)
    found = status()
    assert (found.bindings, found.qemu) == ("1.48.6", "QEMU emulator version 9.9.9")
    assert (found.bindings_do, found.kernel_do, found.qemu_do, found.kvm) == ("", "", "", Kvm("untested"))
    assert calls(host) == 0
