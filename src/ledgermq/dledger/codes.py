"""The numbers and names of DLedger's protocol (Java: ``DLedgerRequestCode``, ``DLedgerResponseCode``,
``VoteResponse.RESULT``, ``MemberState.Role``).
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class DLedgerRequest:
    """Request codes on the remoting port; NATIVE and HELLO are ours alone."""

    METADATA: Final = 50000
    APPEND: Final = 50001
    GET: Final = 50002
    VOTE: Final = 51001
    HEART_BEAT: Final = 51002
    PULL: Final = 51003
    PUSH: Final = 51004
    LEADERSHIP_TRANSFER: Final = 51005
    HELLO: Final = 51100
    """First contact: who knows it is a ledgermq node; a Java node answers REQUEST_CODE_NOT_SUPPORTED."""
    NATIVE: Final = 30101
    """One message of messages.py in binary form, one-way, between ledgermq nodes. Below 2^15, unlike the
    others: so it fits the binary header."""


class DLedgerCode:
    """Response codes, in the ``code`` field of a JSON body."""

    SUCCESS: Final = 200
    TIMEOUT: Final = 300
    METADATA_ERROR: Final = 301
    NETWORK_ERROR: Final = 302
    UNSUPPORTED: Final = 303
    UNKNOWN_GROUP: Final = 400
    UNKNOWN_MEMBER: Final = 401
    UNEXPECTED_MEMBER: Final = 402
    EXPIRED_TERM: Final = 403
    NOT_LEADER: Final = 404
    NOT_FOLLOWER: Final = 405
    INCONSISTENT_STATE: Final = 406
    INCONSISTENT_TERM: Final = 407
    INCONSISTENT_INDEX: Final = 408
    INCONSISTENT_LEADER: Final = 409
    INDEX_OUT_OF_RANGE: Final = 410
    UNEXPECTED_ARGUMENT: Final = 411
    REPEATED_REQUEST: Final = 412
    REPEATED_PUSH: Final = 413
    DISK_ERROR: Final = 414
    DISK_FULL: Final = 415
    TERM_NOT_READY: Final = 416
    FALL_BEHIND_TOO_MUCH: Final = 417
    TAKE_LEADERSHIP_FAILED: Final = 418
    INDEX_LESS_THAN_LOCAL_BEGIN: Final = 419
    REQUEST_WITH_EMPTY_BODYS: Final = 420
    INTERNAL_ERROR: Final = 500
    TERM_CHANGED: Final = 501
    WAIT_QUORUM_ACK_TIMEOUT: Final = 502
    LEADER_PENDING_FULL: Final = 503
    ILLEGAL_MEMBER_STATE: Final = 504
    LEADER_NOT_READY: Final = 505
    LEADER_TRANSFERRING: Final = 506
    LOAD_SNAPSHOT_ERROR: Final = 507


class VoteResult(Enum):
    """The answer to a vote request; the values are the names on the wire."""

    UNKNOWN = "UNKNOWN"
    ACCEPT = "ACCEPT"
    REJECT_UNKNOWN_LEADER = "REJECT_UNKNOWN_LEADER"
    REJECT_UNEXPECTED_LEADER = "REJECT_UNEXPECTED_LEADER"
    REJECT_EXPIRED_VOTE_TERM = "REJECT_EXPIRED_VOTE_TERM"
    REJECT_ALREADY_VOTED = "REJECT_ALREADY_VOTED"
    REJECT_ALREADY_HAS_LEADER = "REJECT_ALREADY_HAS_LEADER"
    REJECT_TERM_NOT_READY = "REJECT_TERM_NOT_READY"
    REJECT_TERM_SMALL_THAN_LEDGER = "REJECT_TERM_SMALL_THAN_LEDGER"
    REJECT_EXPIRED_LEDGER_TERM = "REJECT_EXPIRED_LEDGER_TERM"
    REJECT_SMALL_LEDGER_END_INDEX = "REJECT_SMALL_LEDGER_END_INDEX"
    REJECT_TAKING_LEADERSHIP = "REJECT_TAKING_LEADERSHIP"


class Role(Enum):
    """CANDIDATE is a node that knows no leader, whether or not it asks for votes."""

    CANDIDATE = "CANDIDATE"
    FOLLOWER = "FOLLOWER"
    LEADER = "LEADER"


class PushKind(Enum):
    """What a push asks of the follower."""

    __hash__ = object.__hash__  # Enum's own runs in the interpreter, several times for each push.

    COMPARE = "COMPARE"
    """Is your entry at ``prev_index`` of ``prev_term``?"""
    TRUNCATE = "TRUNCATE"
    """Drop what follows ``prev_index``."""
    APPEND = "APPEND"
    """These entries follow ``prev_index``."""
    COMMIT = "COMMIT"
    """Nothing new but the commit index."""
