"""Joining a swarm over real TLS: what lets a node in and what keeps it out."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest

from node.joining import join
from node.links.wss import WssFactory
from node.testing import Swarm
from protocol.errors import InvalidRequest, NotAuthorised, NotAvailable, Unreachable
from protocol.identity import Credentials, verify_chain
from protocol.token import Token
from tests.unit.gates import ASK_S, RUNTIME, Gate, serving, try_join


@pytest.fixture
def swarm() -> Swarm:
    return Swarm(RUNTIME)


async def test_wrong_secret_is_refused_and_uses_nothing_up(swarm: Swarm) -> None:
    gate = Gate(swarm)
    async with serving(gate):
        token = await gate.token()
        with pytest.raises(NotAuthorised, match=r"secret is wrong.*moot token create"):
            await try_join(gate.address, Token(token.swarm_id, token.token_id, bytes(20)))
        assert [entry.uses_left for entry in await gate.book.entries()] == [1]


async def test_expired_token_is_refused_in_words(swarm: Swarm) -> None:
    gate = Gate(swarm)
    async with serving(gate):
        with pytest.raises(NotAuthorised, match=r"has expired.*moot token create"):
            await try_join(gate.address, await gate.token(ttl_s=-1))


async def test_used_up_token_is_refused_in_words(swarm: Swarm) -> None:
    gate = Gate(swarm)
    async with serving(gate):
        token = await gate.token()
        await try_join(gate.address, token)
        with pytest.raises(NotAuthorised, match=r"used up.*moot token create"):
            await try_join(gate.address, token)


async def test_revoked_token_is_refused_in_words(swarm: Swarm) -> None:
    gate = Gate(swarm)
    async with serving(gate):
        token = await gate.token()
        assert await gate.book.revoke(token.token_id)
        assert not await gate.book.revoke(token.token_id)
        with pytest.raises(NotAuthorised, match=r"not known.*moot token create"):
            await try_join(gate.address, token)


async def test_two_joiners_race_for_one_use_and_exactly_one_wins(swarm: Swarm) -> None:
    gate = Gate(swarm)
    async with serving(gate):
        token = await gate.token()
        results = await asyncio.gather(*(try_join(gate.address, token) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(result, Credentials) for result in results) == 1
    assert sum(isinstance(result, NotAuthorised) for result in results) == 3


async def test_plain_member_makes_no_tokens(swarm: Swarm) -> None:
    with pytest.raises(InvalidRequest, match="on a keeper"):
        await Gate(swarm, keeper=False).token()


async def test_good_token_makes_a_member_that_can_link(swarm: Swarm) -> None:
    gate, key = Gate(swarm), swarm.new_key()
    async with serving(gate):
        credentials = await try_join(gate.address, await gate.token(), key)
        member = verify_chain(credentials.chain, swarm.root, RUNTIME.now())
        assert (member.node_id, member.keeper) == (key.node_id, False)
        factory = WssFactory(credentials)
        link = await factory.dial(gate.address, gate.credentials.node_id, ASK_S)
        assert link.peer.keeper
        await factory.close()


async def test_member_sends_the_joiner_on_to_a_keeper(swarm: Swarm) -> None:
    keeper = Gate(swarm)
    async with serving(keeper):
        member = Gate(swarm, keeper=False, knows=["127.0.0.1:1", keeper.address])
        async with serving(member):
            credentials = await try_join(member.address, await keeper.token())
    assert credentials.swarm_id == keeper.credentials.swarm_id


async def test_keeper_that_does_not_know_the_token_leaves_it_to_the_next(swarm: Swarm) -> None:
    maker = Gate(swarm)
    async with serving(maker):
        other = Gate(swarm, knows=[maker.address])
        async with serving(other):
            assert await try_join(other.address, await maker.token())


async def test_stale_address_of_another_swarm_in_the_list_is_skipped(swarm: Swarm) -> None:
    keeper, foreign = Gate(swarm), Gate(Swarm(RUNTIME))
    async with serving(keeper, foreign):
        member = Gate(swarm, keeper=False, knows=[foreign.address, keeper.address])
        async with serving(member):
            assert await try_join(member.address, await keeper.token())


async def test_unknown_token_stays_the_reason_when_the_other_keepers_are_gone(swarm: Swarm) -> None:
    keeper = Gate(swarm, knows=["127.0.0.1:1"])
    async with serving(keeper):
        with pytest.raises(NotAuthorised, match="not known"):
            await try_join(keeper.address, await Gate(swarm).token())


async def test_member_whose_keepers_are_gone_says_so(swarm: Swarm) -> None:
    member = Gate(swarm, keeper=False, knows=["127.0.0.1:1"])
    async with serving(member):
        with pytest.raises(NotAvailable, match=rf"{member.address} is a plain member, and no keeper.*127\.0\.0\.1:1"):
            await try_join(member.address, await Gate(swarm).token())


async def test_hostile_list_of_keepers_is_asked_only_a_few_times(swarm: Swarm) -> None:
    knocks = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal knocks
        knocks += 1
        writer.close()

    async with AsyncExitStack() as stack:
        decoys = [await stack.enter_async_context(await asyncio.start_server(count, "127.0.0.1", 0)) for _ in range(8)]
        addresses = [f"127.0.0.1:{decoy.sockets[0].getsockname()[1]}" for decoy in decoys]
        member = Gate(swarm, keeper=False, knows=addresses)
        await stack.enter_async_context(serving(member))
        with pytest.raises(NotAvailable):
            await try_join(member.address, await Gate(swarm).token())
    assert knocks == 4


async def test_unreachable_address_is_named(swarm: Swarm) -> None:
    token = await Gate(swarm).token()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 cannot be reached: Connection refused"):
        await try_join("127.0.0.1:1", token)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{port} did not answer within 0\.2 s"):
            await join(f"127.0.0.1:{port}", token, swarm.new_key(), RUNTIME, 0.2)
