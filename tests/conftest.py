"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# Hypothesis' own limit of 200 ms an example is a timed assertion: it fails on a machine that is busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
