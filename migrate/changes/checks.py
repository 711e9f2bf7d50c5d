"""The functions that rules of explained.yaml name as their `check`, ready for one machine."""

from __future__ import annotations

from collections.abc import Mapping

from migrate.changes.aspects import Names
from migrate.changes.explain import Case, Check
from migrate.changes.made import (
    AlternativeLink,
    Attributes,
    ByteCode,
    Owners,
    Prelinked,
    TemporaryFiles,
    no_kernel,
    unpacked_by,
)
from migrate.changes.permissions import MaintainerScript, known_privileged
from migrate.changes.settings import (
    Documents,
    DpkgFilter,
    Filters,
    Languages,
    Lines,
    pacman_filters,
    portage_filters,
)
from migrate.changes.suse import Profiles
from migrate.guest.protocol import Guest
from migrate.model import Place


def checks(guest: Guest, names: Names) -> Mapping[str, Check]:
    """Return the checks by their names."""
    lines, owners, unpacker = Lines(guest), Owners(names), unpacked_by(guest)

    def container(case: Case) -> Place | None:
        return case.expected.seen_in if no_kernel(guest) else None

    def unpacked(case: Case) -> Place | None:
        lost = case.difference.aspect != "mode" or case.difference.shipped[:1] not in {"", "0"}
        return Place("/") if lost and case.entry is not None and case.entry.uid == unpacker else None

    def attributes(case: Case) -> Place | None:
        return Place("/") if not case.difference.found and lost.all_of_them() else None

    lost = Attributes(guest)
    return {
        "attributes": attributes,
        "unpacked": unpacked,
        "alternative_link": AlternativeLink(guest),
        "byte_code": ByteCode(guest),
        "container": container,
        "documents": Documents(lines),
        "dpkg_filter": DpkgFilter(lines),
        "known_privileged": known_privileged,
        "languages": Languages(lines),
        "maintainer_script": MaintainerScript(guest),
        "owner_elsewhere": owners.elsewhere,
        "owner_to_root": owners.to_root,
        "pacman_filter": Filters(pacman_filters(lines.of("/etc/pacman.conf"))),
        "portage_filter": Filters(portage_filters(lines.below("/etc/portage/make.conf", "/etc/portage/make.conf/*"))),
        "prelinked": Prelinked(guest),
        "suse_profile": Profiles(lines),
        "temporary_files": TemporaryFiles(lines),
    }
