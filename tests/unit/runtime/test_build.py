import importlib
import re
import tomllib
from pathlib import Path

import pytest

from ledgermq.runtime.build import is_compiled, version_line

ROOT = Path(__file__).parents[3]
HOT_MODULES = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ledgermq"]["hot-modules"]


def test_the_version_says_how_the_hot_modules_run():
    mode = "compiled" if is_compiled() else "interpreted"
    assert re.fullmatch(rf"ledgermq \d+\.\d+\.\d+ \({mode}, \w+ [\d.]+\)", version_line())


@pytest.mark.parametrize("name", HOT_MODULES)
def test_all_hot_modules_run_alike(name):
    origin = importlib.import_module(name).__file__
    assert origin is not None
    assert origin.endswith(".py") != is_compiled()


def test_a_module_says_that_it_is_compiled_if_it_is():
    saying = {
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        for path in (ROOT / "src").rglob("*.py")
        if "Rules of this file: it is compiled" in path.read_text("utf-8")
    }
    assert saying == set(HOT_MODULES)
