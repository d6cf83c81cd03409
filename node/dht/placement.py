"""Who holds a record: the `REPLICAS` nodes nearest to its key."""

from __future__ import annotations

import asyncio

from kademlia.node import Node

from node.dht.rpc import KadProtocol
from protocol.errors import PeerError
from protocol.records import Record

REPLICAS = 5
SEARCH_WIDTH = 8
"""Nearest nodes that a look-up for a key wants to hear: the replicas and a few in reserve."""


def is_heir(protocol: KadProtocol, newcomer: Node, key: Node) -> bool:
    """The newcomer is nearer to `key` than one of the holders so far, and it is our turn to tell it.

    It is our turn when we are one of the two nearest holders: one alone may be hung. The key is used as it is; stock hashes it again.
    """
    others = protocol.router.find_neighbors(key, REPLICAS - 1, exclude=newcomer)
    own = protocol.source_node.distance_to(key)
    if sum(other.distance_to(key) < own for other in others) > 1:
        return False
    return len(others) < REPLICAS - 1 or newcomer.distance_to(key) < others[-1].distance_to(key)


async def bring(protocol: KadProtocol, record: Record, holders: list[Node]) -> list[str]:
    """Ask every holder at once to keep a record; the verdict of each, in their order, or "unreachable"."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_bring(protocol, record, holder)) for holder in holders]
    return [task.result() for task in tasks]


async def _bring(protocol: KadProtocol, record: Record, holder: Node) -> str:
    try:
        stored = await protocol.call_store(holder, record)
    except PeerError:
        return "unreachable"
    return "kept" if stored.kept else stored.reason
