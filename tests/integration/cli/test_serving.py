"""serve, nameserver and broker as processes: what they print, refuse, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

LEDGERMQ = [sys.executable, "-m", "ledgermq.cli"]
SECONDS_MAX = 30


def environment() -> dict[str, str]:
    return {
        name: text
        for name, text in os.environ.items()
        if name != "NAMESRV_ADDR" and not name.startswith("LEDGERMQ_")
    }


@contextmanager
def started(folder: Path, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*LEDGERMQ, *arguments],
        cwd=folder,
        env=environment() | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def facts(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The line of ``--print-json``."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    found: dict[str, Any] = json.loads(line)
    return found


def run(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LEDGERMQ, *arguments],
        cwd=folder,
        env=environment() | env,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str, float]:
    """Status, stderr and seconds of an end by signal."""
    begin = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS_MAX)
    return process.returncode, err, time.monotonic() - begin


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_starts_serves_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, "serve", "--port", "0", "--print-json") as process:
        told = facts(process)
        assert told["pid"] == process.pid
        assert told["store"] == str(tmp_path / "ledgermq-data")
        assert told["log"] == str(tmp_path / "ledgermq-data" / "logs" / "ledgermq.log")
        addresses = [told["name_server"], told["broker"], told["fast_port"]]
        assert len(set(addresses)) == 3
        for address in addresses:
            host, port = address.split(":")
            socket.create_connection((host, int(port))).close()
        sent = run(tmp_path, "send", "hello", "first", "-n", told["name_server"])
        assert sent.stdout.startswith("sent to hello queue")
        assert (tmp_path / "ledgermq-data" / "abort").exists()
        status, err, seconds = end(process, number)
    assert (status, err) == (0, "")
    assert seconds < 3, "a second on a quiet machine"
    assert not (tmp_path / "ledgermq-data" / "abort").exists()
    log = (tmp_path / "ledgermq-data" / "logs" / "ledgermq.log").read_text()
    assert "WARNING" not in log
    assert "ERROR" not in log


def test_what_was_sent_is_there_after_a_restart(tmp_path: Path) -> None:
    with started(tmp_path, "serve", "--port", "0", "--print-json") as process:
        name_server = facts(process)["name_server"]
        assert run(tmp_path, "send", "hello", "kept", "-n", name_server).returncode == 0
        process.kill()
    with started(tmp_path, "serve", "--port", "0", "--print-json") as process:
        name_server = facts(process)["name_server"]
        arguments = ["--from-first", "--count", "1", "--timeout", "20", "-n", name_server]
        assert run(tmp_path, "consume", "hello", *arguments).stdout.endswith(": kept\n")
        assert end(process)[0] == 0


def test_the_block_says_where_everything_is_and_what_to_try(tmp_path: Path) -> None:
    with started(tmp_path, "serve", "--port", "0", "--store", "data", "--log", "-") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        assert lines[0].startswith("ledgermq 0.")
        roles = {line[2:15].strip(): line[16:].strip() for line in lines[1:5]}
        assert list(roles) == ["name server", "broker", "fast port", "store"]
        assert roles["store"] == str(tmp_path / "data")
        assert lines[5] == f"Try:  ledgermq send hello 'first message' -n {roles['name server']}\n"
        name_server = roles["name server"]
        assert run(tmp_path, "send", "hello", "first message", "-n", name_server).returncode == 0
        status, err, _ = end(process)
    assert status == 0
    assert f"broker: registered with name server {name_server}" in err


def test_roles_apart(tmp_path: Path) -> None:
    with started(tmp_path, "nameserver", "--port", "0", "--print-json") as names:
        name_server = facts(names)["name_server"]
        (tmp_path / "broker.conf").write_text("brokerName = a\nlistenPort = 0\nstorePathRootDir = here\n")
        arguments = ["broker", "-c", "broker.conf", "-n", name_server, "--set", "brokerClusterName=C"]
        with started(tmp_path, *arguments, "--print-json") as broker:
            told = facts(broker)
            assert told["store"] == str(tmp_path / "here")
            assert run(tmp_path, "topic", "route", "C", "-n", name_server).stdout.split()[-5:-3] == [
                "a",
                told["broker"],
            ]
            assert end(broker)[0] == 0
        assert "has no route" in run(tmp_path, "topic", "route", "C", NAMESRV_ADDR=name_server).stderr
        status, err, _ = end(names)
        assert status == 0
        assert "registered" in err, "a name server alone logs to stderr"


def two_files(folder: Path) -> list[str]:
    """Flags for brokers a and b."""
    for name in "ab":
        text = f"brokerName = {name}\nlistenPort = 0\nstorePathRootDir = data-{name}\n"
        (folder / f"{name}.conf").write_text(text + "mappedFileSizeCommitLog = 8388608\n")
    return ["-c", "a.conf", "-c", "b.conf"]


def test_two_brokers_in_one_process(tmp_path: Path) -> None:
    with started(tmp_path, "serve", "--port", "0", *two_files(tmp_path), "--print-json") as process:
        told = facts(process)
        assert [(broker["name"], broker["store"]) for broker in told["brokers"]] == [
            ("a", str(tmp_path / "data-a")),
            ("b", str(tmp_path / "data-b")),
        ]
        assert told["log"] == str(tmp_path / "data-a" / "logs" / "ledgermq.log")
        name_server = told["name_server"]
        assert run(tmp_path, "topic", "create", "t", "-n", name_server).returncode == 0
        route = run(tmp_path, "topic", "route", "t", "-n", name_server, "--print-json")
        assert [(row["broker"], row["addresses"]) for row in json.loads(route.stdout)] == [
            (broker["name"], broker["broker"]) for broker in told["brokers"]
        ]
        assert end(process)[:2] == (0, "")


def test_the_block_of_two_brokers(tmp_path: Path) -> None:
    with started(tmp_path, "broker", *two_files(tmp_path)) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        for line, name in zip(lines[1:3], "ab", strict=True):
            assert re.fullmatch(rf"  broker +127[.0-9:]+ {name}, store {tmp_path}/data-{name}\n", line)
        assert end(process)[0] == 0


@pytest.mark.parametrize("flag", [("--store", "data"), ("--port", "20000")])
def test_two_brokers_need_stores_and_ports_of_their_own(tmp_path: Path, flag: tuple[str, str]) -> None:
    status, line = refusal(tmp_path, "broker", *two_files(tmp_path), *flag)
    key = {"--store": "storePathRootDir", "--port": "listenPort"}[flag[0]]
    assert status == 2
    assert line == f"a.conf and b.conf both have {key}={flag[1]}: each broker needs its own"


def a_group_of_one(folder: Path) -> list[str]:
    """Flags for a broker that is its whole group."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        peers = f"n0-127.0.0.1:{held.getsockname()[1]}"
    settings = {
        "brokerName": "a",
        "enableDLegerCommitLog": "true",
        "dLegerPeers": peers,
        "dLegerSelfId": "n0",
    }
    settings["mappedFileSizeCommitLog"] = "8388608"
    flags = ["--store", str(folder), "--port", "0"]
    return [*flags, *(part for key, text in settings.items() for part in ("--set", f"{key}={text}"))]


def http(url: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, type and body."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS_MAX) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_metrics(tmp_path: Path) -> None:
    arguments = ["serve", *a_group_of_one(tmp_path / "s"), "--metrics-port", "0", "--print-json"]
    with started(tmp_path, *arguments) as process:
        url = facts(process)["metrics"]
        while 'ledgermq_dledger_leads{group="a",member="n0"} 1' not in (page := http(url)[2]).splitlines():
            assert page.startswith("# HELP")
        assert http(url)[:2] == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert http(f"{url}?name=x")[0] == 200
        assert http(url, "HEAD")[::2] == (200, "")
        assert http(url.removesuffix("metrics"))[0] == 404
        assert http(url, "POST")[0] == 405
        # Who says nothing, or too much, troubles nobody else.
        host, port = url.split("/")[2].split(":")
        with socket.create_connection((host, int(port))), socket.create_connection((host, int(port))) as big:
            with suppress(OSError):
                big.sendall(b"GET /" + b"x" * 100_000)
            assert http(url)[0] == 200
        refused = refusal(tmp_path, "broker", "--port", "0", "--store", "other", "--metrics-port", port)
        assert refused[0] == 1
        assert refused[1].startswith(f"the metrics endpoint cannot start: cannot listen on {host}:{port}: ")
        assert end(process)[:2] == (0, "")


GROUP = "broker --port 0 --set enableDLegerCommitLog=true"


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (GROUP, 1, "enableDLegerCommitLog=true needs dLegerPeers, which is not set"),
        (f"{GROUP} --set dLegerPeers=n0-127.0.0.1:1", 1, "needs dLegerSelfId, which is not set"),
        (f"{GROUP} --set dLegerPeers=n0-h:1 --set dLegerSelfId=n1", 1, "selfId=n1 is none of peers=n0-h:1"),
        (f"{GROUP} --set dLegerSelfId=a", 2, "dLegerSelfId=a: allowed: one line of text of the form: n0, n1"),
    ],
)
def test_a_member_that_cannot_start(tmp_path: Path, arguments: str, status: int, why: str) -> None:
    got, line = refusal(tmp_path, *arguments.split())
    assert got == status
    assert why in line


def test_a_member_whose_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        peers = f"dLegerPeers=n0-127.0.0.1:{taken.getsockname()[1]}"
        settings = ["--set", peers, "--set", "dLegerSelfId=n0"]
        status, line = refusal(tmp_path, *GROUP.split(), *settings)
    assert status == 1
    assert line.endswith("Address already in use; stop who uses the port, or change dLegerPeers everywhere")


def test_a_member_whose_files_are_used_or_damaged(tmp_path: Path) -> None:
    member = a_group_of_one(tmp_path / "s")
    with started(tmp_path, "broker", *member, "--print-json") as process:
        facts(process)
        status, line = refusal(tmp_path, "broker", *member)
        assert status == 1
        assert f"s/dledger-n0 is used by another process (pid {process.pid}): stop that one" in line
        assert end(process)[0] == 0
    with next((tmp_path / "s" / "dledger-n0" / "data").iterdir()).open("ab") as file:
        file.write(b"x")
    status, line = refusal(tmp_path, "broker", *member)
    assert status == 1
    assert "has 8388609 bytes, mappedFileSizeForEntryData is 8388608" in line


def test_it_ends_with_its_standard_input(tmp_path: Path) -> None:
    with started(tmp_path, "broker", "--port", "0", "--while-stdin") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ledgermq 0.")
        _, err = process.communicate("not the end\n", timeout=SECONDS_MAX)
        assert (process.returncode, err) == (0, "")


def test_serve_keeps_to_itself(tmp_path: Path) -> None:
    """NAMESRV_ADDR is for clients: a broker tried out at home must not register with it."""
    env = {"NAMESRV_ADDR": "127.0.0.1:1", "LEDGERMQ_BROKER_NAME": "from-environment"}
    with started(tmp_path, "serve", "--port", "0", "--print-json", **env) as process:
        told = facts(process)
        assert (
            "from-environment" in run(tmp_path, "topic", "route", "TBW102", "-n", told["name_server"]).stdout
        )
        end(process)
        assert "127.0.0.1:1:" not in Path(told["log"]).read_text()


def test_with_a_name_server_that_is_not_there(tmp_path: Path) -> None:
    with started(tmp_path, "broker", "--port", "0", "-n", "127.0.0.1:1") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        assert lines[5].startswith("No client can find this broker: 127.0.0.1:1 does not answer.")
        end(process)


def test_without_a_name_server(tmp_path: Path) -> None:
    with started(tmp_path, "broker", "--port", "0") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        assert lines[5].startswith("No client can find this broker yet: start it with -n HOST:PORT")
        assert end(process)[0] == 0


def refusal(folder: Path, *arguments: str, **env: str) -> tuple[int, str]:
    """Status and the one line of a command that must not start."""
    done = run(folder, *arguments, **env)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    prefix, _, line = done.stderr.strip().partition(": ")
    assert prefix == "ledgermq"
    return done.returncode, line


def test_a_second_broker_on_the_same_store(tmp_path: Path) -> None:
    with started(tmp_path, "serve", "--port", "0", "--print-json") as process:
        facts(process)
        status, line = refusal(tmp_path, "broker", "--port", "0")
        assert status == 1
        assert line == (
            "the broker cannot start: the store ledgermq-data is used by another broker "
            f"(pid {process.pid}): stop that one, or give this one another directory with --store"
        )
        assert end(process)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "role", "flag"),
    [
        (("serve", "--broker-port", "0", "--port"), "name server", "--port"),
        (("serve", "--port", "0", "--broker-port"), "broker", "--broker-port"),
        (("nameserver", "--port"), "name server", "--port"),
        (("broker", "--port"), "broker", "--port"),
    ],
)
def test_a_port_in_use(tmp_path: Path, arguments: tuple[str, ...], role: str, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, line = refusal(tmp_path, *arguments, str(port))
    assert status == 1
    assert line == (
        f"the {role} cannot start: cannot listen on 127.0.0.1:{port}: Address already in use; "
        f"stop who uses the port, or choose another with {flag} (0: a free one)"
    )


def test_the_fast_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, line = refusal(tmp_path, "broker", "--port", str(port + 2))
    assert status == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in line


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        ("serve --port 65536", 2, "--port: listenPort=65536: allowed: a whole number from 0 to 65535"),
        ("serve --broker-port x", 2, "Invalid value for '--broker-port'"),
        ("serve --host 192.0.2.1", 1, "192.0.2.1:9876: Cannot assign requested address; --host must be"),
        ("serve --host no.such.host.invalid", 1, "cannot listen on no.such.host.invalid:9876"),
        ("serve --set flushDiskType=NOW", 2, "--set: flushDiskType=NOW: allowed: ASYNC_FLUSH or SYNC_FLUSH"),
        ("serve --set flushDiskType", 2, "--set flushDiskType: expected is KEY=VALUE"),
        ("serve --set aclEnable=true", 2, "--set: aclEnable=true: not supported by ledgermq yet"),
        ("serve --port 0 --store file", 1, "file"),
        ("serve --port 0 --log file/log", 1, "cannot write the log: "),
        ("broker -c missing.conf", 2, "cannot read the configuration file missing.conf: No such file"),
        ("broker -c bad.conf", 2, "bad.conf line 3: listenPort=many: allowed: a whole number"),
        ("broker -c bad.toml", 2, "bad.toml line 2: listenPort=many: allowed: a whole number"),
        ("broker -n nowhere", 2, "--name-servers: namesrvAddr=nowhere: allowed: "),
        ("broker --port 1", 1, "listenPort=1 leaves no number for the fast port"),
        ("nameserver -c bad.conf", 2, "bad.conf line 3: listenPort=many"),
        ("nameserver --port 0 --store damaged --log names.log", 1, "damaged/kvConfig.json"),
    ],
)  # fmt: skip
def test_what_cannot_start(tmp_path: Path, arguments: str, status: int, why: str) -> None:
    (tmp_path / "file").write_text("not a directory")
    (tmp_path / "bad.conf").write_text("# the broker\nbrokerName=a\nlistenPort=many\n")
    (tmp_path / "bad.toml").write_text('brokerName = "a"\nlistenPort = "many"\n')
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "kvConfig.json").write_text("{")
    got, line = refusal(tmp_path, *arguments.split())
    assert got == status
    assert why in line


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    config = tmp_path / "ledgermq-data" / "config"
    config.mkdir(parents=True)
    (config / "topics.json").write_text("{")
    status, line = refusal(tmp_path, "serve", "--port", "0")
    assert status == 1
    assert "topics.json cannot be read" in line


def test_without_its_checks_it_refuses(tmp_path: Path) -> None:
    command = [sys.executable, "-O", "-m", "ledgermq.cli", "serve", "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "ledgermq: Python runs with -O, which removes the checks that protect the data: leave it out\n"
    )
    assert not (tmp_path / "ledgermq-data").exists()


def test_notices_about_settings_go_to_stderr_and_the_log(tmp_path: Path) -> None:
    arguments = ["--set", "flushDiskTyp=SYNC_FLUSH", "--port", "0", "--log", "own/place.log"]
    with started(tmp_path, "serve", *arguments, "--print-json") as process:
        assert facts(process)["log"] == str(tmp_path / "own" / "place.log")
        errors = end(process)[1]
    log = (tmp_path / "own" / "place.log").read_text()
    text = "--set: unknown key flushDiskTyp; did you mean flushDiskType?"
    assert f"WARNING cli: {text}" in log
    assert errors == f"ledgermq: warning: {text}\n"


def test_the_version_is_told_at_once(tmp_path: Path) -> None:
    """Under 0.2 s; the processor time is what a busy machine does not change."""
    begin = os.times()
    for _ in range(5):
        assert run(tmp_path, "--version").stdout.startswith("ledgermq 0.")
    used = os.times()
    children = used.children_user + used.children_system - begin.children_user - begin.children_system
    assert children / 5 < 0.15


def test_on_every_interface(tmp_path: Path) -> None:
    with started(tmp_path, "serve", "--port", "0", "--host", "0.0.0.0", "--print-json") as process:
        told = facts(process)
        assert told["name_server"].startswith("127.0.0.1:")
        assert run(tmp_path, "send", "hello", "x", "-n", told["name_server"]).returncode == 0
        assert end(process)[0] == 0


def test_on_ipv6(tmp_path: Path) -> None:
    with started(tmp_path, "serve", "--port", "0", "--host", "::1", "--print-json") as process:
        try:
            told = facts(process)
        except AssertionError as error:
            if "Address family" in str(error) or "Cannot assign" in str(error):
                pytest.skip("no IPv6 here")
            raise
        assert told["name_server"].startswith("[::1]:")
        assert run(tmp_path, "send", "hello", "x", "-n", told["name_server"]).returncode == 0
        assert end(process)[0] == 0


def test_a_name_server_imports_neither_broker_nor_messages() -> None:
    code = (
        "import sys, ledgermq.cli.roles, ledgermq.nameserver.server\n"
        "print(*[name for name in sys.modules if name.startswith(('ledgermq.broker', 'ledgermq.message'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
