"""Which changes of leaders a watcher of a cluster is told."""

from ledgermq.cli.cluster_events import LeaderChanged, LeaderWatch


def test_a_leader_dies_and_another_takes_over() -> None:
    watch = LeaderWatch()
    assert watch.see({"g0": None}, 0) == []
    (first,) = watch.see({"g0": "n0"}, 50)
    assert first == LeaderChanged("g0", "n0", None, None)
    assert first.text() == "g0: n0 leads"
    assert watch.see({"g0": "n0"}, 60) == []
    (lost,) = watch.see({"g0": None}, 1000)
    assert lost.text() == "g0: n0 leads no more"
    assert watch.see({"g0": None}, 1100) == []
    (second,) = watch.see({"g0": "n1"}, 1312)
    assert second == LeaderChanged("g0", "n1", "n0", 312)
    assert second.text() == "g0: n1 leads, 312 ms after n0 was gone"


def test_the_same_leader_comes_back() -> None:
    watch = LeaderWatch()
    watch.see({"g0": "n0"}, 0)
    watch.see({"g0": None}, 10)
    (back,) = watch.see({"g0": "n0"}, 30)
    assert back.text() == "g0: n0 leads again, 20 ms later"


def test_the_leadership_is_handed_over() -> None:
    watch = LeaderWatch()
    watch.see({"g0": "n0", "g1": "n1"}, 0)
    (change,) = watch.see({"g0": "n2", "g1": "n1"}, 10)
    assert change == LeaderChanged("g0", "n2", "n0", 0)
    assert change.text() == "g0: n2 leads instead of n0"
