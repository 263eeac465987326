"""Every bound on what others can make this process hold or do, in one room, to be weighed together.

A full queue or table answers with an error that names the limit; nothing grows without one. What a user sets
is in config.py instead, and facts of a format (a length of 16 bits) are with the format.

Rules of this file: constants only; each has its unit in its name and says what it protects, and what happens
beyond it; a limit that nothing checks any more is deleted.
"""

from typing import Final

# Connections and frames.

CONNECTIONS_MAX: Final = 60_000
"""One process's open connections; further ones are closed at once with a log line."""
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""Length word plus what follows; a longer frame closes the connection. Java: ``frameMaxLength``."""
WAITING_HANDLERS_MAX: Final = 1024
"""Coroutine handlers under way for one connection; more are answered SYSTEM_BUSY."""
CALLS_MAX: Final = 65_536
"""Requests of ours that wait for an answer on one connection."""
UNSENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""A peer that leaves this much unread is disconnected; reading from it stops long before."""
UNFINISHED_BYTES_MAX: Final = 512 * 1024 * 1024
"""Of frames that have not come whole, on all connections together; the connection whose bytes exceed it is
closed. One connection alone may hold 16 MiB, and there may be 60,000."""
HEADER_FIELDS_MAX: Final = 1024
"""Extension fields of one command; Java's have at most 20. A frame of empty ones takes seconds to read."""
LENIENT_HEADER_BYTES_MAX: Final = 256 * 1024
"""A longer JSON header must be as Java writes it: reading others by hand takes up to 0.8 s per MiB."""

# Bodies.

JSON_DEPTH_MAX: Final = 64
"""Deeper nesting is refused: our reader recurses, and no RocketMQ body is deeper than 8."""
DIALECT_BYTES_MAX: Final = 4 * 1024 * 1024
"""A longer text must be standard JSON: reading the dialect by hand takes up to 0.8 s per MiB, during which
the process does nothing else. Java's maps keyed by queues take 100 bytes an entry."""
INFLATED_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of a compressed body: half a million topics of a registration, or sixteen times the largest message that a
stock producer sends. A frame of 16 MiB could otherwise inflate to 16 GiB."""
CONFIG_BYTES_MAX: Final = 64 * 1024
"""Of the text that changes a server's configuration; all of Java's settings together are 20 KiB."""
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of a query's answer, but for its first message: a frame of more than 16 MiB could not be read."""

# Tables of the broker.

TOPICS_MAX: Final = 100_000
"""A broker with more is refused further ones: a sender that invents names must not fill the memory."""
QUEUES_MAX: Final = 65_536
"""Queues of one topic. Java has no limit; the largest system topic has 1024."""
GROUPS_MAX: Final = 100_000
"""As for topics: clients that invent group names must not fill the memory."""
FORBIDDEN_TOPICS_MAX: Final = 10_000
"""Topics that one group can be kept from reading."""
OFFSETS_MAX: Final = 5_000_000
"""Offsets kept in all (about 100 bytes each, twice that in a DLedger group): beyond it new queues are
refused, known ones still move."""
MEMBERS_MAX: Final = 500_000
"""Registrations (a client times its groups) in all; about 300 bytes each."""
SUBSCRIPTIONS_PER_GROUP_MAX: Final = 10_000
"""Topics that the members of one group subscribe to."""
CLIENT_ID_CHARS_MAX: Final = 1024
"""A client's name is shown, compared and kept for each of its groups; Java's have about 50 characters."""
COMPENSATED_MAX: Final = 100_000
"""Subscriptions remembered of consumers that pull without heartbeats; the oldest make room."""
STATS_KEYS_MAX: Final = 200_000
"""Topics, and topics of groups, that are counted apart; further ones are counted together."""

# Tables of the name server.

REGISTERED_BROKERS_MAX: Final = 4096
"""Addresses that are registered at once; a further registration is refused."""
REGISTERED_TOPICS_MAX: Final = 200_000
"""Of one registration. Decoding so many takes a second or two, in which the name server answers nobody."""
QUEUE_DATAS_MAX: Final = 2_000_000
"""Topics of all brokers together, each counted for every broker name that has it; about 200 bytes each."""
ROUTE_NAME_CHARS_MAX: Final = 512
"""Of a topic, broker, cluster or address in a registration. Brokers themselves allow 255 at most."""
KV_NAME_BYTES_MAX: Final = 1024
"""Of a namespace or key of the key-value configuration."""
KV_VALUE_BYTES_MAX: Final = 64 * 1024
"""Of one value."""
KV_ENTRIES_MAX: Final = 100_000
"""Keys and namespaces together; the file is rewritten at each change, so it has to stay small."""
KV_TOTAL_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of namespaces, keys and values; an answer with all of them still fits a frame."""

# Pulls and replies that wait.

PARKED_MAX: Final = 100_000
"""Pulls parked at once; one more is answered at once with 'nothing found'."""
PULL_PERMITS_MAX: Final = 50_000
"""Pulls (a queue, group and subscription) that need not be checked again, about 500 bytes each; beyond it all
are forgotten."""
PARKED_MS_MAX: Final = 120_000
"""The longest a pull may wait; Java's clients ask for 15 to 30 seconds."""
WAITING_REPLIES_BYTES_MAX: Final = 32 * 1024 * 1024
"""Replies held back until an fsync, or messages until the group has them; a sender beyond it is told to come
back later."""

# File handles and mappings.

OPEN_QUEUE_FILES_MAX: Final = 256
"""Consume-queue files held open; the one used longest ago is closed."""
MAPPED_LOG_FILES_MAX: Final = 16
"""Commit-log files mapped for reading; the one used longest ago is unmapped."""

# DLedger.

ENTRY_BODY_BYTES_MAX: Final = 4 * 1024 * 1024 - 48
"""Of one entry: with its head it must fit the 4 MiB buffer through which Java's nodes write and push."""
RECORD_OVERHEAD_BYTES_MAX: Final = 40 * 1024
"""What a message's record takes beside its body, at most: header, topic, properties, a blank behind it."""
RECENT_ENTRY_BYTES_MAX: Final = 16 * 1024 * 1024
"""The newest entries of one group, kept in memory for followers in step; older ones are read from disk."""
UNWRITTEN_INDEX_BYTES_MAX: Final = 4 * 1024 * 1024
"""Index units of one group that wait to be written; with more, a disk that does not take them is full."""
APPEND_BATCH_COUNT_MAX: Final = 10_000
"""Entries of one append; a leader keeps no more uncommitted ones either (Java: ``maxPendingRequestsNum``)."""
MEMBER_NAME_BYTES_MAX: Final = 255
"""Of a group's name and of a member's: each message between members says both, with lengths of one byte."""
DLEDGER_MEMBERS_MAX: Final = 7
"""Of one group: more would make every entry slower and the group no safer."""
WAITING_APPENDS_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bodies of one group that wait to be committed; beyond it LEADER_PENDING_FULL."""
WAITING_READS_MAX: Final = 10_000
"""Reads of one group that wait for their read index; beyond it LEADER_PENDING_FULL."""
INBOX_MESSAGES_MAX: Final = 10_000
"""Messages of members that wait while the disk works; further ones are dropped, as a network may do."""
INBOX_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of the entries in them."""
LINK_UNSENT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Written to a member that does not read; what comes on top is dropped, and sent again when it is missed."""
MEMBER_REQUESTS_MAX: Final = 1024
"""Requests of one Java member that wait for their answer; the oldest is forgotten."""


def entry_body_bytes_max(file_bytes: int) -> int:
    """Of one entry in data files of ``file_bytes``: it has a head, and leaves room for a blank one behind."""
    return min(ENTRY_BODY_BYTES_MAX, file_bytes - 2 * 48)
