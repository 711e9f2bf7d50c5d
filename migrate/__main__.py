"""`python -m migrate` is `vm2c`."""

from migrate.cli import main

if __name__ == "__main__":
    main()
