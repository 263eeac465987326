"""What operators ask of groups, each request over the wire."""

import json
from pathlib import Path

from tests.integration.broker.asking import GROUP, TOPIC, asking, run

from ledgermq.remoting.codes import RequestCode, ResponseCode


def test_a_group_is_created_changed_shown_and_deleted(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path, auto_create_subscription_group=False) as broker:
            one = RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG
            assert (await broker.refused(one, group=GROUP))[0] == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST
            await broker.create_group()
            assert (await broker.ask_json(one, group=GROUP))["retryMaxTimes"] == 16
            saved = json.loads((tmp_path / "config" / "subscriptionGroup.json").read_text())
            assert GROUP in saved["subscriptionGroupTable"], "answered when it is on disk"
            update = RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
            body = {"groupName": GROUP, "retryMaxTimes": 3, "attributes": {"+priority.factor": "7"}}
            assert (await broker.ask(update, body=body)).code == ResponseCode.SUCCESS
            group = await broker.ask_json(one, group=GROUP)
            assert (group["retryMaxTimes"], group["attributes"]) == (3, {"priority.factor": "7"})
            assert (await broker.ask(RequestCode.DELETE_SUBSCRIPTIONGROUP, groupName=GROUP)).code == 0
            assert (await broker.refused(one, group=GROUP))[0] == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST
            assert (await broker.ask(RequestCode.DELETE_SUBSCRIPTIONGROUP, groupName=GROUP)).code == 0

    run(test())


def test_offsets_go_with_a_group_only_when_asked(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic()
            await broker.create_group()
            await broker.commit(5)
            await broker.ask(RequestCode.DELETE_SUBSCRIPTIONGROUP, groupName=GROUP)
            assert broker.broker.offsets.consumed(GROUP, TOPIC, 0) == 5
            await broker.ask(RequestCode.DELETE_SUBSCRIPTIONGROUP, groupName=GROUP, cleanOffset="true")
            assert broker.broker.offsets.consumed(GROUP, TOPIC, 0) == -1
            saved = json.loads((tmp_path / "config" / "consumerOffset.json").read_text())
            assert saved["offsetTable"] == {}, "a crash now must not bring it back"

    run(test())


def test_a_bad_body_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            one, many = (
                RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
                RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
            )
            for code, body, said in (
                (one, b"", "body of 0 bytes"),
                (one, b"{}", "groupName"),
                (one, {"groupName": "a b"}, "illegal characters"),
                (one, {"groupName": "G", "retryQueueNums": -1}, "retryQueueNums"),
                (one, {"groupName": "G", "attributes": {"+x": "1"}}, "'x' is unknown"),
                (many, {"groupConfigList": [{"groupName": "G"}, {"groupName": "a b"}]}, "illegal"),
            ):
                refused = await broker.refused(code, body)
                assert refused[0] == ResponseCode.INVALID_PARAMETER
                assert said in refused[1]
            assert broker.broker.groups.find("G") is None
            good = {"groupConfigList": [{"groupName": "G"}, {"groupName": "H"}]}
            assert (await broker.ask(many, body=good)).code == ResponseCode.SUCCESS
            assert broker.broker.groups.find("H") is not None

    run(test())


def test_all_groups_and_pages_of_them(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            code = RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG
            answer = await broker.ask(code)
            body = await broker.ask_json(code)
            assert list(body) == ["dataVersion", "forbiddenTable", "subscriptionGroupTable"]
            names = list(body["subscriptionGroupTable"])
            assert answer.ext["totalGroupNum"] == str(len(names)) == "8"
            page = await broker.ask_json(code, groupSeq=0, maxGroupNum=3)
            assert list(page["subscriptionGroupTable"]) == names[:3]

    run(test())


def test_a_group_can_be_kept_from_a_topic(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_group()
            code = RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN
            answer = await broker.ask(code, group=GROUP, topic=TOPIC, readable="false")
            assert answer.body == b'{"group":"GroupA","readable":false,"topic":"TopicA"}'
            assert not (await broker.ask_json(code, group=GROUP, topic=TOPIC))["readable"]
            assert (await broker.ask_json(code, group=GROUP, topic=TOPIC, readable="true"))["readable"]
            refused = await broker.refused(code, group="unknown", topic=TOPIC, readable="false")
            assert refused[0] == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST

    run(test())
