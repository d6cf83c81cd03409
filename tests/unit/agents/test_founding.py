"""Agents of databases that are older than lineages: they get one, once, and can move and be revived like all others."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from node.agents.agent import read_row, to_row
from node.agents.founding import with_descent
from node.agents.genome import content_hash
from node.agents.host import Surroundings
from node.agents.state import open_state, state_of
from node.brains.tiny import TinyBrain
from node.runtime import Runtime
from node.testing.book import MemoryBook
from protocol.errors import NotAvailable
from protocol.identity import NodeKey
from protocol.lineage import check_lineage
from tests.unit.agents.house import host, living, simulated

KEY = NodeKey.from_seed(bytes(32))


async def old_book(runtime: Runtime) -> tuple[MemoryBook, bytes]:
    """A book with one agent whose origin nobody recorded, and its id."""
    book = MemoryBook()
    async with living(host(runtime, TinyBrain(), book=book, agents=1)) as (agent,):
        agent.interactions, agent.generation, agent.parent_id = 7, 2, b"p" * 20
        book.rows = {agent.agent_id: to_row(agent)}
        return book, agent.agent_id


def test_an_agent_without_a_lineage_founds_a_family_and_can_be_revived() -> None:
    async def main(runtime: Runtime) -> None:
        book, former = await old_book(runtime)
        home = host(runtime, TinyBrain(), book=book, agents=1, surroundings=Surroundings(key=KEY))
        async with living(home) as (agent,):
            check_lineage(agent.lineage, agent.agent_id, b"", 2, agent.genome_hash)
            assert (agent.interactions, list(book.rows), list(home.population.gone)) == (7, [agent.agent_id], [former])
            data = state_of(agent)
            again = await open_state(runtime, home, data, content_hash(data), agent.agent_id, agent.epoch + 1)
            assert again.family == agent.agent_id

    simulated(main)


def test_a_node_that_stops_half_way_makes_no_second_agent_of_it() -> None:
    async def main(runtime: Runtime) -> None:
        class Stopping(MemoryBook):
            async def bury(self, agent_id: bytes, at: float, reason: str) -> None:
                raise NotAvailable("The disk is full.")

        old, former = await old_book(runtime)
        half = Stopping()
        half.rows = dict(old.rows)
        with pytest.raises(NotAvailable):
            await with_descent(half, {former: read_row(old.rows[former])}, KEY, 0.0)
        (new,) = half.rows.keys() - {former}
        rows = {agent_id: replace(read_row(data), interactions=9) for agent_id, data in half.rows.items()}
        assert await with_descent(old, rows, KEY, 0.0) == {new: rows[new]}
        assert former not in old.rows

    simulated(main)
