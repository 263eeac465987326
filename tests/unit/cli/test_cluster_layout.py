"""Where the nodes of a cluster for trying out have their ports and files."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from ledgermq.cli.cluster_layout import FREE_PORTS, Layout, LayoutError, choose, conf_paths, environment, save
from ledgermq.runtime.config import BrokerSettings
from ledgermq.runtime.config_sources import load, read_file

LAYOUT = Layout(nodes=3, groups=2, port=9876)


def test_ports_follow_each_other() -> None:
    ports = [LAYOUT.port]
    for node in range(3):
        for group in range(2):
            ports.append(LAYOUT.fast_port(node, group))
            ports.append(int(LAYOUT.dledger_address(node, group).rpartition(":")[2]))
            ports.append(int(LAYOUT.broker_address(node, group).rpartition(":")[2]))
    assert ports == list(range(9876, LAYOUT.last_port + 1))


def test_nodes_are_known_by_their_brokers_addresses() -> None:
    assert LAYOUT.node_names == ["n0", "n1", "n2"]
    assert LAYOUT.group_names == ["g0", "g1"]
    assert LAYOUT.node_at(LAYOUT.broker_address(2, 1)) == "n2"
    assert LAYOUT.node_at(LAYOUT.dledger_address(2, 1)) is None


def test_what_a_member_is_started_with(tmp_path: Path) -> None:
    """The settings are taken without a complaint, and the leaders are spread."""
    save(LAYOUT, tmp_path)
    preferred = []
    for number, node in enumerate(LAYOUT.node_names):
        for group, path in enumerate(conf_paths(LAYOUT, tmp_path, node)):
            settings, notices = load(BrokerSettings, read_file(path))
            assert not notices
            assert settings.broker.broker_name == settings.store.dleger_group == f"g{group}"
            assert settings.broker.listen_port == LAYOUT.fast_port(number, group) + 2
            assert settings.broker.namesrv_addr == "127.0.0.1:9876"
            store = settings.store
            assert store.enable_dleger_commit_log
            assert store.dleger_self_id == node
            assert store.store_path_root_dir == str(tmp_path / node / f"g{group}")
            assert f"{node}-{LAYOUT.dledger_address(number, group)}" in store.dleger_peers.split(";")
            preferred.append(store.preferred_leader_id)
    assert preferred == ["n0", "n1"] * 3


def test_a_second_start_goes_on_with_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cluster"
    layout = choose(folder, None, None, 0)
    assert (layout.nodes, layout.groups) == (3, 3)
    assert layout.port in FREE_PORTS
    assert layout.last_port in FREE_PORTS
    save(layout, folder)
    assert json.loads((folder / "cluster.json").read_text()) == {
        "nodes": 3,
        "groups": 3,
        "port": layout.port,
    }
    (folder / "n1" / "g2.conf").write_text("brokerName=mine\n")
    for asked in ((None, None, None), (3, 3, layout.port), (None, None, 0)):
        assert choose(folder, *asked) == layout
    save(layout, folder)
    assert (folder / "n1" / "g2.conf").read_text() == "brokerName=mine\n"


def test_groups_are_as_many_as_nodes(tmp_path: Path) -> None:
    assert choose(tmp_path, 2, None, 0).groups == 2
    assert choose(tmp_path, 2, 5, 0).groups == 5


@pytest.mark.parametrize("asked", [(5, None, None), (None, 1, None), (None, None, 1234)])
def test_a_cluster_does_not_change(tmp_path: Path, asked: tuple[int | None, int | None, int | None]) -> None:
    save(choose(tmp_path, 3, 3, 0), tmp_path)
    with pytest.raises(LayoutError, match=r"has (nodes|groups|port)=.*: leave out --"):
        choose(tmp_path, *asked)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    layout = choose(tmp_path, 1, 1, 0)
    refused = pytest.raises(LayoutError, match=f"port {layout.last_port} is in use, and the cluster needs")
    with socket.create_server(("127.0.0.1", layout.last_port)), refused:
        choose(tmp_path, 1, 1, layout.port)


def test_ports_beyond_the_last_one(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="65535 is the last"):
        choose(tmp_path, 3, 3, 65530)


@pytest.mark.parametrize("text", ["{", '{"nodes":3}', '{"nodes":3,"groups":0,"port":1}', "[]"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(LayoutError, match=r"cluster\.json cannot be read"):
        choose(tmp_path, None, None, None)


def test_nodes_get_no_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAMESRV_ADDR", "a:1")
    monkeypatch.setenv("LEDGERMQ_BROKER_NAME", "a")
    monkeypatch.setenv("KEPT", "b")
    there = environment()
    assert there["KEPT"] == "b"
    assert not {"NAMESRV_ADDR", "LEDGERMQ_BROKER_NAME"} & set(there)
