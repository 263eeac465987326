"""A table's file is asked for in the very turn of the loop in which a write of it ends."""

import asyncio
from pathlib import Path

import msgspec

from ledgermq.broker.persistence import ConfigFiles


class Content(msgspec.Struct):
    changes: int


def test_a_change_that_comes_as_a_write_ends_is_written(tmp_path: Path) -> None:
    """The write's task is done, its callback has not run: waiting for it again and again gave the loop no
    turn, and the broker answered nobody any more."""
    changes = 1
    files = ConfigFiles(tmp_path)
    files.track("table.json", lambda: Content(changes), lambda: changes)

    async def change_as_the_write_ends(writing: asyncio.Task[None]) -> None:
        nonlocal changes
        while not writing.done():  # noqa: ASYNC110 - exactly the turn in which it is done is wanted
            await asyncio.sleep(0)
        changes += 1
        await files.save("table.json")

    async def test() -> None:
        nonlocal changes
        for _ in range(20):
            changes += 1
            files.save_soon("table.json")
            writing = files._files["table.json"].writing
            assert writing is not None
            await asyncio.gather(*(change_as_the_write_ends(writing) for _ in range(3)))
            while files._files["table.json"].writing is not None:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0)

    asyncio.run(test())
    assert f'"changes":{changes}' in (tmp_path / "table.json").read_text().replace(" ", "").replace("\t", "")
