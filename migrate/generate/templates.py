"""Jinja2, in one place: an undefined name is an error, and every value goes through a filter of its place."""

from __future__ import annotations

import shlex
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from migrate.generate import quoting
from migrate.text import show


def _source(name: str) -> str:
    return files("templates").joinpath(name).read_text("utf-8")


def code(text: object) -> str:
    """Return a text as inline code of Markdown (CommonMark 6.1), whatever is in it."""
    shown = show(str(text))
    runs = [len(run) for run in "".join(c if c == "`" else " " for c in shown).split()]
    fence = "`" * (max(runs, default=0) + 1)
    pad = " " if shown[:1] == "`" or shown[-1:] == "`" or not shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def prose(text: object) -> str:
    """Return a text on one line of Markdown, with every mark in it taken literally."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|~&" else c for c in show(str(text)))


@cache
def _environment() -> Environment:
    environment = Environment(  # noqa: S701  # no HTML: each value has the filter of its place
        loader=FunctionLoader(_source), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters.update(
        word=quoting.word, exec=quoting.exec_form, comment=quoting.in_comment, code=code, prose=prose,
        sh=lambda text: shlex.quote(show(str(text))),
    )  # fmt: skip
    return environment


def render(name: str, **values: object) -> str:
    """Return a template of `templates/` filled in."""
    return _environment().get_template(name).render(**values)
