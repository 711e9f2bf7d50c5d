"""Opening a machine's disks and reading its files without booting it."""
