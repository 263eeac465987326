"""Senders, a consumer and a group's progress in the driver's JVM, while the test disturbs the brokers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec
from tests.interop.harness.driver import Queue
from tests.interop.harness.programs import eventually
from tests.interop.harness.quorum import Member, Quorum
from tests.interop.harness.quorum_history import Committed, History, Log, Seen, check_progress, violations


class Count(msgspec.Struct, frozen=True):
    """Since the start. ``halted`` is 1 while no progress is made: a commit failed or the master changed."""

    acknowledged: int
    failed: int
    delivered: int
    committed: int
    halted: int


class Load:
    """A running load on the queues of one topic; see java/.../Load.java."""

    def __init__(self, quorum: Quorum, queues: Sequence[Queue], **args: object) -> None:
        self.quorum = quorum
        self.queues = queues
        self.topic = queues[0].topic
        self.consumer_group = f"{self.topic}-consumers"
        self.progress_group = f"{self.topic}-progress"
        self.history = History()
        quorum.new_group(self.progress_group)
        quorum.new_group(self.consumer_group)
        settings = {
            "namesrv": quorum.namesrv,
            "topic": self.topic,
            "producerGroup": f"{self.topic}-producers",
            "consumerGroup": self.consumer_group,
            "progressGroup": self.progress_group,
            "threads": 4,
            "gapMs": 10,
            "pollMs": 100,
            "timeoutMs": 3000,
            **args,
        }
        self._handle: str = quorum.driver.call("load.start", **settings)["handle"]

    def count(self) -> Count:
        return msgspec.convert(self.quorum.driver.call("load.count", handle=self._handle), Count)

    def wait(self, acknowledged: int = 50, timeout_s: float = 60) -> None:
        """Until so many more sends have been acknowledged."""
        wanted = self.count().acknowledged + acknowledged
        eventually(
            lambda: self.count().acknowledged >= wanted,
            timeout_s,
            what=f"{acknowledged} more sends of {self.topic}",
        )

    def wait_for_progress(self, commits: int = 10) -> None:
        """Until so many more offsets were committed; not while progress has halted."""
        wanted = self.count().committed + commits
        eventually(
            lambda: self.count().committed >= wanted, 60, what=f"{commits} more commits of {self.topic}"
        )

    def wait_until_halted(self) -> None:
        eventually(
            lambda: self.count().halted == 1, 60, what=f"progress of {self.topic} noticing the new master"
        )

    def take(self) -> None:
        """Adds what was seen to the history."""
        self.history.add(msgspec.convert(self.quorum.driver.call("load.take", handle=self._handle), Seen))

    def found_progress(self, master: Member) -> dict[int, int]:
        return {
            queue.queue_id: self.quorum.committed(master, self.progress_group, queue) for queue in self.queues
        }

    def check_progress(self, master: Member, limit_ms: int) -> None:
        """While it is halted: what this master knows of it. Then it goes on from there."""
        found = self.found_progress(master)
        self.take()
        demand_none(check_progress(self.history.committed, found, limit_ms))
        now_ms = int(time.time() * 1000)
        self.history.committed = [
            Committed(queue.broker, queue.queue_id, found[queue.queue_id], now_ms) for queue in self.queues
        ]
        self.quorum.driver.call("load.resumeProgress", handle=self._handle)

    def stop_sending(self) -> None:
        self.quorum.driver.call("load.stopSending", handle=self._handle)

    def log(self, member: Member) -> Log:
        """What this member serves of each queue."""
        return {queue.queue_id: self.quorum.bodies(member, queue) for queue in self.queues}

    def finish(self) -> Log:
        """Ends it, waits for the consumer to have everything and checks all that was seen."""
        self.stop_sending()
        master = self.quorum.wait_for_master()
        log = self.log(master)
        places = {(queue_id, offset) for queue_id, messages in log.items() for offset, _ in messages}

        def everything_was_delivered() -> bool:
            self.take()
            return places <= {(seen.queue_id, seen.offset) for seen in self.history.delivered}

        with suppress(TimeoutError):  # the checks say what is missing
            eventually(everything_was_delivered, 60)
        demand_none(violations(self.history, log))
        return log

    def close(self) -> None:
        self.quorum.driver.call("load.stop", handle=self._handle)


def demand_none(wrong: list[str]) -> None:
    assert not wrong, "\n" + "\n".join(wrong)


@contextmanager
def running_load(quorum: Quorum, queues: Sequence[Queue], **args: object) -> Iterator[Load]:
    load = Load(quorum, queues, **args)
    try:
        yield load
    finally:
        load.close()
