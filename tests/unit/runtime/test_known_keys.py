import re
from pathlib import Path

import ledgermq.runtime
from ledgermq.runtime.config import BrokerSettings, NameServerSettings
from ledgermq.runtime.config_keys import keys_of
from ledgermq.runtime.known_keys import UNSUPPORTED, UNUSED


def test_a_key_is_used_or_unused_or_unsupported():
    used = {*keys_of(BrokerSettings), *keys_of(NameServerSettings)}
    assert not used & UNUSED
    assert not used & set(UNSUPPORTED)
    assert not UNUSED & set(UNSUPPORTED)


def test_every_key_of_the_tables_is_read_by_some_code():
    sources = Path(ledgermq.runtime.__file__).parents[1].rglob("*.py")
    code = "\n".join(path.read_text("utf-8") for path in sources if path.name != "config.py")
    keys = {**keys_of(BrokerSettings), **keys_of(NameServerSettings)}
    unread = [name for name, key in keys.items() if not re.search(rf"\.{key.attribute}\b", code)]
    assert unread == [], "a setting that does nothing belongs to known_keys.py"
