"""send, consume and topic, run in this process against a broker on a thread."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.cli.typed import Typed

from ledgermq.cli import main
from ledgermq.client import Message
from ledgermq.testing import BrokerThread


class Result:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Ledgermq = Callable[..., Result]


@pytest.fixture
def ledgermq(
    rocketmq: BrokerThread, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ledgermq:
    """Runs a command against the broker of the test."""
    monkeypatch.setenv("NAMESRV_ADDR", rocketmq.name_server)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["ledgermq", *arguments])
        try:
            main()
            status: object = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        assert isinstance(status, int)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Result(status, out, err)

    return run


def test_send_tells_where_it_is(ledgermq: Ledgermq, rocketmq: BrokerThread) -> None:
    rocketmq.create_topic("hello", queue_count=1)
    done = ledgermq(
        "send", "hello", "first ü", "--tag", "demo", "--key", "1", "--key", "2", "--property", "a=b=c"
    )
    assert done.status == 0
    assert done.err == ""
    (message,) = rocketmq.messages("hello")
    assert done.out == f"sent to hello queue 0 of local-broker at offset 0, id {message.message_id}\n"
    assert (message.body.decode(), message.tags, message.keys) == ("first ü", "demo", ["1", "2"])
    assert message.properties["a"] == "b=c"


def test_send_for_scripts(ledgermq: Ledgermq, rocketmq: BrokerThread) -> None:
    rocketmq.create_topic("hello", queue_count=1)
    done = ledgermq("send", "hello", "x", "--count", "3", "--print-json")
    receipts = [json.loads(line) for line in done.lines]
    assert [receipt["offset"] for receipt in receipts] == [0, 1, 2]
    assert {receipt["status"] for receipt in receipts} == {"OK"}
    assert [receipt["message_id"] for receipt in receipts] == [
        m.message_id for m in rocketmq.messages("hello")
    ]


def test_send_reads_standard_input(
    ledgermq: Ledgermq, rocketmq: BrokerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed("one\ntwo\r\nlast"))
    assert ledgermq("send", "hello", "-", "--sharding-key", "k").status == 0
    messages = rocketmq.messages("hello")
    assert [message.body for message in messages] == [b"one", b"two", b"last"]
    assert len({message.queue_id for message in messages}) == 1


def test_consume_from_first(ledgermq: Ledgermq, rocketmq: BrokerThread) -> None:
    rocketmq.create_topic("hello", queue_count=1)
    rocketmq.send(Message("hello", b"first", tags="a", keys=["k1", "k2"]))
    rocketmq.send(Message("hello", b"\xff\n", tags="b"))
    for _ in range(2):  # Nothing is kept: the second time gives the same.
        done = ledgermq("consume", "hello", "--from-first", "--count", "2", "--timeout", "20")
        assert done.status == 0
        assert done.lines == [
            "hello queue 0 offset 0, tag a, keys k1 k2: first",
            "hello queue 0 offset 1, tag b: \\xff\\n",
        ]
    done = ledgermq("consume", "hello", "--from-first", "--count", "1", "--tags", "b || c", "--print-json")
    assert (done.json["offset"], done.json["body_base64"], done.json["tags"]) == (1, "/wo=", "b")
    done = ledgermq("consume", "hello", "--from-first", "--count", "1", "--print-json")
    assert (done.json["body"], done.json["keys"], done.json["queue"]) == ("first", ["k1", "k2"], 0)


@pytest.mark.slow
def test_consume_from_now(ledgermq: Ledgermq, rocketmq: BrokerThread) -> None:
    rocketmq.send(Message("hello", b"old"))
    done = ledgermq("consume", "hello", "--count", "1", "--timeout", "0.3")
    assert (done.status, done.out) == (1, "")
    assert done.err == "ledgermq: 0 of 1 messages came within 0.3 s\n"
    assert ledgermq("consume", "hello", "--timeout", "0.1").status == 0


@pytest.mark.slow
def test_consume_as_a_group_keeps_its_progress(ledgermq: Ledgermq, rocketmq: BrokerThread) -> None:
    rocketmq.create_topic("hello", queue_count=1)
    for number in range(4):
        rocketmq.send(Message("hello", b"%d" % number))
    seen = []
    for _ in range(2):
        done = ledgermq("consume", "hello", "--group", "g", "--from-first", "--count", "2", "--timeout", "20")
        assert done.status == 0
        seen += [line.rpartition(" ")[2] for line in done.lines]
    assert seen == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_a_signal_ends_consuming_cleanly(ledgermq: Ledgermq, rocketmq: BrokerThread) -> None:
    rocketmq.create_topic("hello", queue_count=1)
    rocketmq.send(Message("hello", b"only"))
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    done = ledgermq("consume", "hello", "--group", "g", "--from-first")
    timer.join()
    assert (done.status, done.lines) == (0, ["hello queue 0 offset 0: only"])
    # What was printed counts as done.
    again = ledgermq("consume", "hello", "--group", "g", "--timeout", "1")
    assert again.out == ""


def test_topics(ledgermq: Ledgermq, rocketmq: BrokerThread) -> None:
    assert ledgermq("topic", "list").out == "no topics yet\n"
    assert ledgermq("topic", "list", "--print-json").json == []
    done = ledgermq("topic", "create", "orders", "--queues", "2", "--perm", "rw", "--ordered")
    assert done.out == f"topic orders has 2 queues on {rocketmq.address}\n"
    assert ledgermq("topic", "create", "readable", "--perm", "r", "--print-json").json == {
        "topic": "readable",
        "brokers": [rocketmq.address],
    }
    assert ledgermq("topic", "list").lines == ["orders", "readable"]
    every = ledgermq("topic", "list", "--all", "--print-json").json
    assert {"TBW102", "DefaultCluster", "local-broker", "orders"} < set(every)
    assert ledgermq("topic", "route", "readable").lines == [
        "broker        addresses        read queues  write queues  perm",
        f"local-broker  {rocketmq.address:<15}            8             8  r-",
    ]
    assert ledgermq("topic", "route", "orders", "--print-json").json == [
        {
            "broker": "local-broker",
            "addresses": rocketmq.address,
            "read_queues": 2,
            "write_queues": 2,
            "perm": "rw",
        }
    ]
    rocketmq.send(Message("orders", b"x"))
    status = ledgermq("topic", "status", "orders", "--print-json").json
    assert [row["queue"] for row in status] == [0, 1]
    assert sorted(row["max_offset"] for row in status) == [0, 1]
    assert sorted(row["last_stored"] is None for row in status) == [False, True]
    assert (
        ledgermq("topic", "status", "orders").lines[0]
        == "broker        queue  min offset  max offset  last stored"
    )
    assert ledgermq("topic", "delete", "orders").out == "topic orders is deleted\n"
    assert ledgermq("topic", "list").lines == ["readable"]


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        ("send b@d x", 1, "topic 'b@d' contains illegal characters"),
        ("send hello x --property novalue", 1, "--property novalue: expected is NAME=VALUE"),
        ("send hello x --property TAGS=a", 1, "use the message's field tags"),
        ("send hello x --count 0", 2, "Invalid value for '--count'"),
        ("send hello", 2, "Missing argument"),
        ("send hello x -n nowhere:port", 1, "'nowhere:port' is not host:port"),
        ("send hello x -n 127.0.0.1:1", 1, "cannot connect to 127.0.0.1:1"),
        ("consume hello -n 127.0.0.1:1", 1, "is it running?"),
        ("consume nothing", 1, "topic nothing has no route: no broker registered with"),
        ("consume TBW102 --group b@d", 1, "group 'b@d' contains illegal characters"),
        ("consume TBW102 --tags ||", 1, "tag expression '||' names no tag"),
        ("topic route nothing", 1, "topic nothing has no route: no broker registered with"),
        ("topic status nothing", 1, "topic nothing has no route: no broker registered with"),
        ("topic delete nothing", 1, "topic nothing has no route: no broker registered with"),
        ("topic create b@d", 1, "topic 'b@d' contains illegal characters"),
        ("topic create hello --queues 99999999", 1, "readQueueNums"),
        ("topic create hello --perm x", 2, "'--perm'"),
        ("topic create TBW102", 1, "TBW102"),
        ("topic nothing", 2, "No such command 'nothing'"),
        ("nothing", 2, "No such command 'nothing'"),
        ("send hello x --nothing", 2, "No such option: --nothing"),
    ],
)
def test_one_line_for_what_cannot_be(ledgermq: Ledgermq, arguments: str, status: int, why: str) -> None:
    done = ledgermq(*arguments.split())
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith("ledgermq: ")
    assert done.err.count("\n") == 1
    assert why in done.err


@pytest.mark.parametrize("arguments", [(), ("topic",), ("--help",), ("serve", "--help")])
def test_help(ledgermq: Ledgermq, arguments: tuple[str, ...]) -> None:
    done = ledgermq(*arguments)
    assert done.status == (0 if "--help" in arguments else 2)
    assert "Usage: ledgermq" in done.out + done.err


@pytest.mark.parametrize("arguments", [("--version",), ("--version", "serve")])
def test_version(ledgermq: Ledgermq, arguments: tuple[str, ...]) -> None:
    done = ledgermq(*arguments)
    assert done.status == 0
    assert done.out.startswith("ledgermq 0.")
    assert "interpreted" in done.out or "compiled" in done.out
