"""vm2c: a compiler from a virtual machine's disk to a migration plan, containers and manifests.

The types that the whole program is made of are in `migrate.model` (what is found on a disk) and
`migrate.plan.model` (what a person reads and changes). Start there.
"""

__version__ = "0.1.0"
