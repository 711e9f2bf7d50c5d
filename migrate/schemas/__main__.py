"""`python -m migrate.schemas` writes the published schemas from the types."""

import sys

from migrate.schemas import publish

sys.stdout.write(f"wrote {publish()}\n")
