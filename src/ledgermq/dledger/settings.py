"""The settings of one member of a group, under the names of Java's DLedgerConfig where it has them.

Defaults are ours: Java waits six seconds before it notices a dead leader, these wait at most 500 ms. A
follower's patience (``minVoteIntervalMs`` to ``maxVoteIntervalMs``, drawn anew each time) begins at three
heartbeats, so one that is lost or late changes nothing; its width of 200 ms is many times what a vote
takes, so two rarely stand at once. Failover takes the patience and two round trips with their fsyncs.

Rules of this file: values and their checks only; a setting stands here when some code reads it.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec

from ledgermq.dledger.core import CoreConfig
from ledgermq.dledger.requests import parse_peers
from ledgermq.runtime.config import number, setting
from ledgermq.runtime.limits import DLEDGER_MEMBERS_MAX

JAVA_HEARTBEAT_MS: Final = 2000
"""Java's default: a Java leader does not say how often it speaks."""
_NAME: Final = re.compile(r"[A-Za-z0-9_.%|-]{1,120}")
_MEMBER: Final = re.compile(r"[A-Za-z0-9_.]{1,60}")
"""It names a directory."""

FlushPolicy = Literal["quorum-fsync", "page-cache"]


class SettingsError(ValueError):
    """A setting cannot be accepted; the text names it, its value and what is allowed."""


class DLedgerSettings(msgspec.Struct, kw_only=True, rename="camel"):
    """One member of one group (Java: ``DLedgerConfig``)."""

    group: Annotated[str, setting("Name of the group.")] = "default"
    self_id: Annotated[str, setting("Name of this member, one of those in peers.")] = "n0"
    peers: Annotated[str, setting("All members, this one too, as id-host:port, separated by semicolons.")] = (
        "n0-localhost:20911"
    )
    bind_address: Annotated[
        str, setting("Address to listen on. Empty: the host of this member's own address in peers.")
    ] = ""
    store_base_dir: Annotated[str, setting("Directory under which dledger-<selfId> holds the files.")] = (
        "/tmp/dledgerstore"
    )
    store_type: Annotated[
        Literal["FILE", "MEMORY"], setting("MEMORY keeps nothing over a restart: for tests and caches only.")
    ] = "FILE"
    flush_policy: Annotated[
        FlushPolicy,
        setting(
            "When an entry counts as held by a member: quorum-fsync, once its fsync covers it; page-cache, "
            "once it is written, as in Java (a power cut of a majority can lose acknowledged entries)."
        ),
    ] = "quorum-fsync"
    flush_file_interval: Annotated[
        int, number("Time between two fsyncs under page-cache.", "ms", ge=1, le=60_000)
    ] = 10
    check_point_interval: Annotated[
        int, number("How often the committed index is written to its file.", "ms", ge=10, le=600_000)
    ] = 3000

    heart_beat_time_interval_ms: Annotated[
        int, number("Time between two heartbeats of a leader.", "ms", ge=5, le=60_000)
    ] = 100
    min_vote_interval_ms: Annotated[
        int,
        number("A follower that hears no leader for at least this long asks for votes.", "ms"),
    ] = 300
    max_vote_interval_ms: Annotated[int, number("Upper end of that patience.", "ms")] = 500
    max_heart_beat_leak: Annotated[
        int, number("Heartbeats of a Java leader, 2 s apart, that may be missed.", ge=1, le=100)
    ] = 3

    max_pending_requests_num: Annotated[
        int, number("Entries of a leader that are not committed yet; beyond it LEADER_PENDING_FULL.", ge=1)
    ] = 10_000
    max_wait_ack_time_ms: Annotated[
        int, number("An append not committed in time is answered WAIT_QUORUM_ACK_TIMEOUT.", "ms", ge=1)
    ] = 2500
    max_push_time_out_ms: Annotated[
        int, number("A push unanswered for so long makes the leader compare logs anew.", "ms", ge=1)
    ] = 1000
    max_batch_push_size: Annotated[
        int,
        number("Most bytes of entries in one push, but for a larger entry.", "B", ge=1, le=8 << 20),
    ] = 256 * 1024
    max_pushes_in_flight: Annotated[int, number("Unanswered pushes to one follower.", ge=1, le=1024)] = 64

    preferred_leader_ids: Annotated[
        str, setting("Members that should lead when they can, separated by semicolons.")
    ] = ""
    max_leadership_transfer_wait_index: Annotated[
        int, number("A member this many entries behind cannot take over.", "entries", ge=1)
    ] = 1000
    leadership_transfer_wait_timeout: Annotated[
        int, number("A transfer not done in time fails, and the leader leads on.", "ms", ge=1)
    ] = 1000

    mapped_file_size_for_entry_data: Annotated[
        int, number("Size of a data file; the same on all members.", "B", ge=4096)
    ] = 1024 * 1024 * 1024
    mapped_file_size_for_entry_index: Annotated[
        int, number("Size of an index file, a multiple of 32.", "B", ge=4096)
    ] = 32 * 5 * 1024 * 1024
    file_reserved_hours: Annotated[int, number("Data files older than this are deleted.", "h", ge=1)] = 72
    disk_space_ratio_to_check_expired: Annotated[
        float, msgspec.Meta(description="Fuller than this, the disk is cleaned of expired files.", ge=0, le=1)
    ] = 0.70
    disk_space_ratio_to_force_clean: Annotated[
        float, msgspec.Meta(description="Fuller than this, of files that have not expired too.", ge=0, le=1)
    ] = 0.85

    snapshot_threshold: Annotated[
        int, number("A state machine's snapshot is saved after so many entries.", "entries", ge=1)
    ] = 100_000
    snapshot_threshold_bytes: Annotated[int, number("Or after entries of so many bytes.", "B", ge=1)] = (
        256 * 1024 * 1024
    )
    max_snapshot_reserved_num: Annotated[int, number("Snapshots that are kept.", ge=1, le=1000)] = 3

    def members(self) -> dict[str, str]:
        """Address (host:port) of each member by its id, in the order of ``peers``. Raises SettingsError."""
        try:
            members = parse_peers(self.peers)
        except ValueError as error:
            raise SettingsError(f"peers={self.peers}: {error}") from None
        for member in members:
            if not _MEMBER.fullmatch(member):
                text = f"peers={self.peers}: member {member!r}, allowed: 1 to 60 letters, digits, _ and ."
                raise SettingsError(text)
        if len(members) > DLEDGER_MEMBERS_MAX:
            raise SettingsError(
                f"peers={self.peers}: {len(members)} members, allowed: at most {DLEDGER_MEMBERS_MAX}"
            )
        if self.self_id not in members:
            raise SettingsError(f"selfId={self.self_id} is none of peers={self.peers}")
        return members

    @property
    def listen_address(self) -> str:
        """``host:port`` to listen on."""
        host, _, port = self.members()[self.self_id].rpartition(":")
        return f"{self.bind_address or host}:{port}"

    @property
    def directory(self) -> str:
        """Where this member's files are (Java: ``DLedgerConfig.getDefaultPath``)."""
        return f"{self.store_base_dir}/dledger-{self.self_id}"

    def preferred(self) -> tuple[str, ...]:
        """The ids of ``preferredLeaderIds``. Raises SettingsError when one is no member."""
        ids = tuple(part.strip() for part in self.preferred_leader_ids.split(";") if part.strip())
        for name in ids:
            if name not in self.members():
                raise SettingsError(f"preferredLeaderIds={self.preferred_leader_ids}: {name} is no member")
        return ids

    def check(self) -> None:
        """Raises SettingsError, which names the setting."""
        try:
            msgspec.convert(msgspec.to_builtins(self), DLedgerSettings)
        except msgspec.ValidationError as error:
            raise SettingsError(str(error)) from None
        if not _NAME.fullmatch(self.group):
            raise SettingsError(f"group={self.group!r}: allowed: 1 to 120 letters, digits and %|_.-")
        self.members()
        self.preferred()
        low, high = self.min_vote_interval_ms, self.max_vote_interval_ms
        if not self.heart_beat_time_interval_ms < low < high:
            raise SettingsError(
                f"heartBeatTimeIntervalMs={self.heart_beat_time_interval_ms}, minVoteIntervalMs={low} and "
                f"maxVoteIntervalMs={high} must rise in this order: a follower may not lose patience between "
                "two heartbeats"
            )
        if self.mapped_file_size_for_entry_index % 32:
            raise SettingsError(
                f"mappedFileSizeForEntryIndex={self.mapped_file_size_for_entry_index}: "
                "allowed: a multiple of 32"
            )

    def core_config(self) -> CoreConfig:
        return CoreConfig(
            heartbeat_interval_ms=self.heart_beat_time_interval_ms,
            election_timeout_min_ms=self.min_vote_interval_ms,
            election_timeout_max_ms=self.max_vote_interval_ms,
            java_patience_ms=JAVA_HEARTBEAT_MS * self.max_heart_beat_leak,
            proposals_max=self.max_pending_requests_num,
            proposal_timeout_ms=self.max_wait_ack_time_ms,
            pushes_in_flight_max=self.max_pushes_in_flight,
            push_timeout_ms=self.max_push_time_out_ms,
            transfer_timeout_ms=self.leadership_transfer_wait_timeout,
            transfer_behind_max=self.max_leadership_transfer_wait_index,
            preferred_leaders=self.preferred(),
        )
