"""The broker's tables on disk: which table is in which file of ``config/``, and when it is written.

A table counts its changes; a file is written when the table has more than at the last write. Topics and
groups are written when they change (:meth:`ConfigFiles.save_soon`; an operator's change is answered when it
is on disk, :meth:`ConfigFiles.save`), offsets every few seconds (:meth:`ConfigFiles.save_changed`), all of
them at the end. A file is written once at a time: changes that come meanwhile share the next write. Of the
large tables the text of each item is kept, so that making a topic costs one topic and not all of them.

A write that fails is logged and tried again with the next: each is of the whole table, into a new file.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from ledgermq.broker.pretty_json import pretty_file, pretty_item, pretty_map, pretty_value
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.json_body import decode_json
from ledgermq.runtime.state_file import load_state_file, write_state_file

log: Final = logging.getLogger("ledgermq.broker")

TOPICS_FILE: Final = "topics.json"
GROUPS_FILE: Final = "subscriptionGroup.json"
OFFSETS_FILE: Final = "consumerOffset.json"
DELAY_FILE: Final = "delayOffset.json"

T = TypeVar("T")


_INTEGER_KEY: Final = re.compile(rb"([{,]\s*+)(-?\d++)(\s*+:)")


def decode_file(kind: type[T], data: bytes) -> T:
    """A file's content as ``kind``. Raises ValueError.

    Integer keys are quoted first, so that what Java and we write in pretty form (``{0:1}``) is read at the
    speed of a library: offsets can be many megabytes. Where this hits inside a text the result is no JSON any
    more, and the content is read as it is.
    """
    try:
        return msgspec.json.decode(_INTEGER_KEY.sub(rb'\1"\2"\3', data), type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return decode_json(kind, data)


class _Items:
    """The items of a file's large map as text, so that a change costs its item and not the table.

    The texts belong to the worker that writes the file: :meth:`take` runs on the loop, :meth:`update` there.
    """

    def __init__(self, table: Mapping[str, object]) -> None:
        self._table = table
        self._changed: dict[str, None] = dict.fromkeys(table)
        self._texts: dict[str, str] = {}

    def changed(self, key: str) -> None:
        self._changed[key] = None

    def take(self) -> list[tuple[str, object]]:
        """What has changed since the last call; None stands for an item that is gone."""
        taken = [(key, self._table.get(key)) for key in self._changed]
        self._changed = {}
        return taken

    def update(self, taken: list[tuple[str, object]]) -> list[str]:
        """The texts of all items, after ``taken`` have changed."""
        for key, value in taken:
            if value is None:
                self._texts.pop(key, None)
            else:
                self._texts[key] = pretty_item(key, msgspec.to_builtins(value))
        return list(self._texts.values())


class _File:
    def __init__(
        self, path: Path, content: Callable[[], msgspec.Struct], changes: Callable[[], int], table: str | None
    ) -> None:
        self.path = path
        self._content = content
        self.changes = changes
        self._table = table
        self._items = None if table is None else _Items(getattr(content(), table))
        self.written = changes()
        """``changes()`` of what is on disk; it starts as what was loaded."""
        self.writing: asyncio.Task[None] | None = None
        self.again = False
        """Asked for while it was being written: it is written once more after that."""

    def item_changed(self, key: str) -> None:
        if self._items is not None:
            self._items.changed(key)

    def snapshot(self) -> Callable[[], bytes]:
        """What the file is to hold now; the text is made when a worker calls what is returned."""
        content = self._content()
        fields: dict[str, object] = {}
        names = zip(content.__struct_fields__, content.__struct_encode_fields__, strict=True)
        for name, wire_name in names:
            value = getattr(content, name)
            if name == self._table and self._items is not None:
                fields[wire_name] = partial(self._items.update, self._items.take())
            else:
                fields[wire_name] = dict(value) if isinstance(value, dict) else msgspec.to_builtins(value)
        return lambda: pretty_file({name: _text(value) for name, value in fields.items()})


def _text(value: object) -> str:
    """The text of a field, made on a worker. A map goes item by item, for the loop is to run in between; an
    item that changes meanwhile is written as it is then, and the file once more."""
    if callable(value):
        return pretty_map(value())
    if isinstance(value, dict):
        return pretty_map([pretty_item(key, msgspec.to_builtins(item)) for key, item in value.items()])
    return pretty_value(value)


class ConfigFiles:
    """Loads and writes the files of one ``config`` directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files: dict[str, _File] = {}

    def load(self, name: str, kind: type[T]) -> T | None:
        """The file as ``kind``, or its previous state if it is damaged; None when there is neither.

        Raises ValueError naming the file when nothing can be read.
        """
        return load_state_file(self.directory / name, lambda data: decode_file(kind, data))

    def track(
        self,
        name: str,
        content: Callable[[], msgspec.Struct],
        changes: Callable[[], int],
        table: str | None = None,
    ) -> None:
        """From now on ``content()`` is to stand in the file ``name``; ``changes()`` never falls.

        ``table``: this field of the content is a large map, always the same one; whoever changes an item
        of it calls :meth:`item_changed`. Call this after the table has been loaded.
        """
        self._files[name] = _File(self.directory / name, content, changes, table)

    def item_changed(self, name: str, key: str) -> None:
        """An item of the file's large map has come, changed or gone: begin to write the file."""
        self._files[name].item_changed(key)
        self.save_soon(name)

    async def save(self, name: str) -> None:
        """Return when everything changed so far is safe: on disk. Raises PeerError when it cannot be."""
        await self._write_out(name)

    async def _write_out(self, name: str) -> None:
        file = self._files[name]
        wanted = file.changes()
        while file.written < wanted:
            try:
                await asyncio.shield(self._writing(name))
            except OSError as error:
                remark = f"the change is in force but not on disk, {file.path} cannot be written: {error}"
                raise PeerError(ResponseCode.SYSTEM_ERROR, remark) from None

    def save_soon(self, name: str) -> None:
        """Begin to write the file, if it has changed."""
        file = self._files[name]
        if file.writing is not None:
            file.again = True
        elif file.written < file.changes():
            self._writing(name)

    def save_changed(self) -> None:
        """Begin to write every file that has changed."""
        for name in self._files:
            self.save_soon(name)

    async def close(self) -> None:
        """Write what has changed and wait for it."""
        for name in self._files:
            try:
                await self._write_out(name)
            except PeerError as error:
                log.error("%s", error.remark)

    def _writing(self, name: str) -> asyncio.Task[None]:
        file = self._files[name]
        # A write that has ended but whose callback has not run yet must not be waited for: awaiting it gives
        # the loop no turn, so the callback would never run.
        if file.writing is None or file.writing.done():
            file.writing = asyncio.get_running_loop().create_task(self._write(file))
            file.writing.add_done_callback(lambda task: self._wrote(name, task))
        return file.writing

    async def _write(self, file: _File) -> None:
        # What is written is what the table holds when the turn of the loop is over, not in its midst.
        await asyncio.sleep(0)
        seen = file.changes()
        encode = file.snapshot()
        await asyncio.get_running_loop().run_in_executor(None, _write_file, file.path, encode)
        file.written = seen

    def _wrote(self, name: str, task: asyncio.Task[None]) -> None:
        file = self._files[name]
        if file.writing is task:
            file.writing = None
        again, file.again = file.again, False
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("%s cannot be written, it will be tried again: %s", file.path, error)
        elif again:
            self.save_soon(name)


def _write_file(path: Path, encode: Callable[[], bytes]) -> None:
    write_state_file(path, encode())
