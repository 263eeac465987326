import re
from pathlib import Path

from ledgermq.runtime import limits


def test_every_limit_is_used():
    sources = Path(limits.__file__).parents[1].rglob("*.py")
    code = "\n".join(path.read_text("utf-8") for path in sources if path.name != "limits.py")
    unused = [name for name in vars(limits) if name.endswith("_MAX") and not re.search(rf"\b{name}\b", code)]
    assert unused == []
