"""A client that appends to a DLedger group as fast as the group takes it, with next to nothing in between.

`python -m bench.dledger_load --peers "n0-127.0.0.1:20911;..." --in-flight 64 --body-bytes 128`

It speaks DLedger's JSON to whoever leads, over one connection as Java's client does, so both kinds of node
get the same bytes. When the warm-up is over it prints "measuring", in the end one JSON line.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import socket
import time
from collections.abc import Mapping

from bench import wire

METADATA = 50000
APPEND = 50001
DLEDGER_SUCCESS = 200

_OPAQUE = re.compile(rb'"opaque":\s*(\d+)')
_REFUSED = re.compile(rb'"code":\s*(?!200[,}])\d+')


def members(peers: str) -> dict[str, tuple[str, int]]:
    """Host and port of each member of `n0-host:port;n1-host:port`."""
    found = {}
    for part in peers.split(";"):
        name, _, address = part.partition("-")
        host, _, port = address.rpartition(":")
        found[name] = (host, int(port))
    return found


def ask(
    address: tuple[str, int], code: int, body: Mapping[str, object], timeout_s: float
) -> dict[str, object]:
    """One request on a connection of its own. Raises OSError, WireError or ValueError."""
    with socket.create_connection(address, timeout=timeout_s) as connection:
        connection.sendall(wire.request_frame(code, {}, json.dumps(body).encode(), 1, wire.JSON))
        frames = wire.FrameBuffer()
        while True:
            data = connection.recv(1 << 16)
            if not data:
                raise wire.WireError("the member closed the connection")
            for frame in frames.feed(data):
                answer: dict[str, object] = json.loads(wire.parse_answer(frame).body)
                return answer


def find_leader(group: str, peers: str, timeout_s: float = 0.5) -> str | None:
    """The leader that a member names and that answers itself to lead; None when there is none now."""
    addresses = members(peers)
    named: list[str] = []
    for name, address in addresses.items():
        try:
            answer = ask(address, METADATA, {"group": group, "remoteId": name}, timeout_s)
        except (OSError, ValueError, wire.WireError):
            continue
        leader = answer.get("leaderId")
        if leader == name:
            return name
        if isinstance(leader, str):
            named.append(leader)
    return None


def append(group: str, peers: str, leader: str, body: bytes, timeout_s: float) -> bool:
    """Whether `leader` has acknowledged one append."""
    request = {"group": group, "remoteId": leader, "body": base64.b64encode(body).decode()}
    try:
        answer = ask(members(peers)[leader], APPEND, request, timeout_s)
    except (OSError, ValueError, wire.WireError):
        return False
    return answer.get("code", DLEDGER_SUCCESS) == DLEDGER_SUCCESS and int(str(answer.get("index", -1))) >= 0


class Load:
    """A constant number of appends under way on one connection to the leader."""

    def __init__(self, address: tuple[str, int], group: str, leader: str, body_bytes: int) -> None:
        body = {"group": group, "remoteId": leader, "body": base64.b64encode(b"x" * body_bytes).decode()}
        frame = wire.request_frame(APPEND, {}, json.dumps(body).encode(), 0, wire.JSON)
        self._frame = bytearray(frame)
        self._opaque_at = wire.opaque_position(frame)
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frames = wire.FrameBuffer()
        self._sent = 0
        self._sent_ns: dict[int, int] = {}
        self.elapsed_ns: list[int] = []
        self.wire_bytes = 0

    def close(self) -> None:
        self._socket.close()

    def send(self, count: int) -> None:
        now = time.perf_counter_ns()
        requests = []
        for _ in range(count):
            self._sent += 1
            self._sent_ns[self._sent] = now
            wire.patch_opaque(self._frame, self._opaque_at, self._sent)
            requests.append(bytes(self._frame))
        data = b"".join(requests)
        self.wire_bytes += len(data)
        self._socket.sendall(data)

    def receive(self) -> int:
        """Take the answers that are there; returns how many."""
        data = self._socket.recv(1 << 18)
        if not data:
            raise wire.WireError("the leader closed the connection")
        self.wire_bytes += len(data)
        now = time.perf_counter_ns()
        frames = self._frames.feed(data)
        for frame in frames:
            head_bytes = int.from_bytes(frame[1:4], "big")
            opaque = _OPAQUE.search(frame, 4, 4 + head_bytes)
            if opaque is None or _REFUSED.search(frame, 4 + head_bytes):
                raise wire.WireError(f"an append was refused: {frame[4:].decode(errors='replace')}")
            self.elapsed_ns.append(now - self._sent_ns.pop(int(opaque[1])))
        return len(frames)

    def run(self, seconds: float) -> None:
        """Keep going, each answer followed by another append."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.send(self.receive())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dledger_load")
    parser.add_argument("--peers", required=True)
    parser.add_argument("--group", default="bench")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--body-bytes", type=int, default=128)
    parser.add_argument("--warmup-s", type=float, default=5)
    parser.add_argument("--window-s", type=float, default=5)
    options = parser.parse_args()
    leader = find_leader(options.group, options.peers)
    if leader is None:
        raise SystemExit("no member leads")
    load = Load(members(options.peers)[leader], options.group, leader, options.body_bytes)
    load.send(options.in_flight)
    load.run(options.warmup_s)
    load.elapsed_ns.clear()
    load.wire_bytes = 0
    begin = time.monotonic()
    print("measuring", flush=True)
    load.run(options.window_s)
    elapsed_s = time.monotonic() - begin
    times = sorted(load.elapsed_ns)
    figures = {
        "appends": len(times),
        "appends_per_s": len(times) / elapsed_s,
        "client_wire_bytes": load.wire_bytes,
        **{f"p{at}_us": times[len(times) * at // 100] / 1000 for at in (50, 95, 99)},
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
