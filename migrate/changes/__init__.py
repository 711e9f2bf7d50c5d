"""What of a package's files is not as the package brought it: compared, explained, shown as a difference."""
