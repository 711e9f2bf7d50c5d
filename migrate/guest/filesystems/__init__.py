"""File systems that are read in this process, and what is on a device."""
