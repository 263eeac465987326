"""Shipped for users' tests: the in-process broker and the pytest plugin."""
