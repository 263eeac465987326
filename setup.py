"""Build ledgermq: what pyproject.toml describes, and the hot modules compiled by mypyc.

The hot modules are listed in pyproject.toml, ``[tool.ledgermq] hot-modules``. They become extension modules
when a wheel is built; a source distribution and an editable install are pure Python, so that an extension
module never stands beside a newer source. When compiling is impossible (no C compiler, no headers, a platform
mypyc does not know) the same sources go into the wheel alone and run interpreted.

The environment variable LEDGERMQ_COMPILE decides: 0 does not try, 1 makes a failure an error.
"""

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext

COMPILE = os.environ.get("LEDGERMQ_COMPILE", "")


def hot_extensions() -> list[Any]:
    """The extension modules, translated to C; none when they cannot be."""
    if "bdist_wheel" not in sys.argv or COMPILE == "0":
        return []
    names = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["tool"]["ledgermq"]["hot-modules"]
    paths = [f"src/{name.replace('.', '/')}.py" for name in names]
    try:
        from mypyc.build import mypycify

        # Types are checked by `make check`; here only what the compiler needs must hold, so that a newer
        # library with other annotations does not stop an installation.
        flags = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]
        return mypycify([*flags, *paths], group_name="ledgermq", debug_level="0")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the sources run as they are
        give_up(error)
        return []


class BuildAllOrNone(build_ext):
    """Compiles all hot modules or, if one fails, leaves none: half of a compiled group cannot be imported."""

    def run(self) -> None:
        """Compile."""
        try:
            super().run()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            give_up(error)
            for output in self.get_outputs():
                Path(output).unlink(missing_ok=True)
            self.extensions = []


def give_up(error: BaseException) -> None:
    """Say why the modules stay interpreted, or stop if they must not."""
    if COMPILE == "1":
        raise error
    reason = f"{type(error).__name__}: {error}"[:200]
    sys.stderr.write(f"ledgermq: hot modules are not compiled and will run interpreted: {reason}\n")


setup(ext_modules=hot_extensions(), cmdclass={"build_ext": BuildAllOrNone})
