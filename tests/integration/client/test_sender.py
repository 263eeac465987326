"""Whom a sender tries, with the brokers' answers in the test's hands: no network."""

import asyncio
import itertools
from collections.abc import Container, Coroutine
from typing import Any

import pytest

from ledgermq.client.errors import (
    BrokerError,
    BrokerNotFoundError,
    ClientError,
    RequestTimeoutError,
    TopicNotFoundError,
    UnreachableError,
)
from ledgermq.client.queues import MessageQueue
from ledgermq.client.routes import broker_address
from ledgermq.client.sender import Sender
from ledgermq.client.sending import Outgoing, SendReceipt, make_outgoing
from ledgermq.message.model import Message
from ledgermq.remoting.broker_headers import SendMessageReply
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.headers import response
from ledgermq.remoting.route_data import BrokerData, QueueData, TopicRouteData

REPLY = SendMessageReply(msg_id="ID", queue_id=0, queue_offset=5)


def route_of(*brokers: str, queue_count: int = 2) -> TopicRouteData:
    return TopicRouteData(
        broker_datas=[BrokerData(broker_name=name, broker_addrs={0: f"{name}:1"}) for name in brokers],
        queue_datas=[
            QueueData(broker_name=name, read_queue_nums=queue_count, write_queue_nums=queue_count)
            for name in brokers
        ],
    )


class FakeSession:
    """Routes and connections in one."""

    def __init__(self, **routes: TopicRouteData) -> None:
        self.known = routes
        self.later: dict[str, TopicRouteData] = {}
        """What a refresh brings."""
        self.answers: dict[str, Command | ClientError] = {}
        self.asked: list[str] = []
        self.refreshed: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.routes = self
        self.connections = self

    async def get(self, topic: str) -> TopicRouteData:
        if topic not in self.known:
            raise TopicNotFoundError(topic)
        return self.known[topic]

    async def refresh(self, topic: str) -> TopicRouteData:
        self.refreshed.append(topic)
        self.known.update(self.later)
        return await self.get(topic)

    async def doubt(self, topic: str) -> None:
        self.refreshed.append(topic)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def address(self, queue: MessageQueue) -> str:
        found = broker_address(await self.get(queue.topic), queue.broker_name)
        if found is None:
            raise BrokerNotFoundError(queue.broker_name)
        return found

    async def ask_broker(
        self, address: str, command: Command, timeout_ms: int, expected: Container[int]
    ) -> Command:
        assert timeout_ms >= 1
        self.asked.append(address)
        answer = self.answers.get(address, response(header=REPLY))
        if isinstance(answer, ClientError):
            raise answer
        if answer.code not in expected:
            raise BrokerError(answer.code, answer.remark, address, "SEND")
        return answer


def send(session: Any, topic: str = "t", attempts_max: int = 3) -> SendReceipt:
    sender = Sender(session, "group", attempts_max)
    return asyncio.run(sender.send_anywhere(outgoing(topic), 1000))


def outgoing(topic: str = "t") -> Outgoing:
    return make_outgoing(Message(topic, b"body"), "KEY", None, 1)


@pytest.mark.parametrize(
    "trouble",
    [
        UnreachableError("gone"),
        response(ResponseCode.SYSTEM_BUSY),
        response(ResponseCode.SYSTEM_ERROR),
        response(ResponseCode.SERVICE_NOT_AVAILABLE),
        response(ResponseCode.TOPIC_NOT_EXIST),
        response(ResponseCode.NO_PERMISSION),
        response(ResponseCode.GO_AWAY),
    ],
    ids=str,
)
def test_another_broker_is_tried(trouble: Command | ClientError) -> None:
    session = FakeSession(t=route_of("a", "b"))
    session.answers["a:1"] = trouble
    for _ in range(4):
        assert send(session).queue.broker_name == "b"
    assert set(session.asked) <= {"a:1", "b:1"}


def test_what_every_broker_would_refuse_is_not_tried_again() -> None:
    session = FakeSession(t=route_of("a", "b"))
    session.answers = dict.fromkeys(("a:1", "b:1"), response(ResponseCode.MESSAGE_ILLEGAL, "too large"))
    with pytest.raises(BrokerError, match="too large"):
        send(session)
    assert len(session.asked) == 1


def test_attempts_are_limited_and_told() -> None:
    session = FakeSession(t=route_of("a", "b"))
    session.answers = dict.fromkeys(("a:1", "b:1"), UnreachableError("gone"))
    with pytest.raises(UnreachableError) as caught:
        send(session, attempts_max=3)
    assert len(session.asked) == 3
    assert session.asked[0] != session.asked[1] != session.asked[2]
    assert "attempt 3; brokers tried:" in caught.value.__notes__[0]
    assert session.refreshed == ["t", "t", "t"], "between the attempts, and for who sends next"


def test_a_clock_that_is_set_ends_no_send(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = itertools.count(0, 3_600_000)
    monkeypatch.setattr("ledgermq.client.sender.now_ms", lambda: next(hours))
    session = FakeSession(t=route_of("a", "b"))
    session.answers["a:1"] = UnreachableError("gone")
    for _ in range(2):
        assert send(session).queue.broker_name == "b"


def test_one_broker_is_tried_again() -> None:
    session = FakeSession(t=route_of("a"))
    session.answers["a:1"] = UnreachableError("gone")
    with pytest.raises(UnreachableError):
        send(session)
    assert session.asked == ["a:1"] * 3


@pytest.mark.parametrize("code", [10, 11, 12])
def test_a_message_that_is_stored_but_not_safe_is_not_sent_again(code: int) -> None:
    session = FakeSession(t=route_of("a", "b"))
    session.answers = dict.fromkeys(("a:1", "b:1"), response(code, header=REPLY))
    assert send(session).status == code
    assert len(session.asked) == 1


def test_an_answer_without_its_fields_is_an_error() -> None:
    session = FakeSession(t=route_of("a"))
    session.answers["a:1"] = response()
    with pytest.raises(ClientError, match=r"wrongly: .*msgId is missing"):
        send(session)


def test_a_topic_that_is_not_there_is_sent_where_it_will_be_created() -> None:
    session = FakeSession(TBW102=route_of("a", "b", queue_count=16))
    sender = Sender(session, "group", 1)  # type: ignore[arg-type]  # the part of a session that it uses
    queues = asyncio.run(sender.queues("new"))
    assert {(queue.topic, queue.broker_name, queue.queue_id) for queue in queues} == {
        ("new", name, number) for name in "ab" for number in range(4)
    }
    assert send(session, "new").queue.topic == "new"


def test_no_topic_and_nobody_who_creates_it() -> None:
    with pytest.raises(TopicNotFoundError, match="no broker creates topics by itself"):
        send(FakeSession())


def test_a_fixed_queue_has_one_attempt() -> None:
    session = FakeSession(t=route_of("a", "b"))
    session.answers["a:1"] = RequestTimeoutError("late")
    sender = Sender(session, "group", 3)  # type: ignore[arg-type]  # as above
    with pytest.raises(RequestTimeoutError):
        asyncio.run(sender.send_to(outgoing(), MessageQueue("t", "a", 0), 100))
    assert session.asked == ["a:1"]


@pytest.mark.parametrize(
    ("trouble", "refreshed"),
    [
        (UnreachableError("gone"), ["t"]),
        (RequestTimeoutError("silent"), ["t"]),
        (response(ResponseCode.SERVICE_NOT_AVAILABLE), ["t"]),
        (response(ResponseCode.MESSAGE_ILLEGAL), []),
    ],
    ids=str,
)
def test_who_sends_to_one_queue_learns_where_it_is_now(
    trouble: Command | ClientError, refreshed: list[str]
) -> None:
    """There is one attempt; the next send finds the new leader of the queue's group."""
    session = FakeSession(t=route_of("a"))
    session.answers["a:1"] = trouble

    async def send_once() -> None:
        sender = Sender(session, "group", 3)  # type: ignore[arg-type] # a session as far as a sender sees
        with pytest.raises(ClientError):
            await sender.send_to(outgoing(), MessageQueue("t", "a", 0), 1000)
        await asyncio.gather(*session.tasks)

    asyncio.run(send_once())
    assert session.refreshed == refreshed


def test_a_route_without_a_master_is_asked_for_again() -> None:
    session = FakeSession(t=route_of("a"))
    with_master = session.known["t"]
    session.known["t"] = TopicRouteData(
        broker_datas=[BrokerData(broker_name="a", broker_addrs={1: "slave:1"})],
        queue_datas=with_master.queue_datas,
    )
    with pytest.raises(TopicNotFoundError, match="no queue that can be written"):
        send(session)
    assert session.refreshed == ["t"]
    session.later["t"] = with_master
    assert send(session).queue.broker_name == "a"
