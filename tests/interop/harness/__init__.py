"""What the interop tests stand on: programs, clusters and drivers. Nothing here asserts anything about a broker."""
