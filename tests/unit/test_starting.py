"""Starting a node: founding, joining, coming back, renewing; refusals name the remedy."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from node.admission import Admission, obtain_credentials
from node.joining import WrongSwarm, renew
from node.keyring import Keyring
from node.links.tls import stranger_context
from node.links.visit import visit
from node.links.wss import WssFactory
from node.testing import MemoryTokenBook, Swarm
from protocol.admission import ADMISSION_VERSION, Denial, Offer, decode
from protocol.errors import BadSignature, Conflict, InvalidRequest, NotAuthorised, Unreachable
from protocol.identity import Credentials, describe_leaf
from protocol.pins import MINILM, WORDS, pinned_embedder
from protocol.token import SECRET_BYTES, TOKEN_ID_BYTES, Token
from tests.unit.gates import ASK_S, RUNTIME, Gate, impostor, no_links, serving, try_join


@pytest.fixture
def swarm() -> Swarm:
    return Swarm(RUNTIME)


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
