"""Calls between members: answered by who was asked, or not at all; whatever a member sends, nothing breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kademlia.node import Node

from node.dht.rpc import CALL_S, KadProtocol
from node.dht.service import Dht
from node.testing import Packet, World, lossy, simulate
from protocol.codec import encode
from protocol.errors import Unreachable
from protocol.identity import NodeId
from protocol.messages import Contact, Contacts, Datagram, DatagramMessage, FindNode, FindValue, Ping, Pong, Refusal, Stored, Values
from protocol.records import MAX_VALUE, Record, cursor_of, key_of, sign
from protocol.session import MAX_PLAIN

PORT = 7337
NAMES = ["alice", "bob", "mallory"]


class Members:
    """Three members that know each other."""

    def __init__(self, world: World, nodes: dict[str, Dht]) -> None:
        self.world = world
        self.nodes = nodes

    def protocol(self, name: str) -> KadProtocol:
        return self.nodes[name]._protocol

    def id(self, name: str) -> NodeId:
        return self.world.credentials(name).node_id

    def node(self, name: str) -> Node:
        return Node(self.id(name), self.world.host(name), PORT)

    def say(self, sender: str, receiver: str, plaintext: bytes) -> None:
        """Put any bytes into a genuine session frame."""
        protocol, at = self.protocol(sender), (self.world.host(receiver), PORT)
        protocol._send(protocol.sessions.seal(self.id(receiver), at, plaintext, self.world.runtime.now()), at)


@asynccontextmanager
async def members_in(world: World) -> AsyncIterator[Members]:
    async with asyncio.TaskGroup() as tasks:
        nodes: dict[str, Dht] = {}
        for name in NAMES:
            node = nodes[name] = Dht(world.runtime_of(name), world.credentials(name))
            await node.listen(world.host(name), PORT)
            node.add_bootstrap(f"{world.host('alice')}:{PORT}")
            node.start(tasks)
            await node.ready()
        await asyncio.sleep(1)
        yield Members(world, nodes)
        for node in nodes.values():
            await node.close()


def run(story: Callable[[Members], Awaitable[None]], seed: int = 1) -> None:
    async def main(world: World) -> None:
        world.network.rule = lossy(latency=(0.001, 0.002))
        async with members_in(world) as members:
            await story(members)

    simulate(seed, main)


# ---- calls ----------------------------------------------------------------------------------------------------------


def test_a_call_to_nobody_ends_in_time_and_leaves_nothing_behind() -> None:
    async def story(members: Members) -> None:
        alice, started = members.protocol("alice"), members.world.runtime.monotonic()
        with pytest.raises(Unreachable):
            await alice.call(None, ("10.9.9.9", PORT), Ping(), Pong)
        assert members.world.runtime.monotonic() - started == pytest.approx(CALL_S)
        assert alice._outstanding == {}

    run(story)


def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async def story(members: Members) -> None:
        alice = members.protocol("alice")
        members.world.network.hang(members.world.host("bob"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await alice.call_ping(members.node("bob"))
        assert alice._outstanding == {}
        members.world.network.wake(members.world.host("bob"))
        await asyncio.sleep(2 * CALL_S)  # a late answer, a late timer: stock raises InvalidStateError here
        await alice.call_ping(members.node("bob"))

    run(story)


def test_a_request_is_sent_again_while_unanswered() -> None:
    async def story(members: Members) -> None:
        lost = iter(range(3))

        def first_three_lost(rng: object, packet: Packet) -> tuple[float, ...]:
            return () if next(lost, None) is not None else (0.001,)

        members.world.network.rule = first_three_lost
        await members.protocol("alice").call_ping(members.node("bob"))

    run(story)


def test_an_answer_from_another_member_than_the_one_asked_counts_for_nothing() -> None:
    async def story(members: Members) -> None:
        alice = members.protocol("alice")
        members.world.network.hang(members.world.host("bob"))
        asking = asyncio.ensure_future(alice.call_ping(members.node("bob")))
        await asyncio.sleep(0.01)
        [number] = alice._outstanding
        members.say("mallory", "alice", encode(Datagram(0, number, Pong())))
        with pytest.raises(Unreachable):
            await asking
        assert alice.counts["unasked"] == 1

    run(story)


@pytest.mark.parametrize("answer", [Contacts([]), Stored(True), Values([], []), Ping()])
def test_an_answer_of_another_type_than_the_question_wants_counts_for_nothing(answer: DatagramMessage) -> None:
    async def story(members: Members) -> None:
        alice = members.protocol("alice")
        members.protocol("bob")._handlers[Ping] = lambda sender, request: answer
        with pytest.raises(Unreachable):
            await alice.call_ping(members.node("bob"))

    run(story)


def test_who_does_not_answer_leaves_the_table_rests_and_returns_when_it_speaks() -> None:
    async def story(members: Members) -> None:
        alice, bob = members.protocol("alice"), members.node("bob")
        members.world.network.hang(members.world.host("bob"))
        with pytest.raises(Unreachable):
            await alice.call_ping(bob)
        assert alice.router.get(bob.id) is None
        assert alice.resting(bob)
        members.world.network.wake(members.world.host("bob"))
        await members.protocol("bob").call_ping(members.node("alice"))
        assert alice.router.get(bob.id) is not None
        assert not alice.resting(bob)

    run(story)


def test_hearsay_of_a_wrong_address_does_not_cost_a_contact_its_place() -> None:
    async def story(members: Members) -> None:
        alice = members.protocol("alice")
        with pytest.raises(Unreachable):
            await alice.call_ping(Node(members.id("bob"), "10.9.9.9", PORT))
        assert alice.router.get(members.id("bob")) is not None

    run(story)


def test_an_attribute_that_is_not_there_is_no_remote_call() -> None:
    async def story(members: Members) -> None:
        with pytest.raises(AttributeError):
            members.protocol("alice").find_nobody  # noqa: B018  # the look-up is the test

    run(story)


def test_calls_end_when_the_node_closes() -> None:
    async def story(members: Members) -> None:
        members.world.network.hang(members.world.host("bob"))
        asking = asyncio.ensure_future(members.protocol("alice").call_ping(members.node("bob")))
        await asyncio.sleep(0.01)
        await members.nodes["alice"].close()
        with pytest.raises(Unreachable):
            await asking
        with pytest.raises(Unreachable):
            await members.protocol("alice").call_ping(members.node("mallory"))

    run(story)


# ---- hostile members ------------------------------------------------------------------------------------------------


any_message = st.binary(max_size=MAX_PLAIN) | st.builds(
    lambda call, answer, body: encode(Datagram(call, answer, body)),
    st.integers(0, 2**40),
    st.integers(0, 50),
    st.one_of(
        st.builds(FindNode, st.binary(min_size=20, max_size=20)),
        st.builds(FindValue, st.binary(min_size=20, max_size=20), st.binary(max_size=256)),
        st.builds(Pong),
        st.builds(  # at most 16: with the longest hosts more would not fit a datagram, and the sealing side refuses those itself
            Contacts,
            st.lists(st.builds(Contact, st.binary(min_size=20, max_size=20), st.text(max_size=8), st.integers(1, 65_535)), max_size=16),
        ),
        st.builds(Refusal, st.text(max_size=8), st.text(max_size=8)),
    ),
)


@settings(max_examples=20)
@given(st.lists(any_message, min_size=1, max_size=10))
def test_whatever_a_member_sends_in_its_frames_the_others_still_work(messages: list[bytes]) -> None:
    async def story(members: Members) -> None:
        for message in messages:
            members.say("mallory", "alice", message)
        await asyncio.sleep(0.1)
        result = await members.nodes["alice"].put(key_of("x"), "", b"value", 60)
        assert result.replicas == 3

    run(story)


def test_contacts_that_a_hostile_member_makes_up_are_asked_within_bounds_and_enter_no_table() -> None:
    async def story(members: Members) -> None:
        alice, target = members.nodes["alice"], key_of("target")
        rng = members.world.runtime.random()

        def lie(sender: Node, request: FindNode) -> Contacts:
            return Contacts([Contact(target[:17] + rng.randbytes(3), f"10.66.0.{rng.randrange(1, 250)}", PORT) for _ in range(20)])

        members.protocol("mallory")._handlers[FindNode] = lie
        before, started = members.protocol("alice").counts["calls"], members.world.runtime.monotonic()
        await alice.put(target, "", b"value", 60)
        assert members.protocol("alice").counts["calls"] - before < 80
        assert members.world.runtime.monotonic() - started < 10
        assert len(alice.contacts) == 2

    run(story)


def test_a_member_that_asks_too_often_is_not_served() -> None:
    async def story(members: Members) -> None:
        for number in range(1, 10_000):
            members.say("mallory", "alice", encode(Datagram(number, 0, Ping())))
            if number % 500 == 0:  # what overtakes more than a thousand frames is dropped before it is counted here
                await asyncio.sleep(0.005)
        assert members.protocol("alice").counts["refused"] > 500
        await members.protocol("bob").call_ping(members.node("alice"))

    run(story)


# ---- pages ----------------------------------------------------------------------------------------------------------


def held(members: Members, count: int, size: int) -> list[Record]:
    """Records of as many subkeys, held by Bob."""
    key, now = key_of("pages"), int(members.world.runtime.now())
    authors = [members.world.key(f"author {number // 50}") for number in range(count)]
    records = [
        sign(author, key=key, subkey="ü" * 16 + str(number), seq=2**62, value=bytes(size), expires_at=now + 60)
        for number, author in enumerate(authors)
    ]
    for record in records:
        assert members.protocol("bob").storage.offer(record) == "kept"
    return records


@pytest.mark.parametrize(("count", "size"), [(1, MAX_VALUE), (40, MAX_VALUE), (200, 8), (16, 0)])
def test_a_reader_sees_all_pages_and_each_fits_into_a_datagram(count: int, size: int) -> None:
    async def story(members: Members) -> None:
        records = held(members, count, size)
        request = FindValue(key_of("pages"))
        page = members.protocol("bob").rpc_find_value(members.node("alice"), request)
        assert len(encode(Datagram(0, 2**62, page))) <= MAX_PLAIN
        assert await members.nodes["alice"].get(key_of("pages")) == sorted(records, key=cursor_of)

    run(story)


def test_the_longest_record_and_the_most_contacts_fit() -> None:
    async def story(members: Members) -> None:
        bob = members.protocol("bob")
        rng = members.world.runtime.random()
        for _ in range(500):
            bob.router.add_contact(Node(rng.randbytes(20), "2001:0db8:85a3:0000:0000:8a2e:0370:7334", 65_535))
        key, now = key_of("long"), int(members.world.runtime.now())
        bob.storage.offer(
            sign(members.world.key("a"), key=key, subkey="x" * 64, seq=2**63 - 1, value=bytes(MAX_VALUE), expires_at=now + 60)
        )
        reply = bob.rpc_find_value(members.node("alice"), FindValue(key))
        assert len(reply.records) == 1
        assert reply.contacts
        assert len(encode(Datagram(0, 2**63 - 1, reply))) <= MAX_PLAIN
        nearest = bob.rpc_find_node(members.node("alice"), FindNode(key))
        assert len(nearest.contacts) > 10
        assert len(encode(Datagram(0, 2**63 - 1, nearest))) <= MAX_PLAIN
        assert msgspec.msgpack.decode(encode(nearest), type=Contacts) == nearest

    run(story)
