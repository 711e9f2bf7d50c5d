"""Throws away the carts that nobody touched for two weeks."""

import store

rows = store.query("DELETE FROM carts WHERE touched < now() - interval '14 days' RETURNING id")
print(f"cleanup: {len(rows)} carts thrown away")
