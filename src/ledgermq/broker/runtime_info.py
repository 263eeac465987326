"""What GET_BROKER_RUNTIME_INFO shows: the numbers that ``mqadmin brokerStatus`` and ``clusterList`` print.

The keys are Java's (``AdminBrokerProcessor.prepareRuntimeInfo``, ``StoreStatsService``). What stands for
thread pools, the transient store pool and timer messages is constant: there are none here. Latencies of
single writes are not measured, so that a send costs nothing for it, and are 0.
"""

from __future__ import annotations

import os
from typing import Final

from ledgermq.broker.stats import BrokerStats
from ledgermq.store.message_store import MessageStore

VERSION_NAME: Final = "V5_5_0"
"""The version of RocketMQ whose protocol is spoken; dashboards compare it."""

POOLS: Final = {
    "sendThreadPool": 10_000,
    "pullThreadPool": 100_000,
    "litePullThreadPool": 100_000,
    "queryThreadPool": 20_000,
    "ackThreadPool": 100_000,
}
"""Java's request queues and their default capacities: tools read them, here requests do not queue."""

LATENCY_BUCKETS: Final = (
    "<=0ms",
    "0~10ms",
    "10~50ms",
    "50~100ms",
    "100~200ms",
    "200~500ms",
    "500ms~1s",
    "1~2s",
    "2~3s",
    "3~4s",
    "4~5s",
    "5~10s",
    "10s~",
)


def runtime_info(stats: BrokerStats, store: MessageStore, now_ms: int) -> dict[str, str]:
    """Every key with its value as text. Raises OSError when the disk cannot be asked."""
    return {
        "bootTimestamp": str(stats.started_ms),
        "runtime": _elapsed(now_ms - stats.started_ms),
        "brokerActive": "true",
        "brokerVersionDesc": VERSION_NAME,
        "startAcceptSendRequestTimeStamp": "0",
        **_traffic(stats),
        **_store(store),
        **_constants(),
    }


def _traffic(stats: BrokerStats) -> dict[str, str]:
    puts = stats.all_puts()
    rates = stats.rates()
    pulls = tuple(found + missed for found, missed in zip(rates.found, rates.missed, strict=True))
    return {
        "putTps": _rates(rates.puts),
        "getFoundTps": _rates(rates.found),
        "getMissTps": _rates(rates.missed),
        "getTotalTps": _rates(pulls),
        "getTransferredTps": _rates(rates.gets),
        "putMessageTimesTotal": str(puts.requests),
        "putMessageSizeTotal": str(puts.size),
        "putMessageAverageSize": str(int(puts.size) / int(puts.messages) if puts.messages else 0.0),
        "msgPutTotalYesterdayMorning": str(stats.put_total_mornings[0]),
        "msgPutTotalTodayMorning": str(stats.put_total_mornings[1]),
        "msgPutTotalTodayNow": str(stats.put_total()),
        "msgGetTotalYesterdayMorning": str(stats.get_total_mornings[0]),
        "msgGetTotalTodayMorning": str(stats.get_total_mornings[1]),
        "msgGetTotalTodayNow": str(stats.get_total()),
    }


def _store(store: MessageStore) -> dict[str, str]:
    root = store.root
    log_directory = store.log.files.directory
    disk = os.statvfs(root)
    log_ratio = str(round(store.disk.used_ratio(log_directory), 2))
    unflushed_bytes = int(store.log.written - store.log.flushed)
    return {
        "commitLogMinOffset": str(store.min_log_offset),
        "commitLogMaxOffset": str(store.max_log_offset),
        "commitLogDiskRatio": log_ratio,
        f"commitLogDiskRatio_{log_directory}": log_ratio,
        "consumeQueueDiskRatio": str(round(store.disk.used_ratio(root), 2)),
        "commitLogDirCapacity": (
            f"Total : {human_bytes(disk.f_blocks * disk.f_frsize)}, "
            f"Free : {human_bytes(disk.f_bfree * disk.f_frsize)}."
        ),
        "remainHowManyDataToFlush": human_bytes(unflushed_bytes),
        "earliestMessageTimeStamp": str(store.reader.store_ms_at(store.min_log_offset)),
    }


def _constants() -> dict[str, str]:
    table = {
        "dispatchBehindBytes": "0",
        "dispatchMaxBuffer": "0",
        "pageCacheLockTimeMills": "0",
        "putMessageEntireTimeMax": "0",
        "putMessageFailedTimes": "0",
        "putMessageDistributeTime": "".join(f"[{bucket}]:0 " for bucket in LATENCY_BUCKETS),
        "putLatency99": "0.00",
        "putLatency999": "0.00",
        "getMessageEntireTimeMax": "0",
        "remainTransientStoreBufferNumbs": str(2**31 - 1),
        "timerReadBehind": "0",
        "timerOffsetBehind": "0",
        "timerCongestNum": "0",
        "timerEnqueueTps": "0.0",
        "timerDequeueTps": "0.0",
        "EndTransactionQueueSize": "0",
        "EndTransactionThreadPoolQueueCapacity": "100000",
    }
    for pool, capacity in POOLS.items():
        table[f"{pool}QueueSize"] = "0"
        table[f"{pool}QueueCapacity"] = str(capacity)
        table[f"{pool}QueueHeadWaitTimeMills"] = "0"
    return table


def _rates(rates: tuple[float, ...]) -> str:
    return " ".join(str(rate) for rate in rates)


def _elapsed(elapsed_ms: int) -> str:
    """As Java: ``[ 0 days, 0 hours, 3 minutes, 21 seconds ]``."""
    minutes, seconds = divmod(elapsed_ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"[ {days} days, {hours} hours, {minutes} minutes, {seconds} seconds ]"


def human_bytes(size: int) -> str:
    """As Java's ``humanReadableByteCount``: ``512 B``, ``252.0 GiB``."""
    if size < 1024:
        return f"{size} B"
    power = min((size.bit_length() - 1) // 10, 6)
    return f"{size / 1024**power:.1f} {'KMGTPE'[power - 1]}iB"
