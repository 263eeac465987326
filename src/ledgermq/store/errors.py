"""What can go wrong in the store, by what the caller has to do about it."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot do what was asked; its text says what, where and what helps."""


class StoreWriteError(StoreError):
    """Nothing of this turn was stored: no room or no permission. Refuse sends, go on reading, try again
    later.
    """


class StoreFatalError(StoreError):
    """An fsync failed: what the disk holds is unknown. Stop the node; never retry the fsync."""


class StoreLockedError(StoreError):
    """Another broker uses this directory."""


class StoreDamagedError(StoreError):
    """The directory cannot be opened without losing what a human should look at first."""
