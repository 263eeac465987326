"""Listeners: who consumes the messages of a topic, and how they say that one has to come again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from ledgermq.client.subscription import ALL_TAGS, SubscriptionData, parse_expression
from ledgermq.message.model import RETRY_TOPIC, MessageExt
from ledgermq.message.names import retry_topic

log: Final = logging.getLogger("ledgermq.client")

Listener = Callable[[MessageExt], Awaitable[object]]
"""Consumes one message: it is done when the coroutine returns, and comes again when it raises."""
BatchListener = Callable[[Sequence[MessageExt]], Awaitable[object]]
"""Consumes some messages of one queue; they are done, or come again, together."""


class RetryLater(Exception):  # noqa: N818 - not an error: a listener's way to say "not now"
    """Raised by a listener that wants its message again, without a traceback in the log.

    ``delay_level`` says when in unordered consumption: 1 to 18 as brokers are configured (stock: 1 s to 2 h),
    0 lets the broker choose, -1 means never, the message goes to the dead-letter topic. ``suspend_ms`` says
    when in ordered consumption, where the queue waits for the message; None is the consumer's default.
    """

    def __init__(self, delay_level: int = 0, suspend_ms: int | None = None) -> None:
        super().__init__(delay_level, suspend_ms)
        self.delay_level = delay_level
        self.suspend_ms = suspend_ms


class Subscription(msgspec.Struct, frozen=True):
    """One topic's selection and listener. ``batch_count_max`` is for one call of the listener."""

    data: SubscriptionData
    listener: BatchListener
    batch_count_max: int


class Subscriptions:
    """The topics of one consumer. Its group's retry topic is one of them when the group shares its queues:
    there the messages that failed come back, for the listener of the topic they came from."""

    def __init__(self, group: str, *, has_retry_topic: bool) -> None:
        self._by_topic: dict[str, Subscription] = {}
        """Those of earlier topics too: their queues ask until they are given back."""
        self._wanted: dict[str, None] = {}
        """The topics subscribed to now, in order."""
        self._retry_topic = retry_topic(group)
        self._retry_data: SubscriptionData | None = None
        if has_retry_topic:
            self._retry_data = parse_expression(self._retry_topic, ALL_TAGS, 0)

    def add(self, subscription: Subscription) -> None:
        """Subscribe, or change an existing subscription."""
        self._by_topic[subscription.data.topic] = subscription
        self._wanted[subscription.data.topic] = None

    def remove(self, topic: str) -> None:
        """Unsubscribe."""
        self._wanted.pop(topic, None)

    def topics(self) -> list[str]:
        """All topics to read, the retry topic last."""
        retry = [self._retry_topic] if self._retry_data is not None and self._wanted else []
        return [*self._wanted, *retry]

    def data(self, topic: str) -> SubscriptionData:
        """What is wanted of a topic that is, or was, one of :meth:`topics`."""
        if topic == self._retry_topic and self._retry_data is not None:
            return self._retry_data
        return self._by_topic[topic].data

    def all_data(self) -> list[SubscriptionData]:
        """What is wanted of each of :meth:`topics`."""
        return [self.data(topic) for topic in self.topics()]

    def batch_count_max(self, topic: str) -> int:
        """How many messages of a topic that is, or was, one of :meth:`topics` to consume at once.

        Messages of the retry topic go one by one: they are of different topics.
        """
        return 1 if topic == self._retry_topic else self._by_topic[topic].batch_count_max

    def find(self, topic: str) -> Subscription | None:
        """The subscription of a topic, None when there is none (any more)."""
        return self._by_topic[topic] if topic in self._wanted else None

    def restore_topic(self, message: MessageExt) -> None:
        """Give a message of the retry topic the name of the topic that it was sent to."""
        if message.topic == self._retry_topic:
            message.topic = message.properties.get(RETRY_TOPIC, message.topic)


async def consume(
    subscriptions: Subscriptions, messages: Sequence[MessageExt], timeout_seconds: float
) -> Exception | None:
    """Have the listener of their topic consume ``messages``; None when they are done, else why not.

    Whatever a listener raises is its way to fail; only being cancelled itself ends this.
    """
    for message in messages:
        subscriptions.restore_topic(message)
    topic = messages[0].topic
    subscription = subscriptions.find(topic)
    if subscription is None:
        log.warning("message %s of topic %s has no listener", messages[0].message_id, topic)
        return RetryLater()
    failure: Exception | None = None
    try:
        async with asyncio.timeout(timeout_seconds) as limit:
            await subscription.listener(messages)
    except RetryLater as later:
        failure = later
    except asyncio.CancelledError:
        failure = RuntimeError("the listener waited for something that was cancelled")
    except Exception as error:  # noqa: BLE001 - an application may raise anything, and the message comes again
        failure = error
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        # The consumer is closing. The listener may have turned that into any exception, or into none.
        raise asyncio.CancelledError
    if failure is not None and limit.expired():
        log.warning("listener of topic %s was given up after %s s", topic, timeout_seconds)
    elif failure is not None and not isinstance(failure, RetryLater):
        log.warning("listener of topic %s failed at %s", topic, messages[0].message_id, exc_info=failure)
    return failure
