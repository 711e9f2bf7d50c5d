"""What of a machine's file systems belongs where: its root, fstab and crypttab, keys."""
