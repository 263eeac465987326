"""The Python example of docs/dledger.md is run as it stands, against a group of three."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from ledgermq.dledger.server import DLedgerServer
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.remoting.server import bind

DOCUMENT = Path(__file__).parents[3] / "docs" / "dledger.md"
PEERS = "n0-localhost:20911;n1-localhost:20912;n2-localhost:20913"


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    async def test(example: str) -> None:
        bound = [bind("127.0.0.1", 0) for _ in range(3)]
        peers = ";".join(f"n{i}-127.0.0.1:{one.getsockname()[1]}" for i, one in enumerate(bound))
        servers = [
            DLedgerServer(DLedgerSettings(group="g0", self_id=f"n{i}", peers=peers, store_type="MEMORY"))
            for i in range(3)
        ]
        for server, one in zip(servers, bound, strict=True):
            await server.start(one)
        try:
            script = tmp_path / "example.py"
            script.write_text(example.replace(PEERS, peers))
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-Werror",
                str(script),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await asyncio.wait_for(process.communicate(), 30)
        finally:
            for server in servers:
                await server.stop()
        assert process.returncode == 0, output.decode()
        assert output.endswith(b"b'an entry'\n")

    [example] = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert PEERS in example
    asyncio.run(test(example))
