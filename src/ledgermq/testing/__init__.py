"""For tests: a broker in this process. See docs/testing.md.

Imported when first used: pytest loads the plugin of this package in every run, which must cost nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ledgermq.testing.broker_thread import BrokerThread
    from ledgermq.testing.local_broker import LocalBroker

__all__ = ["BrokerThread", "LocalBroker"]


def __getattr__(name: str) -> Any:
    if name == "LocalBroker":
        from ledgermq.testing.local_broker import LocalBroker

        return LocalBroker
    if name == "BrokerThread":
        from ledgermq.testing.broker_thread import BrokerThread

        return BrokerThread
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
