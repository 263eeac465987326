"""A few messages a second, one line each, by a client that asks for routes all the time.

`python -m bench.slow_sender --namesrv HOST:PORT --topic T --poll-ms 100 --interval-ms 10`

What SlowProducer.java does, with one thread, where there is no JDK: a send that fails is tried at up to two
other masters of the route. Lines are "BEGIN-NS END-NS OK PORT" with the port of the broker that stored the
message, or "BEGIN-NS END-NS FAILED REASON"; the clock is the monotonic one.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import time
from dataclasses import dataclass, field

from bench import wire

TRIES = 3
_TIMEOUT_S = 3


@dataclass
class Sender:
    namesrv: str
    topic: str
    poll_s: float
    _peers: dict[str, wire.Peer] = field(default_factory=dict)
    _masters: list[str] = field(default_factory=list)
    _looked: float = 0
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    def send(self) -> str:
        """The outcome: "OK PORT", or "FAILED REASON"."""
        reason = "no master in the route"
        for _ in range(TRIES):
            self._look()
            if not self._masters:
                break
            turn = next(self._turn)
            address = self._masters[turn % len(self._masters)]
            try:
                answer = self._ask(address, turn // len(self._masters) % 8)
            except (OSError, wire.WireError) as error:
                reason = f"{address}: {error}"
                continue
            if answer.code == wire.SUCCESS:
                return f"OK {address.rpartition(':')[2]}"
            reason = f"{address}: {answer.code} {answer.remark}"
        return f"FAILED {' '.join(reason.split())}"

    def _look(self) -> None:
        if time.monotonic() - self._looked < self.poll_s:
            return
        self._looked = time.monotonic()
        with contextlib.suppress(OSError, wire.WireError):
            names = self._peer(self.namesrv)
            answer = names.call(wire.GET_ROUTEINFO_BY_TOPIC, {"topic": self.topic})
            self._masters = masters(answer.body) if answer.code == wire.SUCCESS else []

    def _ask(self, address: str, queue_id: int) -> wire.Answer:
        fields = wire.send_fields("slow_producer", self.topic, queue_id)
        try:
            return self._peer(address).call(wire.SEND_MESSAGE_V2, fields, b"x" * 128)
        except (OSError, wire.WireError):
            peer = self._peers.pop(address, None)
            if peer is not None:
                peer.close()
            raise

    def _peer(self, address: str) -> wire.Peer:
        if address not in self._peers:
            self._peers[address] = wire.Peer(address, _TIMEOUT_S)
        return self._peers[address]


def masters(route: bytes) -> list[str]:
    """The addresses of broker 0 of every broker name in a topic's route."""
    brokers = json.loads(wire.standard_json(route))["brokerDatas"]
    return [broker["brokerAddrs"]["0"] for broker in brokers if "0" in broker["brokerAddrs"]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.slow_sender")
    parser.add_argument("--namesrv", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--poll-ms", type=int, default=100)
    parser.add_argument("--interval-ms", type=int, default=10)
    options = parser.parse_args()
    sender = Sender(options.namesrv, options.topic, options.poll_ms / 1000)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        while True:
            begin = time.monotonic_ns()
            outcome = sender.send()
            print(begin, time.monotonic_ns(), outcome, flush=True)
            time.sleep(options.interval_ms / 1000)


if __name__ == "__main__":
    main()
