"""What base images hold, as data: so that what an image's base already has is not copied into it again.

    make(guest) ──▶ Base ──store──▶ vm2c bases, generate (what is left to a base), build (whether it is there)

`model` holds the values, `store` the files they are kept in, `make` reads an image, `check` holds an image of the
engine against what was left to it.
"""
