from ledgermq.runtime.config import BrokerSettings, NameServerSettings
from ledgermq.runtime.config_keys import keys_of
from ledgermq.runtime.known_keys import UNSUPPORTED, UNUSED


def test_a_key_is_used_or_unused_or_unsupported():
    used = {*keys_of(BrokerSettings), *keys_of(NameServerSettings)}
    assert not used & UNUSED
    assert not used & set(UNSUPPORTED)
    assert not UNUSED & set(UNSUPPORTED)
