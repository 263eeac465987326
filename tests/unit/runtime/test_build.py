import re

from ledgermq.runtime.build import is_compiled, version_line


def test_the_version_says_how_the_hot_modules_run():
    mode = "compiled" if is_compiled() else "interpreted"
    assert re.fullmatch(rf"ledgermq \d+\.\d+\.\d+ \({mode}, \w+ [\d.]+\)", version_line())
