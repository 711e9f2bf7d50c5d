"""Differencing disks of Microsoft's formats: what they hold themselves, and what they take from their parent.

qemu reads none of them right: it opens a differencing VHD as if it were whole, so that all the parent holds reads
as zeros, and refuses a VHDX with a parent (block/vpc.c and block/vhdx.c of qemu 7.2). So their tables are read
here, and only them: the content is left where it is. No library: libvhdi 20260901 takes a sector from the child
whose bit in the bitmap is 0 (sector 186 of dfvfs' fat-differential.vhd, so that a file's 12 bytes read as zeros);
dissect.hypervisor 3.21 reads no differencing VHD, and of a VHDX it checks neither checksums nor the log, and opens
whatever file the image names.

Formats: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0 (VHD: `vhddiff`); [MS-VHDX] (VHDX:
`vhdxdiff`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from migrate.guest.images.child import Child, Run, coalesced, length_of, take
from migrate.guest.images.vhddiff import DIFFERENCING, FOOTER, read_footer, read_vhd, vhd_runs
from migrate.guest.images.vhdxdiff import SIGNATURE, current_header, read_metadata, read_vhdx, vhdx_runs


def has_parent(file: IO[bytes]) -> bool:
    """Tell whether an image holds only the changes to another one; what is too damaged to tell does not.

    Raises OSError.
    """
    try:
        if _is_vhdx(file):
            return read_metadata(file).has_parent
        return read_footer(file).kind == DIFFERENCING
    except ValueError:
        return False


def read_child(file: IO[bytes]) -> Child:
    """Read what a differencing VHD or VHDX says of itself.

    Raises ValueError, in one line, where it is none, is damaged or has to be repaired first, and OSError.
    """
    return read_vhdx(file) if _is_vhdx(file) else read_vhd(file)


def changes(file: IO[bytes], child: Child) -> Iterator[Run]:
    """Yield which parts of the disk are not the parent's: where on the disk, where in the file, how many bytes.

    They come in the order of the disk, never overlap there or in the file, and all lie inside of it, so that
    together they are no longer than the file is. Where they are in the file is ZEROS for those that read as
    zeros. Raises ValueError where the tables are damaged, which may be after some of them, and OSError.
    """
    runs = vhdx_runs(file, child) if child.format == "vhdx" else vhd_runs(file, child)
    return coalesced(runs, child.virtual_bytes)


def check_parent(file: IO[bytes], child: Child) -> str:
    """Return why an image is not the parent of a child; empty where it is.

    The VHD's own identity has to be the one that the child names, and a VHDX has to be unchanged since the child
    was made. Raises OSError.
    """
    try:
        if child.format == "vhdx":
            if not _is_vhdx(file):
                return "it is no VHDX"
            found = current_header(file).data_write
        else:
            found = read_footer(file).identity
    except ValueError as error:
        return str(error)
    if found in child.parent_ids:
        return ""
    wanted = " or ".join(child.parent_ids)
    if child.format == "vhdx":
        return f"it is another disk, or was written to since: its content is {found}, and {wanted} is needed"
    return f"it is another disk: its identity is {found}, and {wanted} is needed"


def _is_vhdx(file: IO[bytes]) -> bool:
    size = len(SIGNATURE)
    return length_of(file) >= max(size, FOOTER) and take(file, 0, size, "its start") == SIGNATURE
