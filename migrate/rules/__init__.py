"""Rules as data, one YAML file a topic. `migrate.rulebook` reads and applies them."""
