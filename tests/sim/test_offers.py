"""Offers of children that a host must refuse, and hosts that keep no promise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from node.agents.handover import BIRTH_S, SETTLE_S
from node.agents.nursery import MAX_RESERVED_EACH, RESERVE_S
from node.testing import World
from protocol.errors import Refused
from protocol.identity import Member
from protocol.lineage import conceive
from protocol.messages import Birth, BirthOffer, BirthReply, GenomeChunk, GenomeRequest, LinkMessage
from tests.sim.houses import THRESHOLD, House, pair, run


def offer_of(home: House, number: int = 0, **changed: Any) -> BirthOffer:
    """A child of the first agent, with its parent's genome."""
    parent = home.residents[0]
    key = home.credentials.key
    child_id, chain = conceive(key, parent.agent_id, parent.lineage, 1, parent.genome_hash, number.to_bytes(16, "big"))
    fields = {"child_id": child_id, "brain": parent.brain, "generation": 1, "genome": parent.genome_hash, "size": len(parent.packed)}
    return BirthOffer(**{"parent_id": parent.agent_id, **fields, "lineage": chain, **changed})


async def offer(home: House, other: House, message: BirthOffer) -> BirthReply:
    reply = await home.exchange.request(other.node_id, message, 5.0)
    assert isinstance(reply, BirthReply)
    return reply


async def stranger(world: World, tasks: asyncio.TaskGroup, town: list[House], name: str = "stranger") -> House:
    """A member without replication of its own: the test gives it handlers."""
    house = House(world, name, town, with_replication=False)
    await house.start(tasks)
    return house


def test_an_offer_that_is_never_followed_up_gives_its_place_back() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        other = House(world, "other", town, agents=0, capacity=1)
        await other.start(tasks)
        home = await stranger(world, tasks, town)

        async def never(peer: Member, request: GenomeRequest) -> LinkMessage | None:
            await asyncio.Event().wait()
            return None

        home.exchange.on(GenomeRequest, never)
        reply = await offer(home, other, offer_of(home))
        assert reply.accepted
        assert reply.reserved_until > world.runtime.now()
        assert other.host.room() == 0
        assert not (await offer(home, other, offer_of(home, 4))).accepted
        await asyncio.sleep(RESERVE_S + 1)
        assert other.host.room() == 1
        assert other.residents == []

    run(1, scenario)


@pytest.mark.parametrize("crime", ["wrong hash", "empty", "other total", "another message", "endless"])
def test_a_genome_that_is_not_what_was_promised_starts_nothing(crime: str) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        other = House(world, "other", town, agents=0)
        await other.start(tasks)
        home = await stranger(world, tasks, town)
        data = home.residents[0].packed

        async def serve(peer: Member, request: GenomeRequest) -> LinkMessage | None:
            replies: dict[str, LinkMessage] = {
                "wrong hash": GenomeChunk(len(data), bytes(len(data))),
                "empty": GenomeChunk(len(data), b""),
                "other total": GenomeChunk(len(data) + 1, data),
                "another message": BirthReply(True),
                "endless": GenomeChunk(len(data), data + bytes(100)),
            }
            return replies[crime]

        home.exchange.on(GenomeRequest, serve)
        assert (await offer(home, other, offer_of(home))).accepted
        await asyncio.sleep(RESERVE_S + 1)
        assert other.residents == []
        assert other.host.room() == 8

    run(1, scenario)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"brain": "gemma"}, "no brain gemma here"), ({"size": 10_000_000}, "10000000 bytes are no genome of scripted"), ({}, "")],
)
def test_offers_that_cannot_be_hosted_are_refused_with_the_reason(changed: dict[str, Any], reason: str) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home, other = await pair(world, tasks)
        reply = await offer(home, other, offer_of(home, **changed))
        assert reply.accepted == (reason == "")
        assert reply.reason == reason

    run(1, scenario)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"lineage": []}, "0 links"),
        ({"child_id": b"c" * 20}, "does not hash"),
        ({"parent_id": b"p" * 20}, "another child"),
        ({"generation": 7}, "another child"),
    ],
)
def test_a_lineage_that_does_not_hash_is_refused_with_the_reason(changed: dict[str, Any], reason: str) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home, other = await pair(world, tasks)
        reply = await offer(home, other, offer_of(home, **changed))
        assert not reply.accepted
        assert reason in reply.reason

    run(1, scenario)


def test_a_child_that_another_node_conceived_is_refused() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home, other = await pair(world, tasks)
        thief = await stranger(world, tasks, home.town)
        reply = await offer(thief, other, offer_of(home))
        assert reply.reason == "the child was conceived by another node"

    run(1, scenario)


def test_one_peer_cannot_take_all_places() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        other = House(world, "other", town, agents=0)
        await other.start(tasks)
        home = await stranger(world, tasks, town)

        async def never(peer: Member, request: GenomeRequest) -> LinkMessage | None:
            await asyncio.Event().wait()
            return None

        home.exchange.on(GenomeRequest, never)
        replies = [await offer(home, other, offer_of(home, number)) for number in range(5)]
        assert sum(reply.accepted for reply in replies) == MAX_RESERVED_EACH

    run(1, scenario)


def test_a_host_takes_in_so_many_children_a_minute() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        home = House(world, "home", town)
        other = House(world, "other", town, agents=0, births_per_minute=2)
        for house in town:
            await house.start(tasks)
        for number in range(3):
            reply = await offer(home, other, offer_of(home, number))
            await asyncio.sleep(1)
        assert not reply.accepted
        assert "this minute" in reply.reason
        await asyncio.sleep(60)
        assert (await offer(home, other, offer_of(home, 99))).accepted

    run(1, scenario)


def test_a_genome_is_served_only_to_the_node_it_is_offered_to() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home, _ = await pair(world, tasks)
        thief = await stranger(world, tasks, home.town)
        with pytest.raises(Refused):
            await thief.exchange.request(home.node_id, GenomeRequest(home.residents[0].genome_hash, 0), 5.0)

    run(1, scenario)


def accepting(house: House, fetches: bool) -> list[BirthOffer]:
    """Make a stranger accept every offer, perhaps fetch the genome, and never say more."""
    offers: list[BirthOffer] = []

    async def accept(peer: Member, message: BirthOffer) -> BirthReply:
        offers.append(message)
        if fetches:
            await house.exchange.request(peer.node_id, GenomeRequest(message.genome, 0), 5.0)
        return BirthReply(True, "", house.runtime.now() + 30)

    house.promised = 1_000
    house.exchange.on(BirthOffer, accept)
    return offers


def test_after_a_peer_that_accepts_and_never_fetches_the_next_one_gets_the_child() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home, other = await pair(world, tasks)
        offers = accepting(await stranger(world, tasks, home.town), fetches=False)
        await home.ask(THRESHOLD)
        await asyncio.sleep(BIRTH_S + 5)
        assert len(offers) == 1
        assert len(other.children) == 1
        await home.ask(THRESHOLD)
        await asyncio.sleep(5)
        assert len(offers) == 1  # once bitten
        assert len(other.children) == 2

    run(1, scenario)


def test_a_child_that_may_live_on_a_silent_peer_goes_elsewhere_an_epoch_on() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home, other = await pair(world, tasks)
        offers = accepting(await stranger(world, tasks, home.town), fetches=True)
        await home.ask(THRESHOLD)
        await asyncio.sleep(SETTLE_S + 2 * BIRTH_S)
        assert len({message.child_id for message in offers}) == 1
        assert len(offers) > 3
        assert [(child.agent_id, child.epoch) for child in other.children] == [(offers[0].child_id, 1)]
        assert home.host.population.unborn == {}

    run(1, scenario)


def test_a_word_of_birth_that_was_not_asked_for_means_nothing() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home, other = await pair(world, tasks)
        house = await stranger(world, tasks, home.town)
        offers = accepting(house, fetches=False)
        await home.ask(THRESHOLD)
        await asyncio.sleep(1)
        with pytest.raises(Refused):
            await house.exchange.request(home.node_id, Birth(offers[0].child_id), 5.0)
        await asyncio.sleep(BIRTH_S + 5)
        assert len(other.children) == 1

    run(1, scenario)


def test_an_offer_repeated_gives_no_second_child() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home, other = await pair(world, tasks)
        await home.ask(THRESHOLD)
        await asyncio.sleep(2)
        (child,) = other.children
        for _ in range(3):
            reply = await offer(home, other, offer_of(home, child_id=child.agent_id))
            assert reply.accepted
            assert reply.reserved_until == 0.0
        assert len(other.residents) == 1

    run(1, scenario)
