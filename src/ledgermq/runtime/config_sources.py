"""From files, environment and flags to settings; and changes to the settings of a running server.

Sources are read in order, the later wins: the configuration file (properties as broker.conf, or TOML by its
suffix), the environment (``LEDGERMQ_`` and the key in upper snake case, for keys of the name server
``LEDGERMQ_NAMESRV_``), the command line. Every source is a list of assignments that remember where they
stand, so that each complaint can say it.

An unknown key is a notice with the nearest known name. A key of RocketMQ that nothing reads here yet is a
notice too, unless its value asks for a promise that would not be kept, such as authentication: that is an
error, as is every value out of bounds.
"""

import copy
import difflib
import logging
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from ledgermq.runtime.config import BrokerSettings, NameServerSettings
from ledgermq.runtime.config_keys import ENV_PREFIX, Key, Settings, keys_of
from ledgermq.runtime.known_keys import UNSUPPORTED, UNUSED
from ledgermq.runtime.limits import CONFIG_BYTES_MAX, RECORD_OVERHEAD_BYTES_MAX
from ledgermq.runtime.properties_text import parse_properties

S = TypeVar("S", BrokerSettings, NameServerSettings)

log = logging.getLogger("ledgermq.runtime")

# Variables with the prefix that are no settings: they steer the build and the tests.
_OTHER_VARIABLES = ("LEDGERMQ_COMPILE", "LEDGERMQ_INTEROP", "LEDGERMQ_TEST_BUILD")
# Refused by a running server whatever its black list says: they name files, and the list itself.
_NEVER_LIVE = ("configBlackList", "brokerConfigPath", "configStorePath", "kvConfigPath", "rocketmqHome")


class ConfigError(Exception):
    """A setting cannot be accepted; the text names the source, the key, the value and what is allowed."""


class ForbiddenKeyError(ConfigError):
    """A running server refuses to change this key: it is on the black list."""


class Assignment(NamedTuple):
    """One ``key=value``; ``source`` tells an operator where it stands, as in ``broker.conf line 12``."""

    key: str
    value: str
    source: str

    def __str__(self) -> str:
        return f"{self.source}: {self.key}={self.value}"


class Notice(NamedTuple):
    """Something to log once logging is up: a level of the logging module, and the text."""

    level: int
    text: str


class Change(NamedTuple):
    """A key that a live update changed."""

    key: str
    old: str
    new: str


def load(kind: type[S], assignments: Iterable[Assignment]) -> tuple[S, list[Notice]]:
    """Defaults overridden by ``assignments`` in their order, and what there is to say about them.

    Raises ConfigError at the first assignment that cannot be accepted.
    """
    settings = kind()
    notices = []
    for assignment in assignments:
        key = keys_of(kind).get(assignment.key)
        if key is None:
            notices.append(_notice_of_stranger(kind, assignment))
        else:
            key.set_in(settings, _parse(key, assignment))
    _check_together(settings)
    return settings, notices


def read_file(path: Path) -> list[Assignment]:
    """The assignments of a configuration file. Raises ConfigError when it cannot be read or is no text."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    if path.suffix == ".toml":
        return _read_toml(path, text)
    return [Assignment(key, value, f"{path} line {line}") for key, value, line in parse_properties(text)]


def read_environment(kind: type[S], environ: Mapping[str, str]) -> tuple[list[Assignment], list[Notice]]:
    """The assignments among environment variables, and a notice for each that looks like a misspelt one.

    NAMESRV_ADDR is read as RocketMQ does; LEDGERMQ_NAMESRV_ADDR goes before it.
    """
    mine = {key.env: key for key in keys_of(kind).values()}
    known = {key.env for other in (BrokerSettings, NameServerSettings) for key in keys_of(other).values()}
    assignments = []
    notices = []
    if kind is BrokerSettings and environ.get("NAMESRV_ADDR"):
        assignments.append(Assignment("namesrvAddr", environ["NAMESRV_ADDR"], "environment NAMESRV_ADDR"))
    for name in sorted(environ):
        if name in mine:
            assignments.append(Assignment(mine[name].name, environ[name], f"environment {name}"))
        elif name.startswith(ENV_PREFIX) and name not in known and name not in _OTHER_VARIABLES:
            notices.append(Notice(logging.WARNING, f"environment {name}: unknown{_nearest(name, known)}"))
    return assignments, notices


def update_as_asked(settings: Settings, body: bytes, who: str) -> list[Change]:
    """:func:`update` with the body of a request of ``who``; what has changed is logged.

    Raises ForbiddenKeyError, ConfigError.
    """
    if len(body) > CONFIG_BYTES_MAX:
        raise ConfigError(f"body of {len(body)} bytes, allowed are at most {CONFIG_BYTES_MAX}")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"body is not UTF-8 at byte {error.start}") from None
    changes, notices = update(settings, text)
    for notice in notices:
        log.log(notice.level, "%s", notice.text)
    for key, old, new in changes:
        log.info("%s changed from %s to %s by %s", key, old, new, who)
    return changes


def update(settings: Settings, text: str) -> tuple[list[Change], list[Notice]]:
    """Apply the properties ``text`` of a request to a running server's settings: all or nothing.

    Keys that already have the wanted value may always stand in the text, so that a configuration that was got
    can be sent back. Raises ForbiddenKeyError for a key on the black list, ConfigError for an unknown key, a
    value that is not allowed and a key that is only read at start-up. Java: Configuration.update, which
    ignores what it does not understand.
    """
    kind = type(settings)
    candidate = copy.deepcopy(settings)
    forbidden = {*_NEVER_LIVE, *_black_list(settings)}
    changes = []
    notices = []
    for key_name, value, line in parse_properties(text):
        assignment = Assignment(key_name, value, f"line {line}")
        key = keys_of(kind).get(key_name)
        if key is None and key_name in forbidden:
            raise ForbiddenKeyError(
                f"{assignment}: {key_name} is on the black list of keys that stay as they are"
            )
        if key is None:
            notice = _notice_of_stranger(kind, assignment)
            if notice.level >= logging.WARNING:
                raise ConfigError(notice.text)
            notices.append(notice)
            continue
        old = key.text_in(candidate)
        key.set_in(candidate, _parse(key, assignment))
        new = key.text_in(candidate)
        if new == old:
            continue
        if key_name in forbidden:
            raise ForbiddenKeyError(
                f"{assignment}: {key_name} is on the black list of keys that stay as they are"
            )
        if not key.live:
            raise ConfigError(
                f"{assignment}: {key_name} is read at start-up only (now {old}); "
                "change it in the configuration file and restart"
            )
        changes.append(Change(key_name, old, new))
    _check_together(candidate)
    for change in changes:
        key = keys_of(kind)[change.key]
        key.set_in(settings, key.parse(change.new))
    return changes, notices


def _parse(key: Key, assignment: Assignment) -> object:
    try:
        return key.parse(assignment.value)
    except ValueError:
        raise ConfigError(f"{assignment}: allowed: {key.allowed}") from None


def _notice_of_stranger(kind: type[Settings], assignment: Assignment) -> Notice:
    """What to say about a key that no table of ``kind`` has. Raises ConfigError for a promise not kept."""
    name = assignment.key
    if name in UNSUPPORTED:
        harmless, why = UNSUPPORTED[name]
        if assignment.value.strip().lower() not in map(str.lower, harmless):
            allowed = " or ".join(harmless)
            raise ConfigError(f"{assignment}: not supported by ledgermq yet ({why}); allowed: {allowed}")
    other = NameServerSettings if kind is BrokerSettings else BrokerSettings
    if name in UNUSED or name in UNSUPPORTED or name in keys_of(other):
        return Notice(logging.INFO, f"{assignment.source}: {name} is not used by this role of ledgermq")
    nearest = _nearest(name, [*keys_of(kind), *UNUSED])
    return Notice(logging.WARNING, f"{assignment.source}: unknown key {name}{nearest}")


def _nearest(name: str, known: Iterable[str]) -> str:
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[matches[0]]}?" if matches else ""


def _black_list(settings: Settings) -> list[str]:
    role = settings.broker if isinstance(settings, BrokerSettings) else settings.nameserver
    return [name.strip() for name in role.config_black_list.split(";")]


def _check_together(settings: Settings) -> None:
    """Rules that concern more than one key. Raises ConfigError."""
    if not isinstance(settings, BrokerSettings):
        return
    store = settings.store
    room = store.mapped_file_size_commit_log - RECORD_OVERHEAD_BYTES_MAX
    if store.max_message_size > room:
        raise ConfigError(
            f"maxMessageSize={store.max_message_size} does not fit a commit-log file of "
            f"mappedFileSizeCommitLog={store.mapped_file_size_commit_log}; "
            f"allowed: at most {max(room, 0)} bytes"
        )
    expire, force, refuse = (
        store.disk_max_used_space_ratio,
        store.disk_space_clean_forcibly_ratio,
        store.disk_space_warning_level_ratio,
    )
    if not expire <= force <= refuse:
        raise ConfigError(
            f"diskMaxUsedSpaceRatio={expire}, diskSpaceCleanForciblyRatio={force} and "
            f"diskSpaceWarningLevelRatio={refuse} must not fall in this order"
        )


def _read_toml(path: Path, text: str) -> list[Assignment]:
    """Keys at the top or in tables named like the sections; tables are for the reader's eye only."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    assignments = []
    for name, value in document.items():
        for key, item in value.items() if isinstance(value, dict) else [(name, value)]:
            assignment = Assignment(key, str(item), f"{path}{_toml_line(text, key)}")
            if isinstance(item, bool):
                assignment = assignment._replace(value=str(item).lower())
            elif not isinstance(item, str | int):
                raise ConfigError(f"{assignment}: allowed: a string, a whole number, true or false")
            assignments.append(assignment)
    return assignments


def _toml_line(text: str, key: str) -> str:
    """`` line N`` where the key is set; tomllib keeps no positions. Nothing if it is written unusually."""
    match = re.search(rf"^[ \t]*[\"']?{re.escape(key)}[\"']?[ \t]*=", text, re.MULTILINE)
    return f" line {text.count(chr(10), 0, match.start()) + 1}" if match else ""
