"""Handshakes and frames between two session tables, datagram by datagram, with no network between them."""

from __future__ import annotations

import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dht import sessions as module
from node.dht.sessions import Address, Heard, Sessions
from node.testing import SimNetwork, World
from protocol.identity import NodeId
from protocol.session import OPENING_BYTES, NoSession, decode, encode

WORLD = World(3, lambda: 0.0, SimNetwork(3))
NOW = WORLD.runtime.now()
AT: dict[str, Address] = {name: (f"10.0.0.{number}", 7337) for number, name in enumerate(("alice", "bob", "mallory"), 1)}
IDS: dict[str, NodeId] = {name: WORLD.credentials(name).node_id for name in AT}
LIVES = count()


def table(name: str) -> Sessions:
    return Sessions(WORLD.credentials(name), random.Random(f"{name} {next(LIVES)}").randbytes)


class Pair:
    """Alice and Bob and the datagrams between them."""

    def __init__(self) -> None:
        self.tables = {"alice": table("alice"), "bob": table("bob")}
        self.now = NOW
        self.frames: dict[str, list[bytes]] = {"alice": [], "bob": []}
        self.sent: list[tuple[str, bytes]] = []
        self.loses: int | None = None
        """The number of the datagram that gets lost."""

    def send(self, sender: str, datagrams: list[bytes] | tuple[bytes, ...]) -> None:
        """Deliver at once, and everything that comes of it."""
        receiver = "bob" if sender == "alice" else "alice"
        for datagram in datagrams:
            self.sent.append((sender, datagram))
            if len(self.sent) - 1 == self.loses:
                continue
            heard = self.tables[receiver].receive(datagram, AT[sender], self.now)
            if heard.peer is not None:
                assert heard.peer == IDS[sender]
                self.frames[receiver].append(heard.plaintext)
            self.send(receiver, heard.send)

    def say(self, sender: str, plaintext: bytes) -> None:
        receiver = "bob" if sender == "alice" else "alice"
        self.send(sender, self.tables[sender].seal(IDS[receiver], AT[receiver], plaintext, self.now))


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.say("alice", b"opens")
    pair.say("alice", b"hello")
    assert pair.frames["bob"] == [b"hello"]
    return pair


# ---- strangers ------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=OPENING_BYTES + 200))
def test_random_bytes_raise_nothing_open_nothing_and_get_no_longer_answer(data: bytes) -> None:
    bob = table("bob")
    heard = bob.receive(data, AT["mallory"], NOW)
    assert heard.opened is None
    assert heard.peer is None
    assert sum(map(len, heard.send)) <= len(data)
    assert len(bob) == 0


@given(st.data())
def test_bent_datagrams_raise_nothing_and_open_nothing_for_the_bender(data: st.DataObject) -> None:
    """Every datagram of a real exchange, from another address, with bytes changed, cut or added."""
    exchange = EXCHANGE
    sender, datagram = data.draw(st.sampled_from(exchange.sent))
    cut = data.draw(st.integers(0, len(datagram)))
    bent = datagram[:cut] + data.draw(st.binary(max_size=40)) + datagram[cut + data.draw(st.integers(0, 8)) :]
    receiver = exchange.tables["bob" if sender == "alice" else "alice"]
    heard = receiver.receive(bent, AT["mallory"], NOW)
    assert heard.opened is None
    assert heard.peer is None
    assert sum(map(len, heard.send)) <= len(bent)


def test_nothing_is_remembered_and_nothing_signed_before_an_address_is_proven() -> None:
    bob = table("bob")
    for host in range(1, 255):
        [opening] = table("alice").seal(IDS["bob"], AT["bob"], b"", NOW)
        heard = bob.receive(opening, (f"192.0.2.{host}", 1), NOW)
        assert sum(map(len, heard.send)) < 64
    assert len(bob._incoming) == 0


def test_a_flood_of_openings_from_proven_addresses_is_bounded() -> None:
    bob, accepted = table("bob"), 0
    for _ in range(400):
        alice = table("alice")
        [opening] = alice.seal(IDS["bob"], AT["bob"], b"", NOW)
        [challenge] = bob.receive(opening, AT["alice"], NOW).send
        [proven] = alice.receive(challenge, AT["bob"], NOW).send
        accepted += len(bob.receive(proven, AT["alice"], NOW).send)
    assert accepted == 200, "the burst that one address is granted"
    assert len(bob._incoming) <= module.MAX_HANDSHAKES
    assert bob.dropped["rate"] == 200


# ---- members --------------------------------------------------------------------------------------------------------


def test_no_answer_in_a_handshake_is_longer_than_its_question_until_the_address_is_proven(pair: Pair) -> None:
    (_, opening), (_, challenge), (_, proven), (_, acceptance), (_, completion) = pair.sent[:5]
    assert len(challenge) < len(opening) == len(proven) == OPENING_BYTES
    assert max(len(acceptance), len(completion)) <= OPENING_BYTES


def test_a_lost_datagram_of_the_handshake_is_made_up_for_by_asking_again() -> None:
    for lost in range(6):
        pair = Pair()
        pair.loses = lost
        for _ in range(4):
            pair.say("alice", b"hello")
            pair.now += module.REPEAT_S
        assert b"hello" in pair.frames["bob"], f"datagram {lost} lost"


def test_both_may_open_at_once() -> None:
    pair = Pair()
    first = {name: pair.tables[name].seal(IDS[other], AT[other], b"", NOW) for name, other in (("alice", "bob"), ("bob", "alice"))}
    for name, datagrams in first.items():
        pair.send(name, datagrams)
    for name in first:
        pair.say(name, b"hello")
    assert pair.frames == {"alice": [b"hello"], "bob": [b"hello"]}
    assert {len(t) for t in pair.tables.values()} == {2}


def test_a_peer_that_forgot_gets_a_new_session_on_the_next_frame(pair: Pair) -> None:
    pair.tables["bob"] = table("bob")
    pair.say("alice", b"lost")
    pair.say("alice", b"heard")
    assert pair.frames["bob"] == [b"hello", b"heard"]


def test_a_forged_notice_of_a_lost_session_ends_nothing(pair: Pair) -> None:
    receiver = decode(pair.tables["alice"].seal(IDS["bob"], AT["bob"], b"x", pair.now)[-1])
    notice = encode(NoSession(receiver.receiver))  # type: ignore[union-attr]
    assert pair.tables["alice"].receive(notice, AT["mallory"], pair.now).send == ()
    for _ in range(20):
        heard = pair.tables["alice"].receive(notice, AT["bob"], pair.now)
        assert sum(map(len, heard.send)) <= OPENING_BYTES
    assert pair.tables["alice"].dropped["rate"] >= 17
    pair.say("alice", b"still here")
    assert b"still here" in pair.frames["bob"]


def test_a_frame_from_another_address_is_not_taken_and_lets_a_moved_peer_open_again(pair: Pair) -> None:
    frame = pair.tables["alice"].seal(IDS["bob"], AT["bob"], b"moved", pair.now)[-1]
    heard = pair.tables["bob"].receive(frame, AT["mallory"], pair.now)
    assert heard.peer is None
    assert [type(decode(datagram)) for datagram in heard.send] == [NoSession]


def test_a_replayed_frame_and_a_replayed_handshake_do_nothing(pair: Pair) -> None:
    sessions = len(pair.tables["bob"])
    for sender, datagram in list(pair.sent):
        receiver = pair.tables["bob" if sender == "alice" else "alice"]
        heard = receiver.receive(datagram, AT[sender], pair.now)
        assert heard.peer is None
        assert heard.opened is None
    assert len(pair.tables["bob"]) == sessions
    pair.say("bob", b"and still")
    assert pair.frames["alice"] == [b"and still"]


def test_a_session_is_replaced_when_it_is_an_hour_old_without_losing_a_frame(pair: Pair) -> None:
    pair.now += 3_601
    pair.say("alice", b"first")
    pair.say("alice", b"second")
    assert pair.frames["bob"] == [b"hello", b"first", b"second"]
    assert len(pair.tables["alice"]) == 2
    pair.now += 3_600
    pair.say("alice", b"the old one is dead, the new one is not")
    assert len(pair.frames["bob"]) == 4


def test_a_dead_session_is_opened_anew(pair: Pair) -> None:
    pair.now += 7_201
    pair.say("alice", b"too late")
    pair.say("alice", b"again")
    assert pair.frames["bob"] == [b"hello", b"again"]


def test_a_peer_keeps_two_sessions_at_most_and_the_table_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SESSIONS", 5)
    bob = table("bob")
    for name in ["a", "b", "c", "d", "e", "f", "f", "f"]:
        credentials = WORLD.credentials(name)
        peer, at = Sessions(credentials, random.Random(f"{next(LIVES)}").randbytes), ("10.1.0.1", next(LIVES) + 1)
        datagrams: tuple[bytes, ...] = tuple(peer.seal(IDS["bob"], AT["bob"], b"", NOW))
        while datagrams:
            answers: list[bytes] = []
            for datagram in datagrams:
                answers += bob.receive(datagram, at, NOW).send
            datagrams = tuple(back for answer in answers for back in peer.receive(answer, AT["bob"], NOW).send)
        assert len(bob._of_peer[credentials.node_id]) <= 2
    assert len(bob) == 5
    assert sum(map(len, bob._of_peer.values())) == 5
    assert all(pipe.session.local_id in bob._pipes for pipe in bob._at.values())


def test_who_is_forgotten_has_no_session(pair: Pair) -> None:
    pair.tables["bob"].forget(IDS["alice"])
    assert len(pair.tables["bob"]) == 0
    assert pair.tables["bob"].answer(IDS["alice"], AT["alice"], b"", pair.now) == []


def test_an_exchange_leaves_no_handshake_behind(pair: Pair) -> None:
    for sessions in pair.tables.values():
        assert (len(sessions._outgoing), len(sessions._outgoing_ids), len(sessions._incoming), len(sessions._incoming_keys)) == (0, 0, 0, 0)
    assert Heard() == module.NOTHING


def _exchange() -> Pair:
    pair = Pair()
    pair.say("alice", b"opens")
    pair.say("alice", b"hello")
    pair.say("bob", b"hello yourself")
    return pair


EXCHANGE = _exchange()
