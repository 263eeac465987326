"""What the interop tests stand on: programs, clusters and drivers. It asserts nothing about a broker."""
