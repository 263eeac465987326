"""Topics, groups, clients, offsets, send, pull."""
