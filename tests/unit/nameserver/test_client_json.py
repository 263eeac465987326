"""The two dialects of an answer; the texts are what a Java 5.5.0 name server wrote."""

from ledgermq.nameserver.client_json import encode_for_version
from ledgermq.remoting.json_body import decode_json
from ledgermq.remoting.route_data import BrokerData, QueueData, QueueMapping, TopicRouteData

ROUTE = TopicRouteData(
    broker_datas=[BrokerData(broker_name="broker-a", cluster="C1", broker_addrs={0: "h:1", 1: "h:3"})],
    filter_server_table={"h:1": ["f1:1"]},
    order_topic_conf="broker-a:4",
    queue_datas=[QueueData(broker_name="broker-a", perm=6, read_queue_nums=4, write_queue_nums=4)],
    topic_queue_mapping_by_broker={
        "broker-a": QueueMapping(
            bname="broker-a", topic="A", epoch=5, total_queues=2, curr_id_map={0: 0, 1: 1}
        )
    },
)
STANDARD = (
    b'{"brokerDatas":[{"brokerAddrs":{"0":"h:1","1":"h:3"},"brokerName":"broker-a","cluster":"C1",'
    b'"enableActingMaster":false}],"filterServerTable":{"h:1":["f1:1"]},"orderTopicConf":"broker-a:4",'
    b'"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}],'
    b'"topicQueueMappingByBroker":{"broker-a":{"bname":"broker-a","currIdMap":{"0":0,"1":1},"dirty":false,'
    b'"epoch":5,"scope":"__global__","topic":"A","totalQueues":2}}}'
)


def test_a_new_client_reads_standard_json() -> None:
    assert encode_for_version(ROUTE, 401) == STANDARD


def test_an_old_client_reads_unquoted_integer_keys() -> None:
    old = encode_for_version(ROUTE, 400)
    assert old == STANDARD.replace(b'{"0":', b"{0:").replace(b',"1":', b",1:")
    assert decode_json(TopicRouteData, old) == ROUTE


def test_text_that_looks_like_a_key_stays_text() -> None:
    assert encode_for_version({"1": 'a{"2":é'}, 0) == '{"1":"a{\\"2\\":é"}'.encode()
