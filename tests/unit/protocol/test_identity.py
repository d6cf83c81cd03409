"""Keys, certificates and what makes a node a member."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.testing import SimRuntime, Swarm
from protocol.errors import BadSignature, InvalidRequest
from protocol.identity import (
    CLOCK_SKEW,
    LEAF_TTL,
    Credentials,
    NodeKey,
    describe_leaf,
    issue_keeper,
    issue_leaf,
    issue_root,
    node_id_of,
    open_swarm,
    parse_id,
    renew_at,
    show_id,
    swarm_id_of,
    verify,
    verify_chain,
)


@pytest.fixture
def runtime() -> SimRuntime:
    return SimRuntime("identity", lambda: 0.0)


@pytest.fixture
def swarm(runtime: SimRuntime) -> Swarm:
    return Swarm(runtime)


@pytest.mark.parametrize("text", ["", "abc", "!" * 32, "a" * 31, "a" * 33, "é" * 32])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not an id: copy the whole of one that moot printed, 32 letters"):
        parse_id(text)


@given(st.binary(min_size=20, max_size=20))
def test_ids_survive_the_round_trip(identifier: bytes) -> None:
    text = show_id(identifier)
    assert len(text) == 32
    assert parse_id(text) == parse_id(f" {text.upper()} ") == identifier


def test_node_id_is_the_hash_of_the_key_and_keys_survive_their_file_form(swarm: Swarm) -> None:
    key = swarm.new_key()
    again = NodeKey.from_pem(key.to_pem())
    assert again.public == key.public
    assert again.node_id == node_id_of(key.public)


@pytest.mark.parametrize("pem", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_damaged_key_file_is_named(pem: bytes) -> None:
    with pytest.raises(BadSignature):
        NodeKey.from_pem(pem)


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(max_size=16), st.binary(max_size=16))
def test_signature_holds_for_its_message_and_context_only(message: bytes, other: bytes, context: bytes, elsewhere: bytes) -> None:
    key = NodeKey.from_seed(bytes(32))
    signature = key.sign(context, message)
    verify(key.public, signature, context, message)
    if (context, message) != (elsewhere, other):
        with pytest.raises(BadSignature):
            verify(key.public, signature, elsewhere, other)


@pytest.mark.parametrize(("public", "signature"), [(b"", bytes(64)), (bytes(32), b""), (bytes(31), bytes(64)), (b"\xff" * 32, bytes(64))])
def test_odd_keys_and_signatures_are_refused_and_do_not_crash(public: bytes, signature: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(public, signature, b"c", b"m")


def test_member_and_keeper_are_told_apart_by_their_leaf(swarm: Swarm, runtime: SimRuntime) -> None:
    for keeper in (False, True):
        credentials = swarm.credentials(keeper=keeper)
        member = verify_chain(credentials.chain, credentials.root, runtime.now())
        assert (member.node_id, member.keeper) == (credentials.node_id, keeper)
        assert credentials.swarm_id == swarm_id_of(swarm.root)


def test_chain_of_another_swarm_is_refused(swarm: Swarm, runtime: SimRuntime) -> None:
    other = Swarm(runtime)
    stranger, mine = other.credentials(), swarm.credentials()
    for chain in (stranger.chain, (stranger.leaf, mine.keeper), (mine.leaf, stranger.keeper)):
        with pytest.raises(BadSignature, match="not issued by this swarm"):
            verify_chain(chain, swarm.root, runtime.now())


def test_member_cannot_issue(swarm: Swarm, runtime: SimRuntime) -> None:
    member = swarm.credentials(keeper=True)
    forged = issue_leaf(member.key, member.leaf, swarm.new_key().public, is_keeper=True, serial=9, now=runtime.now())
    with pytest.raises(BadSignature):
        verify_chain((forged, member.leaf), swarm.root, runtime.now())


def test_root_cannot_stand_in_for_a_keeper_of_another_root(swarm: Swarm, runtime: SimRuntime) -> None:
    rogue = swarm.new_key()
    root = issue_root(rogue, serial=1, now=runtime.now())
    keeper = issue_keeper(rogue, root, rogue.public, serial=2, now=runtime.now())
    leaf = issue_leaf(rogue, keeper, rogue.public, is_keeper=True, serial=3, now=runtime.now())
    with pytest.raises(BadSignature):
        verify_chain((leaf, keeper), swarm.root, runtime.now())


@pytest.mark.parametrize("chain", [[], [b"x"], [b"x", b"y"], [b"", b"", b""]])
def test_what_is_no_chain_is_refused(chain: list[bytes], swarm: Swarm, runtime: SimRuntime) -> None:
    with pytest.raises(BadSignature):
        verify_chain(chain, swarm.root, runtime.now())


def test_leaf_is_valid_from_the_allowed_clock_skew_before_its_issue_until_its_end(swarm: Swarm, runtime: SimRuntime) -> None:
    credentials, now = swarm.credentials(), runtime.now()
    skew, life = CLOCK_SKEW.total_seconds(), LEAF_TTL.total_seconds()
    for moment in (now - skew + 1, now, now + life - 1):
        verify_chain(credentials.chain, swarm.root, moment)
    for moment in (now - skew - 1, now + life + 1):
        with pytest.raises(BadSignature, match="clock"):
            verify_chain(credentials.chain, swarm.root, moment)


def test_leaf_is_renewed_at_two_thirds_of_its_life(swarm: Swarm, runtime: SimRuntime) -> None:
    leaf = swarm.credentials(ttl=timedelta(days=30)).leaf
    assert renew_at(leaf) == pytest.approx(runtime.now() + 20 * 86_400, abs=1_300)
    assert describe_leaf(leaf).expires_at == runtime.now() + 30 * 86_400


def test_anybody_can_issue_a_leaf_of_the_open_swarm_and_it_is_one_swarm(runtime: SimRuntime, swarm: Swarm) -> None:
    issuer, keeper, root = open_swarm()
    credentials = []
    for key in (swarm.new_key(), swarm.new_key()):
        leaf = issue_leaf(issuer, keeper, key.public, is_keeper=False, serial=5, now=runtime.now())
        credentials.append(Credentials(key, leaf, keeper, root))
        verify_chain((leaf, keeper), root, runtime.now())
    assert credentials[0].swarm_id == credentials[1].swarm_id != swarm.credentials().swarm_id


def test_an_issuers_certificate_is_no_membership() -> None:
    root_key, keeper_key = NodeKey.from_seed(b"r" * 32), NodeKey.from_seed(b"k" * 32)
    root = issue_root(root_key, serial=1, now=1_800_000_000.0)
    keeper = issue_keeper(root_key, root, keeper_key.public, serial=2, now=1_800_000_000.0)
    with pytest.raises(BadSignature, match="no proof of membership"):
        verify_chain((keeper, root), root, 1_800_000_000.0)
