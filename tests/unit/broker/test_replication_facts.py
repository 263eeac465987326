"""How the progress of followers is written."""

from ledgermq.broker.replication_facts import progress_text
from ledgermq.dledger.node import Follower


def test_progress() -> None:
    followers = {"n1": Follower(123, True), "n2": Follower(-1, False)}
    assert progress_text(followers) == "n1:match=123,reachable=true;n2:match=-1,reachable=false"
