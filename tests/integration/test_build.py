"""Wheels from source: compiled when possible, interpreted when not, and never in between."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def sources(tmp_path):
    """A copy of what a wheel is built from, with two small hot modules so that it is quick."""
    copy = tmp_path / "sources"
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", ".mypy_cache")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
    for name in ("setup.py", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    hot = 'hot-modules = ["ledgermq.message.hashing", "ledgermq.message.properties"]'
    (copy / "pyproject.toml").write_text(
        re.sub(r"hot-modules = \[.*?\]", hot, project, flags=re.DOTALL), "utf-8"
    )
    return copy


def build(sources, **environment):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "wheels", "."]
    env = {key: value for key, value in os.environ.items() if key != "LEDGERMQ_COMPILE"} | environment
    return subprocess.run(command, cwd=sources, env=env, capture_output=True, text=True)


def extension_modules(sources):
    (wheel,) = (sources / "wheels").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert "ledgermq/message/hashing.py" in names
    assert "ledgermq/py.typed" in names
    return sorted(name.split(".")[0] for name in names if name.endswith(".so"))


def test_a_wheel_is_compiled(sources):
    done = build(sources, LEDGERMQ_COMPILE="1")
    assert done.returncode == 0, done.stderr
    assert extension_modules(sources) == [
        "ledgermq/message/hashing",
        "ledgermq/message/properties",
        "ledgermq__mypyc",
    ]


def test_without_a_compiler_the_wheel_is_interpreted(sources):
    done = build(sources, CC="false")
    assert done.returncode == 0, done.stderr
    assert "hot modules are not compiled and will run interpreted: " in done.stdout + done.stderr
    assert extension_modules(sources) == []


def test_compiling_can_be_forbidden(sources):
    assert build(sources, CC="false", LEDGERMQ_COMPILE="0").returncode == 0
    assert extension_modules(sources) == []


def test_compiling_can_be_demanded(sources):
    (sources / "src/ledgermq/message/hashing.py").write_text("wrong: int = ''\n")
    assert build(sources, LEDGERMQ_COMPILE="1").returncode != 0
    assert not list(sources.glob("wheels/*"))
