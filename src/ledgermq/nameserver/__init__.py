"""The name server: which brokers live, which topics they carry, and a small key-value store for operators."""

from ledgermq.nameserver.server import NameServer

__all__ = ["NameServer"]
