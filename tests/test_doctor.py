"""vm2c doctor: each thing that can be missing, and the command that mends it on this distribution."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate import doctor
from migrate.container import EngineVersion
from migrate.doctor import Check, Host, checks, read_host, run_doctor
from migrate.engine import Engine
from migrate.errors import EngineError
from migrate.guest.libguestfs import appliance
from migrate.guest.libguestfs.appliance import Kvm, Status

DEBIAN = Host(manager="apt", id="debian")
FEDORA = Host(manager="dnf", id="fedora")
WHOLE = Status(
    bindings="1.48.6",
    bindings_do="",
    kernel="/boot/vmlinuz-6.1",
    kernel_do="",
    qemu="QEMU 7.2",
    qemu_do="",
    kvm=Kvm("usable", "a kernel boots under it"),
    kvm_do="",
)
Look = Callable[..., dict[str, Check]]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    """Return what doctor says of a host where everything is there but what is named."""

    def say(host: Host = DEBIAN, missing: tuple[str, ...] = (), **parts: Any) -> dict[str, Check]:
        monkeypatch.setattr(appliance, "status", lambda: msgspec.structs.replace(WHOLE, **parts))
        monkeypatch.setattr(shutil, "which", lambda name: None if name in missing else f"/usr/bin/{name}")
        return {check.name: check for check in checks(host)}

    engine = SimpleNamespace(
        version=lambda: EngineVersion(engine="20.10.24", api="1.41", os="linux", architecture="amd64")
    )

    class Connected:
        def __enter__(self) -> object:
            return engine

        def __exit__(self, *exc: object) -> None:
            return None

    monkeypatch.setattr(Engine, "connect", classmethod(lambda cls, timeout=60: Connected()))
    monkeypatch.setattr(doctor, "_output", lambda command, timeout=20: "2.26.1")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64 << 30))
    return say


@pytest.mark.parametrize(
    ("text", "manager", "name"),
    [
        ("ID=debian\n", "apt", "debian"),
        ("ID=ubuntu\nID_LIKE=debian\n", "apt", "ubuntu"),
        ('NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n', "apt", "ubuntu"),
        ("ID=fedora\n", "dnf", "fedora"),
        ('ID="almalinux"\nID_LIKE="rhel centos fedora"\n', "dnf", "almalinux"),
        ("ID=alpine\n", "", "alpine"),
        ("", "", ""),
        ('ID="debian\nX', "", ""),
    ],
)
def test_read_host(text: str, manager: str, name: str) -> None:
    assert read_host(text) == Host(manager=manager, id=name)


@given(st.text())
def test_read_host_takes_anything(text: str) -> None:
    assert read_host(text).manager in {"apt", "dnf", ""}


def test_all_is_there(look: Look) -> None:
    found = look()
    assert list(found) == [
        "Python",
        "libguestfs for Python",
        "kernel for libguestfs",
        "qemu-system",
        "KVM",
        "qemu-img",
        "qemu-nbd",
        "setpriv",
        "zstd",
        "free space",
        "Docker engine",
        "docker compose",
        "mmdebstrap",
    ]
    assert {check.ok for check in found.values()} == {True}
    assert {check.mend for check in found.values()} == {""}
    assert found["Docker engine"].found == "20.10.24 for linux/amd64, API 1.41"
    assert sys.executable in found["Python"].found


@pytest.mark.parametrize(
    ("tool", "host", "mend"),
    [
        ("qemu-img", DEBIAN, "sudo apt-get install qemu-utils"),
        ("qemu-img", FEDORA, "sudo dnf install qemu-img"),
        ("qemu-nbd", DEBIAN, "sudo apt-get install qemu-utils"),
        (
            "qemu-img",
            Host(manager=""),
            "install qemu-img with this host's package manager (Debian calls it qemu-utils)",
        ),
    ],
)
def test_missing_tool(look: Look, tool: str, host: Host, mend: str) -> None:
    check = look(host, missing=(tool,))[tool]
    assert (check.ok, check.mend) == (False, mend)


def test_mmdebstrap_is_only_for_the_example(look: Look) -> None:
    check = look(FEDORA, missing=("mmdebstrap",))["mmdebstrap"]
    assert (check.ok, check.mend) == (None, "sudo dnf install mmdebstrap")


def test_guestfs_for_the_system_python_only(look: Look) -> None:
    check = look(bindings="")["libguestfs for Python"]
    assert check.ok is False
    assert check.found == f"/usr/bin/python3 has the module guestfs, and {sys.executable}, which runs vm2c, has not"
    assert check.mend.startswith("/usr/bin/python3 -m venv --system-site-packages ")


@pytest.mark.parametrize(("host", "package"), [(DEBIAN, "python3-guestfs"), (FEDORA, "python3-libguestfs")])
def test_guestfs_nowhere(look: Look, monkeypatch: pytest.MonkeyPatch, host: Host, package: str) -> None:
    monkeypatch.setattr(doctor, "_output", lambda command, timeout=20: None)
    check = look(host, bindings="")["libguestfs for Python"]
    assert check.ok is False
    assert check.mend.endswith(f"install {package}")


@pytest.mark.parametrize(
    ("host", "mend"),
    [
        (DEBIAN, "sudo dpkg-statoverride --update --add root root 0644 /boot/vmlinuz-6.1"),
        (FEDORA, "sudo chmod 0644 /boot/vmlinuz-6.1"),
    ],
)
def test_kernel_for_root_only(look: Look, monkeypatch: pytest.MonkeyPatch, host: Host, mend: str) -> None:
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [self / "vmlinuz-6.1"] if self == Path("/boot") else [])
    check = look(host, kernel="")["kernel for libguestfs"]
    assert (check.ok, check.found, check.mend) == (False, "/boot/vmlinuz-6.1 may be read by root only", mend)


@pytest.mark.parametrize(
    ("host", "processor", "mend"),
    [
        (DEBIAN, "x86_64", "sudo apt-get install linux-image-amd64"),
        (DEBIAN, "aarch64", "sudo apt-get install linux-image-arm64"),
        (Host(manager="apt", id="ubuntu"), "x86_64", "sudo apt-get install linux-image-generic"),
        (FEDORA, "x86_64", "sudo dnf install kernel-core"),
    ],
)
def test_no_kernel(look: Look, monkeypatch: pytest.MonkeyPatch, host: Host, processor: str, mend: str) -> None:
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [])
    monkeypatch.setattr(platform, "machine", lambda: processor)
    assert look(host, kernel="")["kernel for libguestfs"].mend == mend


def test_no_qemu(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    check = look(missing=("qemu-kvm",), qemu="")["qemu-system"]
    assert (check.ok, check.mend) == (False, "sudo apt-get install qemu-system-x86")


@pytest.mark.parametrize("state", ["broken", "absent"])
def test_without_kvm_it_is_slow(look: Look, state: str) -> None:
    check = look(kvm=Kvm(state, "qemu stopped"))["KVM"]  # type: ignore[arg-type]
    assert check.ok is None
    assert check.found.startswith("qemu stopped; the appliance runs under emulation: 10 to 20 s")


def test_kvm_that_was_not_tried_is_tried(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appliance, "try_kvm", lambda: Kvm("usable", "a kernel boots under it"))
    assert look(kvm=Kvm("untested"))["KVM"].ok is True


@pytest.mark.parametrize(("free", "ok"), [(64 << 30, True), (5 << 30, None), (1 << 20, False)])
def test_space(look: Look, monkeypatch: pytest.MonkeyPatch, free: int, ok: bool | None) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    check = look()["free space"]
    assert check.ok is ok
    assert bool(check.mend) is (ok is not True)


def test_space_where_the_folder_is_missing(look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("LIBGUESTFS_CACHEDIR", str(tmp_path / "gone"))
    check = doctor._space()
    assert (check.ok, check.mend) == (False, f"mkdir -p {tmp_path}/gone")


@pytest.mark.parametrize(
    ("missing", "mend"), [((), "start it: sudo x"), (("docker", "dockerd"), "sudo apt-get install docker.io")]
)
def test_docker(look: Look, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], mend: str) -> None:
    def refuse(cls: type[Engine], timeout: float = 60) -> Engine:
        raise EngineError("reach the Docker engine", "there is no socket", "start it: sudo x")

    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(Engine, "connect", classmethod(refuse))
    check = look(missing=missing)["Docker engine"]
    assert (check.ok, check.found, check.mend) == (False, "there is no socket; build and verify need it", mend)


def test_compose_is_not_everybodys(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_output", lambda command, timeout=20: None)
    check = look(Host(manager="apt", id="ubuntu"))["docker compose"]
    assert (check.ok, check.mend) == (None, "sudo apt-get install docker-compose-v2")


def test_output_of_a_program() -> None:
    assert doctor._output([sys.executable, "-c", "print(' a ')"]) == "a"
    assert doctor._output([sys.executable, "-c", "raise SystemExit(1)"]) is None
    assert doctor._output(["/no/such/program"]) is None
    assert doctor._output([sys.executable, "-c", "import time; time.sleep(9)"], timeout=0.2) is None


def test_exit_code_and_json(look: Look) -> None:
    look()
    found, code = run_doctor()
    assert code == 0
    assert json.loads(msgspec.json.encode(found))[0]["name"] == "Python"
    look(missing=("qemu-img",))
    assert run_doctor()[1] == 1
    look(missing=("mmdebstrap",))
    assert run_doctor()[1] == 0


def test_packages_exist_in_debian() -> None:
    """The names that doctor tells a person to install are names that apt knows, where apt is there to ask."""
    if doctor.this_host().manager != "apt" or not Path("/var/lib/apt/lists").is_dir():
        pytest.skip("this host has no apt")
    names = [package["apt"] for tool, package in doctor._PACKAGES.items() if tool != "kernel"]
    shown = subprocess.run(["apt-cache", "policy", *names], capture_output=True, text=True, check=True).stdout
    if not shown:
        pytest.skip("apt has no lists; run apt-get update")
    assert [name for name in names if f"{name}:\n" not in shown] == []
