"""The examples of docs/testing.md are run as they stand."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"
# The code under test of the page's first example.
SHIP_ALL = """
import asyncio
from ledgermq.client import Message, Producer


def ship_all(name_server):
    async def ship():
        async with Producer("shop", name_server) as producer:
            await producer.send(Message("parcels", b"#1"))

    asyncio.run(ship())

"""


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.slow
def test_examples_for_pytest(tmp_path: Path) -> None:
    blocks = [block for block in examples() if "asyncio.run" not in block]
    assert len(blocks) == 3
    use = "\n\ndef test_shared(broker):\n    assert broker.name_server\n"
    (tmp_path / "test_page.py").write_text(SHIP_ALL + "\n\n".join(blocks) + use)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--strict-markers", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_example_without_pytest(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [block for block in examples() if "asyncio.run" in block]
    exec(compile(block, str(PAGE), "exec"), {"asyncio": asyncio})
    assert capsys.readouterr().out
