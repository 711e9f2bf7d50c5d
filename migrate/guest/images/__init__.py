"""Disk images and what they are kept in: formats, chains of files, an archive of a machine; qemu's block layer."""
