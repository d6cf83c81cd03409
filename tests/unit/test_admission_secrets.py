"""What a token's secret is never told to, and messages that cost a keeper nothing."""

from __future__ import annotations

import pytest

from node.admission import HOST_BURST, VisitLimit
from node.links.tls import stranger_context
from node.links.visit import visit
from node.testing import SimRuntime, Swarm
from protocol.admission import (
    ADMISSION_VERSION,
    Denial,
    Grant,
    Offer,
    Request,
    credentials_of,
    decode,
    encode,
    make_request,
)
from protocol.errors import BadSignature, Malformed, NotAuthorised, NotAvailable, TooLarge, Unreachable
from tests.unit.gates import RUNTIME, Gate, impostor, serving, try_join


@pytest.fixture
def swarm() -> Swarm:
    return Swarm(RUNTIME)


async def test_ca_hash_that_does_not_match_is_refused_before_the_secret_is_sent(swarm: Swarm) -> None:
    token = await Gate(swarm).token()
    foreign = Swarm(RUNTIME).credentials(keeper=True)
    async with impostor(foreign, lambda nonce: Offer(ADMISSION_VERSION, foreign.keeper, foreign.root, nonce, [])) as (address, heard):
        with pytest.raises(NotAuthorised, match=rf"{address} is not of the swarm .*the secret was not sent"):
            await try_join(address, token)
    assert heard == []


async def test_true_certificates_shown_by_a_stranger_do_not_get_the_secret(swarm: Swarm) -> None:
    """The offer is public, so anybody can repeat it: the certificate in use on the TLS connection has to chain to it."""
    token = await Gate(swarm).token()
    thief = Swarm(RUNTIME).credentials(keeper=True)
    async with impostor(thief, lambda nonce: Offer(ADMISSION_VERSION, swarm.keeper, swarm.root, nonce, [])) as (address, heard):
        with pytest.raises(NotAuthorised, match="the secret was not sent"):
            await try_join(address, token)
    assert heard == []


async def test_plain_member_does_not_get_the_secret(swarm: Swarm) -> None:
    token = await Gate(swarm).token()
    member = swarm.credentials()
    async with impostor(member, lambda nonce: Offer(ADMISSION_VERSION, member.keeper, member.root, nonce, [])) as (address, heard):
        with pytest.raises(NotAvailable, match=rf"{address} is a plain member"):
            await try_join(address, token)
    assert heard == []


async def test_later_protocol_is_refused_before_the_secret_is_sent(swarm: Swarm) -> None:
    token = await Gate(swarm).token()
    keeper = swarm.credentials(keeper=True)
    async with impostor(keeper, lambda nonce: Offer(ADMISSION_VERSION + 1, keeper.keeper, keeper.root, nonce, [])) as (address, heard):
        with pytest.raises(NotAvailable, match="update the older"):
            await try_join(address, token)
    assert heard == []


async def test_request_cannot_be_passed_on_to_another_keeper(swarm: Swarm) -> None:
    """What a keeper heard from a joiner is bound to that connection and that keeper."""
    gate, joiner = Gate(swarm, keeper=True), swarm.new_key()
    async with serving(gate):
        token = await gate.token()
        async with visit(gate.address, "/join", stranger_context()) as call:
            offer = decode(await call.receive())
            assert isinstance(offer, Offer)
            elsewhere = make_request(token, joiner, offer, swarm.credentials(keeper=True).leaf)
            await call.send(encode(elsewhere))
            assert decode(await call.receive()) == Denial("proof", "a signature does not hold")
        assert (await gate.book.entries())[0].uses_left == 1


async def test_key_that_is_not_ones_own_cannot_be_admitted(swarm: Swarm) -> None:
    gate, mine, theirs = Gate(swarm), swarm.new_key(), swarm.new_key()
    async with serving(gate):
        token = await gate.token()
        async with visit(gate.address, "/join", stranger_context()) as call:
            offer = decode(await call.receive())
            assert isinstance(offer, Offer)
            honest = make_request(token, mine, offer, call.certificate)
            await call.send(encode(Request(honest.token_id, honest.secret, theirs.public, honest.signature)))
            assert isinstance(decode(await call.receive()), Denial)


def test_grant_for_another_key_or_swarm_is_not_accepted(swarm: Swarm) -> None:
    mine, other = swarm.new_key(), swarm.credentials()
    with pytest.raises(BadSignature, match="another key"):
        credentials_of(Grant(other.leaf, other.keeper), mine, swarm.root, RUNTIME.now())
    foreign = Swarm(RUNTIME).credentials(mine)
    with pytest.raises(BadSignature, match="this swarm"):
        credentials_of(Grant(foreign.leaf, foreign.keeper), mine, swarm.root, RUNTIME.now())


async def test_garbage_and_long_messages_cost_the_keeper_nothing(swarm: Swarm) -> None:
    gate = Gate(swarm)
    async with serving(gate):
        for garbage in (b"", b"\xff" * 100, bytes(4_097), encode(Denial("no", "you"))):
            async with visit(gate.address, "/join", stranger_context()) as call:
                await call.receive()
                await call.send(garbage)
                with pytest.raises(Unreachable):
                    await call.receive()
        assert await try_join(gate.address, await gate.token())


def test_messages_are_bounded_and_checked() -> None:
    with pytest.raises(TooLarge):
        decode(bytes(4_097))
    for data in (
        b"",
        b"\xc0",
        b"\x92\x01\x02",
        encode(Denial("a" * 65, "")),
        encode(Denial("no", "\x1b[2J")),
        encode(Request(b"", b"", b"", b"")),
    ):
        with pytest.raises(Malformed):
            decode(data)


def test_one_address_cannot_use_up_everybodys_joins() -> None:
    clock = SimClock()
    limit = VisitLimit(SimRuntime("limit", clock))
    allowed = sum(limit.allows("10.0.0.1") for _ in range(1_000))
    assert allowed == int(HOST_BURST)
    assert limit.allows("10.0.0.2")
    clock.now += 10
    assert sum(limit.allows("10.0.0.1") for _ in range(1_000)) == 20


class SimClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now
