"""RocketMQ clients for asyncio: producer, consumers, administration calls.

They work against ledgermq and against Apache RocketMQ's own brokers, 4.9 and later. See ``docs/client.md``.
"""

from ledgermq.client.admin import AdminClient, QueueOffsets
from ledgermq.client.allocation import Allocation, allocate_averagely, allocate_by_circle
from ledgermq.client.errors import (
    BrokerError,
    BrokerNotFoundError,
    ClientError,
    ClosedError,
    IllegalMessageError,
    IllegalNameError,
    RequestTimeoutError,
    TopicNotFoundError,
    UnreachableError,
)
from ledgermq.client.listening import BatchListener, Listener, RetryLater
from ledgermq.client.producer import Producer
from ledgermq.client.pull_consumer import PullConsumer
from ledgermq.client.push_consumer import MessageModel, PushConsumer
from ledgermq.client.queues import MessageQueue
from ledgermq.client.sending import QueueSelector, SendReceipt, SendStatus
from ledgermq.client.start_offset import ConsumeFrom
from ledgermq.message.compression import Compression, CompressionError
from ledgermq.message.ids import MessageIdError
from ledgermq.message.model import Message, MessageExt

__all__ = [
    "AdminClient",
    "Allocation",
    "BatchListener",
    "BrokerError",
    "BrokerNotFoundError",
    "ClientError",
    "ClosedError",
    "Compression",
    "CompressionError",
    "ConsumeFrom",
    "IllegalMessageError",
    "IllegalNameError",
    "Listener",
    "Message",
    "MessageExt",
    "MessageIdError",
    "MessageModel",
    "MessageQueue",
    "Producer",
    "PullConsumer",
    "PushConsumer",
    "QueueOffsets",
    "QueueSelector",
    "RequestTimeoutError",
    "RetryLater",
    "SendReceipt",
    "SendStatus",
    "TopicNotFoundError",
    "UnreachableError",
    "allocate_averagely",
    "allocate_by_circle",
]
