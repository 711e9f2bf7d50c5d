"""`python -m migrate.docs` writes the pages of docs/ that are made from the code."""

import sys

from migrate.docs import publish

sys.stdout.write("".join(f"wrote {path}\n" for path in publish()))
