from pathlib import Path

from ledgermq.runtime.config_reference import reference


def test_the_page_is_current():
    page = Path(__file__).parents[3] / "docs" / "configuration.md"
    assert page.read_text("utf-8") == reference(), "run `make docs`"
