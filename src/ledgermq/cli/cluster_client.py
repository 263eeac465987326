"""``ledgermq cluster status`` and ``transfer``: what is asked of a cluster that runs somewhere."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

from ledgermq.cli.cluster_status import Answer, Group, groups_of, leaderless
from ledgermq.cli.console import EXIT_FAILED, fail, one_line, print_table, run_client
from ledgermq.client import AdminClient, ClientError
from ledgermq.dledger.client import DLedgerClient
from ledgermq.dledger.errors import DLedgerError


async def ask_groups(admin: AdminClient, timeout_seconds: float) -> list[Group]:
    """Every group of the cluster; its brokers are asked at the same time. Raises ClientError."""
    cluster = await admin.cluster()
    addresses = [at for data in cluster.broker_addr_table.values() for at in data.broker_addrs.values()]

    async def ask(address: str) -> Answer:
        try:
            return await admin.broker_info(address, timeout_ms=int(timeout_seconds * 1000))
        except ClientError as error:
            return str(error)

    answers = await asyncio.gather(*map(ask, addresses))
    return groups_of(cluster, dict(zip(addresses, answers, strict=True)))


def status(name_servers: str, timeout_seconds: float, *, print_json: bool) -> None:
    """A row for each member; status 1 when no broker is registered or a group has no leader."""

    async def work() -> list[Group]:
        async with AdminClient(name_servers) as admin:
            return await ask_groups(admin, timeout_seconds)

    groups = run_client(work())
    members = [member for group in groups for member in group.members]
    if print_json:
        print(json.dumps([asdict(member) for member in members]))
    elif members:
        _print_members(groups)
    if not members:
        fail(EXIT_FAILED, "no broker is registered with the name server")
    without = leaderless(groups)
    if without:
        fail(EXIT_FAILED, f"without a leader: {', '.join(without)}")


def _print_members(groups: list[Group]) -> None:
    heads = "broker member address id role term first commit applied last lag note".split()
    rows = []
    for group in groups:
        for member in group.members:
            notes = ["preferred leader"] if member.preferred else []
            notes += [one_line(member.note)] if member.note else []
            address = member.address or member.dledger_address
            rows.append(
                (
                    member.broker,
                    member.member,
                    address,
                    member.broker_id,
                    member.role,
                    member.term,
                    member.first_index,
                    member.commit_index,
                    member.applied_index,
                    member.last_index,
                    member.lag,
                    ", ".join(notes),
                )
            )
    print_table(heads, rows, as_json=False)


def transfer(name_servers: str, group_name: str, to: str, timeout_seconds: float) -> None:
    """Make the member ``to`` lead ``group_name``, the name of its brokers or of its DLedger group."""

    async def work() -> str:
        async with AdminClient(name_servers) as admin:
            groups = [group for group in await ask_groups(admin, timeout_seconds) if group.replicated]
        found = [group for group in groups if group_name in (group.broker, group.members[0].group)]
        if not found:
            names = ", ".join(group.broker for group in groups) or "none"
            fail(EXIT_FAILED, f"no group {group_name} is registered; groups: {names}")
        members = found[0].members
        ids = [member.member for member in members if member.member]
        if to not in ids:
            fail(EXIT_FAILED, f"group {group_name} has no member {to}; members: {', '.join(ids)}")
        peers = ";".join(f"{m.member}-{m.dledger_address}" for m in members if m.dledger_address)
        group = members[0].group or group_name
        async with DLedgerClient(group, peers, timeout_ms=int(timeout_seconds * 1000)) as client:
            await client.transfer(to)
        preferred = [member.member for member in members if member.preferred and member.member != to]
        back = (
            f"; {preferred[0]} is its preferred leader and will lead again when it can" if preferred else ""
        )
        return f"{to} leads the group {group_name}{back}"

    try:
        print(run_client(work()))
    except DLedgerError as error:
        fail(EXIT_FAILED, error)
