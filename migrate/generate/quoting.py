"""Texts from a plan or a guest, made fit for the place in a Dockerfile that they go to.

Nothing from a disk or a plan may become an instruction or shell syntax: what a place cannot hold is refused.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from migrate.errors import PlanError
from migrate.text import show

# Controls, what some readers take for the end of a line, and what makes a line look like another (CVE-2021-42574).
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:@%+,-]+")

# Debian Policy 5.6.1 (names), 5.6.8 (architectures), 5.6.12 (versions).
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9][a-z0-9-]*)?(?:=[0-9][0-9A-Za-z.+:~-]*)?")

# github.com/distribution/reference, regexp.go.
_REFERENCE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def _refuse(what: str, text: str, why: str, do: str = "correct it in plan.yaml") -> PlanError:
    return PlanError(f"write a Dockerfile with {what} '{show(text)}'", why, do)


def _fit(text: str, what: str) -> str:
    if _CONTROL.search(text):
        raise _refuse(what, text, "it holds a line break or another control character")
    if _SURROGATE.search(text):
        raise _refuse(what, text, "it is not UTF-8")
    return text


def shell(text: str, what: str = "the text") -> str:
    """Return `text` as one word of a shell command in RUN. Raises PlanError for control characters."""
    return shlex.quote(_fit(text, what))


def word(text: str, what: str = "the text") -> str:
    r"""Return `text` as one word of ENV, LABEL or WORKDIR, where the builder itself expands `$` and `\`.

    >>> print(word('a "$HOME" \\ b'))
    "a \"\$HOME\" \\ b"
    """
    _fit(text, what)
    if _PLAIN_WORD.fullmatch(text):
        return text
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def exec_form(argv: Sequence[str], what: str = "the command") -> str:
    """Return `argv` as the JSON array that ENTRYPOINT, CMD and HEALTHCHECK take; nothing in it is expanded.

    Raises PlanError for what JSON or execve(2) cannot hold.
    """
    for text in argv:
        if "\0" in text or _SURROGATE.search(text):
            raise _refuse(what, text, "it holds a NUL or is not UTF-8")
    return json.dumps(list(argv))


def in_comment(text: str) -> str:
    """Return `text` on one line, fit for a comment."""
    return show(text)


def package(text: str) -> str:
    """Return a `name=version` as apt-get takes it. Raises PlanError where it is none."""
    if not _PACKAGE.fullmatch(text):
        raise _refuse("the package", text, "that is no name=version of a Debian package", "write it as nginx=1.22.1-9")
    return text


def base_image(text: str) -> str:
    """Return an image reference. Raises PlanError where it is none."""
    if not _REFERENCE.fullmatch(text):
        raise _refuse("the base", text, "that is no image reference", "write it as debian:12-slim")
    return text


def guest_path(text: str, what: str) -> str:
    """Return an absolute, normalised path of the guest. Raises PlanError for any other text."""
    pure = PurePosixPath(text)
    if not text.startswith("/") or text.startswith("//") or ".." in pure.parts or "\0" in text:
        raise PlanError(f"use {what} '{show(text)}'", "it is no absolute path without ..", "correct it in plan.yaml")
    return str(pure)
