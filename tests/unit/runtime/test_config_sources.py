import logging

import pytest

from ledgermq.runtime.config import BrokerSettings, NameServerSettings
from ledgermq.runtime.config_keys import keys_of, texts_of
from ledgermq.runtime.config_sources import (
    Assignment,
    Change,
    ConfigError,
    ForbiddenKeyError,
    Notice,
    load,
    read_environment,
    read_file,
    update,
)


def broker(**values):
    return load(BrokerSettings, [Assignment(key, value, "flag") for key, value in values.items()])


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def test_defaults_are_rocketmqs():
    texts = texts_of(BrokerSettings())
    assert texts["brokerClusterName"] == "DefaultCluster"
    assert texts["listenPort"] == "10911"
    assert texts["mappedFileSizeConsumeQueue"] == "6000000"
    assert texts["autoCreateTopicEnable"] == "true"
    assert texts_of(NameServerSettings())["listenPort"] == "9876"


@pytest.mark.parametrize("kind", [BrokerSettings, NameServerSettings])
def test_every_default_is_allowed(kind):
    texts = texts_of(kind())
    settings, notices = load(kind, [Assignment(key, text, "default") for key, text in texts.items()])
    assert settings == kind()
    assert notices == []


def test_a_later_source_wins():
    settings, _ = load(
        BrokerSettings,
        [
            Assignment("brokerName", "a", "broker.conf line 1"),
            Assignment("brokerName", " b ", "environment"),
            Assignment("traceOn", "FALSE", "flag"),
        ],
    )
    assert settings.broker.broker_name == "b"
    assert settings.broker.trace_on is False


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("listenPort", "65536", "a whole number from 0 to 65535"),
        ("listenPort", "1e3", "a whole number from 0 to 65535"),
        ("listenPort", "", "a whole number from 0 to 65535"),
        ("listenPort", "1_0", "a whole number from 0 to 65535"),
        ("listenPort", "\u0661", "a whole number from 0 to 65535"),
        ("listenPort", "9" * 5000, "a whole number from 0 to 65535"),
        ("syncFlushTimeout", "0", "a whole number from 1 to 2147483647 ms"),
        ("traceOn", "yes", "true or false"),
        ("flushDiskType", "SYNC", "ASYNC_FLUSH or SYNC_FLUSH"),
        (
            "brokerName",
            "a b",
            "one line of text of at most 100 characters of the form: letters, digits and %|_-.",
        ),
        (
            "brokerName",
            "",
            "one line of text of at most 100 characters of the form: letters, digits and %|_-.",
        ),
        ("regionId", "a\nb", "one line of text"),
        ("deleteWhen", "24", "one line of text of the form: 04 or 04;16"),
        ("namesrvAddr", "a", "one line of text of the form: host:port;host:port"),
    ],
)
def test_a_bad_value_is_an_error_that_says_where_and_what_is_allowed(key, value, allowed):
    with pytest.raises(ConfigError) as caught:
        load(BrokerSettings, [Assignment(key, value, "broker.conf line 7")])
    assert str(caught.value) == f"broker.conf line 7: {key}={value}: allowed: {allowed}"


def test_an_unknown_key_is_a_warning_with_the_nearest_name():
    _, notices = broker(flushDiskTyp="SYNC_FLUSH", brokerip1="x", zzz="1")
    assert notices == [
        Notice(logging.WARNING, "flag: unknown key flushDiskTyp; did you mean flushDiskType?"),
        Notice(logging.WARNING, "flag: unknown key brokerip1; did you mean brokerIP1?"),
        Notice(logging.WARNING, "flag: unknown key zzz"),
    ]


def test_a_key_that_only_rocketmq_uses_is_mentioned():
    _, notices = broker(sendMessageThreadPoolNums="16", kvConfigPath="x", inSyncReplicas="1")
    assert [notice.level for notice in notices] == [logging.INFO] * 3
    assert notices[0].text == "flag: sendMessageThreadPoolNums is not used by this role of ledgermq"


def test_a_promise_that_cannot_be_kept_is_an_error():
    with pytest.raises(ConfigError) as caught:
        broker(authenticationEnabled="true")
    assert str(caught.value) == (
        "flag: authenticationEnabled=true: not supported by ledgermq yet (everyone would be let in); "
        "allowed: false"
    )
    with pytest.raises(
        ConfigError, match=r"would take messages of its own.; allowed: ASYNC_MASTER or SYNC_MASTER"
    ):
        broker(brokerRole="SLAVE")
    assert [notice.level for notice in broker(brokerRole="SYNC_MASTER")[1]] == [logging.INFO]


def test_values_that_contradict_each_other_are_errors():
    with pytest.raises(ConfigError, match=r"maxMessageSize=4194304 does not fit .* at most 1007616 bytes"):
        broker(mappedFileSizeCommitLog="1048576")
    with pytest.raises(ConfigError, match=r"diskMaxUsedSpaceRatio=95, .* must not fall in this order"):
        broker(diskMaxUsedSpaceRatio="95")


def test_reads_a_broker_conf(tmp_path):
    path = write(tmp_path, "broker.conf", "# a comment\nbrokerName = broker-a\nlistenPort=\\\n 10921\n")
    assert read_file(path) == [
        Assignment("brokerName", "broker-a", f"{path} line 2"),
        Assignment("listenPort", "10921", f"{path} line 3"),
    ]


def test_reads_toml(tmp_path):
    text = 'brokerName = "a"\n[store]\n"flushDiskType" = "SYNC_FLUSH"\nmaxMessageSize = 1_000\n'
    path = write(tmp_path, "broker.toml", text + "messageIndexEnable=false\nx.y = 1\n")
    with pytest.raises(ConfigError, match=r"x={'y': 1}: allowed: a string, a whole number, true or false"):
        read_file(path)
    path = write(tmp_path, "broker.toml", text + "messageIndexEnable=false\n")
    assert read_file(path) == [
        Assignment("brokerName", "a", f"{path} line 1"),
        Assignment("flushDiskType", "SYNC_FLUSH", f"{path} line 3"),
        Assignment("maxMessageSize", "1000", f"{path} line 4"),
        Assignment("messageIndexEnable", "false", f"{path} line 5"),
    ]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the configuration file .*: No such file"):
        read_file(tmp_path / "none.conf")
    bad = tmp_path / "bad.conf"
    bad.write_bytes(b"a=\xff")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 2"):
        read_file(bad)
    with pytest.raises(ConfigError, match="line 1"):
        read_file(write(tmp_path, "bad.toml", "a = = 1"))


def test_reads_the_environment():
    environ = {
        "LEDGERMQ_BROKER_IP1": "10.0.0.1",
        "NAMESRV_ADDR": "a:1",
        "LEDGERMQ_NAMESRV_ADDR": "b:2",
        "LEDGERMQ_NAMESRV_LISTEN_PORT": "9999",
        "LEDGERMQ_COMPILE": "1",
        "LEDGERMQ_BROKR_NAME": "x",
        "PATH": "/bin",
    }
    assignments, notices = read_environment(BrokerSettings, environ)
    settings, _ = load(BrokerSettings, assignments)
    assert settings.broker.broker_ip1 == "10.0.0.1"
    assert settings.broker.namesrv_addr == "b:2"
    assert settings.broker.listen_port == 10911
    assert notices == [
        Notice(
            logging.WARNING, "environment LEDGERMQ_BROKR_NAME: unknown; did you mean LEDGERMQ_BROKER_NAME?"
        )
    ]
    assignments, _ = read_environment(NameServerSettings, environ)
    assert assignments == [Assignment("listenPort", "9999", "environment LEDGERMQ_NAMESRV_LISTEN_PORT")]


def test_environment_names_are_unique_but_for_the_sockets():
    names = [key.env for kind in (BrokerSettings, NameServerSettings) for key in keys_of(kind).values()]
    sockets = [key for key in keys_of(BrokerSettings).values() if key.section == "remoting"]
    assert len(names) - len(set(names)) == len(sockets)


def test_a_live_update_changes_a_running_broker():
    settings = BrokerSettings()
    role = settings.broker
    changes, notices = update(settings, "brokerPermission=4\ntraceOn=true\nsendMessageThreadPoolNums=1")
    assert changes == [Change("brokerPermission", "6", "4")]
    assert role.broker_permission == 4
    assert [notice.level for notice in notices] == [logging.INFO]


def test_what_was_got_can_be_sent_back():
    settings = BrokerSettings()
    text = "".join(f"{key}={value}\n" for key, value in texts_of(settings).items())
    assert update(settings, text) == ([], [])


@pytest.mark.parametrize(
    ("line", "error", "text"),
    [
        ("configBlackList=", ForbiddenKeyError, "black list"),
        (
            "maxMessageSize=1",
            ForbiddenKeyError,
            "line 2: maxMessageSize=1: maxMessageSize is on the black list",
        ),
        ("listenPort=1", ConfigError, "listenPort is read at start-up only .now 10911."),
        (
            "brokerPermision=4",
            ConfigError,
            "line 2: unknown key brokerPermision; did you mean brokerPermission?",
        ),
        ("fileReservedTime=soon", ConfigError, "line 2: fileReservedTime=soon: allowed: a whole number"),
        ("diskMaxUsedSpaceRatio=99", ConfigError, "must not fall"),
        ("aclEnable=true", ConfigError, "not supported"),
    ],
)
def test_a_refused_update_changes_nothing(line, error, text):
    settings, _ = broker(configBlackList="maxMessageSize; x")
    with pytest.raises(error, match=text):
        update(settings, f"brokerPermission=4\n{line}")
    assert settings.broker.broker_permission == 6


def test_a_name_server_is_updated_too():
    settings = NameServerSettings()
    changes, _ = update(settings, "orderMessageEnable=true")
    assert [change.key for change in changes] == ["orderMessageEnable"]
    with pytest.raises(ForbiddenKeyError):
        update(settings, "kvConfigPath=/etc/passwd")
