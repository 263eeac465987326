"""The tables' files: when they are written, what happens when the disk refuses, what is read back."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.integration.broker.asking import GROUP, TOPIC, asking, run

from ledgermq.broker import persistence
from ledgermq.broker.offsets import OffsetsRead
from ledgermq.broker.persistence import ConfigFiles, decode_file
from ledgermq.broker.pretty_json import pretty_item
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.runtime.limits import DIALECT_BYTES_MAX

NAME = "table.json"


class Content(msgspec.Struct):
    value: int


class Table:
    """A value and how often it was set."""

    def __init__(self) -> None:
        self.value = 0
        self.changes = 0

    def set(self, value: int) -> None:
        self.value = value
        self.changes += 1


class Disk:
    """Writes as the real one but can be held up, and refuse."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[Path] = []
        self.refuse = False
        self._really = persistence._write_file
        monkeypatch.setattr(persistence, "_write_file", self._write)

    def _write(self, path: Path, encode: Callable[[], bytes]) -> None:
        if self.refuse:
            raise OSError(28, "No space left on device")
        self.written.append(path)
        self._really(path, encode)


def tracked(folder: Path) -> tuple[ConfigFiles, Table]:
    files, table = ConfigFiles(folder), Table()
    files.track(NAME, lambda: Content(table.value), lambda: table.changes)
    return files, table


def read(folder: Path) -> object:
    return json.loads((folder / NAME).read_text())


def test_save_returns_when_the_change_is_on_disk(tmp_path: Path) -> None:
    async def test() -> None:
        files, table = tracked(tmp_path)
        table.set(1)
        await files.save(NAME)
        assert read(tmp_path) == {"value": 1}
        table.set(2)
        await files.save(NAME)
        assert read(tmp_path) == {"value": 2}
        assert json.loads((tmp_path / f"{NAME}.bak").read_text()) == {"value": 1}

    run(test())


def test_what_has_not_changed_is_not_written(tmp_path: Path) -> None:
    async def test() -> None:
        files, _ = tracked(tmp_path)
        await files.save(NAME)
        files.save_soon(NAME)
        files.save_changed()
        await files.close()
        assert not (tmp_path / NAME).exists()

    run(test())


def test_changes_that_come_during_a_write_share_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)

    async def test() -> None:
        files, table = tracked(tmp_path)
        saves = []
        for value in range(1, 101):
            table.set(value)
            saves.append(asyncio.create_task(files.save(NAME)))
            if value % 50 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*saves)
        assert read(tmp_path) == {"value": 100}
        assert len(disk.written) <= 3

    run(test())


def test_save_soon_during_a_write_writes_again(tmp_path: Path) -> None:
    async def test() -> None:
        files, table = tracked(tmp_path)
        table.set(1)
        first = asyncio.create_task(files.save(NAME))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        table.set(2)
        files.save_soon(NAME)
        await first
        await files.close()
        assert read(tmp_path) == {"value": 2}

    run(test())


class Large(msgspec.Struct, rename="camel"):
    number: int
    large_table: dict[str, dict[str, int]]


def test_of_a_large_table_only_what_changed_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []

    def note(key: str, value: object) -> str:
        encoded.append(key)
        return pretty_item(key, value)

    monkeypatch.setattr(persistence, "pretty_item", note)

    async def test() -> None:
        files, large, changes = ConfigFiles(tmp_path), Large(0, {"old": {"a": 1}, "gone": {}}), 0
        files.track(NAME, lambda: large, lambda: changes, "large_table")

        def change(key: str, value: dict[str, int] | None) -> None:
            nonlocal changes
            changes += 1
            large.number = changes
            if value is None:
                del large.large_table[key]
            else:
                large.large_table[key] = value
            files.item_changed(NAME, key)

        change("new", {"b": 2})
        await files.save(NAME)
        assert sorted(encoded) == ["gone", "new", "old"], "all of them the first time"
        assert read(tmp_path) == {"number": 1, "largeTable": large.large_table}
        encoded.clear()
        change("new", {"b": 3})
        change("gone", None)
        change("short", {})
        change("short", None)
        await files.save(NAME)
        assert encoded == ["new"]
        assert read(tmp_path) == {"number": 5, "largeTable": {"old": {"a": 1}, "new": {"b": 3}}}

    run(test())


def test_a_change_during_a_write_of_a_large_table_is_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)

    async def test() -> None:
        files, large, changes = ConfigFiles(tmp_path), Large(0, {}), 0
        files.track(NAME, lambda: large, lambda: changes, "large_table")
        disk.refuse = True
        for n in range(30):
            changes += 1
            large.large_table[f"t{n % 10}"] = {"n": n}
            files.item_changed(NAME, f"t{n % 10}")
            if n == 15:
                disk.refuse = False
            await asyncio.sleep(0.001 if n % 3 == 0 else 0)
        await files.close()
        assert read(tmp_path) == {"number": 0, "largeTable": large.large_table}

    run(test())


def test_a_full_disk_is_reported_and_overcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)

    async def test() -> None:
        files, table = tracked(tmp_path)
        table.set(1)
        disk.refuse = True
        with pytest.raises(PeerError, match=r"not on disk.*No space left") as refused:
            await files.save(NAME)
        assert refused.value.code == ResponseCode.SYSTEM_ERROR
        await files.close()
        disk.refuse = False
        files.save_changed()
        await files.close()
        assert read(tmp_path) == {"value": 1}

    run(test())


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic(attributes="+message.type=FIFO")
            await broker.create_group()
            await broker.ask(
                RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN, group=GROUP, topic="X", readable="false"
            )
            await broker.commit(5)
            configs = dict(broker.broker.topics.configs), dict(broker.broker.groups.configs)
        async with asking(tmp_path) as broker:
            assert (broker.broker.topics.configs, broker.broker.groups.configs) == configs
            assert broker.broker.offsets.consumed(GROUP, TOPIC, 0) == 5
            assert not broker.broker.groups.may_read(GROUP, "X")

    run(test())


def test_a_damaged_file_gives_way_to_its_backup(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic("First")
            await broker.create_topic("Second")
        (tmp_path / "config" / "topics.json").write_bytes(b'{"dataVersion":{')
        async with asking(tmp_path) as broker:
            assert broker.broker.topics.find("First") is not None
        (tmp_path / "config" / "topics.json").write_bytes(b"[]")
        (tmp_path / "config" / "topics.json.bak").write_bytes(b"{}")
        with pytest.raises(ValueError, match=r"topics\.json"):
            async with asking(tmp_path):
                pass

    run(test())


@pytest.mark.slow
def test_large_files_with_unquoted_keys_are_read_quickly(tmp_path: Path) -> None:
    queues = b",".join(b"\n\t\t\t%d:%d" % (queue, queue) for queue in range(400_000))
    text = b'{"offsetTable":{"T@G":{' + queues + b'},"T@H":{-1:5 }}}'
    assert len(text) > DIALECT_BYTES_MAX
    table = decode_file(OffsetsRead, text).offset_table
    assert table["T@G"] == {queue: queue for queue in range(400_000)}
    assert table["T@H"] == {-1: 5}


def test_what_looks_like_a_key_inside_a_text_stays_as_it_is() -> None:
    assert decode_file(dict[str, str], b'{"a":"{1:2,3:4",5:"x"}') == {"a": "{1:2,3:4", "5": "x"}
    assert decode_file(dict[str, str], b'{"a":"{1:2"}') == {"a": "{1:2"}
    for garbage in (b"", b"{", b"\xff", b"[1]"):
        with pytest.raises(ValueError, match=r"."):
            decode_file(dict[str, str], garbage)
