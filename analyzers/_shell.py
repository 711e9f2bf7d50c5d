"""What a crontab's command says, read without a shell: its program, the folder it runs, whether it does nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from analyzers._reading import numbered


def shell_text(command: str) -> str:
    r"""Return what the shell is given: `\%` is `%`, and what follows the first bare `%` becomes standard input.

    Further bare `%` are newlines of that input (crontab(5)). The input is put into a here-document, so that
    one text says all.

    >>> print(shell_text(r"date +\%F"))
    date +%F
    """
    parts = re.split(r"(?<!\\)%", command)
    parts = [part.replace("\\%", "%") for part in parts]
    if len(parts) == 1:
        return parts[0].rstrip()
    lines = parts[1:]
    if lines[-1] == "":
        lines.pop()
    end = "END"
    while end in lines:
        end += "_"
    return "\n".join([f"{{ {parts[0].rstrip()}", f"}} <<'{end}'", *lines, end]) + "\n"


_LONGEST = 4096  # characters of a command or script that are looked at
_SEPARATORS = {"&&", "||", ";", "|", "&", "(", ")", "{", "}", "if", "then", "else", "elif", "do", "while", "until"}
_WRAPPERS: dict[str, int] = {  # programs that run another, and how many words of their own come before it
    "nice": 0, "ionice": 0, "nohup": 0, "exec": 0, "env": 0, "time": 0, "setsid": 0, "command": 0, "eval": 0,
    "sudo": 0, "chronic": 0, "cronic": 0, "systemd-cat": 0, "timeout": 1, "flock": 1, "chrt": 1, "runuser": 0,
}  # fmt: skip
_WITH_VALUE = {"-n", "-c", "-u", "-g", "-w", "-t", "-k", "-s", "-p", "-E"}  # options of these that take a word
_TESTS = {"test", "[", "[[", "cd", "true", ":", "sleep", "set", "umask", "export", "source", ".", "ulimit", "echo"}
_INTERPRETERS = re.compile(r"(python|perl|ruby|node|nodejs|php|bash|sh|dash|java|Rscript|lua)[0-9.]*(-cgi)?")
_TAKE_TEXT = {"sh", "bash", "dash", "su", "runuser", "flock"}  # their -c is a text for a shell


def program(command: str) -> str:
    """Return the name of what a shell command is about: its first program that is no test, wrapper or interpreter.

    >>> program("cd /srv/app && flock -n /run/x nice -n 19 /usr/bin/php /srv/app/report.php --all")
    'report'
    """
    commands = list(_simple_commands(command))
    for words in commands:
        if words[0] not in _TESTS:
            return _stem(words)
    return _stem(commands[0]) if commands else ""


def _simple_commands(command: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(command[:_LONGEST], posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        for word in lexer:
            if word in _SEPARATORS or set(word) <= set("();&|{}"):
                if words:
                    yield words
                words = []
            elif words or (word != "!" and not re.match(r"[A-Za-z_]\w*=", word)):
                words.append(word)
    except ValueError:  # an open quote: what came before it has to do
        pass
    if words:
        yield words


def _stem(words: list[str]) -> str:
    at = 0
    while at < len(words):
        name = words[at].rpartition("/")[2]
        if name in _TAKE_TEXT and "-c" in words[at:-1]:
            return program(words[words.index("-c", at) + 1]) or name
        if name not in _WRAPPERS:
            break
        at = _after_options(words, at + 1, _WRAPPERS[name])
    rest = words[at:] or words
    name = rest[0].rpartition("/")[2]
    if _INTERPRETERS.fullmatch(name):
        if "-m" in rest[:-1] and name.startswith("python"):
            return rest[rest.index("-m") + 1]
        script = next((word for word in rest[1:] if not word.startswith("-") and re.search(r"[/.]", word)), "")
        name = re.sub(r"\.\w+$", "", script.rpartition("/")[2]) or name
    return re.sub(r"\.(sh|py|pl|rb|php|js)$", "", name)


def _after_options(words: list[str], at: int, own: int) -> int:
    """Return where the program begins that a wrapper runs: behind options, variables and `own` words."""
    while at < len(words):
        if words[at].startswith("-"):
            at += 2 if words[at] in _WITH_VALUE else 1
        elif re.match(r"[A-Za-z_]\w*=", words[at]):
            at += 1
        elif own:
            own, at = own - 1, at + 1
        else:
            break
    return at


def run_parts(command: str) -> str | None:
    """Return the directory whose scripts a command runs by run-parts(8), or None."""
    for words in _simple_commands(command):
        names = [word.rpartition("/")[2] for word in words]
        if "run-parts" in names:
            folders = [word for word in words[names.index("run-parts") + 1 :] if word.startswith("/")]
            return folders[0].rstrip("/") if folders else None
    return None


_RUNNING = r"(?:test|\[\[?)\s+(?:{not_}\s*)-[de]\s+/run/systemd/system(?:/)?\s*(?:\]\]?)?"
_NOT = r"(?:\\?!\s+)"
_ONLY_WITHOUT = [
    re.compile(_RUNNING.format(not_="") + r"\s*\|\|"),  # systemd runs || command
    re.compile(_RUNNING.format(not_=_NOT) + r"\s*(?:&&|;\s*then)"),  # systemd does not run && command
    re.compile(_NOT + _RUNNING.format(not_="") + r"\s*(?:&&|;\s*then)"),
    re.compile(r"(?:test|\[)\s[^|;&]*-a\s+" + _NOT + r"-[de]\s+/run/systemd/system/?\s*\]?\s*(?:&&|;\s*then)"),
]
_LEAVES_WITH = re.compile(
    r"if\s+" + _RUNNING.format(not_="") + r"\s*;?\s*then\s+exit\b|" + _RUNNING.format(not_="") + r"\s*&&\s*exit\b"
)


def idle_under_systemd(command: str) -> bool:
    """Tell whether a command does nothing where systemd runs: Debian's packages have timers of their own for it."""
    return any(pattern.search(command[:_LONGEST]) for pattern in _ONLY_WITHOUT)


def script_idle_under_systemd(text: str) -> bool:
    """Tell whether a script leaves at once where systemd runs, before it does anything else."""
    text = text[:_LONGEST]
    body = "\n".join(line.strip() for _, line in numbered(text) if line.strip() and not line.lstrip().startswith("#"))
    body = re.sub(r"\A(?:set -\w+\n)+", "", body)
    return _LEAVES_WITH.match(body) is not None
