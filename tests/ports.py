"""Ports for servers that must be told theirs before they listen, as the members of a group are."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence

_given_away: set[int] = set()  # whoever asked may not listen there yet


def free_port(*, neighbours: Sequence[int] = ()) -> int:
    """A port that is free on loopback now, as are those at the distances `neighbours` from it; none twice.

    Below the ephemeral range, so that no outgoing connection takes it between this and its use.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        ports = {port, *(port + distance for distance in neighbours)}
        if not ports & _given_away and all(_is_free(each) for each in ports):
            _given_away.update(ports)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
