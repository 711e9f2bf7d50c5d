"""What libguestfs needs of this host, and whether KVM can be trusted with it.

/dev/kvm may open and its guests crash or hang all the same (nested virtualisation, a host kernel newer than
qemu). So KVM is tried once, in a process of its own that is ended after a time, and the outcome remembered
until the kernel, qemu or the boot changes. Without KVM the appliance runs under emulation (TCG).
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import msgspec

from migrate.guest.progress import Notify
from migrate.text import show

KvmState = Literal["usable", "broken", "absent", "untested"]

PROBE_SECONDS = 20.0
"""How long a kernel may take to boot under KVM: about 1 s where it works, 5 s even without."""

KVM_DEVICE = Path("/dev/kvm")

_SERIAL = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
_MACHINE = {"x86_64": "pc", "aarch64": "virt,gic-version=host"}
_PANIC = b"Kernel panic - not syncing: VFS"  # as far as a kernel without a root gets: everything before it worked


class Kvm(msgspec.Struct, frozen=True):
    """Whether KVM works; `detail` says how that is known, in words."""

    state: KvmState
    detail: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What `vm2c doctor` shows of libguestfs. An empty value is a missing part; `*_do` is what mends it."""

    bindings: str
    bindings_do: str
    kernel: str
    kernel_do: str
    qemu: str
    qemu_do: str
    kvm: Kvm
    kvm_do: str


def status() -> Status:
    """Return what is there, without starting anything but `qemu --version`."""
    from migrate.guest.libguestfs.reader import version

    bindings, kernel, qemu, kvm = version(), readable_kernel(), qemu_version(), known_kvm()
    return Status(
        bindings=bindings or "",
        bindings_do="" if bindings else bindings_advice(),
        kernel=kernel or "",
        kernel_do="" if kernel else kernel_advice(),
        qemu=qemu,
        qemu_do="" if qemu else f"install {qemu_program()} (Debian: apt-get install qemu-system-x86)",
        kvm=kvm,
        kvm_do=_kvm_advice(kvm),
    )


def bindings_advice() -> str:
    """Return what to do where Python finds no module `guestfs`."""
    if importlib.util.find_spec("guestfs") is None and Path("/usr/lib/python3/dist-packages/guestfs.py").exists():
        return "only the system's Python has it: make the environment with python3 -m venv --system-site-packages"
    return "install it: apt-get install python3-guestfs (Debian, Ubuntu), dnf install python3-libguestfs (Fedora, RHEL)"


def readable_kernel() -> str | None:
    """Return the kernel that an appliance can be made of, or None: as supermin(1) looks for it."""
    named = os.environ.get("SUPERMIN_KERNEL")
    if named:
        return named if os.access(named, os.R_OK) else None
    for directory in os.environ.get("LIBGUESTFS_PATH", "").split(":"):
        if directory and os.access(f"{directory}/kernel", os.R_OK):
            return f"{directory}/kernel"
    return next((kernel for kernel in _kernels() if os.access(kernel, os.R_OK)), None)


def _kernels() -> list[str]:
    return sorted(glob.glob("/boot/vmlinuz-*") + glob.glob("/lib/modules/*/vmlinuz"), reverse=True)  # noqa: PTH207


def kernel_advice() -> str:
    """Return what to do where no kernel can be read. Ubuntu keeps them from all but root (Launchpad #759725)."""
    if _kernels():
        return "the kernel may be read by root only; run: sudo chmod 0644 /boot/vmlinuz-*"
    return "install a kernel for the appliance: apt-get install linux-image-amd64 (Debian), linux-image-kvm (Ubuntu)"


def qemu_program() -> str:
    """Return the name of qemu's program for this host's processor."""
    return f"qemu-system-{platform.machine()}"


def qemu_version() -> str:
    """Return qemu's own version line, or nothing where it is missing."""
    program = shutil.which(os.environ.get("LIBGUESTFS_HV") or qemu_program())
    if program is None:
        return ""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return show(done.stdout.decode("utf-8", "replace").partition("\n")[0])


def known_kvm() -> Kvm:
    """Return what is known of KVM without trying it."""
    if not KVM_DEVICE.exists():
        return Kvm("absent", "there is no /dev/kvm")
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return Kvm("absent", "/dev/kvm may not be opened by this user")
    return _remembered() or Kvm("untested")


def _kvm_advice(kvm: Kvm) -> str:
    if kvm.state == "absent" and KVM_DEVICE.exists():
        return "sudo usermod -aG kvm $USER, then log in again"
    if kvm.state in {"absent", "broken"}:
        return "nothing must be done: disks are read under emulation, a few times slower"
    return ""


def try_kvm(limit: float = PROBE_SECONDS) -> Kvm:
    """Find out whether KVM works, by booting a kernel to where it has no root, and remember the outcome.

    Takes at most `limit` seconds. Where there is no kernel to boot it stays untested.
    """
    kvm = known_kvm()
    if kvm.state == "absent":
        return kvm
    kernel, machine = readable_kernel(), platform.machine()
    if kernel is None or machine not in _SERIAL:
        return Kvm("untested", "there is no kernel to try it with")
    kvm = _boot(kernel, machine, limit)
    remember(kvm)
    return kvm


def _boot(kernel: str, machine: str, limit: float) -> Kvm:
    argv = [
        os.environ.get("LIBGUESTFS_HV") or qemu_program(),
        *("-machine", f"{_MACHINE[machine]},accel=kvm", "-cpu", "host", "-m", "256"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", kernel, "-append", f"console={_SERIAL[machine]} panic=-1 quiet"),
    ]
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        return Kvm("untested", f"qemu cannot be run: {error.strerror}")
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in the kernel for ever, where no signal reaches
            process.communicate(timeout=5)
        return Kvm("broken", f"a kernel did not boot under it within {limit:g} s")
    except BaseException:
        process.kill()
        raise
    if _PANIC in output:
        return Kvm("usable", "a kernel boots under it")
    lines = output.decode("utf-8", "replace").strip().splitlines()
    said = f": {show(re.sub(r'^[^ ]*qemu[^ ]*: ', '', lines[0]))}" if lines else ""
    return Kvm("broken", f"qemu stopped{said}")


def _key() -> str:
    """Return what an outcome is good for: this boot of this kernel, with this qemu."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return f"{platform.release()} {boot} {qemu_version()}"


class _Memory(msgspec.Struct):
    key: str
    kvm: Kvm


def _memory_file() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "vm2c" / "kvm.json"


def remember(kvm: Kvm) -> None:
    """Keep an outcome for the next time; where nothing can be kept it is tried again."""
    file = _memory_file()
    with contextlib.suppress(OSError, RuntimeError):
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"kvm.{os.getpid()}.new")
        new.write_bytes(msgspec.json.encode(_Memory(_key(), kvm)))
        new.replace(file)


def _remembered() -> Kvm | None:
    try:
        memory = msgspec.json.decode(_memory_file().read_bytes(), type=_Memory)
    except (OSError, RuntimeError, msgspec.DecodeError):
        return None
    return memory.kvm if memory.key == _key() else None


def needs_emulation(notify: Notify) -> bool:
    """Tell whether the appliance must be kept from KVM, trying KVM if that is not known yet.

    What the user set in the environment (guestfs(3), LIBGUESTFS_BACKEND_SETTINGS) is left as it is: False.
    """
    settings = os.environ.get("LIBGUESTFS_BACKEND_SETTINGS", "")
    if "force_tcg" in settings or "force_kvm" in settings:
        return False
    kvm = known_kvm()
    if kvm.state == "untested":
        kvm = try_kvm()
    if kvm.state in {"absent", "broken"}:
        notify(
            f"KVM is not used ({kvm.detail}): the disk is read under emulation, where the appliance takes 10 to 20 s "
            "to start instead of 3 to 6 s"
        )
        return True
    return False
