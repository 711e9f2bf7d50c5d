"""One small module for each thing that can be found on a machine; `migrate.discover` finds them by being here.

A module is an analyzer when it has a module-level `ANALYZER` (see `migrate.model.Analyzer`).
Modules whose name starts with an underscore are helpers.
"""
