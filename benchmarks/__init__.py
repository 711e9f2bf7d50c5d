"""How long vm2c takes on large disks, beside virt-inspector and the floor. `python -m benchmarks`, README.md."""
