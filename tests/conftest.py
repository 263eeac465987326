"""Shared by all tests. Fixtures of one room live in that room's conftest.

The package under test is the one installed in the running environment: the checkout itself in .venv, a wheel
with compiled modules in .venv-compiled. LEDGERMQ_TEST_BUILD (``interpreted`` or ``compiled``) says which one
is meant, so that a run never tests the other by accident.

Hypothesis tries the same examples each time; HYPOTHESIS_PROFILE=explore looks for new ones.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import ledgermq
from ledgermq.runtime.build import is_compiled, version_line

SOURCES = Path(__file__).parents[1] / "src" / "ledgermq"

# A busy machine is no failure.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(scope="session", autouse=True)
def half_full_disk() -> Iterator[None]:
    """Every file system is half full: how full this machine's is must not make a store refuse messages or
    delete files."""
    facts = os.statvfs("/")
    half = os.statvfs_result((facts.f_bsize, facts.f_frsize, 2000, 1000, 1000, *facts[5:]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "statvfs", lambda path: half)
        yield


def pytest_report_header() -> str:
    return f"{version_line()} from {Path(ledgermq.__file__).parent}"


def pytest_configure() -> None:
    build = "compiled" if is_compiled() else "interpreted"
    wanted = os.environ.get("LEDGERMQ_TEST_BUILD", build)
    if build != wanted:
        raise pytest.UsageError(f"these tests are to run {wanted}, but {ledgermq.__file__} is {build}")
    hiding = sorted(SOURCES.rglob("*.so"))
    if hiding:
        raise pytest.UsageError(f"extension modules hide the sources beside them; delete {hiding}")
