"""Roots that are no disks: tar archives and container images."""
