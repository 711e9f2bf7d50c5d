"""What Composer installed, and the applications in PHP that nobody packaged, by their manifest or their version file.

Composer writes what is in a vendor folder into vendor/composer/installed.json (and, since 2.0, installed.php). A
composer.lock says what was wanted, and is not read. Of PHP files only literals at the start of a line are.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Container, Iterator
from typing import Any, cast

import msgspec

from analyzers._manifests import (
    around,
    base,
    batched,
    decoded,
    in_folders,
    manifests,
    may_be_root,
    optional_bytes,
    seen,
)
from analyzers._node_packages import text_of
from analyzers._reading import Reader, absolute, numbered
from migrate.guest.protocol import Guest
from migrate.model import LanguagePackage, Place

_MAX_FOLDERS = 10_000
_MAX_INSTALLED = 16 << 20  # bytes; Magento's, with 500 packages, is 1 MiB
_DEPENDENCIES = frozenset({"vendor", "node_modules", "3rdparty", "site-packages", ".cache", ".composer", "gems"})


class _Package(msgspec.Struct, frozen=True, rename="kebab"):
    """A package of installed.json; `install_path` counts from the folder of that file."""

    name: Any = ""
    version: Any = ""
    type: Any = ""
    install_path: Any = ""


class _Installed(msgspec.Struct, frozen=True):
    """installed.json of Composer 2; Composer 1 wrote the list alone."""

    packages: list[_Package] = []


_SHAPE = cast("type[list[_Package] | _Installed]", list[_Package] | _Installed)


class Manifest(msgspec.Struct, frozen=True):
    """A composer.json as far as it is looked at (getcomposer.org/doc/04-schema.md)."""

    name: Any = ""
    version: Any = ""
    type: Any = ""


class Product(msgspec.Struct, frozen=True):
    """A program that many install by unpacking it: the file with its version, the line, what its folder must have."""

    name: str
    file: str
    version: re.Pattern[str]
    beside: str
    data: tuple[str, ...] = ()


class Root(msgspec.Struct, frozen=True):
    """An application: `data` are folders below it that hold what its users made."""

    path: str
    name: str
    version: str
    place: Place
    data: tuple[str, ...] = ()


# The file is the project's own; data as its manual names it.
PRODUCTS = (
    Product("wordpress", "wp-includes/version.php", re.compile(r"\$wp_version\s*=\s*'([\w.+-]+)'"), "wp-admin",
            ("wp-content/uploads",)),
    Product("drupal", "core/lib/Drupal.php", re.compile(r"\s*const VERSION = '([\w.+-]+)'"), "core/core.services.yml",
            ("sites/default/files",)),
    Product("drupal", "includes/bootstrap.inc", re.compile(r"define\('VERSION', '([\w.+-]+)'\)"), "sites",
            ("sites/default/files",)),
    Product("nextcloud", "version.php", re.compile(r"\$OC_VersionString\s*=\s*'([\w .+-]+)'"), "occ", ("data",)),
    Product("moodle", "version.php", re.compile(r"\$release\s*=\s*'([\w.+-]+)"), "lib/moodlelib.php"),
    Product("mediawiki", "includes/Defines.php", re.compile(r"\s*define\(\s*'MW_VERSION',\s*'([\w.+-]+)'"), "api.php",
            ("images",)),
    Product("roundcube", "program/include/iniset.php", re.compile(r"\s*define\('RCMAIL_VERSION', '([\w.+-]+)'"),
            "program/lib"),
)  # fmt: skip


# ---------------------------------------------------------------- what is installed


def packages(reader: Reader) -> Iterator[LanguagePackage]:
    """Yield the packages that Composer installed and whose folder is there; metapackages have none."""
    found = manifests(reader.guest)
    lists = [path for path in found.get("installed.json", ()) if _is_vendor(path)]
    told = {posixpath.dirname(path) for path in lists}
    others = [
        path for path in found.get("installed.php", ()) if _is_vendor(path) and posixpath.dirname(path) not in told
    ]
    for path in batched(reader.guest, [*lists, *others], _MAX_FOLDERS):
        each = _from_json(reader, path) if path.endswith(".json") else _from_php(reader, path)
        yield from (package for package in each if reader.guest.is_dir(package.location))


def _is_vendor(path: str) -> bool:
    folder = posixpath.dirname(path)
    return base(folder) == "composer" and "/vendor/" not in posixpath.dirname(posixpath.dirname(folder)) + "/"


def _from_json(reader: Reader, path: str) -> Iterator[LanguagePackage]:
    read = decoded(reader, path, _SHAPE, _MAX_INSTALLED)
    if read is None:
        return
    listed, data = read
    lines = lines_of(data.decode("utf-8", "replace"))
    folder = posixpath.dirname(path)
    for package in listed.packages if isinstance(listed, _Installed) else listed:
        name, version = text_of(package.name), text_of(package.version)
        where = text_of(package.install_path, 4096) or f"../{name}"
        if name and version and package.type != "metapackage" and package.install_path is not None:
            yield LanguagePackage(
                seen_in=Place(path, lines.get(name)), ecosystem="composer", name=name, version=version,
                location=absolute(where, folder),
            )  # fmt: skip


def lines_of(text: str) -> dict[str, int]:
    """Return the line of each name in an installed.json as Composer prints it, four spaces for each level."""
    found: dict[str, int] = {}
    for number, line in numbered(text):
        if match := re.match(r' {8,12}"name": "([^"]+)"', line):
            found.setdefault(match[1].replace("\\/", "/"), number)
    return found


def _from_php(reader: Reader, path: str) -> Iterator[LanguagePackage]:
    yield from parse_installed_php(reader.text(path, _MAX_INSTALLED) or "", path)


def parse_installed_php(text: str, path: str) -> Iterator[LanguagePackage]:
    """Yield the packages of an installed.php (Composer 2): the arrays that Composer itself prints, a key a line."""
    folder, name, version, line, root = posixpath.dirname(path), "", "", None, ""
    for number, each in numbered(text):
        if match := re.match(r"    'root' => array\(", each):
            name = "/"
        elif match := re.match(r"        '([^']+)' => array\($", each):
            name, version, line = match[1], "", number
        elif name == "/" and (match := re.match(r"        'name' => '([^']+)'", each)):
            root = match[1]
        elif match := re.match(r"            'pretty_version' => '([^']+)'", each):
            version = match[1]
        elif (match := re.match(r"            'install_path' => __DIR__ \. '([^']+)'", each)) and version:
            if name != root:
                yield LanguagePackage(
                    seen_in=Place(path, line), ecosystem="composer", name=name, version=version,
                    location=absolute(match[1].lstrip("/"), folder),
                )  # fmt: skip
            version = ""


# ---------------------------------------------------------------- applications


def product_of(guest: Guest, path: str) -> Root | None:
    """Return the product whose version file this is, or None."""
    for product in PRODUCTS:
        folder = path.removesuffix(f"/{product.file}")
        if folder == path or not guest.exists(f"{folder}/{product.beside}"):
            continue
        text = optional_bytes(guest, path, 256 << 10).decode("utf-8", "surrogateescape")
        for number, line in numbered(text):
            if match := product.version.match(line):
                name = "owncloud" if product.name == "nextcloud" and "$vendor = 'owncloud'" in text else product.name
                kept = (f"{folder}/{name}" for name in product.data)
                data = tuple(path for path in (*kept, *_data_directory(guest, folder)) if guest.is_dir(path))
                return Root(folder or "/", name, match[1], Place(path, number), data)
    return None


def _data_directory(guest: Guest, folder: str) -> Iterator[str]:
    """Yield where Nextcloud's config.php says that its users' files are; nothing else of that file is looked at."""
    text = optional_bytes(guest, f"{folder}/config/config.php", 256 << 10).decode("utf-8", "surrogateescape")
    for _, line in numbered(text):
        if match := re.match(r"\s*'datadirectory'\s*=>\s*'(/[^']+)'", line):
            yield absolute(match[1], "/")


def roots(reader: Reader) -> list[Root]:
    """Return the applications: products by their version file, projects by their composer.json.

    A composer.json inside another application is that of a part (a plugin, a theme), unless it calls itself a project.
    """
    guest, found = reader.guest, manifests(reader.guest)
    files = {posixpath.basename(product.file) for product in PRODUCTS}
    versions = sorted(path for name in files for path in found.get(name, ()) if not in_folders(path, _DEPENDENCIES))
    products = [root for path in versions if (root := product_of(guest, path)) is not None]
    at = {root.path: root for root in products}
    projects = [path for path in found.get("composer.json", ()) if not in_folders(path, _DEPENDENCIES)]
    for path in batched(guest, sorted(projects, key=lambda path: path.split("/")), _MAX_FOLDERS):
        folder = posixpath.dirname(path) or "/"
        if folder not in at and (root := _project(reader, path, folder, at)) is not None:
            at[folder] = root
    return [at[folder] for folder in sorted(at)]


def _project(reader: Reader, path: str, folder: str, known: Container[str]) -> Root | None:
    read = decoded(reader, path, Manifest)
    if read is None:
        return None
    manifest, data = read
    nested = around(folder, known) is not None
    project = manifest.type == "project"
    installed = reader.guest.is_file(f"{folder}/vendor/autoload.php")
    if not may_be_root(folder, project) or not (project if nested else project or installed):
        return None
    name = text_of(manifest.name)
    place = seen(path, data, '"name"', f'"{name}"') if name else Place(path)
    return Root(folder, name or base(folder), text_of(manifest.version), place)
