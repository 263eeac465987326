"""Runs the commands of a scenario file over cores with logs in memory; see README.md."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ledgermq.dledger.codes import PushKind, VoteResult
from ledgermq.dledger.core import Core, CoreConfig, Refused
from ledgermq.dledger.held import Held
from ledgermq.dledger.messages import (
    Append,
    AppendNoop,
    Commit,
    Effect,
    Entries,
    FailProposals,
    Heartbeat,
    HeartbeatReply,
    InstallReceived,
    InstallSnapshot,
    Message,
    Push,
    PushReply,
    ReadFailed,
    ReadReady,
    Reset,
    RoleChanged,
    SaveState,
    Send,
    SendAfterPersist,
    SendEntries,
    SendSnapshot,
    SnapshotPiece,
    TakeLeadership,
    TakeLeadershipReply,
    TransferDone,
    Truncate,
    VoteReply,
    VoteRequest,
)

PUSH_ENTRIES_MAX = 4
STEP_MS = 100
CONFIG = CoreConfig(election_timeout_min_ms=300, election_timeout_max_ms=301)


class FirstNumber:
    """Chance that always takes the smallest number: a scenario says itself who is first."""

    def randrange(self, start: int, stop: int, /) -> int:
        return start


def runs_of(first_index: int, terms: list[int]) -> list[tuple[int, int]]:
    return [(first_index + at, term) for at, term in enumerate(terms) if at == 0 or terms[at - 1] != term]


def entries_of(first_index: int, terms: list[int]) -> Entries:
    last_index = first_index + len(terms) - 1
    return Entries(first_index, last_index, first_index * 100, tuple(runs_of(first_index, terms)), b"")


def terms_of(entries: Entries) -> list[int]:
    terms: list[int] = []
    ends = [start for start, _ in entries.runs[1:]] + [entries.last_index + 1]
    for (start, term), end in zip(entries.runs, ends, strict=True):
        terms += [term] * (end - start)
    return terms


@dataclass
class Disk:
    """What outlives a crash, and what does not."""

    first_index: int = 0
    base_term: int = -1
    terms: list[int] = field(default_factory=list)
    durable: int = 0
    """How many of ``terms`` are durable."""
    term: int = 0
    vote: str = ""
    commit: int = -1


class Node:
    def __init__(self, name: str, members: list[str], java: set[str]) -> None:
        self.name = name
        self.members = members
        self.java = java
        self.disk = Disk()
        self.now_ms = 0
        self.holding = False
        self.held = Held()
        self.out: list[tuple[str, Message]] = []
        self.said: list[str] = []
        self._core: Core | None = None

    @property
    def core(self) -> Core:
        if self._core is None:
            disk = self.disk
            self._core = Core(
                self.name,
                self.members,
                CONFIG,
                FirstNumber(),
                now_ms=self.now_ms,
                term=disk.term,
                vote=disk.vote,
                first_index=disk.first_index,
                last_index=disk.first_index + len(disk.terms) - 1,
                runs=runs_of(disk.first_index, disk.terms),
                commit_index=disk.commit,
                base_term=disk.base_term,
            )
            for peer in sorted(self.java - {self.name}):
                self._core.peer_is_java(peer, True)
        return self._core

    def crash(self) -> None:
        del self.disk.terms[self.disk.durable :]
        self.held.drop()
        self._core = None
        self.say("crashed")

    def say(self, text: str) -> None:
        self.said.append(f"{self.name} {text}")

    def run(self) -> None:
        while effects := self.core.take():
            for effect in effects:
                self._execute(effect)

    def persist(self) -> None:
        disk = self.disk
        if self.holding or disk.durable == len(disk.terms):
            return
        disk.durable = len(disk.terms)
        last_index = disk.first_index + len(disk.terms) - 1
        self.core.persisted(last_index, disk.terms[-1])
        self._release()
        self.run()

    def _release(self) -> None:
        for send in self.held.release(self.disk.first_index + self.disk.durable - 1):
            self.out.append((send.to, send.message))

    def _execute(self, effect: Effect) -> None:
        disk = self.disk
        match effect:
            case SaveState():
                disk.term, disk.vote = effect.term, effect.vote
                self.held.drop()
                self.say(f"saves term {effect.term}, vote {effect.vote or '-'}")
            case Append():
                disk.terms += terms_of(effect.entries)
                self.say(f"appends {effect.entries.first_index}..{effect.entries.last_index}")
            case AppendNoop():
                disk.terms.append(effect.term)
                self.say(f"appends {effect.index} to open term {effect.term}")
            case Truncate():
                del disk.terms[effect.last_index + 1 - disk.first_index :]
                disk.durable = min(disk.durable, len(disk.terms))
                self.held.drop()
                self.say(f"truncates after {effect.last_index}")
            case Reset():
                self.disk = Disk(effect.last_index + 1, effect.last_term, [], 0, disk.term, disk.vote, -1)
                self.held.drop()
                self.say(f"resets its log to begin after {effect.last_index}")
            case Send():
                self.out.append((effect.to, effect.message))
            case SendAfterPersist():
                self.held.hold(effect)
                self._release()
            case SendEntries():
                terms = disk.terms[effect.first_index - disk.first_index :][:PUSH_ENTRIES_MAX]
                prev = effect.first_index - 1
                entries = entries_of(effect.first_index, terms)
                push = Push(
                    PushKind.APPEND, effect.term, prev, effect.prev_term, effect.commit_index, entries
                )
                self.out.append((effect.to, push))
                self.core.pushed(effect.to, entries.last_index)
            case SendSnapshot():
                last_index = self.core.first_index - 1
                piece = InstallSnapshot(
                    effect.term, last_index, self.core.term_at(last_index), 0, 0, b"", True
                )
                self.out.append((effect.to, piece))
            case SnapshotPiece():
                self.core.snapshot_received(self.now_ms, effect.piece, True)
            case InstallReceived():
                disk.commit = effect.last_index
                self.say(f"loads the snapshot after {effect.last_index}")
            case Commit():
                disk.commit = effect.index
                self.say(f"commits {effect.index}")
            case RoleChanged():
                self.say(f"is {effect.role.name} in term {effect.term}, leader {effect.leader_id or '-'}")
            case FailProposals():
                self.say(f"fails {effect.first_index}..{effect.last_index} with {effect.code}")
            case ReadReady():
                self.say(f"serves read {effect.token} at {effect.index}")
            case ReadFailed():
                self.say(f"fails read {effect.token} with {effect.code}")
            case TransferDone():
                self.say(f"ends the transfer with {effect.code}")

    def show(self) -> str:
        core, disk = self.core, self.disk
        log = ",".join(str(term) for term in disk.terms) or "-"
        start = f" from {disk.first_index}" if disk.first_index else ""
        return (
            f"{self.name} {core.role.name} term {core.term} leader {core.leader_id or '-'} "
            f"log {log}{start} commit {core.commit_index}"
        )


def describe(message: Message) -> str:
    match message:
        case VoteRequest():
            kind = "PREVOTE" if message.pre else "VOTE"
            return f"{kind} term {message.term}, log ends {message.last_index} in term {message.last_term}"
        case VoteReply():
            return f"{'PREVOTE' if message.pre else 'VOTE'} {message.result.value} term {message.term}"
        case Heartbeat():
            return f"HEARTBEAT term {message.term} round {message.round} commit {message.commit_index}"
        case HeartbeatReply():
            return f"HEARTBEAT answer {message.code} term {message.term} round {message.round}"
        case Push():
            text = f"{message.kind.value} term {message.term} at {message.prev_index}/{message.prev_term}"
            if message.entries is not None:
                text += f" entries {message.entries.first_index}..{message.entries.last_index}"
            return f"{text} commit {message.commit_index}"
        case PushReply():
            text = f"{message.kind.value} answer {message.code} at {message.index}, ends {message.end_index}"
            if message.hint_index >= 0:
                text += f", hint {message.hint_index}/{message.hint_term}"
            return text
        case TakeLeadership():
            return f"TAKE LEADERSHIP term {message.term} with {message.index}"
        case TakeLeadershipReply():
            return f"TAKE LEADERSHIP answer {message.code}"
        case InstallSnapshot():
            return f"SNAPSHOT after {message.last_index}/{message.last_term}"
        case _:
            return f"SNAPSHOT answer {message.code} after {message.last_index}"


class Scenario:
    """One file's cluster."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.wires: deque[tuple[str, str, Message]] = deque()
        self.cuts: set[tuple[str, str]] = set()

    def run(self, line: str) -> list[str]:
        """Carries one command out; returns what the nodes said and sent."""
        name, *words = line.split()
        shown = getattr(self, f"_do_{name}")(*words) or []
        for node in self.nodes.values():
            if name not in ("cluster", "log"):
                node.run()
        return [*self._collect(), *shown]

    def _collect(self) -> list[str]:
        lines: list[str] = []
        for node in self.nodes.values():
            lines += node.said
            node.said.clear()
            for to, message in node.out:
                lines.append(f"{node.name} -> {to} {describe(message)}")
                self.wires.append((node.name, to, message))
                if isinstance(message, InstallSnapshot):
                    node.core.snapshot_sent(node.now_ms, to, True)
            node.out.clear()
        return lines

    def _do_cluster(self, *words: str) -> None:
        names = [word.partition("=")[0] for word in words]
        java = {word.partition("=")[0] for word in words if word.endswith("=java")}
        self.nodes = {name: Node(name, names, java) for name in names}

    def _do_log(self, name: str, *settings: str) -> None:
        disk = self.nodes[name].disk
        for setting in settings:
            key, _, value = setting.partition("=")
            if key == "terms":
                disk.terms = [int(term) for term in value.split(",")]
                disk.durable = len(disk.terms)
                disk.term = max(disk.term, disk.terms[-1])
            elif key == "vote":
                disk.vote = value
            else:
                setattr(disk, {"first": "first_index", "base": "base_term"}.get(key, key), int(value))

    def _do_election(self, name: str) -> None:
        node = self.nodes[name]
        node.now_ms = max(node.now_ms, node.core.next_deadline_ms)
        node.core.tick(node.now_ms)

    def _do_tick(self, name: str, ms: str) -> None:
        node = self.nodes[name]
        core = node.core
        node.now_ms += int(ms)
        core.tick(node.now_ms)

    def _do_rest(self, ms: str) -> list[str]:
        lines: list[str] = []
        for _ in range(int(ms) // STEP_MS):
            for node in self.nodes.values():
                node.now_ms += STEP_MS
                if node.now_ms >= node.core.next_deadline_ms:
                    node.core.tick(node.now_ms)
            lines += self._do_deliver()
        return [line for line in lines if " HEARTBEAT " not in line]

    def _do_propose(self, name: str, count: str) -> list[str]:
        node = self.nodes[name]
        try:
            node.core.propose(node.now_ms, int(count))
        except Refused as refusal:
            return [f"{name} refuses with {refusal.code}: {refusal}"]
        node.disk.terms += [node.core.term] * int(count)
        return []

    def _do_deliver(self, *pair: str) -> list[str]:
        lines: list[str] = []
        if pair:
            waiting, self.wires = self.wires, deque()
            for sender, to, message in waiting:
                if (sender, to) == pair:
                    self._receive(sender, to, message)
                else:
                    self.wires.append((sender, to, message))
            return lines
        for _ in range(1000):
            for node in self.nodes.values():
                node.run()
                node.persist()
            lines += self._collect()
            if not self.wires:
                break
            self._receive(*self.wires.popleft())
        return lines

    def _receive(self, sender: str, to: str, message: Message) -> None:
        if not {(sender, to), (sender, "*"), ("*", to)} & self.cuts:
            node = self.nodes[to]
            node.core.receive(node.now_ms, sender, message)
            node.run()

    def _do_cut(self, name: str, to: str = "") -> None:
        self.cuts |= {(name, to)} if to else {(name, "*"), ("*", name)}

    def _do_heal(self) -> None:
        self.cuts.clear()

    def _do_drop(self) -> None:
        self.wires.clear()

    def _do_hold(self, name: str) -> None:
        self.nodes[name].holding = True

    def _do_persist(self, name: str) -> None:
        self.nodes[name].holding = False
        self.nodes[name].persist()

    def _do_crash(self, name: str) -> None:
        self.nodes[name].crash()

    def _do_read(self, name: str, token: str) -> None:
        self.nodes[name].core.read(self.nodes[name].now_ms, int(token))

    def _do_transfer(self, name: str, to: str) -> list[str]:
        try:
            self.nodes[name].core.transfer(self.nodes[name].now_ms, to)
        except Refused as refusal:
            return [f"{name} refuses with {refusal.code}: {refusal}"]
        return []

    def _do_disconnect(self, name: str, peer: str) -> None:
        self.nodes[name].core.disconnected(self.nodes[name].now_ms, peer)

    def _do_compact(self, name: str, first_index: str) -> None:
        node = self.nodes[name]
        node.core.log_starts_at(int(first_index))
        disk = node.disk
        gone = int(first_index) - disk.first_index
        disk.base_term = disk.terms[gone - 1]
        del disk.terms[:gone]
        disk.first_index += gone
        disk.durable -= gone

    def _do_say(self, sender: str, to: str, kind: str, *settings: str) -> None:
        self._receive(sender, to, spoken(kind, dict(setting.split("=") for setting in settings)))

    def _do_show(self) -> list[str]:
        return [node.show() for node in self.nodes.values()]


def spoken(kind: str, settings: dict[str, str]) -> Message:
    """A message written by hand."""
    term = int(settings.get("term", "0"))
    prev, _, prev_term = settings.get("at", "-1/-1").partition("/")
    commit = int(settings.get("commit", "-1"))
    if kind in ("VOTE", "PREVOTE"):
        return VoteRequest(term, int(prev), int(prev_term), kind == "PREVOTE")
    if kind == "VOTED":
        return VoteReply(term, VoteResult(settings["result"]))
    if kind == "HEARTBEAT":
        return Heartbeat(term, 0, commit, int(settings.get("interval", "100")))
    terms = [int(text) for text in settings["terms"].split(",")] if "terms" in settings else []
    first_index = int(prev) + (1 if kind == "APPEND" else 0)
    entries = entries_of(first_index, terms) if terms else None
    return Push(PushKind(kind), term, int(prev), int(prev_term or "-1"), commit, entries)
