"""`python -m migrate.schemas` writes the published schemas from the types."""

import sys

from migrate.schemas import publish

sys.stdout.write("".join(f"wrote {path}\n" for path in publish()))
