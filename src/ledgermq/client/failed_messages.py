"""Where messages go that a listener did not consume: back to the broker, for the group's retry topic."""

from __future__ import annotations

import logging
from typing import Final

from ledgermq.client.errors import ClientError
from ledgermq.client.group_calls import GroupCalls
from ledgermq.client.queues import MessageQueue
from ledgermq.client.sender import Sender
from ledgermq.client.sending import Outgoing
from ledgermq.message.model import (
    DELAY_LEVEL,
    MAX_RECONSUME_TIMES,
    ORIGIN_MESSAGE_ID,
    RECONSUME_TIMES,
    RETRY_TOPIC,
    TRANSACTION_PREPARED,
    MessageExt,
)
from ledgermq.message.names import retry_topic
from ledgermq.message.properties import encode_properties

log: Final = logging.getLogger("ledgermq.client")

SEND_TIMEOUT_MS: Final = 3000
_FIRST_RETRY_DELAY_LEVEL: Final = 3
"""10 s with the stock levels; each further failure takes the next level (Java: ``3 + reconsumeTimes``)."""


class FailedMessages:
    """Hands failed messages of one group over."""

    def __init__(self, calls: GroupCalls, sender: Sender, group: str, reconsume_times_max: int) -> None:
        self._calls = calls
        self._sender = sender
        self._retry_topic = retry_topic(group)
        self._reconsume_times_max = reconsume_times_max

    async def hand_over(self, queue: MessageQueue, message: MessageExt, delay_level: int) -> bool:
        """Have ``message`` of ``queue`` come again later; False when no broker took it.

        The broker that stores it is asked to copy it; when it cannot, the message is sent anew.
        """
        try:
            await self._calls.send_back(queue, message, delay_level, self._reconsume_times_max)
        except ClientError as error:
            log.warning("message %s not taken back, it is sent anew: %s", message.message_id, error)
            return await self.send_anew(message)
        return True

    async def send_anew(self, message: MessageExt) -> bool:
        """Send a copy of ``message`` to the retry topic of any broker; False when none took it."""
        outgoing = retry_copy(message, self._retry_topic, self._reconsume_times_max)
        try:
            await self._sender.send_anywhere(outgoing, SEND_TIMEOUT_MS)
        except ClientError as error:
            log.warning("message %s not sent to %s: %s", message.message_id, self._retry_topic, error)
            return False
        return True


def retry_copy(message: MessageExt, topic: str, reconsume_times_max: int) -> Outgoing:
    """The message to send to the retry topic ``topic`` for ``message``.

    The broker reads its counts from the header and moves it to the dead-letter topic when they are used up.
    """
    properties = dict(message.properties)
    for name in (TRANSACTION_PREPARED, RECONSUME_TIMES, MAX_RECONSUME_TIMES):
        properties.pop(name, None)
    properties.setdefault(ORIGIN_MESSAGE_ID, message.message_id)
    properties[RETRY_TOPIC] = message.topic
    properties[DELAY_LEVEL] = str(_FIRST_RETRY_DELAY_LEVEL + message.reconsume_times)
    return Outgoing(
        topic=topic,
        body=message.raw_body,
        properties=encode_properties(properties).decode(),
        flag=message.flag,
        sys_flag=message.sys_flag & _COMPRESSION_FLAGS,
        message_ids=(message.message_id,),
        is_batch=False,
        reconsume_times=message.reconsume_times + 1,
        max_reconsume_times=reconsume_times_max,
    )


_COMPRESSION_FLAGS: Final = 0x701
