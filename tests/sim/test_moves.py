"""Agents that are said to move: a member must not bring in by moves what the birth budget would not let in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from node.agents.agent import Agent, born
from node.agents.genome import content_hash
from node.agents.limits import HOUR_S, Accounts
from node.agents.nursery import MOVES_EACH
from node.agents.state import state_of
from node.testing import World
from protocol.identity import Member, NodeId, NodeKey
from protocol.messages import BirthOffer, BirthReply, GenomeChunk, GenomeRequest, LinkMessage
from tests.sim.houses import House, run


@dataclass
class Liar:
    """A member that announces whatever it likes and serves it, beside a node with much room."""

    house: House
    other: House
    served: dict[bytes, bytes] = field(default_factory=dict)

    async def serve(self, peer: Member, request: GenomeRequest) -> LinkMessage:
        data = self.served[request.genome]
        return GenomeChunk(len(data), data[request.offset :])

    async def move(self, agent: Agent) -> BirthReply:
        """Offer the agent as one that moves, and see it through."""
        offer, data = move_of(agent)
        self.served[offer.genome] = data
        reply = await self.house.exchange.request(self.other.node_id, offer, 5.0)
        assert isinstance(reply, BirthReply)
        await asyncio.sleep(1.0)
        return reply


async def liar_and_host(world: World, tasks: asyncio.TaskGroup) -> tuple[Liar, House]:
    town: list[House] = []
    house, other = House(world, "liar", town, with_replication=False), House(world, "other", town, agents=0, capacity=200)
    for one in town:
        await one.start(tasks)
    other.nursery._lives_on = lambda node, agent: node == house.node_id
    liar = Liar(house, other)
    house.exchange.on(GenomeRequest, liar.serve)
    return liar, other


def move_of(agent: Agent) -> tuple[BirthOffer, bytes]:
    data = state_of(agent)
    offer = BirthOffer(
        agent.agent_id, agent.agent_id, agent.brain, agent.generation, content_hash(data), len(data), list(agent.lineage), 1, True
    )
    return offer, data


@pytest.mark.parametrize("own_key", [True, False])
def test_founders_that_a_member_invents_can_move_so_many_an_hour(own_key: bool) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        liar, other = await liar_and_host(world, tasks)
        genome = liar.house.residents[0].genome
        replies = []
        for number in range(MOVES_EACH + 10):
            key = liar.house.credentials.key if own_key else NodeKey.from_seed(number.to_bytes(32, "big"))
            replies.append(await liar.move(born(genome, 0.0, liar.house.node_id, key, number.to_bytes(16, "big"))))
        assert sum(reply.accepted for reply in replies) == len(other.residents) == MOVES_EACH
        assert replies[-1].reason == "too many agents of one node's making move here this hour"

    run(1, scenario)


def test_an_agent_without_a_descent_or_with_anothers_does_not_move() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        liar, other = await liar_and_host(world, tasks)
        (agent,) = liar.house.residents
        lineage = agent.lineage
        stranger = born(agent.genome, 0.0, liar.house.node_id, liar.house.credentials.key, bytes(16))
        agent.lineage = ()
        assert (await liar.move(agent)).reason == "an agent without a descent cannot move"
        agent.lineage = stranger.lineage
        assert "does not hash" in (await liar.move(agent)).reason
        agent.lineage = lineage
        assert (await liar.move(agent)).accepted
        assert [one.agent_id for one in other.residents] == [agent.agent_id]

    run(1, scenario)


def test_accounts_are_bounded_count_an_agent_once_and_forget_after_an_hour() -> None:
    accounts, one = Accounts(2), NodeId(b"1" * 20)
    assert [accounts.take(one, agent, 0.0) for agent in (b"a", b"b", b"c", b"a")] == [True, True, False, True]
    assert accounts.take(NodeId(b"2" * 20), b"c", 0.0)
    assert accounts.take(one, b"c", HOUR_S)
