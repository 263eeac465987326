"""The local file of a broadcasting consumer's offsets."""

import asyncio
from pathlib import Path

import pytest

from ledgermq.client.errors import ClientError
from ledgermq.client.offset_store import FileOffsets
from ledgermq.client.queues import MessageQueue

A, B = MessageQueue("t", "a", 0), MessageQueue("t", "b", 1)


async def opened(path: Path) -> FileOffsets:
    offsets = FileOffsets()
    await offsets.open(path)
    return offsets


def test_offsets_are_kept_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "client" / "group" / "offsets.json"

    async def test() -> None:
        first = await opened(path)
        assert await first.read(A) is None
        await first.write({A: 5}, wait=True)
        await first.write({B: 7}, wait=True)
        second = await opened(path)
        assert [await second.read(queue) for queue in (A, B)] == [5, 7]

    asyncio.run(test())
    assert [file.name for file in path.parent.iterdir()] == ["offsets.json"]
    assert path.read_bytes().startswith(b'{"offsetTable":{{"topic":"t","brokerName":"a","queueId":0}:5')


def test_a_file_that_java_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "offsets.json"
    path.write_text('{\n\t"offsetTable":{{\n\t\t"brokerName":"a",\n"queueId":0,\n"topic":"t"\n}:42\n}\n}')

    async def test() -> None:
        assert await (await opened(path)).read(A) == 42

    asyncio.run(test())


@pytest.mark.parametrize("damage", ["", "{", '{"offsetTable":[]}', '{"offsetTable":{"x":1}}', "[]"])
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "offsets.json"
    path.write_text(damage)
    with pytest.raises(ClientError, match=r"offsets\.json holds no offsets: .*; remove it to begin anew"):
        asyncio.run(opened(path))


def test_what_did_not_change_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "offsets.json"

    async def test() -> None:
        offsets = await opened(path)
        await offsets.write({A: 5}, wait=False)
        path.unlink()
        await offsets.write({A: 5}, wait=False)
        assert not path.exists()
        await offsets.write({A: 6}, wait=False)
        assert path.exists()

    asyncio.run(test())


def test_a_file_that_cannot_be_written_does_not_stop_the_consumer(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    async def test() -> None:
        offsets = FileOffsets()
        offsets._path = blocked / "offsets.json"
        await offsets.write({A: 5}, wait=True)
        assert await offsets.read(A) == 5

    asyncio.run(test())
