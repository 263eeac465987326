"""The Java driver seen from Python: the stock client, admin library and mqadmin, in one long-lived JVM.

`Driver.call` sends one JSON line and waits for its answer (protocol: java/.../Driver.java). The classes
around it give producers and consumers the shape a test wants: context managers that hand out `Received`.
"""

from __future__ import annotations

import base64
import json
import queue
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from tests.interop.harness.cluster import Cluster, JavaPrograms
from tests.interop.harness.programs import dies_with_us, eventually

# Response codes the tests name.
MESSAGE_ILLEGAL = 13
NO_PERMISSION = 16
TOPIC_NOT_EXIST = 17
NOT_FOUND_TOPIC = 10005  # the client's own: no route with a queue to send to

# Longer than any deadline inside the driver: this one only fires when the JVM itself hangs.
ANSWER_TIMEOUT_S = 180


class JavaError(Exception):
    """An exception of the Java client. `code` is the response code it carries, -1 for none."""

    def __init__(self, description: dict[str, Any]) -> None:
        super().__init__(f"{description['class']}: {description['message']}\n{description['stack']}")
        self.java_class: str = description["class"]
        self.code: int = description["code"]
        self.message: str = description["message"]


class Queue(msgspec.Struct, frozen=True, rename="camel"):
    topic: str
    broker: str
    queue_id: int

    def args(self) -> dict[str, Any]:
        return {"topic": self.topic, "broker": self.broker, "queueId": self.queue_id}


class SendResult(msgspec.Struct, frozen=True, rename="camel"):
    status: str
    msg_id: str  # the unique key the client made; comma separated for a batch
    offset_msg_id: str  # store host and log offset in hex; comma separated for a batch
    queue: Queue
    queue_offset: int
    region_id: str | None


class Received(msgspec.Struct, frozen=True, rename="camel"):
    """A message as the Java client decoded it."""

    topic: str
    broker: str | None
    queue_id: int
    queue_offset: int
    msg_id: str
    offset_msg_id: str
    log_offset: int
    body: bytes  # decompressed
    tags: str | None
    keys: str | None
    properties: dict[str, str]
    flag: int
    sys_flag: int
    born_timestamp: int
    store_timestamp: int
    born_host: str
    store_host: str
    store_size: int
    body_crc: int
    reconsume_times: int


class PullAnswer(msgspec.Struct, frozen=True, rename="camel"):
    status: str
    next_offset: int
    min_offset: int
    max_offset: int
    messages: list[Received]


def message(body: bytes | str, **fields: Any) -> dict[str, Any]:
    """Arguments of one message: body and any of tags, keys, flag, properties, delay_level, sharding_key."""
    data = body.encode() if isinstance(body, str) else body
    for ours, theirs in (("sharding_key", "shardingKey"), ("delay_level", "delayLevel")):
        if ours in fields:
            fields[theirs] = fields.pop(ours)
    return {"body": base64.b64encode(data).decode(), **fields}


class Driver:
    """One JVM. `serialize_type` is RocketMQ's header encoding, JSON or ROCKETMQ, for everything it sends."""

    def __init__(self, java: JavaPrograms, serialize_type: str, log_path: Path) -> None:
        self.serialize_type = serialize_type
        self.log_path = log_path
        properties = (f"rocketmq.serialize.type={serialize_type}",)
        # Whole queues of large bodies travel as one line.
        argv = java.argv("ledgermq.interop.Driver", heap_mb=1024, properties=properties)
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                dies_with_us(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=java.home,  # mqadmin consumerStatus leaves files where it runs
                start_new_session=True,
            )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read_answers, daemon=True).start()
        assert self._next_answer() == {"ready": True}

    def _read_answers(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def _next_answer(self) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=ANSWER_TIMEOUT_S)
        except queue.Empty:
            raise TimeoutError(
                f"the Java driver is silent for {ANSWER_TIMEOUT_S} s, see {self.log_path}"
            ) from None
        if not line:
            raise RuntimeError(f"the Java driver ended with {self._process.wait()}, see {self.log_path}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def call(self, op: str, /, **args: Any) -> Any:
        """The result of one operation; JavaError with the exception that it ended with."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": op, "args": args}).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._next_answer()
        if "error" in answer:
            raise JavaError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """The driver ends itself when its input does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    @contextmanager
    def producer(self, namesrv: str, group: str, **args: Any) -> Iterator[Producer]:
        producer = Producer(self, self.call("producer.start", namesrv=namesrv, group=group, **args))
        try:
            yield producer
        finally:
            self.call("producer.stop", handle=producer.handle)

    @contextmanager
    def push_consumer(
        self, namesrv: str, group: str, topics: dict[str, str], **args: Any
    ) -> Iterator[PushConsumer]:
        consumer = PushConsumer(
            self, self.call("push.start", namesrv=namesrv, group=group, topics=topics, **args)
        )
        try:
            yield consumer
        finally:
            consumer.stop()

    @contextmanager
    def pull_consumer(self, namesrv: str, group: str, **args: Any) -> Iterator[LitePullConsumer]:
        consumer = LitePullConsumer(self, self.call("pull.start", namesrv=namesrv, group=group, **args))
        try:
            yield consumer
        finally:
            self.call("pull.stop", handle=consumer.handle)

    def new_topic(self, cluster: Cluster, topic: str, queue_count: int, perm: int = 6) -> list[Queue]:
        """Creates the topic at the cluster's broker and waits until the name server has a route for it."""
        self.call(
            "admin.createTopic",
            namesrv=cluster.namesrv,
            address=cluster.broker.address,
            topic=topic,
            queueCount=queue_count,
            perm=perm,
        )
        self.wait_for_route(cluster.namesrv, topic)
        return [Queue(topic, cluster.broker.name, queue_id) for queue_id in range(queue_count)]

    def route(self, namesrv: str, topic: str) -> dict[str, Any] | None:
        """The name server's answer as Java's TopicRouteData in JSON, None where it knows no route."""
        try:
            route: dict[str, Any] = self.call("admin.topicRoute", namesrv=namesrv, topic=topic)
        except JavaError as error:
            if error.code == TOPIC_NOT_EXIST:
                return None
            raise
        return route

    def wait_for_route(self, namesrv: str, topic: str) -> dict[str, Any]:
        return eventually(lambda: self.route(namesrv, topic), 40, what=f"a route for {topic}")

    def wait_for_broker(self, namesrv: str, broker_name: str) -> None:
        """A broker listens before the name server knows it."""

        def look() -> bool:
            table: dict[str, Any] = self.call("admin.clusterInfo", namesrv=namesrv)["brokerAddrTable"] or {}
            return broker_name in table

        eventually(look, 30, what=f"{broker_name} registered at {namesrv}")

    def pull(self, namesrv: str, queue: Queue, offset: int, **args: Any) -> PullAnswer:
        """One pull request at exactly this offset."""
        return msgspec.convert(
            self.call("queue.pull", namesrv=namesrv, **queue.args(), offset=offset, **args), PullAnswer
        )

    def read_queue(self, namesrv: str, queue: Queue) -> list[Received]:
        """Every message of the queue."""
        return _messages(self.call("queue.read", namesrv=namesrv, **queue.args()))

    def offsets(self, namesrv: str, queue: Queue) -> tuple[int, int]:
        """Least offset, and the offset the next message gets."""
        answer = self.call("queue.offsets", namesrv=namesrv, **queue.args())
        return answer["min"], answer["max"]

    def committed(self, namesrv: str, group: str, queue: Queue) -> int:
        offset: int = self.call("queue.committed", namesrv=namesrv, group=group, **queue.args())
        return offset

    def commit(self, namesrv: str, group: str, queue: Queue, offset: int) -> None:
        self.call("queue.commit", namesrv=namesrv, group=group, **queue.args(), offset=offset)

    def check_all_consumed(self, cluster: Cluster, group: str, queues: Iterable[Queue]) -> None:
        """The group, whose consumers have stopped, holds the end of each queue at the broker.

        A pull carries the group's progress too, and a Java broker that handles one after the consumer's last
        report, on another thread, goes back to what the pull said. It is told the end once more.
        """
        for each in queues:
            end = self.offsets(cluster.namesrv, each)[1]
            if cluster.broker.maker == "java":
                self.commit(cluster.namesrv, group, each, end)
            assert self.committed(cluster.namesrv, group, each) == end, each

    def query_key(self, namesrv: str, topic: str, key: str, count: int = 64) -> list[Received]:
        return _messages(self.call("admin.queryKey", namesrv=namesrv, topic=topic, key=key, count=count))

    def view_message(self, namesrv: str, topic: str, msg_id: str) -> Received:
        return msgspec.convert(
            self.call("admin.viewMessage", namesrv=namesrv, topic=topic, msgId=msg_id), Received
        )

    def forget(self, namesrv: str) -> None:
        """Closes the readers and admins kept for a cluster that is about to stop."""
        self.call("queue.close", namesrv=namesrv)
        self.call("admin.close", namesrv=namesrv)


def _messages(answer: Any) -> list[Received]:
    return msgspec.convert(answer, list[Received])


class Producer:
    def __init__(self, driver: Driver, started: dict[str, Any]) -> None:
        self._driver = driver
        self.handle: str = started["handle"]
        self.client_id: str = started["clientId"]

    def send(
        self, topic: str, messages: Iterable[dict[str, Any]], mode: str = "sync", **args: Any
    ) -> list[SendResult]:
        """mode: sync, async, oneway, batch, queue, select. JavaError for the first message that failed."""
        answer = self._driver.call(
            "producer.send", handle=self.handle, topic=topic, messages=list(messages), mode=mode, **args
        )
        for result in answer:
            if "class" in result:
                raise JavaError(result)
        return msgspec.convert(answer, list[SendResult])


class PushConsumer:
    def __init__(self, driver: Driver, started: dict[str, Any]) -> None:
        self._driver = driver
        self.handle: str = started["handle"]
        self.client_id: str = started["clientId"]
        self.stopped = False

    def poll(self, count: int, timeout_ms: int = 45_000) -> list[Received]:
        """What was delivered since the last poll, as soon as it is `count` messages or the time is over."""
        return _messages(
            self._driver.call("push.poll", handle=self.handle, count=count, timeoutMs=timeout_ms)
        )

    def queues(self) -> list[Queue]:
        return msgspec.convert(self._driver.call("push.queues", handle=self.handle), list[Queue])

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self._driver.call("push.stop", handle=self.handle)


class LitePullConsumer:
    def __init__(self, driver: Driver, started: dict[str, Any]) -> None:
        self._driver = driver
        self.handle: str = started["handle"]

    def assign(self, queues: Sequence[Queue]) -> None:
        self._driver.call("pull.assign", handle=self.handle, queues=[queue.args() for queue in queues])

    def poll(self, count: int, timeout_ms: int = 45_000) -> list[Received]:
        return _messages(
            self._driver.call("pull.poll", handle=self.handle, count=count, timeoutMs=timeout_ms)
        )

    def seek(self, queue: Queue, offset: int) -> None:
        self._driver.call("pull.seek", handle=self.handle, **queue.args(), offset=offset)

    def seek_to(self, queue: Queue, end: str) -> None:
        """`end` is "begin" or "end"."""
        self._driver.call("pull.seek", handle=self.handle, **queue.args(), to=end)

    def commit(self) -> None:
        self._driver.call("pull.commit", handle=self.handle)

    def committed(self, queue: Queue) -> int:
        offset: int = self._driver.call("pull.committed", handle=self.handle, **queue.args())
        return offset

    def queues(self, topic: str) -> list[Queue]:
        return msgspec.convert(self._driver.call("pull.queues", handle=self.handle, topic=topic), list[Queue])

    def offset_for_timestamp(self, queue: Queue, timestamp_ms: int) -> int:
        offset: int = self._driver.call(
            "pull.offsetForTimestamp", handle=self.handle, **queue.args(), timestampMs=timestamp_ms
        )
        return offset
