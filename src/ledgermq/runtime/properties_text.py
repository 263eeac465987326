"""Java's properties text, the syntax of broker.conf and of the bodies of configuration requests.

A logical line is ``key=value``, ``key:value`` or ``key value``. ``#`` or ``!`` as the first character that is
not a blank makes a comment. A line that ends in an odd number of backslashes goes on in the next one, without
the blanks at its start. ``\\t \\n \\r \\f \\uXXXX`` are characters; a backslash before any other character is
dropped. A key that stands twice keeps the later value. Java: java.util.Properties.load; other than Java,
which reads bytes as Latin-1, the text is Unicode.

Pure: text in, entries out.
"""

import io
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_BLANK = " \t\f"
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ENTRY = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


class Entry(NamedTuple):
    """One ``key=value``; ``line`` counts from 1 and is where the entry begins."""

    key: str
    value: str
    line: int


def parse_properties(text: str) -> list[Entry]:
    """The entries of ``text`` in their order. Every text is valid: what has no separator is a key alone.

    A trailing backslash at the end of the text and a ``\\u`` without four hex digits lose their backslash
    (Java refuses the whole text for the latter).
    """
    return [entry for entry, _ in _entries(text)]


def render_properties(values: Mapping[str, str]) -> str:
    """``key=value`` lines sorted by key, as the answer to GET_BROKER_CONFIG carries them.

    Java: MixAll.properties2String, which escapes nothing. Here a backslash is written as two, so that reading
    gives the value back, and a line end as ``\\n``, so that a value cannot forge a key.
    """
    return "".join(_line(key, values[key]) for key in sorted(values))


def edit_properties(text: str, changes: Mapping[str, str]) -> str:
    """``text`` with the values of ``changes``; comments, order and all other entries stay as they are.

    A key that stands several times is changed everywhere, one that is missing is added at the end.
    """
    lines = _lines(text)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += "\n"
    missing = dict(changes)
    for entry, last_line in _entries(text):
        if entry.key in changes:
            missing.pop(entry.key, None)
            span = last_line - entry.line + 1
            lines[entry.line - 1 : last_line] = [_line(entry.key, changes[entry.key]), *[""] * (span - 1)]
    return "".join(lines) + render_properties(missing)


def _entries(text: str) -> Iterator[tuple[Entry, int]]:
    """Each entry and the number of its last line."""
    for first_line, last_line, content in _logical_lines(text):
        match = _ENTRY.fullmatch(content)
        assert match is not None, "the last group takes whatever the first ones leave"
        key, value = match.groups()
        yield Entry(_unescape(key), _unescape(value).rstrip(), first_line), last_line


def _logical_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """Number of the first and of the last line, and the joined content without blanks at its start."""
    pending = ""
    first_line = 0
    last_line = 0
    for last_line, raw in enumerate(_lines(text.removeprefix("\ufeff")), 1):
        line = raw.rstrip("\r\n").lstrip(_BLANK)
        if not pending:
            if not line or line[0] in "#!":
                continue
            first_line = last_line
        slashes = len(line) - len(line.rstrip("\\"))
        if slashes % 2:
            # The blank keeps an empty continued line from looking like the start of the next entry.
            pending = pending + line[:-1] or " "
            continue
        content = (pending + line).lstrip(_BLANK)
        pending = ""
        if content:
            yield first_line, last_line, content
    if pending.strip(_BLANK):
        yield first_line, last_line, pending.lstrip(_BLANK)


def _lines(text: str) -> list[str]:
    """The lines with their ends. (str.splitlines would also split at form feeds and other characters.)"""
    return io.StringIO(text, newline="").readlines()


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(_character, text)
    # Two escapes may be the halves of one character; a half alone is no character.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(match: re.Match[str]) -> str:
    name = match[1]
    if len(name) == 5:
        return chr(int(name[1:], 16))
    return _ESCAPED.get(name, name)


def _line(key: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{key}={escaped}\n"
