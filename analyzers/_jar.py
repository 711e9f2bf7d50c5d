"""What a Java archive says of itself and of the archives in it, read within bounds and without unpacking.

A jar's manifest is as the JAR File Specification has it (docs.oracle.com/en/java/javase/17/docs/specs/jar/jar.html),
`META-INF/maven/GROUP/ARTIFACT/pom.properties` as Maven's archiver writes it (maven.apache.org/shared/maven-archiver).
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO
from xml.etree import ElementTree

import msgspec

_MAX_DIRECTORY = 16 << 20  # a jar of 100,000 classes has 9 MiB; an entry takes Python about 1 KiB
_MAX_TEXT = 1 << 20
_MAX_TEXTS = 64 << 20
_MAX_POM = 1 << 18
_MAX_POMS = 2000
_MAX_NOTES = 20
_MAX_NAME = 1024  # a zip file's may have 65,535 bytes
_MAX_DEPTH = 3  # ear, war, jar
_MAX_NESTED = 128 << 20
_MAX_TOTAL = 1 << 30
_MAX_ARCHIVES = 5000

# What zipfile and zlib raise on broken archives (seen with mutated jars; RuntimeError: encrypted).
BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, ValueError, KeyError, IndexError, EOFError, OSError,
          NotImplementedError, RuntimeError, OverflowError, UnicodeError, AttributeError, TypeError)  # fmt: skip

# A name may have numbers in it (log4j-1.2-api-2.20.0), a version words (1.0-SNAPSHOT, 32.1.3-jre, 7.4.0-redhat-4).
_VERSION = re.compile(
    r"\d[\w.+]*(-(\d[\w.+]*|(?i:snapshot|alpha|beta|rc|cr|m|b|sp|ea|pre|jre|jdk|android|final|ga|release|incubating|redhat"
    r"|java|jakarta|hadoop|build|patch)[\w.+]*))*"
)
_NESTED = (".jar", ".war", ".ear", ".rar", ".hpi", ".jpi")
_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.(properties|xml)")
_TAG = re.compile(r"\{[^}]*\}")


class Artifact(msgspec.Struct, frozen=True, order=True):
    """A Maven artifact; `group` is empty where nothing states it."""

    group: str
    name: str
    version: str

    @property
    def full(self) -> str:
        """GROUP:ARTIFACT, or the artifact alone."""
        return f"{self.group}:{self.name}" if self.group else self.name


class Jar(msgspec.Struct, frozen=True):
    """An archive: `location` is its path, with `!/` before the name of one inside another (java.net.JarURLConnection).

    `artifact` is what the archive itself is, `bundled` what else was merged into it; `notes` what could not be read.
    """

    location: str
    artifact: Artifact
    main_class: str = ""
    title: str = ""
    bundled: tuple[Artifact, ...] = ()
    nested: tuple[Jar, ...] = ()
    is_web: bool = False
    notes: tuple[str, ...] = ()

    def everything(self) -> Iterator[tuple[Artifact, str]]:
        """Yield (artifact, location) of the archive, what was merged into it, and all archives in it."""
        for each in (self.artifact, *self.bundled):
            yield each, self.location
        for jar in self.nested:
            yield from jar.everything()


class _Bounded:
    """A file that refuses to be read in one piece of more than `_MAX_DIRECTORY`: zipfile reads the directory so."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size if 0 <= size <= _MAX_DIRECTORY else _MAX_DIRECTORY + 1)
        if len(data) > _MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory is more than {_MAX_DIRECTORY} bytes long")
        return data

    def seekable(self) -> bool:
        return True


class Budget:
    """How much is still unpacked in memory for one file of the disk: nested archives, and texts."""

    def __init__(self) -> None:
        self.bytes, self.archives, self.texts = _MAX_TOTAL, _MAX_ARCHIVES, _MAX_TEXTS


def parse_manifest(text: str) -> dict[str, str]:
    r"""Return the main attributes, names in lower case; a line that begins with a space goes on with the one before.

    >>> parse_manifest("Manifest-Version: 1.0\r\nImplementation-Ti\r\n tle: shop\r\n\r\nName: x\r\n")
    {'manifest-version': '1.0', 'implementation-title': 'shop'}
    """
    found: dict[str, str] = {}
    lines: list[str] = []
    for line in re.split(r"\r\n|\r|\n", text):
        if not line and lines:
            break
        if line.startswith(" ") and lines:
            lines[-1] += line[1:]
        elif line:
            lines.append(line)
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and "${" not in value and value.strip():
            found.setdefault(name.strip().lower(), value.strip())
    return found


def parse_properties(text: str) -> dict[str, str]:
    """Return the plain `key=value` lines of a properties file (java.util.Properties without its escapes)."""
    found = {}
    for line in text.splitlines():
        key, sign, value = line.strip().partition("=")
        if sign and not key.startswith(("#", "!")):
            found[key.strip()] = value.strip()
    return found


def parse_pom(data: bytes) -> Artifact | None:
    """Return what a pom.xml is of, group and version from its parent where it has none; None where it is none."""
    if b"<!" in data.replace(b"<!--", b""):  # no document types: entities that grow without bound need one
        return None
    try:
        root = ElementTree.fromstring(data)  # noqa: S314  # no document type, at most 256 KiB
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    own = {_TAG.sub("", child.tag): child for child in root}
    above = {_TAG.sub("", c.tag): c for c in own["parent"]} if "parent" in own else {}

    def value(name: str) -> str:
        element = own.get(name) if name in own else above.get(name)
        text = ((element.text if element is not None else "") or "").strip()
        return "" if "${" in text else text

    name = ((own["artifactId"].text if "artifactId" in own else "") or "").strip()
    return Artifact(value("groupId"), name, value("version")) if name and "${" not in name else None


def by_file_name(name: str) -> tuple[str, str]:
    """Return name and version as a file's name states them; the version is empty where none stands in it.

    >>> by_file_name("spring-web-6.1.2.jar"), by_file_name("kafka_2.13-3.6.1.jar"), by_file_name("shop.jar")
    (('spring-web', '6.1.2'), ('kafka_2.13', '3.6.1'), ('shop', ''))
    """
    stem = name.rpartition("/")[2].rpartition(".")[0][:200]
    for match in re.finditer(r"-(?=\d)", stem):
        if _VERSION.fullmatch(stem, match.end()):
            return stem[: match.start()], stem[match.end() :]
    return stem, ""


def read_jar(file: IO[bytes], location: str, budget: Budget | None = None, depth: int = 0) -> Jar:
    """Read an archive. Raises one of `BROKEN` where its directory cannot be read."""
    budget = budget or Budget()
    notes: list[str] = []
    nested: list[Jar] = []
    with zipfile.ZipFile(_Bounded(file)) as archive:  # read, seek and tell are all that zipfile uses
        names = archive.namelist()
        manifest = parse_manifest(_text(archive, "META-INF/MANIFEST.MF", _MAX_TEXT, budget, notes))
        poms = _poms(archive, names, budget, notes)
        for name in names:
            if depth < _MAX_DEPTH and len(name) <= _MAX_NAME and name.lower().endswith(_NESTED):
                _nested(archive, name, location, budget, depth, nested, notes)
    artifact = _artifact(location, manifest, poms)
    start = manifest.get("start-class", "")  # Spring Boot's own launcher is the Main-Class
    return Jar(
        location=location,
        artifact=artifact,
        main_class=start or manifest.get("main-class", ""),
        title=manifest.get("implementation-title") or manifest.get("bundle-name", ""),
        bundled=tuple(pom for pom in poms if (pom.group, pom.name) != (artifact.group, artifact.name)),
        nested=tuple(nested),
        is_web=any(name.startswith("WEB-INF/") for name in names[:50_000]),
        notes=tuple(notes),
    )


def _note(notes: list[str], why: str) -> None:
    if len(notes) < _MAX_NOTES:
        notes.append(why if len(why) <= _MAX_NAME else f"{why[:_MAX_NAME]}…")


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return a member's content. Raises ValueError where it is longer, or not stored as Java reads it."""
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed by method {info.compress_type}, which Java does not read")
    with archive.open(info) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{name} is more than {limit} bytes long")
    return data


def member_text(file: IO[bytes], name: str) -> str:
    """Return one member of an archive, at most 1 MiB, as text. Raises one of `BROKEN`."""
    with zipfile.ZipFile(_Bounded(file)) as archive:
        return _member(archive, name, _MAX_TEXT).decode("utf-8", "surrogateescape")


def _text(archive: zipfile.ZipFile, name: str, limit: int, budget: Budget, notes: list[str]) -> str:
    if name not in archive.NameToInfo:
        return ""
    try:
        data = _member(archive, name, min(limit, budget.texts))
        budget.texts -= len(data)
        return data.decode("utf-8", "surrogateescape")
    except BROKEN as error:
        _note(notes, f"{name} cannot be read: {str(error) or type(error).__name__}")
        return ""


def _poms(archive: zipfile.ZipFile, names: list[str], budget: Budget, notes: list[str]) -> tuple[Artifact, ...]:
    """Return the artifacts whose Maven files are in the archive: pom.properties, or else pom.xml."""
    found: dict[str, Artifact] = {}
    for name in sorted({n for n in names if _POM.fullmatch(n)})[: 2 * _MAX_POMS]:  # .properties comes before .xml
        folder = name.rpartition("/")[0]
        if folder in found:
            continue
        text = _text(archive, name, _MAX_POM, budget, notes)
        if name.endswith(".xml"):
            pom = parse_pom(text.encode("utf-8", "surrogateescape"))
        else:
            rows = parse_properties(text)
            pom = Artifact(rows.get("groupId", ""), rows.get("artifactId", ""), rows.get("version", ""))
        if pom is not None and pom.name and pom.version:
            found[folder] = pom
    return tuple(dict.fromkeys(found.values()))


def _artifact(location: str, manifest: Mapping[str, str], poms: tuple[Artifact, ...]) -> Artifact:
    """Return what an archive is: by its Maven files, its manifest, its name, in that order."""
    name, version = by_file_name(location)
    own = next((pom for pom in poms if pom.name == name), None) or next(
        (pom for pom in poms if _words(pom.name) & _words(name) and (len(poms) == 1 or name.startswith(pom.name))), None
    )
    if own is not None:
        return own
    stated = manifest.get("implementation-version") or manifest.get("bundle-version") or ""
    group = manifest.get("implementation-vendor-id", "")
    if not re.fullmatch(r"[a-z][\w-]*(\.[\w-]+)+", group):
        group = ""
    return Artifact(group, name, stated or version)


def _words(name: str) -> set[str]:
    return {word for word in re.split(r"[\W_\d]+", name.lower()) if len(word) > 1}


def _nested(
    archive: zipfile.ZipFile, name: str, location: str, budget: Budget, depth: int, nested: list[Jar], notes: list[str]
) -> None:
    inner = f"{location}!/{name}"
    info = archive.getinfo(name)
    budget.archives -= 1
    # Archives hardly compress again; one that grows twentyfold is made to.
    if info.file_size > min(_MAX_NESTED, budget.bytes, 20 * info.compress_size + (1 << 20)) or budget.archives < 0:
        _note(notes, f"{name} is not looked into: {info.file_size} bytes, or too many archives in one another")
        return
    try:
        data = _member(archive, name, info.file_size)
        budget.bytes -= len(data)
        nested.append(read_jar(io.BytesIO(data), inner, budget, depth + 1))
    except BROKEN as error:
        _note(notes, f"{name} cannot be read: {str(error) or type(error).__name__}")
