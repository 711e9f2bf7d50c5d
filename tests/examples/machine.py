"""The example machine, booted: QEMU on a throw-away snapshot of its disk, asked over HTTP, and always ended.

Figures of other tests compare with what this machine answered: `Answers` keeps it after QEMU is gone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
SHOP = PROJECT / "examples/shop"
DISK = PROJECT / ".cache/shop.qcow2"

# What is asked, in this order: /visits counts, so it is asked twice.
PATHS = ("/health", "/", "/visits", "/visits", "/static/shop.css", "/reports/", "/reports/orders-2024-05-03.csv")

_BOOT_LIMIT = 600  # seconds; 45 to 60 under TCG on two idle cores


@dataclass(frozen=True)
class Answer:
    """One HTTP answer: status, content type without parameters, body."""

    status: int
    type: str
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Answers:
    """What the machine answered after a boot, by path, in the order asked; `secure` is `/` over TLS.

    `console` is all that the machine said on its serial console.
    """

    boot_seconds: float
    to: Mapping[str, tuple[Answer, ...]]
    secure: Answer
    console: str


@dataclass(frozen=True)
class Machine:
    """A running machine: where its ports 80 and 443 are on the loopback of this host."""

    http: int
    https: int
    boot_seconds: float
    console: Path

    def get(self, path: str) -> Answer:
        return fetch(f"http://127.0.0.1:{self.http}{path}")

    def get_secure(self, path: str) -> Answer:
        """Ask over TLS; the certificate must be the one that the example lays on the disk."""
        context = ssl.create_default_context(cafile=str(SHOP / "files/etc/ssl/certs/shop.crt"))
        context.check_hostname = False  # it is named shop.corp.example and reached by number
        return fetch(f"https://127.0.0.1:{self.https}{path}", context)


def truth() -> dict[str, Any]:
    """Return what is known of the machine: examples/shop/truth.yaml."""
    known: dict[str, Any] = yaml.safe_load((SHOP / "truth.yaml").read_text())
    return known


def fetch(url: str, context: ssl.SSLContext | None = None, timeout: float = 30) -> Answer:
    """Return the answer to a GET, also one that is no success. Raises OSError where nobody answers."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=timeout) as response:
            return Answer(response.status, response.headers.get_content_type(), response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers.get_content_type(), error.read())


@contextlib.contextmanager
def booted(disk: Path, folder: Path) -> Iterator[Machine]:
    """Boot the disk from its own boot sector and yield the machine once it says that it is well.

    Nothing is written to the disk. The guest reaches no network; two loopback ports of this host reach it.
    VM2C_QEMU_ACCEL names another accelerator than `tcg,thread=multi` (`kvm`, where that works).
    Raises AssertionError, with the end of the serial console, where it does not come up.
    """
    console = folder / "console.log"
    http, https = _free_ports(2)
    start = time.monotonic()
    with (folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            _command(disk, console, http, https), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait(process, http, start + _BOOT_LIMIT, folder)
        yield Machine(http, https, time.monotonic() - start, console)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(disk: Path, folder: Path) -> Answers:
    """Boot the disk, ask for PATHS, end the machine and return what it said."""
    with booted(disk, folder) as machine:
        to: dict[str, tuple[Answer, ...]] = {}
        for path in PATHS:
            to[path] = (*to.get(path, ()), machine.get(path))
        secure = machine.get_secure("/")
        return Answers(machine.boot_seconds, to, secure, read_console(machine.console))


def read_console(console: Path) -> str:
    """Return what the machine said on its serial console so far."""
    return console.read_text(errors="replace") if console.exists() else ""


def _command(disk: Path, console: Path, http: int, https: int) -> list[str]:
    # A test run that is killed outright takes its machine with it: setpriv(1), PR_SET_PDEATHSIG.
    leash = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    forward = f"hostfwd=tcp:127.0.0.1:{http}-:80,hostfwd=tcp:127.0.0.1:{https}-:443"
    return [
        *leash,
        "qemu-system-x86_64",
        *("-machine", "pc", "-accel", os.environ.get("VM2C_QEMU_ACCEL", "tcg,thread=multi")),
        *("-smp", "2", "-m", "1024", "-no-reboot", "-nodefaults", "-display", "none"),
        *("-serial", f"file:{_value(console)}", "-snapshot"),
        *("-drive", f"file={_value(disk)},format=qcow2,if=virtio"),
        *("-nic", f"user,model=virtio-net-pci,restrict=on,{forward}"),
    ]


def _value(path: Path) -> str:
    """Return a path as QEMU's options take it: a comma is written twice."""
    return str(path).replace(",", ",,")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]


def _wait(process: subprocess.Popen[bytes], port: int, deadline: float, folder: Path) -> None:
    last = "no answer yet"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"QEMU ended with {process.returncode}: {(folder / 'qemu.log').read_text()}")
        try:
            answer = fetch(f"http://127.0.0.1:{port}/health", timeout=5)
        except (OSError, HTTPException) as error:
            last = repr(error)
        else:
            if answer.status == 200:
                return
            last = f"{answer.status} {answer.text}"
        time.sleep(0.5)
    tail = "\n".join(read_console(folder / "console.log").splitlines()[-40:])
    raise AssertionError(f"not up within {_BOOT_LIMIT} s; /health: {last}; the console ends with:\n{tail}")
