"""What monitoring reads of the DLedger members in this process: Prometheus' text format over HTTP.

The same numbers as ``ledgermq cluster status``, of this process alone. They are few and asked for rarely, so
each request is answered from what the members say at that moment, on the event loop that owns them.

Rules of this file: a request is read up to its blank line, within limits, and answered; then the connection
ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from ledgermq.cli.cluster_status import LEADER, progress_of
from ledgermq.remoting.server import bind

HEAD_BYTES_MAX: Final = 8192
SECONDS_MAX: Final = 5.0
"""For one request; who says nothing for so long is dropped."""
CONNECTIONS_MAX: Final = 32

_OF_MEMBERS: Final = (
    ("term", "dLegerTerm", "Raft's term."),
    ("first_index", "dLegerFirstIndex", "The oldest entry of the log."),
    ("last_index", "dLegerLastIndex", "The newest entry of the log, committed or not."),
    ("commit_index", "dLegerCommitIndex", "The newest entry known to be committed."),
    ("applied_index", "dLegerAppliedIndex", "The newest entry whose message is in the queues."),
)


def metrics_text(members: Sequence[Mapping[str, str]]) -> str:
    """The page, from the facts of ``broker/replication_facts.py`` of each member in this process."""
    families: list[tuple[str, str, list[tuple[dict[str, str], int]]]] = []

    def of_members(name: str, text: str, value: Callable[[Mapping[str, str]], int]) -> None:
        families.append((name, text, [(_labels(facts), value(facts)) for facts in members]))

    of_members("leads", "1 for the leader.", lambda facts: int(facts["dLegerRole"] == LEADER))
    of_members("knows_leader", "1 if it knows who leads.", lambda facts: int(bool(facts["dLegerLeaderId"])))
    for name, key, text in _OF_MEMBERS:
        families.append((name, text, [(_labels(facts), int(facts[key])) for facts in members]))
    families += _of_followers(members)
    lines = []
    for name, text, samples in families:
        full = f"ledgermq_dledger_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} gauge"]
        for labels, value in samples:
            inner = ",".join(f'{key}="{label}"' for key, label in labels.items())
            lines.append(f"{full}{{{inner}}} {value}")
    return "\n".join(lines) + "\n"


def _of_followers(
    members: Sequence[Mapping[str, str]],
) -> list[tuple[str, str, list[tuple[dict[str, str], int]]]]:
    """What the leaders among ``members`` know of their followers."""
    reachable, lag = [], []
    for facts in members:
        for follower, (match, answers) in progress_of(facts.get("dLegerProgress", "")).items():
            labels = _labels(facts) | {"follower": follower}
            reachable.append((labels, int(answers)))
            if match >= 0 or answers:
                lag.append((labels, max(0, int(facts["dLegerLastIndex"]) - match)))
    return [
        ("follower_reachable", "1 if the follower answers its leader.", reachable),
        ("follower_lag_entries", "Entries that the leader does not know the follower to hold.", lag),
    ]


def _labels(facts: Mapping[str, str]) -> dict[str, str]:
    """Names of groups and members have no character that would need an escape."""
    return {"group": facts["dLegerGroup"], "member": facts["dLegerSelfId"]}


class MetricsServer:
    """Answers ``GET /metrics`` with ``page()``."""

    def __init__(self, page: Callable[[], str]) -> None:
        self._page = page
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; the port. Raises OSError."""
        bound = bind(host, port)
        self._server = await asyncio.start_server(self._answer, sock=bound, limit=HEAD_BYTES_MAX)
        return int(bound.getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= CONNECTIONS_MAX:
                with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    async with asyncio.timeout(SECONDS_MAX):
                        head = await reader.readuntil(b"\r\n\r\n")
                        writer.write(self._response(head))
                        await writer.drain()
        finally:
            self._connections -= 1
            writer.close()

    def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            status, kind, body = "404 Not Found", "text/plain", b"metrics are at /metrics\n"
        elif method not in (b"GET", b"HEAD"):
            status, kind, body = "405 Method Not Allowed", "text/plain", b"allowed: GET\n"
        else:
            status, kind, body = "200 OK", "text/plain; version=0.0.4; charset=utf-8", self._page().encode()
        lines = (
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        return lines.encode() + (b"" if method == b"HEAD" else body)
