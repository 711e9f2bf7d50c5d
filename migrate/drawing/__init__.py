"""A layered drawing of a graph, made of text: `place` puts boxes and lines, `migrate.svg` draws them."""
