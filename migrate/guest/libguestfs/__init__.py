"""The reader that mounts everything in libguestfs' appliance."""
