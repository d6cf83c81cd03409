"""Joining a swarm over real TLS: what lets a node in, what keeps it out, and what a token's secret is never told to."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from node.admission import HOST_BURST, Admission, VisitLimit, obtain_credentials
from node.joining import WrongSwarm, join, renew
from node.keyring import Issuer, Keyring
from node.links.base import Link
from node.links.tls import stranger_context
from node.links.visit import Visit, visit
from node.links.wss import WssFactory
from node.runtime import SystemRuntime
from node.testing import MemoryTokenBook, SimRuntime, Swarm
from protocol.admission import (
    ADMISSION_VERSION,
    NONCE_BYTES,
    Denial,
    Grant,
    Offer,
    Request,
    credentials_of,
    decode,
    encode,
    make_request,
)
from protocol.errors import BadSignature, Conflict, InvalidRequest, Malformed, NotAuthorised, NotAvailable, TooLarge, Unreachable
from protocol.identity import Credentials, NodeKey, describe_leaf, verify_chain
from protocol.pins import MINILM, WORDS, pinned_embedder
from protocol.token import SECRET_BYTES, TOKEN_ID_BYTES, Token

RUNTIME = SystemRuntime()
ASK_S = 30.0


class Gate:
    """A node that serves admission on loopback; a keeper unless told otherwise."""

    def __init__(self, swarm: Swarm, *, keeper: bool = True, knows: Sequence[str] = ()) -> None:
        self.credentials = swarm.credentials(keeper=keeper)
        self.book = MemoryTokenBook()
        issuer = Issuer(swarm.keeper_key, swarm.keeper, swarm.root) if keeper else None
        self.admission = Admission(RUNTIME, self.credentials, issuer, self.book, lambda: knows)
        self.address = ""

    async def token(self, ttl_s: float = 60, uses: int = 1) -> Token:
        return (await self.admission.create_token(ttl_s, uses))[0]


async def no_links(link: Link) -> None:
    await link.close()


@asynccontextmanager
async def serving(*gates: Gate) -> AsyncIterator[None]:
    factories = [WssFactory(gate.credentials, gate.admission.visits()) for gate in gates]
    try:
        for gate, factory in zip(gates, factories, strict=True):
            host, port = await factory.listen("127.0.0.1", 0, no_links)
            gate.address = f"{host}:{port}"
        yield
    finally:
        for factory in factories:
            await factory.close()


@asynccontextmanager
async def impostor(credentials: Credentials, offer: Callable[[bytes], Offer]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A hostile listener: makes what offer it likes and writes down everything it hears."""
    heard: list[bytes] = []

    async def listen(caller: Visit) -> None:
        await caller.send(encode(offer(RUNTIME.token_bytes(NONCE_BYTES))))
        heard.append(await caller.receive())

    factory = WssFactory(credentials, {"/join": listen})
    host, port = await factory.listen("127.0.0.1", 0, no_links)
    try:
        yield f"{host}:{port}", heard
    finally:
        await factory.close()


@pytest.fixture
def swarm() -> Swarm:
    return Swarm(RUNTIME)


async def try_join(address: str, token: Token, key: NodeKey | None = None) -> Credentials:
    return await join(address, token, key or Swarm(RUNTIME).new_key(), RUNTIME, ASK_S)


# ---- tokens that are not honoured -----------------------------------------------------------------------------------


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


# ---- the secret goes to nobody but a keeper of the token's swarm ------------------------------------------------------


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


# ---- the way in -------------------------------------------------------------------------------------------------------


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


# ---- renewal ----------------------------------------------------------------------------------------------------------


async def test_member_renews_with_its_present_certificate(swarm: Swarm) -> None:
    gate, member = Gate(swarm), swarm.credentials(age_s=86_400 * 20)
    async with serving(gate):
        fresh = await renew(["127.0.0.1:1", gate.address], member, RUNTIME, ASK_S)
    assert fresh.node_id == member.node_id
    assert describe_leaf(fresh.leaf).expires_at > describe_leaf(member.leaf).expires_at + 86_400
    assert not describe_leaf(fresh.leaf).keeper


async def test_stranger_cannot_renew_and_a_plain_member_grants_nothing(swarm: Swarm) -> None:
    keeper, plain = Gate(swarm), Gate(swarm, keeper=False)
    async with serving(keeper, plain):
        with pytest.raises(Unreachable, match="another swarm"):
            await renew([keeper.address], Swarm(RUNTIME).credentials(), RUNTIME, ASK_S)
        async with visit(keeper.address, "/renew", stranger_context()) as call:
            assert decode(await call.receive()) == Denial("no certificate", "a renewal wants this swarm's certificate")
        with pytest.raises(Unreachable, match="admits nobody"):
            await renew([plain.address], swarm.credentials(), RUNTIME, ASK_S)
    with pytest.raises(Unreachable, match="no keeper is known"):
        await renew([], swarm.credentials(), RUNTIME, ASK_S)


# ---- starting ---------------------------------------------------------------------------------------------------------


async def start(
    directory: Path, *, token: str | None = None, bootstrap: Sequence[str] = (), open_swarm: bool = False, embedder: str = WORDS
) -> Credentials:
    keyring = Keyring(directory, RUNTIME)
    return await obtain_credentials(keyring, RUNTIME, open_swarm=open_swarm, bootstrap=bootstrap, token=token, embedder=embedder)


async def test_a_member_takes_a_token_of_its_own_swarm_and_refuses_anothers(tmp_path: Path) -> None:
    here = await start(tmp_path / "here")
    other = await start(tmp_path / "other")
    own, foreign = (Token(swarm.swarm_id, bytes(TOKEN_ID_BYTES), bytes(SECRET_BYTES)).show() for swarm in (here, other))
    assert (await start(tmp_path / "here", token=own, bootstrap=["127.0.0.1:1"])).swarm_id == here.swarm_id
    with pytest.raises(Conflict, match="another swarm"):
        await start(tmp_path / "here", token=foreign, bootstrap=["127.0.0.1:1"])


async def test_the_founders_pin_outlives_restarts_renewals_and_other_wishes(tmp_path: Path) -> None:
    first = await start(tmp_path, embedder=MINILM)
    again = await start(tmp_path, embedder=WORDS)
    renewed = Keyring(tmp_path, RUNTIME).renew_own()
    assert renewed is not None
    assert [pinned_embedder(credentials.root) for credentials in (first, again, renewed)] == [MINILM] * 3
    assert pinned_embedder((await start(tmp_path / "open", open_swarm=True, embedder=MINILM)).root) == WORDS


async def test_a_joiner_gets_the_founders_pin_and_not_its_own_wish(tmp_path: Path) -> None:
    founder = await start(tmp_path / "founder", embedder=MINILM)
    issuer = Keyring(tmp_path / "founder", RUNTIME).issuer()
    admission = Admission(RUNTIME, founder, issuer, MemoryTokenBook(), list)
    factory = WssFactory(founder, admission.visits())
    host, port = await factory.listen("127.0.0.1", 0, no_links)
    try:
        token, _ = await admission.create_token(60, 1)
        joined = await start(tmp_path / "joiner", token=token.show(), bootstrap=[f"{host}:{port}"], embedder=WORDS)
    finally:
        await factory.close()
    assert pinned_embedder(joined.root) == MINILM
    assert pinned_embedder((await start(tmp_path / "joiner")).root) == MINILM


async def test_a_keeper_that_shows_another_pin_than_the_founders_is_not_believed(tmp_path: Path) -> None:
    """It has a true key and chain; only the words on the root are changed."""
    founder = await start(tmp_path, embedder=MINILM)
    changed = founder.root.replace(b"minilm-l6-v2", b"minilm-l6-v9")
    async with impostor(founder, lambda nonce: Offer(ADMISSION_VERSION, founder.keeper, changed, nonce, [])) as (address, heard):
        with pytest.raises(WrongSwarm, match="not signed by the swarm's key"):
            await try_join(address, Token(founder.swarm_id, bytes(TOKEN_ID_BYTES), bytes(SECRET_BYTES)))
    assert heard == []


async def test_first_node_founds_a_swarm_and_stays_in_it(tmp_path: Path) -> None:
    first = await start(tmp_path)
    assert describe_leaf(first.leaf).keeper
    assert (await start(tmp_path)).swarm_id == first.swarm_id


async def test_joined_node_ignores_a_token_and_needs_no_bootstrap_afterwards(tmp_path: Path, swarm: Swarm) -> None:
    gate = Gate(swarm)
    async with serving(gate):
        token = (await gate.token()).show()
        first = await start(tmp_path, token=token, bootstrap=["127.0.0.1:1", gate.address])
        again = await start(tmp_path, token=token, bootstrap=[gate.address])
    offline = await start(tmp_path, token="nonsense", bootstrap=["127.0.0.1:1"])
    assert first.chain == again.chain == offline.chain


async def test_refusals_at_the_start_name_the_remedy_and_leave_no_membership(tmp_path: Path, swarm: Swarm) -> None:
    gate = Gate(swarm)
    async with serving(gate):
        token = (await gate.token()).show()
        with pytest.raises(NotAuthorised, match=r"needs a token.*moot token create"):
            await start(tmp_path, bootstrap=[gate.address])
        with pytest.raises(InvalidRequest, match="--bootstrap"):
            await start(tmp_path, token=token)
        with pytest.raises(NotAuthorised, match="not a join token"):
            await start(tmp_path, token="garbage", bootstrap=[gate.address])
        with pytest.raises(Unreachable, match=r"Cannot join: 127\.0\.0\.1:1 cannot be reached"):
            await start(tmp_path, token=token, bootstrap=["127.0.0.1:1"])
        assert Keyring(tmp_path, RUNTIME).load() is None
        assert await start(tmp_path, token=token, bootstrap=[gate.address])


async def test_open_swarm_needs_no_token_and_is_refused_to_a_closed_directory(tmp_path: Path) -> None:
    one, two = await start(tmp_path / "1", open_swarm=True), await start(tmp_path / "2", open_swarm=True, bootstrap=["127.0.0.1:1"])
    assert one.swarm_id == two.swarm_id
    await start(tmp_path / "3")
    with pytest.raises(Conflict, match="--open"):
        await start(tmp_path / "3", open_swarm=True)


async def test_tls_below_1_3_is_not_spoken(swarm: Swarm) -> None:
    gate, old = Gate(swarm), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode, old.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
    async with serving(gate):
        with pytest.raises((Unreachable, BadSignature)):
            async with visit(gate.address, "/join", old):
                pass
