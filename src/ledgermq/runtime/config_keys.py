"""Each key of the tables in config.py as a value: its names, its checks, its text form.

Pure. The order of keys is the order of the fields.
"""

import re
import typing
from functools import cache
from typing import NamedTuple

import msgspec

from ledgermq.runtime.config import BrokerSettings, NameServerSettings

Settings = BrokerSettings | NameServerSettings

ENV_PREFIX = "LEDGERMQ_"


class Key(NamedTuple):
    """One key. ``type`` is the field's type without its annotation, ``meta`` the annotation."""

    name: str
    section: str
    attribute: str
    env: str
    type: object
    meta: msgspec.Meta

    @property
    def about(self) -> str:
        """What the key means, in a sentence."""
        return self.meta.description or ""

    @property
    def unit(self) -> str:
        """The unit of its number, empty if it has none."""
        return str((self.meta.extra or {})["unit"])

    @property
    def form(self) -> str:
        """What its text must look like, in words; empty if anything goes."""
        return str((self.meta.extra or {})["form"])

    @property
    def live(self) -> bool:
        """Whether it may be changed while the server runs."""
        return bool((self.meta.extra or {})["live"])

    @property
    def allowed(self) -> str:
        """What a value must be, in words."""
        if self.type is bool:
            return "true or false"
        if self.type is int:
            return f"a whole number from {self.meta.ge} to {self.meta.le} {self.unit}".rstrip()
        if self.type is str:
            length = f" of at most {self.meta.max_length} characters" if self.meta.max_length else ""
            form = f" of the form: {self.form}" if self.form else ""
            return f"one line of text{length}{form}"
        return " or ".join(typing.get_args(self.type))

    def parse(self, text: str) -> object:
        """The value that ``text`` stands for. Raises ValueError when it is not allowed."""
        text = text.strip()
        value: object = text
        if self.type is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError
            value = text.lower() == "true"
        elif self.type is int:
            if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
                raise ValueError
            value = int(text)
        elif not text.isprintable():
            raise ValueError
        # msgspec checks the bounds; its errors are ValueErrors.
        return msgspec.convert(value, type=typing.Annotated[self.type, self.meta])

    def text_in(self, settings: Settings) -> str:
        """The value in ``settings`` as RocketMQ writes it."""
        value = getattr(getattr(settings, self.section), self.attribute)
        return str(value).lower() if isinstance(value, bool) else str(value)

    def set_in(self, settings: Settings, value: object) -> None:
        """Store a parsed value in ``settings``."""
        setattr(getattr(settings, self.section), self.attribute, value)


@cache
def keys_of(kind: type[Settings]) -> dict[str, Key]:
    """All keys of a kind of settings by RocketMQ's name."""
    keys = {}
    for section in msgspec.structs.fields(kind):
        prefix = ENV_PREFIX + ("NAMESRV_" if section.name == "nameserver" else "")
        for field in msgspec.structs.fields(section.type):
            base, meta = typing.get_args(field.type)
            env = prefix + field.name.upper()
            keys[field.encode_name] = Key(field.encode_name, section.name, field.name, env, base, meta)
    return keys


def texts_of(settings: Settings) -> dict[str, str]:
    """Every key with its value as text: the content of GET_BROKER_CONFIG and GET_NAMESRV_CONFIG."""
    return {name: key.text_in(settings) for name, key in keys_of(type(settings)).items()}
