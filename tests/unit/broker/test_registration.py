"""What a broker tells one name server, and when; the bodies of what it tells."""

import pytest

from ledgermq.broker import registration
from ledgermq.broker.registration import (
    LOST_PAUSE_SECONDS,
    RETRY_SECONDS,
    LinkState,
    Step,
    registration_bodies,
)
from ledgermq.remoting.topic_config import DataVersion, TopicConfig

PERIOD = 30.0


def told(*, force: bool = True, now: float = 100.0) -> LinkState:
    """A link whose name server knows everything at ``now``."""
    state = LinkState(PERIOD, force=force)
    step = state.decide(now)
    assert step == Step("full")
    state.succeeded(step, now)
    return state


def test_everything_is_told_at_the_start_and_every_period() -> None:
    state = told()
    assert state.decide(100.0) == Step("wait", seconds=PERIOD)
    assert state.decide(129.0) == Step("wait", seconds=1.0)
    assert state.decide(130.0) == Step("full")


def test_changes_are_told_at_once_and_together() -> None:
    state = told()
    state.topic_changed("A")
    state.topic_changed("B")
    state.topic_changed("A")
    step = state.decide(101.0)
    assert step == Step("increment", ("A", "B"))
    state.topic_changed("C")
    state.succeeded(step, 101.0)
    assert state.decide(101.0) == Step("increment", ("C",))
    assert state.decide(101.0).kind == "wait"


def test_an_increment_does_not_postpone_the_full_registration() -> None:
    state = told()
    state.topic_changed("A")
    state.succeeded(state.decide(120.0), 120.0)
    assert state.decide(120.0) == Step("wait", seconds=10.0)


def test_a_full_registration_covers_the_changes_before_it() -> None:
    state = told()
    state.topic_changed("A")
    state.outdated()
    state.succeeded(state.decide(101.0), 101.0)
    assert state.decide(101.0).kind == "wait"


def test_without_force_the_name_server_is_asked_first() -> None:
    state = told(force=False)
    step = state.decide(130.0)
    assert step == Step("query")
    state.succeeded(step, 130.0)
    assert state.decide(130.0) == Step("wait", seconds=PERIOD)
    assert state.decide(160.0) == Step("query")
    state.outdated()
    assert state.decide(160.0) == Step("full")


def test_after_a_failure_everything_is_told_again() -> None:
    state = told()
    state.topic_changed("A")
    assert state.decide(101.0) == Step("increment", ("A",))
    state.failed(102.0)
    state.topic_changed("B")
    assert state.decide(103.0) == Step("wait", seconds=RETRY_SECONDS - 1)
    step = state.decide(102.0 + RETRY_SECONDS)
    assert step == Step("full")
    state.succeeded(step, 108.0)
    assert state.decide(108.0) == Step("wait", seconds=PERIOD)


def test_a_lost_connection_is_answered_at_once_but_not_in_a_frenzy() -> None:
    state = told()
    state.lost()
    assert state.decide(100.0) == Step("wait", seconds=LOST_PAUSE_SECONDS)
    assert state.decide(100.0 + LOST_PAUSE_SECONDS) == Step("full")
    state = told()
    state.lost()
    assert state.decide(115.0) == Step("full")


def test_what_becomes_outdated_under_way_is_told_again() -> None:
    state = LinkState(PERIOD, force=True)
    step = state.decide(1.0)
    state.outdated()
    state.succeeded(step, 1.0)
    assert state.decide(1.0) == Step("full")


def topics(*names: str) -> list[TopicConfig]:
    return [TopicConfig(topic_name=name, perm=7) for name in names]


def test_bodies_carry_the_version_and_all_topics() -> None:
    version = DataVersion(counter=3)
    (body,) = registration_bodies(topics("A", "B"), version, 6)
    configs = body.topic_config_serialize_wrapper
    assert configs.data_version == version
    assert configs.topic_config_table == {t.topic_name: t for t in topics("A", "B")}
    assert body.filter_server_list == []


@pytest.mark.parametrize(("broker_permission", "perm"), [(6, 7), (7, 7), (4, 4), (2, 2), (0, 0)])
def test_a_topic_may_do_what_the_broker_may(broker_permission: int, perm: int) -> None:
    originals = topics("A")
    (body,) = registration_bodies(originals, DataVersion(), broker_permission)
    assert body.topic_config_serialize_wrapper.topic_config_table["A"].perm == perm
    assert originals == topics("A")


def test_many_topics_go_in_several_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "TOPICS_PER_REQUEST", 2)
    bodies = list(registration_bodies(topics("A", "B", "C"), DataVersion(), 6))
    tables = [list(body.topic_config_serialize_wrapper.topic_config_table) for body in bodies]
    assert tables == [["A", "B"], ["C"]]
    assert len(list(registration_bodies(topics("A", "B"), DataVersion(), 6))) == 1
    assert len(list(registration_bodies([], DataVersion(), 6))) == 1
