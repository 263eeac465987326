"""Settings are checked, and what is wrong is said by name."""

from __future__ import annotations

from typing import Any

import pytest

from ledgermq.dledger.settings import DLedgerSettings, SettingsError

PEERS = "n0-host-a:20911;n1-10.0.0.1:20912;n2-[::1]:20913"


def test_peers_are_read_as_java_reads_them() -> None:
    settings = DLedgerSettings(peers=PEERS, self_id="n1", store_base_dir="/data")
    assert settings.members() == {"n0": "host-a:20911", "n1": "10.0.0.1:20912", "n2": "[::1]:20913"}
    assert settings.listen_address == "10.0.0.1:20912"
    assert settings.directory == "/data/dledger-n1"
    settings.bind_address = "0.0.0.0"
    assert settings.listen_address == "0.0.0.0:20912"
    settings.check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peers": "n0"}, "n0"),
        ({"peers": "n0-host"}, "host"),
        ({"peers": "n0-host:70000"}, "70000"),
        ({"peers": "n0-a:1;n0-b:2"}, "n0"),
        ({"peers": ";".join(f"n{i}-a:{i + 1}" for i in range(8))}, "at most 7"),
        ({"self_id": "n9"}, "selfId=n9"),
        ({"group": ""}, "group"),
        ({"group": "a b"}, "group"),
        ({"preferred_leader_ids": "n0;n7"}, "n7"),
        ({"heart_beat_time_interval_ms": 400}, "heartBeatTimeIntervalMs"),
        ({"min_vote_interval_ms": 500}, "minVoteIntervalMs"),
        ({"mapped_file_size_for_entry_index": 5000}, "mappedFileSizeForEntryIndex"),
        ({"max_pending_requests_num": 0}, "maxPendingRequestsNum"),
        ({"flush_policy": "never"}, "flushPolicy"),
    ],
)
def test_a_bad_setting_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as raised:
        DLedgerSettings(**{"peers": PEERS, **changes}).check()
    assert words in str(raised.value)


def test_the_core_gets_its_times_from_them() -> None:
    settings = DLedgerSettings(peers=PEERS, preferred_leader_ids="n2; n0", max_wait_ack_time_ms=7)
    config = settings.core_config()
    assert config.heartbeat_interval_ms == settings.heart_beat_time_interval_ms
    assert config.preferred_leaders == ("n2", "n0")
    assert config.proposal_timeout_ms == 7
    assert config.java_patience_ms == 6000
