"""What a process has used, read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system CPU seconds of all threads so far; the kernel counts in hundredths."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


@dataclass(frozen=True)
class Memory:
    """`private_bytes`: anonymous pages that only this process has (heap, stacks, buffers), resident. Pages of
    mapped files, log or library, are not in it: the kernel can drop them. `resident_bytes` has everything.
    """

    private_bytes: int
    resident_bytes: int


def memory(pid: int) -> Memory:
    """Sums the Anonymous lines of smaps_rollup; a broker forks nothing, so they are its private ones."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        sizes[name] = int(value.split()[0]) * 1024
    return Memory(sizes["Anonymous"], sizes["Rss"])


def descriptor_count(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def mapping_count(pid: int) -> int:
    return Path(f"/proc/{pid}/maps").read_text().count("\n")
