"""The classic builder's output: what it says while it builds, and what to do when it fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_TAIL = 40  # lines kept for the message of a failed build
# The daemon wraps what a step writes to standard error in these (moby, builder/dockerfile: stderrFormatter).
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class BuildLog:
    """The builder's stream of JSON objects, turned into lines, steps and the image's id.

    `on_line` gets each whole line. `step` is the instruction under way (`Step 3/9 : RUN …`), `lines` are the
    last ones that it printed, `error` is the builder's own last word.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._partial = ""
        self.lines: list[str] = []
        self.step = ""
        self.steps = 0
        self.cached = 0
        self.image_id = ""
        self.error = ""

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take one object; what is not understood is passed over."""
        if "stream" in event:
            self._text(str(event["stream"]))
        elif "error" in event:
            self.error = _COLOUR.sub("", str(event["error"])).strip() or "the builder did not say why"
        elif isinstance(aux := event.get("aux"), Mapping) and "ID" in aux:
            self.image_id = str(aux["ID"])
        elif "status" in event and not event.get("progressDetail"):
            for line in re.split(r"[\r\n]+", str(event["status"])):
                self._line(line)

    def close(self) -> None:
        """Take a last line that has no newline."""
        self._text("\n")

    def _text(self, text: str) -> None:
        *whole, self._partial = re.split(r"[\r\n]+", self._partial + text)
        for line in whole:
            self._line(line)
        if len(self._partial) > 1 << 16:
            self._line(self._partial)
            self._partial = ""

    def _line(self, text: str) -> None:
        line = _COLOUR.sub("", text).rstrip()
        if not line:
            return
        if re.match(r"Step \d+/\d+ : ", line):
            self.step = line
            self.steps += 1
            self.lines = []
        else:
            self.cached += line == " ---> Using cache"
            self.lines = [*self.lines[1 - _TAIL :], line]
        self._on_line(line)

    def why(self) -> str:
        """Return what went wrong in one line: the failed command's own words where it had any."""
        code = re.search(r"returned a non-zero code: (\d+)$", self.error)
        if not code:
            return self.error or "the builder ended without an image"
        own = [line for line in self.lines if not line.startswith((" --->", "Removing intermediate container"))]
        blamed = [line for line in own if re.match(r"E: |error\b|fatal\b", line, re.IGNORECASE)] or own
        return f"{blamed[-1].strip()} (exit code {code[1]})" if blamed else f"exit code {code[1]}, without a word"


_SUITES = {
    **{f"debian:{n}": name for n, name in ((11, "bullseye"), (12, "bookworm"), (13, "trixie"))},
    **{f"ubuntu:{n}": name for n, name in (("20.04", "focal"), ("22.04", "jammy"), ("24.04", "noble"))},
}


def base_image_advice(image: str) -> str:
    """Return how to get a base image where no registry serves it."""
    suite = _SUITES.get(image.removesuffix("-slim"))
    if suite:
        mirror = " http://archive.ubuntu.com/ubuntu" if image.startswith("ubuntu:") else ""
        return f"make it here: mmdebstrap --variant=minbase {suite} -{mirror} | docker import - {image}"
    return (
        f"on a host that reaches its registry run: docker pull {image} && docker save -o base.tar {image}; "
        "then here: docker load -i base.tar"
    )


_LIFT = "set image.strategy: lift for this component in plan.yaml and run generate again"
# A pattern in what the builder printed, and what to do. The first that is found counts. The messages are
# those of apt, dnf and yum, apk, zypper and pacman, then of the engine.
_CAUSES: tuple[tuple[str, str], ...] = (
    (
        (
            r"Version '[^']*' for '[^']*' was not found|Unable to find a match: |No match for argument: "
            r"|unable to select packages|No package \S+ available|No provider of '|target not found: "
        ),
        f"the archive no longer serves this version: {_LIFT}",
    ),
    (
        r"[Nn]o space left on device|don't have enough free space",
        "make room where the engine keeps its images: docker system df shows what takes it",
    ),
    (r"toomanyrequests", "the registry allows no more downloads for now: wait, or run docker login"),
    (
        r"x509: |certificate verify failed|CERTIFICATE_VERIFY_FAILED",
        "a proxy on the way replaces certificates: add its authority to the engine's host and to the base image",
    ),
    (
        (
            r"Temporary failure (in name resolution|resolving)|Could not resolve|[Nn]etwork is unreachable"
            r"|Could not connect|Connection timed out|no such host|Cannot find a valid baseurl"
            r"|Could not retrieve mirrorlist|Curl error \(6\)|temporary error \(try again later\)"
        ),
        f"the build has no way to the network: see to the engine's DNS and proxy, or {_LIFT}",
    ),
    (
        r"does not have a Release file|404 +Not Found|Status code: 404",
        f"the archive has moved on: build again without the cache; where that fails too, {_LIFT}",
    ),
    (
        r"failed to create endpoint|could not find bridge",
        "the engine's own network is broken, which a restart makes anew: sudo systemctl restart docker",
    ),
    (r"Unable to locate package", f"this archive has no such package (it may be a third party's): {_LIFT}"),
    (
        r"exec format error",
        "the base image is for another processor: use one for this host's, or install qemu-user-static",
    ),
    (r"COPY failed|ADD failed|dockerfile parse error", "the folder is not as generate wrote it: run generate again"),
    (r"returned a non-zero code: 137", "the step was killed, most likely for want of memory: give the engine more"),
)
_NOT_PULLED = re.compile(
    r"pull access denied|manifest for .* not found|manifest unknown|repository .* not found|https?://[^ ]*/v2/"
    r"|no such host|no matching manifest|No such image"
)


def advice(step: str, error: str, lines: Sequence[str]) -> str:
    """Return what to do about a failed build, from what the builder printed; empty where the cause is not known."""
    pulled = re.match(r"Step \d+/\d+ : (?:FROM (?:--\S+ )*|COPY --from=)(\S+)", step)
    if pulled and "toomanyrequests" not in error and _NOT_PULLED.search(error):
        return f"the image {pulled[1]} is not here and cannot be pulled; {base_image_advice(pulled[1])}"
    text = "\n".join([*lines, error])
    return next((what for pattern, what in _CAUSES if re.search(pattern, text)), "")
