"""ledgermq: a message queue that speaks Apache RocketMQ's protocols and keeps its files."""

__version__ = "0.1.0"
