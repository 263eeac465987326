"""What can go wrong between the members of a group and their clients."""

from __future__ import annotations

from typing import Final

from ledgermq.dledger.codes import DLedgerCode


def _names() -> dict[int, str]:
    return {value: name for name, value in vars(DLedgerCode).items() if isinstance(value, int)}


CODE_NAMES: Final = _names()


class ProtocolError(ValueError):
    """Bytes of a peer or a client are not DLedger's protocol; the text says which and what is allowed."""


class DLedgerError(Exception):
    """The base of what DLedgerClient raises."""


class RefusedError(DLedgerError):
    """A node answered with a code other than SUCCESS, and asking again would not help.

    ``code`` is one of DLedgerCode, ``member`` who answered, ``term`` its term if it said one, else -1.
    """

    def __init__(self, code: int, member: str, asked: str, remark: str = "", term: int = -1) -> None:
        name = CODE_NAMES.get(code, "unknown code")
        super().__init__(
            f"{member} answered {asked} with {name} ({code})" + (f": {remark}" if remark else "")
        )
        self.code = code
        self.member = member
        self.term = term


class NotFoundError(RefusedError):
    """There is no entry at this index: not yet, or no longer."""


class NoLeaderError(DLedgerError):
    """Until the deadline no leader was found that would do it; it has not been done."""


class UncertainError(DLedgerError):
    """An append was sent and its answer did not come or does not tell: it may be in the log, now or later."""
