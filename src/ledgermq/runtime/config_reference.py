"""docs/configuration.md, written from the tables: ``python -m ledgermq.runtime.config_reference FILE``."""

import sys
import textwrap
from pathlib import Path

import msgspec

from ledgermq.runtime.config import BrokerSettings, NameServerSettings
from ledgermq.runtime.config_keys import Key, Settings, keys_of
from ledgermq.runtime.known_keys import UNSUPPORTED, UNUSED

_HEAD = """\
# Configuration

<!-- Written by `make docs` from src/ledgermq/runtime/config.py. Change it there. -->

ledgermq reads RocketMQ's own keys. A setting may stand, the later winning over the earlier,

1. in the configuration file given with `-c`: `key=value` lines as in RocketMQ's `broker.conf`, or TOML when
   the name ends in `.toml` (tables such as `[broker]` and `[store]` are allowed and mean nothing);
2. in the environment, under the name in the last column (`NAMESRV_ADDR` is read too, as RocketMQ does);
3. on the command line; `ledgermq COMMAND --help` shows the flags.

A value that is not allowed stops the start with the place, the key, the value and what is allowed. An unknown
key is a warning with the nearest known name.

*Live* settings can be changed while the server runs, with `mqadmin updateBrokerConfig` or
`mqadmin updateNamesrvConfig`; the others are read at start-up. `mqadmin getBrokerConfig` and
`getNamesrvConfig` show all of them.
"""

_UNSUPPORTED_HEAD = """\
## Keys that must keep their value

These keys of RocketMQ ask for what ledgermq does not do yet. Any value but those shown is an error at
start-up, because ignoring it would break a promise.

| key | allowed | otherwise |
| --- | --- | --- |
"""

_UNUSED_HEAD = """\
## Keys that are accepted and not used

A `broker.conf` or `namesrv.conf` in use may contain these keys of RocketMQ 5.5.0; each gives one line in the
log and changes nothing.

"""


def reference() -> str:
    """The page."""
    parts = [_HEAD]
    for title, kind, section in (
        ("Broker", BrokerSettings, "broker"),
        ("Broker: store", BrokerSettings, "store"),
        ("Name server", NameServerSettings, "nameserver"),
        ("Broker and name server: sockets", BrokerSettings, "remoting"),
    ):
        parts.append(_table(title, kind, section))
    rows = (
        f"| `{key}` | {' or '.join(map(_shown, values))} | {why} |\n"
        for key, (values, why) in UNSUPPORTED.items()
    )
    parts.append(_UNSUPPORTED_HEAD + "".join(rows))
    unused = ", ".join(f"`{key}`" for key in sorted(UNUSED, key=str.lower))
    parts.append(_UNUSED_HEAD + textwrap.fill(unused, 110) + "\n")
    return "\n".join(parts)


def _table(title: str, kind: type[Settings], section: str) -> str:
    struct = next(field for field in msgspec.structs.fields(kind) if field.name == section)
    about = (struct.type.__doc__ or "").strip()
    head = (
        "| key | default | meaning | allowed | live | environment |\n| --- | --- | --- | --- | --- | --- |\n"
    )
    defaults = kind()
    rows = (_row(key, defaults) for key in keys_of(kind).values() if key.section == section)
    return f"## {title}\n\n{about}\n\n{head}{''.join(rows)}"


def _row(key: Key, defaults: Settings) -> str:
    default = "the host's name" if key.name == "brokerName" else _shown(key.text_in(defaults))
    unit = f" {key.unit}" if key.unit and default else ""
    live = "yes" if key.live else ""
    allowed = _allowed(key)
    return f"| `{key.name}` | {default}{unit} | {key.about} | {allowed} | {live} | `{key.env}` |\n"


def _allowed(key: Key) -> str:
    if key.type is int:
        return f"{key.meta.ge} to {key.meta.le}"
    if key.type is str:
        # A bar would end the cell.
        return key.form.replace("|", "\\|") or "any text"
    return key.allowed


def _shown(value: str) -> str:
    return f"`{value}`" if value else "empty"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), "utf-8")
