"""kill -9 of a broker under load, and what must be true of its store and its answers afterwards."""
