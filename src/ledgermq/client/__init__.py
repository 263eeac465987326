"""Asyncio producer and consumers; they work against Java brokers too."""
