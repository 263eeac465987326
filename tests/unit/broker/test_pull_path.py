"""What the hot paths keep and write, without a broker (see tests/integration/broker/test_pull_path.py)."""

from __future__ import annotations

from typing import Any, cast

from tests.unit.store.stores import opened

from ledgermq.broker.offsets import OffsetTable
from ledgermq.broker.pull_path import PullPath, PullPermit, pull_answer
from ledgermq.broker.send_path import hex_digits
from ledgermq.broker.traffic import Traffic
from ledgermq.runtime.limits import PULL_PERMITS_MAX
from ledgermq.store.reading import GetResult, GetStatus


class Tables:
    version_number = 1

    def version(self) -> int:
        return self.version_number

    def remember(self, *_: Any) -> None:
        return None

    def now_ms(self) -> int:
        return 0


def test_permits_have_a_limit_and_end_with_their_version() -> None:
    store, tables = opened(), Tables()
    path = PullPath(store.reader, OffsetTable(0), tables.version, tables.remember, tables.now_ms)
    permits = cast(dict[Any, PullPermit], path._permits)

    def allow(group: str) -> None:
        path.allow(PullPermit(group, "T", store.queue(b"T", 3), None, 0, None, 0, 0, 0, Traffic()))

    for n in range(PULL_PERMITS_MAX):
        allow(str(n))
    assert len(permits) == PULL_PERMITS_MAX
    allow("one more")
    assert list(permits) == [(b"one more", b"T", 3, None)]
    tables.version_number = 2
    allow("of another version")
    assert list(permits) == [(b"of another version", b"T", 3, None)]
    path.forget()
    assert not permits


def test_an_answer_has_java_s_fields_in_one_place() -> None:
    result = GetResult(GetStatus.FOUND, 7, 1, 2**40, b"records", 3)
    answer = pull_answer(0, "FOUND", result, 4, 5, 1)
    assert answer.is_response
    assert answer.ext == {
        "suggestWhichBrokerId": "0",
        "nextBeginOffset": "7",
        "minOffset": "1",
        "maxOffset": str(2**40),
        "topicSysFlag": "4",
        "groupSysFlag": "5",
    }
    assert (answer.code, answer.remark, answer.body) == (0, "FOUND", b"records")


def test_hexadecimal_digits_at_once() -> None:
    for number in (0, 1, 9, 10, 0xF, 0x10, 0x12345678, 0x9ABCDEF0, 0xFFFFFFFF, 0xA0A0A0A0, 0x09AF90FA):
        assert int(hex_digits(number)).to_bytes(8, "big") == b"%08X" % number


def test_who_is_far_behind_is_sent_to_a_slave() -> None:
    result = GetResult(GetStatus.FOUND, 7, 1, 2**40, b"records", 3)
    result.suggest_slave = True
    assert pull_answer(0, "FOUND", result, 0, 0, 2).ext["suggestWhichBrokerId"] == "2"
