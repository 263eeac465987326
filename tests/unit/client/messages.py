"""Messages for the tests of this folder."""

from ledgermq.message.model import MessageExt


def received(
    offset: int, body: bytes = b"body", topic: str = "topic", properties: dict[str, str] | None = None
) -> MessageExt:
    """A message at ``offset`` of its queue."""
    return MessageExt(
        topic=topic,
        raw_body=body,
        properties=properties or {},
        flag=0,
        sys_flag=0,
        broker_name="broker",
        queue_id=0,
        queue_offset=offset,
        log_offset=offset * 1000,
        born_timestamp_ms=1,
        born_host="127.0.0.1:1",
        store_timestamp_ms=2,
        store_host="127.0.0.1:2",
        reconsume_times=0,
        prepared_transaction_offset=0,
        body_crc=0,
        store_bytes=100 + len(body),
        offset_message_id=f"ID-{offset}",
    )
