"""Requests over links: deadlines, refusals, floods, crossing dials. In virtual time, over simulated links."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from node.links.exchange import HANDLERS_PER_LINK, Exchange
from node.links.memory import MemoryFactory
from node.testing import World, simulate, tasks_until_left
from protocol.codec import encode
from protocol.errors import Refused, Unreachable
from protocol.identity import Member, NodeId
from protocol.messages import PROTOCOL_VERSION, Done, Frame, Hello, MembersRequest, Probe

PORT = 7337


class Watcher:
    """Counts how links come and go."""

    def __init__(self) -> None:
        self.up: list[NodeId] = []
        self.down: list[NodeId] = []

    def link_up(self, peer: Member, hello: Hello) -> None:
        self.up.append(peer.node_id)

    def link_down(self, peer: Member, left: bool) -> None:
        self.down.append(peer.node_id)


class Party:
    """Two exchanges that know each other's address."""

    def __init__(self, world: World, tasks: asyncio.TaskGroup) -> None:
        self.names = ("a", "b")
        self.credentials = {name: world.credentials(name) for name in self.names}
        self.ids = {name: self.credentials[name].node_id for name in self.names}
        addresses = {self.ids[name]: f"{world.host(name)}:{PORT}" for name in self.names}
        self.factories = {name: MemoryFactory(world.network, world.host(name), self.credentials[name]) for name in self.names}
        self.exchanges = {
            name: Exchange(
                world.runtime_of(name), self.factories[name], self.ids[name], lambda: Hello(PROTOCOL_VERSION, "x", ""), addresses.get
            )
            for name in self.names
        }
        self.watchers = {name: Watcher() for name in self.names}
        for name in self.names:
            self.exchanges[name].watcher = self.watchers[name]
            self.exchanges[name].start(tasks)

    async def listen(self) -> None:
        for name in self.names:
            await self.factories[name].listen("", PORT, self.exchanges[name].accept)


def play(scenario: Callable[[World, Party], Awaitable[None]]) -> None:
    async def main(world: World) -> None:
        async with tasks_until_left() as tasks:
            party = Party(world, tasks)
            await party.listen()
            await scenario(world, party)

    simulate(1, main)


def test_a_request_that_is_not_answered_ends_at_its_deadline() -> None:
    async def scenario(world: World, party: Party) -> None:
        async def never(peer: Member, message: Probe) -> Done:
            await asyncio.Event().wait()
            return Done()

        party.exchanges["b"].on(Probe, never)
        started = world.runtime.monotonic()
        with pytest.raises(Unreachable, match="did not answer"):
            await party.exchanges["a"].request(party.ids["b"], Probe(), 2.0)
        assert world.runtime.monotonic() - started == pytest.approx(2.0)

    play(scenario)


def test_what_was_said_before_goodbye_is_still_handled() -> None:
    async def scenario(world: World, party: Party) -> None:
        heard = asyncio.Event()

        async def slowly(peer: Member, message: Probe) -> None:
            await asyncio.sleep(0.5)
            heard.set()

        party.exchanges["b"].on(Probe, slowly)
        await party.exchanges["a"].send(party.ids["b"], Probe())
        await party.exchanges["a"].close("leaving the swarm")
        async with asyncio.timeout(5.0):
            await heard.wait()
        assert party.watchers["b"].down == [party.ids["a"]]

    play(scenario)


def test_an_unknown_request_is_refused_and_a_refusal_carries_its_reason() -> None:
    async def scenario(world: World, party: Party) -> None:
        with pytest.raises(Refused, match="not served"):
            await party.exchanges["a"].request(party.ids["b"], Probe(), 2.0)

        async def full(peer: Member, message: Probe) -> Done:
            raise Refused("full", "no room here")

        party.exchanges["b"].on(Probe, full)
        with pytest.raises(Refused, match="no room here"):
            await party.exchanges["a"].request(party.ids["b"], Probe(), 2.0)

    play(scenario)


def test_a_bug_in_a_handler_costs_the_request_and_not_the_node() -> None:
    async def scenario(world: World, party: Party) -> None:
        async def broken(peer: Member, message: Probe) -> Done:
            raise ZeroDivisionError

        async def fine(peer: Member, message: MembersRequest) -> Done:
            return Done()

        party.exchanges["b"].on(Probe, broken)
        party.exchanges["b"].on(MembersRequest, fine)
        with pytest.raises(Refused, match="failed"):
            await party.exchanges["a"].request(party.ids["b"], Probe(), 2.0)
        assert await party.exchanges["a"].request(party.ids["b"], MembersRequest(), 2.0) == Done()

    play(scenario)


def test_a_peer_with_too_many_requests_under_way_is_told_busy_and_still_gets_answers() -> None:
    async def scenario(world: World, party: Party) -> None:
        gate = asyncio.Event()

        async def slow(peer: Member, message: Probe) -> Done:
            await gate.wait()
            return Done()

        async def quick(peer: Member, message: MembersRequest) -> Done:
            return Done()

        party.exchanges["b"].on(Probe, slow)
        party.exchanges["a"].on(MembersRequest, quick)
        asking = [asyncio.ensure_future(party.exchanges["a"].request(party.ids["b"], Probe(), 60.0)) for _ in range(HANDLERS_PER_LINK)]
        await asyncio.sleep(1)
        with pytest.raises(Refused, match="already"):
            await party.exchanges["a"].request(party.ids["b"], Probe(), 2.0)
        assert await party.exchanges["b"].request(party.ids["a"], MembersRequest(), 2.0) == Done()
        gate.set()
        assert await asyncio.gather(*asking) == [Done()] * HANDLERS_PER_LINK

    play(scenario)


def test_a_peer_that_floods_loses_its_link() -> None:
    async def scenario(world: World, party: Party) -> None:
        async def ignore(peer: Member, message: Probe) -> None:
            return None

        party.exchanges["b"].on(Probe, ignore)

        link = await party.factories["a"].dial(f"{world.host('b')}:{PORT}", None, 5.0)
        await link.send(encode(Frame(0, 0, Hello(PROTOCOL_VERSION, "x", ""))))

        async def flood() -> None:
            for _ in range(10_000):
                await link.send(encode(Frame(0, 0, Probe())))

        with pytest.raises(Unreachable):
            await flood()
        assert party.exchanges["b"].dropped >= 1
        assert party.ids["a"] not in party.exchanges["b"].linked

    play(scenario)


def test_a_first_message_that_is_no_hello_gets_no_link() -> None:
    async def scenario(world: World, party: Party) -> None:
        for first in (b"\xc1 random bytes", encode(Frame(0, 0, Probe())), encode(Frame(0, 0, Hello(99, "x", "")))):
            link = await party.factories["a"].dial(f"{world.host('b')}:{PORT}", None, 5.0)
            await link.send(first)
            await link.receive()  # its hello
            with pytest.raises(Unreachable):
                await link.receive()
        assert not party.exchanges["b"].linked

    play(scenario)


def test_two_nodes_that_dial_each_other_at_once_stay_linked() -> None:
    async def scenario(world: World, party: Party) -> None:
        async def here(peer: Member, message: Probe) -> Done:
            return Done()

        for exchange in party.exchanges.values():
            exchange.on(Probe, here)
        a, b = party.exchanges["a"], party.exchanges["b"]
        answers = await asyncio.gather(a.request(party.ids["b"], Probe(), 5), b.request(party.ids["a"], Probe(), 5))
        assert list(answers) == [Done(), Done()]
        assert party.watchers["a"].up == [party.ids["b"]]
        assert party.watchers["a"].down == []
        await a.close("over")
        await asyncio.sleep(1)
        assert party.watchers["b"].down == [party.ids["a"]]
        assert not a.linked
        assert not b.linked

    play(scenario)


def test_nobody_is_dialled_without_an_address() -> None:
    async def scenario(world: World, party: Party) -> None:
        with pytest.raises(Unreachable, match="no address"):
            await party.exchanges["a"].request(NodeId(bytes(20)), Probe(), 2.0)

    play(scenario)


def test_a_link_to_oneself_is_not_kept() -> None:
    async def scenario(world: World, party: Party) -> None:
        with pytest.raises(Unreachable, match="itself"):
            await party.exchanges["a"].connect(f"{world.host('a')}:{PORT}")

    play(scenario)
