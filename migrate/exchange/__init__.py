"""The graph in the formats of other programs, made from graph.json: GraphML, DOT, Mermaid."""
