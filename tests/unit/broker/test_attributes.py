import pytest

from ledgermq.broker.attributes import (
    GROUP_ATTRIBUTES,
    TOPIC_ATTRIBUTES,
    alter_attributes,
    parse_attributes,
)
from ledgermq.remoting.command import PeerError


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (None, {}),
        ("", {}),
        ("+a=b", {"+a": "b"}),
        ("+a=b,-c", {"+a": "b", "-c": ""}),
        ("+a=", {"+a": ""}),
        ("+a=b=c", {"+a": "b=c"}),
    ],
)
def test_parse(text, changes):
    assert parse_attributes(text) == changes


@pytest.mark.parametrize("text", ["a=b", "a", "+a", "-a=b", "+a=1,+a=2"])
def test_parse_refuses(text):
    with pytest.raises(PeerError, match="attributes"):
        parse_attributes(text)


def test_a_new_topic_takes_attributes_and_an_old_one_changes_them():
    new = alter_attributes(TOPIC_ATTRIBUTES, None, {"+message.type": "FIFO", "+cleanup.policy": "COMPACTION"})
    assert new == {"message.type": "FIFO", "cleanup.policy": "COMPACTION"}
    assert alter_attributes(TOPIC_ATTRIBUTES, new, {"+message.type": "DELAY"})["message.type"] == "DELAY"
    assert "message.type" not in alter_attributes(TOPIC_ATTRIBUTES, new, {"-message.type": ""})
    assert new["message.type"] == "FIFO"


@pytest.mark.parametrize(
    ("current", "changes", "said"),
    [
        (None, {"+nonsense": "1"}, "'nonsense' is unknown, allowed are cleanup.policy"),
        (None, {"message.type": "FIFO"}, "begins with"),
        (None, {"-message.type": ""}, "it is not set"),
        (None, {"+message.type": "fifo"}, "not one of UNSPECIFIED"),
        ({}, {"+queue.type": "BatchCQ"}, "cannot be changed after creation"),
        (None, {"+lite.topic.expiration": "x"}, r"not an integer of -1\.\.43200"),
        (None, {"+lite.topic.expiration": "43201"}, "not an integer"),
        (None, {"+reserve.time": "9" * 30}, "not an integer"),
        (None, {"+message.type": "FIFO", "-message.type": ""}, "changed twice"),
        (None, {"": "x"}, "begins with"),
    ],
)
def test_alter_refuses(current, changes, said):
    with pytest.raises(PeerError, match=said):
        alter_attributes(TOPIC_ATTRIBUTES, current, changes)


def test_group_attributes_have_their_bounds():
    assert alter_attributes(GROUP_ATTRIBUTES, None, {"+priority.factor": "50"}) == {"priority.factor": "50"}
    with pytest.raises(PeerError, match=r"0\.\.100"):
        alter_attributes(GROUP_ATTRIBUTES, None, {"+priority.factor": "101"})
    assert alter_attributes(GROUP_ATTRIBUTES, {}, {"+lite.bind.topic": "any text"})
