"""`python -m migrate.bases FILE REFERENCE MADE_FROM DATE [--slim]` writes one of the inventories that vm2c brings."""

import argparse
import sys
from pathlib import Path

from migrate.bases.shipped import ship

parser = argparse.ArgumentParser(prog="python -m migrate.bases", description=__doc__)
parser.add_argument("file", type=Path, help="an archive of the image's root")
parser.add_argument("reference", help="what FROM says")
parser.add_argument("made_from", help="in words, what the archive was made from")
parser.add_argument("date", help="when that was, as 2026-11-23")
parser.add_argument("--slim", action="store_true", help="without what Debian's slim images are without")
asked = parser.parse_args()
written = ship(asked.file, asked.reference, asked.made_from, asked.date, asked.slim)
sys.stdout.write(f"wrote {written}\n")
