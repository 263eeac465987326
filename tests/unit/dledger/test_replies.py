"""Answers made from a template are those that are encoded."""

from __future__ import annotations

import pytest
from librt.strings import BytesWriter

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.replies import AppendTemplate
from ledgermq.dledger.requests import AppendReply, encode
from ledgermq.remoting.codes import FLAG_RESPONSE
from ledgermq.remoting.command import Command, encode_command


@pytest.mark.parametrize("group", ["g", "%d", 'a"index":0b', "é"])
@pytest.mark.parametrize("leader_id", ["n0", None])
@pytest.mark.parametrize(
    ("opaque", "index", "pos"), [(0, 0, 0), (-7, 1, 2), (7, 12, 3456), (2**31 - 1, 2**40, 2**50)]
)
def test_a_frame_is_what_encoding_makes(
    group: str, leader_id: str | None, opaque: int, index: int, pos: int
) -> None:
    command = Command(DLedgerCode.SUCCESS)
    command.flag = FLAG_RESPONSE
    command.opaque = opaque
    command.body = encode(AppendReply(group=group, leader_id=leader_id, term=5, index=index, pos=pos))
    out = BytesWriter()
    out.write(b"before")
    AppendTemplate(group, leader_id, 5).write(out, opaque, index, pos)
    assert out.getvalue() == b"before" + encode_command(command)
