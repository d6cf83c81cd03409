"""Agents that were written down before descent was recorded get one when their node starts: they found families of their own.

An agent's id is the hash of its descent, so it goes on under a new id, as a founder signed by this node; generation, genome and all it has
learnt stay. It is done once: the descent's nonce comes from the former id, so a node that stops half-way finds what it wrote already.
"""

from __future__ import annotations

import hashlib

import msgspec
import structlog
from msgspec.structs import replace

from node.agents.agent import AgentRow
from node.agents.book import AgentBook
from node.agents.genome import content_hash
from protocol.identity import NodeKey, show_id
from protocol.lineage import NONCE_BYTES, conceive

log = structlog.get_logger("agents")


async def with_descent(book: AgentBook, rows: dict[bytes, AgentRow], key: NodeKey, now: float) -> dict[bytes, AgentRow]:
    """The rows, each with a descent; what changes is on disk. Children that have no home yet stay as they are. Raises `NotAvailable`."""
    refounded = {row.lineage[0].nonce for row in rows.values() if row.lineage and not row.lineage[0].parent}
    known = dict(rows)
    for former, row in rows.items():
        if row.lineage or row.unborn:
            continue
        nonce = hashlib.sha256(b"moot founder" + former).digest()[:NONCE_BYTES]
        if nonce not in refounded:
            agent_id, chain = conceive(key, b"", (), row.generation, content_hash(row.genome), nonce)
            known[agent_id] = replace(row, agent_id=agent_id, parent_id=b"", lineage=chain, entrusted=[], confirmed=True)
            await book.save({agent_id: msgspec.msgpack.encode(known[agent_id])})
            log.warning("an agent of before there were lineages founds a family", agent=show_id(agent_id), former=show_id(former))
        await book.bury(former, now, "known by another id from now on")
        del known[former]
    return known
