"""Shared by all tests. Fixtures of one room live in that room's conftest."""
