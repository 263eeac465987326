"""A name server on loopback, asked in raw frames and through our own remoting client."""

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledgermq.nameserver import NameServer
from ledgermq.remoting import headers, nameserver_headers, requests
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.connection import Connection
from ledgermq.remoting.headers import decode_header, request
from ledgermq.remoting.json_body import decode_json
from ledgermq.remoting.register_body import body_crc32, encode_register_body
from ledgermq.remoting.route_data import (
    ClusterInfo,
    KvTable,
    RegisterBrokerBody,
    TopicConfigs,
    TopicRouteData,
)
from ledgermq.remoting.server import Server
from ledgermq.remoting.topic_config import DataVersion, TopicConfig
from ledgermq.runtime.config import NameServerConfig, NameServerSettings


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


def settings_in(directory: Path, **fields: Any) -> NameServerSettings:
    paths = {
        "kv_config_path": str(directory / "kvConfig.json"),
        "config_store_path": str(directory / "namesrv.properties"),
    }
    return NameServerSettings(nameserver=NameServerConfig(listen_port=0, **(paths | fields)))


class Asker:
    """Asks one name server; every broker it registers has a connection of its own."""

    def __init__(self, name_server: NameServer, address: str, client: RemotingClient) -> None:
        self.name_server = name_server
        self.address = address
        self._client = client

    async def ask(self, code: int, header: headers.Header | None = None, body: bytes = b"") -> Command:
        return await self._client.invoke(self.address, request(code, header, body))

    async def succeed(self, code: int, header: headers.Header | None = None, body: bytes = b"") -> Command:
        answer = await self.ask(code, header, body)
        assert (answer.code, answer.remark) == (ResponseCode.SUCCESS, None)
        return answer

    async def refused(self, code: int, header: headers.Header | None = None, body: bytes = b"") -> Command:
        answer = await self.ask(code, header, body)
        assert answer.code != ResponseCode.SUCCESS
        assert answer.remark
        return answer

    async def route(self, topic: str) -> TopicRouteData | None:
        answer = await self.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, nameserver_headers.GetRouteInfo(topic))
        if answer.code == ResponseCode.TOPIC_NOT_EXIST:
            return None
        return decode_json(TopicRouteData, answer.body)

    async def gone(self, topic: str) -> None:
        """Returns once no broker carries ``topic``; the run's time-out ends it otherwise."""
        while await self.route(topic) is not None:
            pass


@asynccontextmanager
async def serving(settings: NameServerSettings) -> AsyncIterator[Asker]:
    name_server = NameServer(settings)
    client = RemotingClient()
    port = await name_server.start()
    try:
        yield Asker(name_server, f"127.0.0.1:{port}", client)
    finally:
        await client.close()
        await name_server.stop()
        name_server.routes.check_invariants()
        name_server.kv.check_invariants()


def registration(
    *topics: str, compressed: bool = False, **fields: Any
) -> tuple[nameserver_headers.RegisterBroker, bytes]:
    table = {name: TopicConfig(topic_name=name) for name in topics}
    configs = TopicConfigs(data_version=DataVersion(counter=1), topic_config_table=table)
    body = encode_register_body(
        RegisterBrokerBody(topic_config_serialize_wrapper=configs), compressed=compressed
    )
    base: dict[str, Any] = {
        "broker_name": "a",
        "broker_addr": "127.0.0.1:10911",
        "cluster_name": "C",
        "ha_server_addr": "127.0.0.1:10912",
        "broker_id": 0,
        "compressed": compressed,
        "body_crc32": body_crc32(body),
    }
    return nameserver_headers.RegisterBroker(**(base | fields)), body


# ---- frames ----


def frame(code: int, ext: dict[str, str], body: bytes = b"", *, version: int = 513) -> bytes:
    fields = {"code": code, "language": "JAVA", "version": version, "opaque": 7, "flag": 0, "extFields": ext}
    header = json.dumps(fields).encode()
    return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body


async def answer_to(port: str, sent: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and body of the answer to one frame on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port.rpartition(":")[2]))
    writer.write(sent)
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    data = await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
    header_bytes = struct.unpack_from(">I", data)[0] & 0xFFFFFF
    return json.loads(data[4 : 4 + header_bytes]), data[4 + header_bytes :]


def test_old_clients_get_unquoted_keys(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(settings_in(tmp_path)) as asker:
            await asker.succeed(RequestCode.REGISTER_BROKER, *registration("A", "B"))
            standard = (
                b'{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:10911"},"brokerName":"a","cluster":"C",'
                b'"enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"a","perm":6,'
                b'"readQueueNums":16,"topicSysFlag":0,"writeQueueNums":16}]}'
            )
            old = standard.replace(b'{"0":', b"{0:")
            standard_only = {"topic": "A", "acceptStandardJsonOnly": "true"}
            for ext, version, body in [
                ({"topic": "A"}, 401, standard),
                ({"topic": "A"}, 400, old),
                (standard_only, 400, standard),
            ]:
                answer = await answer_to(asker.address, frame(105, ext, version=version))
                assert (answer[0]["code"], answer[0]["opaque"], answer[1]) == (0, 7, body)
            _, info = await answer_to(asker.address, frame(106, {}, version=0))
            assert b'"brokerAddrs":{0:"127.0.0.1:10911"}' in info

    run(test())


def test_whatever_is_missing_is_named(tmp_path: Path) -> None:
    """Every request without its fields, and with nonsense in the body, is refused in words or served."""

    async def test() -> None:
        async with serving(settings_in(tmp_path)) as asker:
            for code, (name, header_class) in requests.REQUESTS.items():
                for body in (b"", b"\xff{nonsense"):
                    header, _ = await answer_to(asker.address, frame(code, {}, body))
                    required = {f.encode_name for f in msgspec.structs.fields(header_class) if f.required}
                    if header["code"] == ResponseCode.REQUEST_CODE_NOT_SUPPORTED:
                        assert str(code) in header["remark"]
                    elif required:
                        assert header["code"] == ResponseCode.INVALID_PARAMETER
                        assert any(
                            f"{name}({code}): header field {field} is" in header["remark"]
                            for field in required
                        )
                    else:
                        assert header["code"] in (ResponseCode.SUCCESS, ResponseCode.INVALID_PARAMETER)

    run(test())


# ---- brokers ----


def test_a_broker_lives_as_long_as_its_connection(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(settings_in(tmp_path)) as asker:
            broker = RemotingClient()
            header, body = registration("A", "B", compressed=True)
            answer = await broker.invoke(asker.address, request(RequestCode.REGISTER_BROKER, header, body))
            assert answer.code == ResponseCode.SUCCESS
            route = await asker.route("A")
            assert route is not None
            assert route.broker_datas[0].broker_addrs == {0: "127.0.0.1:10911"}
            await broker.close()
            await asker.gone("A")

    run(test())


def test_a_silent_broker_is_dropped_and_disconnected(tmp_path: Path) -> None:
    async def test() -> None:
        settings = settings_in(tmp_path, scan_not_active_broker_interval=10)
        async with serving(settings) as asker:
            closed = asyncio.Event()
            broker = RemotingClient(on_close=lambda connection: closed.set())
            header, body = registration("A", "B", heartbeat_timeout_millis=1)
            await broker.invoke(asker.address, request(RequestCode.REGISTER_BROKER, header, body))
            await asker.gone("A")
            await closed.wait()
            await broker.close()

    run(test())


def test_a_clock_that_is_set_drops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with serving(settings_in(tmp_path)) as asker:
            await asker.succeed(RequestCode.REGISTER_BROKER, *registration("A", "B"))
            now_ns = time.time_ns()
            monkeypatch.setattr(time, "time_ns", lambda: now_ns + 3600 * 10**9)
            asker.name_server._scan()
            assert await asker.route("A") is not None

    run(test())


def test_versions_heartbeats_and_leaving(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(settings_in(tmp_path)) as asker:
            me = nameserver_headers.BrokerIdentity("a", "127.0.0.1:10911", "C", 0)
            version = b'{"counter":1,"stateVersion":0,"timestamp":0}'
            answer = await asker.succeed(RequestCode.QUERY_DATA_VERSION, me, version)
            assert (decode_header(nameserver_headers.DataVersionReply, answer).changed, answer.body) == (
                True,
                b"",
            )
            await asker.succeed(RequestCode.REGISTER_BROKER, *registration("A", "B"))
            answer = await asker.succeed(RequestCode.QUERY_DATA_VERSION, me, version)
            assert (decode_header(nameserver_headers.DataVersionReply, answer).changed, answer.body) == (
                False,
                version,
            )
            answer = await asker.succeed(RequestCode.QUERY_DATA_VERSION, me, b'{"counter":2}')
            assert decode_header(nameserver_headers.DataVersionReply, answer).changed
            heartbeat = nameserver_headers.BrokerHeartbeat("C", "127.0.0.1:10911", "a")
            await asker.succeed(RequestCode.BROKER_HEARTBEAT, heartbeat)
            group = nameserver_headers.MemberGroup("C", "a")
            answer = await asker.succeed(RequestCode.GET_BROKER_MEMBER_GROUP, group)
            assert answer.body == (
                b'{"brokerMemberGroup":{"brokerAddrs":{"0":"127.0.0.1:10911"},"brokerName":"a","cluster":"C"}}'
            )
            topic = b'{"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":1,"writeQueueNums":1}]}'
            await asker.succeed(RequestCode.REGISTER_TOPIC_IN_NAMESRV, headers.Topic("N"), topic)
            assert await asker.route("N") is not None
            await asker.succeed(RequestCode.UNREGISTER_BROKER, me)
            assert await asker.route("A") is None

    run(test())


def test_a_damaged_registration_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(settings_in(tmp_path)) as asker:
            header, body = registration("A", "B")
            answer = await asker.refused(RequestCode.REGISTER_BROKER, header, body[:-1])
            assert answer.code == ResponseCode.SYSTEM_ERROR
            assert answer.remark is not None
            assert answer.remark.startswith("crc32 not match")
            header, _ = registration(body_crc32=0)
            answer = await asker.refused(RequestCode.REGISTER_BROKER, header, b"{")
            assert answer.code == ResponseCode.INVALID_PARAMETER
            answer = await asker.refused(RequestCode.REGISTER_BROKER, *registration("A"))
            assert "has to register all its topics first" in str(answer.remark)
            assert decode_json(ClusterInfo, (await asker.succeed(106)).body) == ClusterInfo()

    run(test())


def test_brokers_hear_of_a_new_smallest_id(tmp_path: Path) -> None:
    async def test() -> None:
        heard: asyncio.Queue[nameserver_headers.MinBrokerIdChange] = asyncio.Queue()

        def hear(command: Command, connection: Connection) -> None:
            heard.put_nowait(decode_header(nameserver_headers.MinBrokerIdChange, command))

        slave = Server({RequestCode.NOTIFY_MIN_BROKER_ID_CHANGE: hear})
        address = f"127.0.0.1:{await slave.start('127.0.0.1', 0)}"
        async with serving(settings_in(tmp_path, notify_min_broker_id_changed=True)) as asker:
            acting = {"enable_acting_master": True}
            told = registration("A", "B", broker_id=1, broker_addr=address, **acting)
            await asker.succeed(RequestCode.REGISTER_BROKER, *told)
            answer = await asker.succeed(RequestCode.REGISTER_BROKER, *registration("A", "B", **acting))
            assert decode_header(nameserver_headers.RegisterBrokerReply, answer).master_addr is None
            change = await heard.get()
            assert (change.min_broker_id, change.min_broker_addr) == (0, "127.0.0.1:10911")
            answer = await asker.succeed(RequestCode.REGISTER_BROKER, *told)
            reply = decode_header(nameserver_headers.RegisterBrokerReply, answer)
            assert (reply.master_addr, reply.ha_server_addr) == ("127.0.0.1:10911", "127.0.0.1:10912")
            me = nameserver_headers.BrokerIdentity("a", "127.0.0.1:10911", "C", 0)
            await asker.succeed(RequestCode.UNREGISTER_BROKER, me)
            change = await heard.get()
            assert (change.min_broker_id, change.offline_broker_addr) == (1, "127.0.0.1:10911")
        await slave.stop()

    run(test())


# ---- topics ----


def test_lists_permissions_and_deletion(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(settings_in(tmp_path)) as asker:
            await asker.succeed(RequestCode.REGISTER_BROKER, *registration("A", "B"))
            for code, header, body in [
                (206, None, b'{"topicList":["A","B"]}'),
                (224, nameserver_headers.Cluster("C"), b'{"topicList":["A","B"]}'),
                (304, None, b'{"brokerAddr":"127.0.0.1:10911","topicList":["C","a"]}'),
                (311, None, b'{"topicList":[]}'),
                (312, None, b'{"topicList":[]}'),
                (313, None, b'{"topicList":[]}'),
            ]:
                assert (await asker.succeed(code, header)).body == body
            answer = await asker.succeed(
                RequestCode.WIPE_WRITE_PERM_OF_BROKER, nameserver_headers.BrokerName("a")
            )
            assert answer.ext == {"wipeTopicCount": "2"}
            route = await asker.route("A")
            assert route is not None
            assert route.queue_datas[0].perm == 4
            answer = await asker.succeed(
                RequestCode.ADD_WRITE_PERM_OF_BROKER, nameserver_headers.BrokerName("a")
            )
            assert answer.ext == {"addTopicCount": "2"}
            await asker.succeed(
                RequestCode.DELETE_TOPIC_IN_NAMESRV, nameserver_headers.DeleteTopicOfCluster("A", "nope")
            )
            assert await asker.route("A") is not None
            await asker.succeed(
                RequestCode.DELETE_TOPIC_IN_NAMESRV, nameserver_headers.DeleteTopicOfCluster("A")
            )
            assert await asker.route("A") is None

    run(test())


def test_switches(tmp_path: Path) -> None:
    async def test() -> None:
        settings = settings_in(
            tmp_path, enable_topic_list=False, enable_all_topic_list=False, need_wait_for_service=True
        )
        async with serving(settings) as asker:
            for code in (206, 311, 312, 313):
                assert "is disabled: enable" in str((await asker.refused(code)).remark)
            assert "enableTopicList=false" in str(
                (await asker.refused(224, nameserver_headers.Cluster("C"))).remark
            )
            answer = await asker.refused(
                RequestCode.GET_ROUTEINFO_BY_TOPIC, nameserver_headers.GetRouteInfo("A")
            )
            assert "name server not ready" in str(answer.remark)

    run(test())


def test_zones(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(settings_in(tmp_path)) as asker:
            header, body = registration("A", "B")
            ext = headers.encode_header(header) | {"__ZONE_NAME": "here"}
            reader, writer = await asyncio.open_connection("127.0.0.1", int(asker.address[10:]))
            writer.write(frame(103, ext, body))
            await reader.readexactly(4)
            for zone, count in (("here", 1), ("there", 0)):
                _, answer = await answer_to(
                    asker.address, frame(105, {"topic": "A", "__ZONE_NAME": zone, "__ZONE_MODE": "true"})
                )
                assert len(decode_json(TopicRouteData, answer).broker_datas) == count
            writer.close()

    run(test())


# ---- what operators keep ----


def test_keys_survive_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        settings = settings_in(tmp_path, order_message_enable=True)
        async with serving(settings) as asker:
            for key in ("A", "B"):
                put = nameserver_headers.PutKvConfig("ORDER_TOPIC_CONFIG", key, "a:4")
                await asker.succeed(RequestCode.PUT_KV_CONFIG, put)
            await asker.succeed(
                RequestCode.DELETE_KV_CONFIG, nameserver_headers.KvConfig("ORDER_TOPIC_CONFIG", "B")
            )
        assert (tmp_path / "kvConfig.json").read_bytes() == (
            b'{"configTable":{"ORDER_TOPIC_CONFIG":{"A":"a:4"}}}'
        )
        async with serving(settings) as asker:
            answer = await asker.succeed(
                RequestCode.GET_KV_CONFIG, nameserver_headers.KvConfig("ORDER_TOPIC_CONFIG", "A")
            )
            assert answer.ext == {"value": "a:4"}
            table = KvTable({"A": "a:4"})
            answer = await asker.succeed(219, nameserver_headers.KvNamespace("ORDER_TOPIC_CONFIG"))
            assert decode_json(KvTable, answer.body) == table
            answer = await asker.succeed(RequestCode.REGISTER_BROKER, *registration("A", "B"))
            assert decode_json(KvTable, answer.body) == table
            route = await asker.route("A")
            assert route is not None
            assert route.order_topic_conf == "a:4"
            for code, header in (
                (101, nameserver_headers.KvConfig("n", "k")),
                (219, nameserver_headers.KvNamespace("n")),
            ):
                assert (await asker.refused(code, header)).code == ResponseCode.QUERY_NOT_FOUND

    run(test())


def test_many_puts_at_once_are_all_kept(tmp_path: Path) -> None:
    async def test() -> None:
        settings = settings_in(tmp_path)
        async with serving(settings) as asker:
            puts = [nameserver_headers.PutKvConfig("n", f"k{i}", "v") for i in range(20)]
            await asyncio.gather(*(asker.succeed(RequestCode.PUT_KV_CONFIG, put) for put in puts))
        file = json.loads((tmp_path / "kvConfig.json").read_bytes())
        assert file == {"configTable": {"n": {f"k{i}": "v" for i in range(20)}}}

    run(test())


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "file").write_text("")
        settings = settings_in(tmp_path, kv_config_path=str(tmp_path / "file" / "kvConfig.json"))
        name_server = NameServer(settings)
        with pytest.raises(NotADirectoryError):
            await name_server.start()
        settings = settings_in(tmp_path, kv_config_path=str(tmp_path / "locked" / "kvConfig.json"))
        async with serving(settings) as asker:
            (tmp_path / "locked").write_text("")
            answer = await asker.refused(
                RequestCode.PUT_KV_CONFIG, nameserver_headers.PutKvConfig("n", "k", "v")
            )
            assert "is in force but not on disk" in str(answer.remark)

    run(test())


def test_a_damaged_file_stops_the_start(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "kvConfig.json").write_text("{")
        with pytest.raises(ValueError, match=r"kvConfig\.json cannot be read"):
            await NameServer(settings_in(tmp_path)).start()

    run(test())


def test_settings_are_shown_and_changed(tmp_path: Path) -> None:
    async def test() -> None:
        file = tmp_path / "namesrv.properties"
        file.write_text("# ours\nenableTopicList=true\n")
        settings = settings_in(tmp_path)
        async with serving(settings) as asker:
            shown = (await asker.succeed(RequestCode.GET_NAMESRV_CONFIG)).body.decode()
            assert "enableTopicList=true\n" in shown
            assert f"kvConfigPath={tmp_path / 'kvConfig.json'}\n" in shown
            assert shown.splitlines() == sorted(shown.splitlines())
            await asker.succeed(RequestCode.UPDATE_NAMESRV_CONFIG, body=shown.encode())
            await asker.succeed(RequestCode.UPDATE_NAMESRV_CONFIG)
            change = b"enableTopicList=false\nenableAllTopicList=false"
            await asker.succeed(RequestCode.UPDATE_NAMESRV_CONFIG, body=change)
            assert file.read_text() == "# ours\nenableTopicList=false\nenableAllTopicList=false\n"
            await asker.refused(RequestCode.GET_UNIT_TOPIC_LIST)

            for body, code in [
                (b"kvConfigPath=/elsewhere", ResponseCode.NO_PERMISSION),
                (b"configStorePath=/elsewhere", ResponseCode.NO_PERMISSION),
                (b"scanNotActiveBrokerInterval=soon", ResponseCode.INVALID_PARAMETER),
                (b"noSuchKey=1", ResponseCode.INVALID_PARAMETER),
                (b"\xff", ResponseCode.INVALID_PARAMETER),
                (b"#" * 65537, ResponseCode.INVALID_PARAMETER),
            ]:
                assert (await asker.refused(RequestCode.UPDATE_NAMESRV_CONFIG, body=body)).code == code

    run(test())
