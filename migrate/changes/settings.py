"""Settings on the disk that say why a packaged path differs: each check returns the place of what it found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate

import msgspec

from migrate.changes.explain import Case
from migrate.changes.texts import Texts
from migrate.guest.protocol import Guest
from migrate.model import Place

_MAX_TEXT = 1 << 20
_MAX_FILES = 500
_MAX_RULES = 500
_MAX_PATTERN = 512
_FRAGMENT = re.compile(r"[A-Za-z0-9_-]+")  # dpkg.cfg(5): names of other characters are passed over
_MACROS = ("/etc/rpm/macros", "/etc/rpm/macros.*", "/etc/rpm/macros.d/*", "/usr/lib/rpm/macros.d/*", "/root/.rpmmacros")
_NO_DOCUMENTS = re.compile(
    r"tsflags\s*=.*\bnodocs\b.*|rpm\.install\.excludedocs\s*=\s*(?:yes|true|1)|%_excludedocs\s+[1-9].*", re.IGNORECASE
)
_DOCUMENTS = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/gtk-doc/", "/usr/share/licenses/")
_LANGUAGES = re.compile(r"%_install_langs\s+(\S+)")
_LANGUAGE = re.compile(r"/usr/share/(?:locale|man)/([a-z]{2,3}(?:[_.@][^/]*)?)/")
_FEATURES = {"nodoc": "/usr/share/doc", "noman": "/usr/share/man", "noinfo": "/usr/share/info"}
_FILTER = re.compile(r"path-(exclude|include)(?:\s*=\s*|\s+)(.+)")


class Lines:
    """Reads text files of the guest by lines; what cannot be read has none."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._texts = Texts(guest)

    def of(self, path: str) -> list[tuple[Place, str]]:
        """Return the lines with their places, stripped; the first MiB of the file."""
        text = self._texts.of(path, _MAX_TEXT)
        return [(Place(path, number), line.strip()) for number, line in enumerate(text.split("\n"), 1)]

    def below(self, *patterns: str) -> list[tuple[Place, str]]:
        """Return the lines of all files that match, in the order of the patterns and then by name."""
        paths = [path for pattern in patterns for path in self.guest.glob(pattern)]
        return [line for path in dict.fromkeys(paths[:_MAX_FILES]) for line in self.of(path)]


class Filter(msgspec.Struct, frozen=True):
    """One pattern of a list in which the last that matches decides."""

    place: Place
    leaves_out: bool
    pattern: re.Pattern[str]


def decide(filters: Sequence[Filter], path: str) -> Place | None:
    """Return the place of the filter that leaves a path out, or None where it is kept."""
    for each in reversed(filters):
        if each.pattern.match(path):
            return each.place if each.leaves_out else None
    return None


def dpkg_filters(lines: Sequence[tuple[Place, str]]) -> tuple[Filter, ...]:
    """Return the path filters of dpkg's configuration, in order (dpkg.cfg(5); fnmatch(3) with no flags)."""
    found: list[Filter] = []
    for place, line in lines:
        match = _FILTER.fullmatch(line)
        if match and len(found) < _MAX_RULES and len(match[2]) <= _MAX_PATTERN:
            found.append(Filter(place, match[1] == "exclude", re.compile(translate(match[2].strip()))))
    return tuple(found)


class DpkgFilter:
    """What dpkg was told to leave out of packages."""

    def __init__(self, lines: Lines) -> None:
        folder = "/etc/dpkg/dpkg.cfg.d"
        names = [name for name in lines.guest.listdir(folder) if _FRAGMENT.fullmatch(name)][:_MAX_FILES]
        paths = [*(f"{folder}/{name}" for name in names), "/etc/dpkg/dpkg.cfg"]
        self._filters = dpkg_filters([line for path in paths for line in lines.of(path)])

    def __call__(self, case: Case) -> Place | None:
        """Return the line that leaves a path out."""
        return decide(self._filters, case.path)


def pacman_filters(lines: Sequence[tuple[Place, str]]) -> tuple[Filter, ...]:
    """Return NoExtract of pacman.conf(5): patterns without the first slash, `!` keeps, the last that matches counts."""
    found: list[Filter] = []
    for place, line in lines:
        name, equals, value = line.partition("=")
        if name.strip() == "NoExtract" and equals:
            for word in value.split():
                if len(found) < _MAX_RULES and len(word) <= _MAX_PATTERN:
                    pattern = re.compile(translate("/" + word.removeprefix("!").lstrip("/")))
                    found.append(Filter(place, not word.startswith("!"), pattern))
    return tuple(found)


def portage_filters(lines: Sequence[tuple[Place, str]]) -> tuple[Filter, ...]:
    """Return INSTALL_MASK and FEATURES' nodoc, noman, noinfo of make.conf(5); a masked directory is all below it."""
    found: list[Filter] = []
    for place, line in lines:
        name, equals, value = line.partition("=")
        words = value.strip("\"' ").split() if equals else []
        if name.strip() == "FEATURES":
            words = [_FEATURES[word] for word in words if word in _FEATURES]
        elif name.strip() != "INSTALL_MASK":
            continue
        for word in words[:_MAX_RULES]:
            bare = word.removeprefix("-").rstrip("/")
            if len(found) < _MAX_RULES and 0 < len(bare) <= _MAX_PATTERN:
                whole = bare if bare.startswith("/") else f"*/{bare}"
                either = f"(?:{translate(whole)}|{translate(whole + '/*')})"
                found.append(Filter(place, not word.startswith("-"), re.compile(either)))
    return tuple(found)


class Filters:
    """What another package manager was told to leave out."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._filters = filters

    def __call__(self, case: Case) -> Place | None:
        """Return the line that leaves a path out."""
        return decide(self._filters, case.path)


class Documents:
    """Tells whether packages are installed without their documentation: rpm's macro, dnf's, yum's and zypper's."""

    def __init__(self, lines: Lines) -> None:
        settings = lines.below("/etc/dnf/dnf.conf", "/etc/yum.conf", "/etc/zypp/zypp.conf", *_MACROS)
        self._place = next((place for place, line in settings if _NO_DOCUMENTS.fullmatch(line)), None)

    def __call__(self, case: Case) -> Place | None:
        """Return the setting where the path is documentation."""
        return self._place if "doc" in case.expected.shipped.flags or case.path.startswith(_DOCUMENTS) else None


class Languages:
    """Tells whether rpm was told to install some languages alone (`%_install_langs`)."""

    def __init__(self, lines: Lines) -> None:
        found = ((place, _LANGUAGES.fullmatch(line)) for place, line in lines.below(*_MACROS))
        self._place: Place | None = None
        self._kept = ["all"]
        if first := next(((place, match[1]) for place, match in found if match), None):
            self._place, self._kept = first[0], first[1].split(":")

    def __call__(self, case: Case) -> Place | None:
        """Return the setting where the path is of another language (rpm lib/depends: `de` keeps `de_AT` too)."""
        match = _LANGUAGE.match(case.path)
        if match is None or "all" in self._kept:
            return None
        language = match[1]
        kept = any(language == each or language.startswith((f"{each}_", f"{each}.")) or each.startswith(f"{language}_")
                   for each in self._kept)  # fmt: skip
        return None if kept else self._place
