"""The examples of README.md and docs/client.md are run as they stand, one after the other."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from tests.integration.client.test_scenarios import world_of_ours

ROOT = Path(__file__).parents[3]


def examples() -> list[str]:
    text = (ROOT / "README.md").read_text() + (ROOT / "docs" / "client.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for block in blocks if "asyncio.run" in block]


@pytest.mark.slow
def test_the_examples_run(tmp_path: Path) -> None:
    async def test() -> None:
        async with world_of_ours(tmp_path) as world:
            for number, example in enumerate(examples()):
                script = tmp_path / f"example_{number}.py"
                script.write_text(example.replace("127.0.0.1:9876", world.name_servers))
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-Werror",
                    str(script),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                )
                output, _ = await asyncio.wait_for(process.communicate(), 30)
                assert process.returncode == 0, f"{example}\n{output.decode()}"
                assert b"Traceback" not in output

    assert len(examples()) == 7
    asyncio.run(test())
