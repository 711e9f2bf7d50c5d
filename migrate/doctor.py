"""What on this host works for vm2c and what does not, each with the command that mends it: `vm2c doctor`."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from migrate.errors import EngineError

if TYPE_CHECKING:
    from migrate.guest.libguestfs.appliance import Status

_GIB = 1 << 30
_LEAST = 1 * _GIB  # the libguestfs appliance alone takes 400 MB to 700 MB of its cache
_ENOUGH = 10 * _GIB  # an OVA is unpacked before its disks are opened


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that vm2c needs.

    `ok` is False where something will not work and None where it works with a cost, or only a part that not
    everybody wants is missing; `found` says which. `mend` is the command that changes it, empty where there
    is nothing to do.
    """

    name: str
    ok: bool | None
    found: str
    mend: str = ""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution of this host by its package manager: `apt`, `dnf`, or empty where it is another."""

    manager: str
    id: str = ""

    def install(self, tool: str) -> str:
        """Return the command that installs what brings `tool`."""
        package = _PACKAGES[tool].get(f"{self.manager}/{self.id}") or _PACKAGES[tool].get(self.manager)
        if not package:
            return f"install {tool} with this host's package manager (Debian calls it {_PACKAGES[tool]['apt']})"
        return f"sudo {'apt-get' if self.manager == 'apt' else self.manager} install {package}"


# The package that brings a tool, by package manager, and by distribution where one of them differs.
_PACKAGES: dict[str, dict[str, str]] = {
    "guestfs": {"apt": "python3-guestfs", "dnf": "python3-libguestfs"},
    "kernel": {"apt": "linux-image-generic", "apt/debian": "linux-image-amd64", "dnf": "kernel-core"},
    "qemu-img": {"apt": "qemu-utils", "dnf": "qemu-img"},
    "qemu-nbd": {"apt": "qemu-utils", "dnf": "qemu-img"},
    "zstd": {"apt": "zstd", "dnf": "zstd"},
    "setpriv": {"apt": "util-linux", "dnf": "util-linux"},
    "qemu-system": {"apt": "qemu-system-x86", "dnf": "qemu-kvm"},
    "docker": {"apt": "docker.io", "dnf": "moby-engine docker-cli"},
    "docker compose": {"apt": "docker-compose", "apt/ubuntu": "docker-compose-v2", "dnf": "docker-compose"},
    "mmdebstrap": {"apt": "mmdebstrap", "dnf": "mmdebstrap"},
}
_ARM = {"kernel": ("linux-image-amd64", "linux-image-arm64"), "qemu-system": ("qemu-system-x86", "qemu-system-arm")}


def read_host(os_release: str) -> Host:
    """Return the host that a text of os-release(5) describes, by its ID and ID_LIKE."""
    words: dict[str, list[str]] = {}
    for line in os_release.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            try:
                words[name.strip()] = " ".join(shlex.split(value)).split()
            except ValueError:  # an open quote
                continue
    like = [*words.get("ID", []), *words.get("ID_LIKE", [])]
    own = next(iter(like), "")
    for manager, families in (("apt", {"debian", "ubuntu"}), ("dnf", {"fedora", "rhel", "centos"})):
        if families & set(like):
            return Host(manager=manager, id=own if own in families else ("ubuntu" if "ubuntu" in like else own))
    return Host(manager="", id=own)


def this_host() -> Host:
    """Return the host that vm2c runs on."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            return read_host(Path(path).read_text("utf-8", "replace"))
        except OSError:
            continue
    return Host(manager="")


def run_doctor() -> tuple[list[Check], int]:
    """Return all checks, and the exit code: 1 where something will not work, else 0."""
    found = checks()
    return found, int(any(check.ok is False for check in found))


def checks(host: Host | None = None) -> list[Check]:
    """Look at this host, in the order in which things are needed. KVM is tried once, for 20 s at most."""
    from migrate.guest.libguestfs.appliance import status

    host, appliance = host or this_host(), status()
    return [
        _python(),
        _guestfs(host, appliance),
        _kernel(host, appliance),
        _qemu_system(host, appliance),
        _acceleration(appliance),
        _tool(host, "qemu-img", "every disk that is no raw image"),
        _tool(host, "qemu-nbd", "the direct reader (analyze --reader direct)"),
        _tool(host, "setpriv", "the direct reader leaving no server behind where it is killed"),
        _tool(host, "zstd", "what is compressed with zstd: images, archives, layers of container images"),
        _space(),
        _docker(host),
        _compose(host),
        _mmdebstrap(host),
    ]


# ---------------------------------------------------------------- reading disks


def _python() -> Check:
    """Say which Python runs vm2c; an older one than it needs cannot get here (pyproject.toml, requires-python)."""
    return Check(name="Python", ok=True, found=f"{platform.python_version()} ({sys.executable})")


_HAS_GUESTFS = "import guestfs; guestfs.GuestFS(python_return_dict=True).version()"


def _output(command: Sequence[str], timeout: float = 20) -> str | None:
    """Return what a program prints, or None where it is missing, fails or takes longer than `timeout` seconds."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def _guestfs(host: Host, status: Status) -> Check:
    name = "libguestfs for Python"
    if status.bindings:
        return Check(name=name, ok=True, found=f"{status.bindings}, in {sys.executable}")
    system = "/usr/bin/python3"
    if _output([system, "-c", _HAS_GUESTFS]) is None:
        return Check(name=name, ok=False, found=f"{sys.executable} has no module guestfs", mend=host.install("guestfs"))
    return Check(
        name=name,
        ok=False,
        found=f"{system} has the module guestfs, and {sys.executable}, which runs vm2c, has not",
        mend=f"{system} -m venv --system-site-packages ~/.local/vm2c && ~/.local/vm2c/bin/pip install vm2c",
    )


def _kernel(host: Host, status: Status) -> Check:
    name = "kernel for libguestfs"
    if status.kernel:
        return Check(name=name, ok=True, found=status.kernel)
    hidden = [*sorted(Path("/lib/modules").glob("*/vmlinuz")), *sorted(Path("/boot").glob("vmlinuz-*"))]
    if not hidden:
        found = "none in /boot or /lib/modules, and libguestfs boots one to open disks"
        return Check(name=name, ok=False, found=found, mend=_for_processor(host, "kernel"))
    # Ubuntu installs kernels with mode 0600 (Launchpad #759725); dpkg-statoverride outlasts the package's next version.
    mend = f"sudo chmod 0644 {hidden[-1]}"
    if host.manager == "apt":
        mend = f"sudo dpkg-statoverride --update --add root root 0644 {hidden[-1]}"
    return Check(name=name, ok=False, found=f"{hidden[-1]} may be read by root only", mend=mend)


def _for_processor(host: Host, tool: str) -> str:
    command = host.install(tool)
    return command.replace(*_ARM[tool]) if platform.machine() in {"aarch64", "arm64"} else command


def _qemu_system(host: Host, status: Status) -> Check:
    if status.qemu:
        return Check(name="qemu-system", ok=True, found=status.qemu)
    for path in ("/usr/libexec/qemu-kvm", shutil.which("qemu-kvm")):  # where RHEL keeps it
        if path and Path(path).exists():
            return Check(name="qemu-system", ok=True, found=path)
    found = f"no qemu-system-{platform.machine()}: libguestfs cannot start its appliance"
    return Check(name="qemu-system", ok=False, found=found, mend=_for_processor(host, "qemu-system"))


def _acceleration(status: Status) -> Check:
    from migrate.guest.libguestfs.appliance import try_kvm

    kvm = try_kvm() if status.kvm.state == "untested" else status.kvm
    if kvm.state == "usable":
        return Check(name="KVM", ok=True, found=kvm.detail or "usable")
    cost = "the appliance runs under emulation: 10 to 20 s to start instead of 3 to 6, and slower reading"
    mend = ""
    if Path("/dev/kvm").exists() and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        mend = "sudo usermod -aG kvm $USER, then log in again"
    why = kvm.detail or kvm.state
    return Check(name="KVM", ok=None, found=f"{why}; {cost}", mend=mend)


def _tool(host: Host, tool: str, needed_for: str) -> Check:
    path = shutil.which(tool)
    if path:
        return Check(name=tool, ok=True, found=path)
    return Check(name=tool, ok=False, found=f"not there, and {needed_for} needs it", mend=host.install(tool))


def _space() -> Check:
    places = {Path(tempfile.gettempdir()), Path(os.environ.get("LIBGUESTFS_CACHEDIR", "/var/tmp"))}  # noqa: S108
    free = {}
    for place in sorted(places):
        try:
            free[place] = shutil.disk_usage(place).free
        except OSError as error:
            return Check(name="free space", ok=False, found=f"{place}: {error.strerror}", mend=f"mkdir -p {place}")
    found = ", ".join(f"{place}: {size / _GIB:.1f} GiB" for place, size in free.items())
    least = min(free.values())
    if least >= _ENOUGH:
        return Check(name="free space", ok=True, found=found)
    return Check(
        name="free space",
        ok=None if least >= _LEAST else False,
        found=f"{found}; unpacking an OVA takes as much as its disks",
        mend="export TMPDIR=/a/larger/place LIBGUESTFS_CACHEDIR=/a/larger/place",
    )


# ---------------------------------------------------------------- images


def _docker(host: Host) -> Check:
    from migrate.engine import Engine

    try:
        with Engine.connect(timeout=10) as engine:
            version = engine.version()
    except EngineError as error:
        missing = not (shutil.which("dockerd") or shutil.which("docker") or os.environ.get("DOCKER_HOST"))
        mend = host.install("docker") if missing else error.do
        return Check(name="Docker engine", ok=False, found=f"{error.found}; build and verify need it", mend=mend)
    found = f"{version.engine} for {version.os}/{version.architecture}, API {version.api}"
    if tuple(int(n) for n in version.api.split(".")[:2] if n.isdigit()) < (1, 41):
        return Check(name="Docker engine", ok=False, found=f"{found}; 20.10 is the oldest", mend=host.install("docker"))
    return Check(name="Docker engine", ok=True, found=found)


def _compose(host: Host) -> Check:
    for command in (["docker", "compose", "version", "--short"], ["docker-compose", "version", "--short"]):
        version = _output(command)
        if version:
            return Check(name="docker compose", ok=True, found=f"{' '.join(command[:-2])} {version.splitlines()[0]}")
    found = "not there: images build and verify runs without it, compose.yaml cannot be started"
    return Check(name="docker compose", ok=None, found=found, mend=host.install("docker compose"))


def _mmdebstrap(host: Host) -> Check:
    path = shutil.which("mmdebstrap")
    if path:
        return Check(name="mmdebstrap", ok=True, found=path)
    found = "not there: only the example machines and base images of one's own are made with it"
    return Check(name="mmdebstrap", ok=None, found=found, mend=host.install("mmdebstrap"))
