"""Facts about this build: version, and whether the hot modules run compiled or interpreted."""

import importlib
import importlib.util
import platform

from ledgermq import __version__

# A hot module that every build compiles if it compiles any; asking it answers for all.
_PROBE = "ledgermq.message.hashing"


def is_compiled() -> bool:
    """True when the hot modules are mypyc extension modules."""
    spec = importlib.util.find_spec(_PROBE)
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")


def version_line() -> str:
    """What `ledgermq --version` prints, for example `ledgermq 0.1.0 (compiled, CPython 3.11.7)`."""
    mode = "compiled" if is_compiled() else "interpreted"
    return f"ledgermq {__version__} ({mode}, {platform.python_implementation()} {platform.python_version()})"
