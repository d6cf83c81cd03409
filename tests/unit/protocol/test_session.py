"""The handshake: strangers get nothing, lost and repeated messages do no harm, frames open once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.testing import SimNetwork, World
from protocol import session as wire
from protocol.errors import BadSignature, Malformed, MootError, PeerError, TooLarge
from protocol.identity import Credentials, NodeId
from protocol.session import (
    COOKIE_S,
    MAX_PLAIN,
    OPENING_BYTES,
    WINDOW,
    Acceptance,
    Challenge,
    Completion,
    CookieJar,
    Initiator,
    NoSession,
    Opening,
    Responder,
    Sealed,
    Session,
    addresses_swarm,
    decode,
)

TAGS = {120: "Opening", 121: "Challenge", 122: "Acceptance", 123: "Completion", 124: "Sealed", 125: "NoSession"}
"""Append only, like those of `protocol.messages`."""

WORLD = World(1, lambda: 0.0, SimNetwork(1))
ALICE, BOB = WORLD.credentials("alice"), WORLD.credentials("bob")
STRANGER = World(2, lambda: 0.0, SimNetwork(2)).credentials("stranger")
NOW = WORLD.runtime.now()
SEEDS: Iterator[int] = count(1)


def number(length: int) -> bytes:
    return next(SEEDS).to_bytes(length, "big")


def initiator(credentials: Credentials = ALICE, expect: NodeId | None = None) -> Initiator:
    return Initiator(credentials, seed=number(32), session_id=number(8), expect=expect)


def opening_of(side: Initiator) -> Opening:
    message = decode(side.opening)
    assert isinstance(message, Opening)
    return message


def responder(opening: Opening, credentials: Credentials = BOB) -> Responder:
    return Responder(credentials, opening, seed=number(32), session_id=number(8))


def acceptance_of(side: Responder) -> Acceptance:
    message = decode(side.acceptance)
    assert isinstance(message, Acceptance)
    return message


def completion_of(data: bytes) -> Completion:
    message = decode(data)
    assert isinstance(message, Completion)
    return message


def sealed(session: Session, plaintext: bytes) -> Sealed:
    message = decode(session.seal(plaintext))
    assert isinstance(message, Sealed)
    return message


def opened() -> tuple[Session, Session]:
    """Both ends of a session between Alice, who opened it, and Bob."""
    asking = initiator()
    asked = responder(opening_of(asking))
    session, completion = asking.accepted(acceptance_of(asked), NOW)
    return session, asked.completed(completion_of(completion), NOW)


# ---- who gets in ----------------------------------------------------------------------------------------------------


def test_tags_are_pinned() -> None:
    structs = [value for value in vars(wire).values() if isinstance(value, type) and issubclass(value, msgspec.Struct)]
    assert {s.__struct_config__.tag: s.__name__ for s in structs if isinstance(s.__struct_config__.tag, int)} == TAGS


def test_another_swarms_opening_is_not_even_challenged() -> None:
    assert addresses_swarm(opening_of(initiator()), BOB.swarm_id)
    assert not addresses_swarm(opening_of(initiator(STRANGER)), BOB.swarm_id)


def test_a_node_of_another_swarm_that_knows_our_swarms_id_is_refused_on_both_sides() -> None:
    spy = Credentials(STRANGER.key, STRANGER.leaf, STRANGER.keeper, ALICE.root)  # the root is public: any member shows it
    asking = initiator()
    with pytest.raises(BadSignature):
        asking.accepted(acceptance_of(responder(opening_of(asking), spy)), NOW)
    asking, asked = initiator(spy), None
    asked = responder(opening_of(asking))
    _, completion = asking.accepted(acceptance_of(asked), NOW)
    with pytest.raises(BadSignature):
        asked.completed(completion_of(completion), NOW)


def test_nobody_can_speak_with_a_certificate_whose_key_it_lacks() -> None:
    thief = Credentials(WORLD.key("thief"), BOB.leaf, BOB.keeper, BOB.root)
    asking = initiator()
    with pytest.raises(BadSignature):
        asking.accepted(acceptance_of(responder(opening_of(asking), thief)), NOW)


def test_another_member_than_the_one_expected_is_refused() -> None:
    asking = initiator(expect=WORLD.credentials("carol").node_id)
    with pytest.raises(BadSignature):
        asking.accepted(acceptance_of(responder(opening_of(asking))), NOW)


def test_an_expired_certificate_is_refused() -> None:
    asking = initiator()
    with pytest.raises(BadSignature):
        asking.accepted(acceptance_of(responder(opening_of(asking))), NOW + 31 * 86_400)


def test_a_proof_cannot_be_moved_to_another_handshake() -> None:
    first, second = initiator(), initiator()
    here, there = responder(opening_of(first)), responder(opening_of(second))
    moved = msgspec.structs.replace(acceptance_of(there), receiver=first.session_id)
    with pytest.raises(BadSignature):
        first.accepted(moved, NOW)
    _, completion = second.accepted(acceptance_of(there), NOW)
    with pytest.raises(BadSignature):
        here.completed(completion_of(completion), NOW)


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31)])
def test_a_key_of_small_order_is_refused(key: bytes) -> None:
    with pytest.raises(BadSignature):
        responder(msgspec.structs.replace(opening_of(initiator()), ephemeral=key))


@given(st.integers(0, OPENING_BYTES - 1), st.integers(1, 255))
def test_a_handshake_message_with_one_byte_changed_opens_nothing(position: int, change: int) -> None:
    def bent(data: bytes) -> bytes:
        spot = position % len(data)
        return data[:spot] + bytes([data[spot] ^ change]) + data[spot + 1 :]

    def finish(answer: bytes) -> None:
        message = decode(answer)
        if not isinstance(message, Acceptance) or message.receiver != asking.session_id:
            raise Malformed("a receiver would not find its session")
        _, completion = asking.accepted(message, NOW)
        asked.completed(completion_of(completion), NOW)

    asking = initiator()
    asked = responder(opening_of(asking))
    with pytest.raises(PeerError):
        finish(bent(asked.acceptance))
    finish(asked.acceptance)  # the true answer still works


# ---- what it costs --------------------------------------------------------------------------------------------------


def test_no_answer_is_longer_than_what_it_answers() -> None:
    asking = initiator()
    opening = opening_of(asking)
    asked = responder(opening)
    _, completion = asking.accepted(acceptance_of(asked), NOW)
    assert len(asking.opening) == OPENING_BYTES
    assert len(CookieJar(bytes(32)).challenge(opening, b"10.0.0.1:1", NOW)) < 64
    assert len(asked.acceptance) <= OPENING_BYTES
    assert len(completion) <= OPENING_BYTES


def test_an_opening_that_is_not_padded_is_malformed() -> None:
    with pytest.raises(Malformed):
        decode(wire.encode(msgspec.structs.replace(opening_of(initiator()), padding=bytes(100))))


def test_a_cookie_holds_for_one_address_one_opening_and_two_minutes() -> None:
    jar, asking = CookieJar(bytes(range(32))), initiator()
    assert not jar.proves(opening_of(asking), b"10.0.0.1:1", NOW)
    challenge = decode(jar.challenge(opening_of(asking), b"10.0.0.1:1", NOW))
    assert isinstance(challenge, Challenge)
    assert asking.challenged(challenge)
    assert not asking.challenged(challenge), "the same cookie twice is no news"
    assert len(asking.opening) == OPENING_BYTES
    assert jar.proves(opening_of(asking), b"10.0.0.1:1", NOW)
    assert jar.proves(opening_of(asking), b"10.0.0.1:1", NOW + COOKIE_S)
    assert not jar.proves(opening_of(asking), b"10.0.0.1:1", NOW + 2 * COOKIE_S)
    assert not jar.proves(opening_of(asking), b"10.0.0.2:1", NOW)
    other = initiator()
    other.challenged(challenge)
    assert not jar.proves(opening_of(other), b"10.0.0.1:1", NOW)


# ---- frames ---------------------------------------------------------------------------------------------------------


def test_both_ends_know_each_other_and_speak() -> None:
    alice, bob = opened()
    assert (alice.peer.node_id, bob.peer.node_id) == (BOB.node_id, ALICE.node_id)
    assert bob.open(sealed(alice, b"hello")) == b"hello"
    assert alice.open(sealed(bob, b"hello yourself")) == b"hello yourself"


def test_a_frame_opens_once() -> None:
    alice, bob = opened()
    frame = sealed(alice, b"hello")
    bob.open(frame)
    with pytest.raises(Malformed):
        bob.open(frame)


def test_a_forged_frame_is_refused_and_does_not_burn_its_number() -> None:
    alice, bob = opened()
    frame = sealed(alice, b"hello")
    with pytest.raises(BadSignature):
        bob.open(msgspec.structs.replace(frame, body=bytes(len(frame.body))))
    assert bob.open(frame) == b"hello"


def test_a_frame_is_not_its_senders_to_receive() -> None:
    alice, _ = opened()
    with pytest.raises(BadSignature):
        alice.open(sealed(alice, b"hello"))


@given(st.permutations(range(12)), st.integers(0, 2 * WINDOW))
def test_frames_may_overtake_each_other_within_the_window(order: list[int], gap: int) -> None:
    alice, bob = opened()
    frames = [sealed(alice, bytes([index])) for index in range(12)]
    for _ in range(gap):
        alice.seal(b"lost")
    last = sealed(alice, b"last")
    assert [bob.open(frames[index])[0] for index in order[:6]] == order[:6]
    assert bob.open(last) == b"last"
    for index in order[6:]:
        if 12 + gap - index < WINDOW:
            assert bob.open(frames[index])[0] == index
        else:
            with pytest.raises(Malformed):
                bob.open(frames[index])
    for frame in (frames[order[0]], last):
        with pytest.raises(Malformed):
            bob.open(frame)


def test_the_longest_plaintext_fits_into_a_datagram_and_one_more_byte_does_not() -> None:
    alice, _ = opened()
    assert len(alice.seal(bytes(MAX_PLAIN))) <= OPENING_BYTES
    with pytest.raises(TooLarge):
        alice.seal(bytes(MAX_PLAIN + 1))


def test_a_session_ends_with_its_time_or_with_the_peers_certificate() -> None:
    session, _ = opened()
    assert NOW < session.rekey_at < session.expires_at <= session.peer.expires_at
    asking = initiator()
    late = BOB_EXPIRES - 5
    session, _ = asking.accepted(acceptance_of(responder(opening_of(asking))), late)
    assert session.expires_at == BOB_EXPIRES


BOB_EXPIRES = opened()[0].peer.expires_at


@given(st.binary(max_size=OPENING_BYTES + 50))
def test_random_bytes_decode_to_nothing_or_to_a_message(data: bytes) -> None:
    try:
        message = decode(data)
    except (Malformed, TooLarge):
        return
    assert isinstance(message, Challenge | Acceptance | Completion | Sealed | NoSession)


@given(st.binary(max_size=900))
def test_a_proof_of_any_bytes_raises_a_peer_error_and_nothing_else(proof: bytes) -> None:
    asking = initiator()
    asked = responder(opening_of(asking))
    with pytest.raises(MootError):
        asked.completed(Completion(asked.session_id, proof), NOW)
