"""Keeps a consumer's queues equal to its share of the group's (Java: ``RebalanceImpl``).

Every member computes its own share, from the route and from the list of members that a broker keeps. They
do so at the same time when a broker says that the members changed, and every 20 s in case it could not say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from ledgermq.client.allocation import Allocation
from ledgermq.client.errors import ClientError, TopicNotFoundError
from ledgermq.client.group_calls import GroupCalls
from ledgermq.client.queues import MessageQueue
from ledgermq.client.routes import subscribe_queues
from ledgermq.client.session import Session
from ledgermq.message.names import RETRY_PREFIX

log: Final = logging.getLogger("ledgermq.client")

INTERVAL_SECONDS: Final = 20.0
UNBALANCED_SECONDS: Final = 1.0
"""How soon to try again when a share could not be taken; doubled with each try, up to the interval."""


class Rebalancer:
    """Computes the share of one consumer and has it applied."""

    def __init__(
        self,
        session: Session,
        calls: GroupCalls,
        topics: Callable[[], list[str]],
        allocate: Allocation | None,
        apply: Callable[[str, list[MessageQueue]], Awaitable[bool]],
    ) -> None:
        """``allocate`` None gives this consumer all queues; ``apply(topic, share)`` takes the share and gives
        back what is not in it, and returns False when it has to be tried again soon."""
        self._session = session
        self._calls = calls
        self._topics = topics
        self._allocate = allocate
        self._apply = apply
        self._wake = asyncio.Event()
        self._announce = False
        self._had_topics: set[str] = set()

    def wake(self, *, announce: bool = False) -> None:
        """Rebalance now; ``announce`` tells the brokers first what we are subscribed to."""
        self._announce = self._announce or announce
        self._wake.set()

    async def run(self) -> None:
        """Rebalance until cancelled."""
        unbalanced_seconds = UNBALANCED_SECONDS
        while True:
            self._wake.clear()
            if await self._rebalance():
                unbalanced_seconds = UNBALANCED_SECONDS
                wait_seconds = INTERVAL_SECONDS
            else:
                wait_seconds = unbalanced_seconds
                unbalanced_seconds = min(2 * unbalanced_seconds, INTERVAL_SECONDS)
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue
            unbalanced_seconds = UNBALANCED_SECONDS

    async def _rebalance(self) -> bool:
        topics = self._topics()
        if self._announce:
            self._announce = False
            await self._tell_brokers(topics)
        balanced = True
        for topic in sorted(self._had_topics - set(topics)):
            await self._apply(topic, [])
        self._had_topics = set(topics)
        for topic in topics:
            try:
                share = await self._share(topic)
                balanced = share is not None and await self._apply(topic, share) and balanced
            except TopicNotFoundError as error:
                # The broker makes the retry topic when it first hears of the group, so it is only a moment.
                level = logging.DEBUG if topic.startswith(RETRY_PREFIX) else logging.WARNING
                log.log(level, "nothing to consume yet: %s", error)
                balanced = False
            except ClientError as error:
                log.warning("queues of topic %s stay as they are: %s", topic, error)
                balanced = False
            except Exception:  # `allocate` may be the application's, and its bug must not end rebalancing
                log.exception("queues of topic %s stay as they are", topic)
                balanced = False
        return balanced

    async def _tell_brokers(self, topics: list[str]) -> None:
        for topic in topics:
            try:
                await self._session.routes.get(topic)
            except ClientError as error:
                log.debug("route of topic %s: %s", topic, error)
        await self._session.send_heartbeats()

    async def _share(self, topic: str) -> list[MessageQueue] | None:
        """This consumer's queues of ``topic``; None when its group does not know it."""
        queues = subscribe_queues(topic, await self._session.routes.get(topic))
        if self._allocate is None:
            return queues
        client_ids = await self._calls.client_ids(topic)
        if self._session.client_id not in client_ids:
            # A broker that was restarted has forgotten us. The others will share our queues out: come back.
            log.info("the brokers of topic %s do not know us, telling them", topic)
            self._announce = True
            return None
        return self._allocate(self._session.client_id, queues, client_ids)
