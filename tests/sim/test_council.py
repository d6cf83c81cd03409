"""The council over real links in virtual time: slow, hung, crashed and cut-off nodes cost their votes and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from node.council.council import Council
from node.council.receipts import MemoryReceipts
from node.council.seams import Candidate
from node.links.exchange import Exchange
from node.links.memory import MemoryFactory
from node.testing import World, lossy, simulate, tasks_until_left
from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.identity import NodeId, show_id
from protocol.messages import PROTOCOL_VERSION, Hello
from protocol.verification import verify_receipt
from tests.unit.council.world import ScriptedHost, Topics, canary_set

PORT = 7337
SEEDS = [1, 2, 3]
REQUEST = ConsensusRequest(question="A colours question: good or bad?", choices=["good", "bad"], deadline_s=10.0)


class Peer:
    """A node with links and a council; it knows everybody."""

    def __init__(self, world: World, name: str, peers: dict[NodeId, Peer], agents: int) -> None:
        self.host_name = world.host(name)
        self.runtime = world.runtime_of(name)
        self.credentials = world.credentials(name)
        canaries = canary_set()
        self.agents = [world.runtime_of(f"{name} agents").token_bytes(19) + bytes([number]) for number in range(agents)]
        self.host = ScriptedHost(dict.fromkeys(self.agents, "good"), canaries, delay=0.5)
        self.factory = MemoryFactory(world.network, self.host_name, self.credentials)
        self.peers = peers
        hello = Hello(PROTOCOL_VERSION, name, f"{self.host_name}:{PORT}")
        self.exchange = Exchange(self.runtime, self.factory, self.id, lambda: hello, self._resolve)
        self.receipts = MemoryReceipts()
        self.council = Council(
            self.runtime, lambda: self.credentials, self.exchange, self.host, self, self.receipts, Topics(canaries), canaries
        )
        self.council.register()
        peers[self.id] = self

    @property
    def id(self) -> NodeId:
        return self.credentials.node_id

    def candidates(self, kind: str, embedding_dim: int) -> list[Candidate]:
        return [Candidate(agent, peer.id, "scripted", "scripted", 0.5, 0) for peer in self.peers.values() for agent in peer.agents]

    def alive(self, node_id: NodeId) -> bool:
        return True

    def _resolve(self, node_id: NodeId) -> str:
        return f"{self.peers[node_id].host_name}:{PORT}"

    async def ask(self, request: ConsensusRequest = REQUEST) -> ConsensusAnswer:
        """Ask, within the deadline, and check the receipt."""
        started = self.runtime.monotonic()
        answer = await self.council.ask(request)
        assert self.runtime.monotonic() - started <= (request.deadline_s or 30.0)
        [data] = await self.receipts.recent(1)
        report = verify_receipt(data, self.credentials.root)
        assert report.ok, report.problem
        return answer


Scenario = Callable[[World, list[Peer]], Awaitable[None]]


def run(seed: int, scenario: Scenario, nodes: int = 3, agents: int = 4) -> None:
    async def main(world: World) -> None:
        world.network.rule = lossy(loss=0.01, latency=(0.002, 0.03))
        peers: dict[NodeId, Peer] = {}
        async with tasks_until_left() as tasks:
            for number in range(nodes):
                peer = Peer(world, f"n{number}", peers, agents)
                peer.exchange.start(tasks)
                await peer.factory.listen(peer.host_name, PORT, peer.exchange.accept)
            await scenario(world, list(peers.values()))

    simulate(seed, main)


def only_missing(answer: ConsensusAnswer, peer: Peer) -> None:
    """The answer is good, marked as degraded, and lacks this node's votes alone."""
    assert (answer.status, answer.answer, answer.degraded) == ("answered", "good", True)
    assert {missing.node_id for missing in answer.missing} == {show_id(peer.id)}
    assert len(answer.missing) == len(peer.agents)
    assert len(answer.votes) == 12 - len(peer.agents)


@pytest.mark.parametrize("seed", SEEDS)
def test_three_nodes_answer(seed: int) -> None:
    async def scenario(world: World, peers: list[Peer]) -> None:
        answer = await peers[0].ask()
        assert (answer.status, answer.answer, answer.degraded, len(answer.votes)) == ("answered", "good", False, 12)
        assert answer.basis.method == "isotonic"
        assert 500 <= answer.brain_ms <= answer.elapsed_ms < 1_500  # links are dialled on the first question
        again = await peers[0].ask()
        assert again.elapsed_ms - again.brain_ms < 500  # two round trips, and retransmissions where a packet was lost

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_whose_brain_hangs_costs_its_votes_and_never_the_deadline(seed: int) -> None:
    async def scenario(world: World, peers: list[Peer]) -> None:
        peers[2].host.delay = 3600.0
        only_missing(await peers[0].ask(), peers[2])

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_this_nodes_own_brain_may_hang_too(seed: int) -> None:
    async def scenario(world: World, peers: list[Peer]) -> None:
        peers[0].host.delay = 3600.0
        only_missing(await peers[0].ask(), peers[0])

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("moment", [0.0, 0.3, 0.505, 0.52])
def test_a_node_that_is_killed_mid_way_costs_its_votes(seed: int, moment: float) -> None:
    async def scenario(world: World, peers: list[Peer]) -> None:
        await peers[0].ask()
        asyncio.get_running_loop().call_later(moment, world.network.crash, peers[1].host_name)
        answer = await peers[0].ask()
        assert (answer.status, answer.answer) == ("answered", "good")
        assert len(answer.votes) == 12 - len(answer.missing)
        if answer.missing:
            only_missing(answer, peers[1])
            assert answer.elapsed_ms < 4_000  # long before the deadline of ten seconds

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_is_cut_off_costs_its_votes(seed: int) -> None:
    async def scenario(world: World, peers: list[Peer]) -> None:
        await peers[0].ask()
        world.network.partition([peers[2].host_name])
        only_missing(await peers[0].ask(), peers[2])

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_alone_after_a_partition_there_is_no_quorum(seed: int) -> None:
    async def scenario(world: World, peers: list[Peer]) -> None:
        world.network.partition([peers[0].host_name])
        answer = await peers[0].ask()
        assert (answer.status, answer.reason, len(answer.votes)) == ("abstained", "NO_QUORUM", 4)

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_many_questions_at_once_from_different_nodes(seed: int) -> None:
    async def scenario(world: World, peers: list[Peer]) -> None:
        answers = await asyncio.gather(*(peer.council.ask(REQUEST) for peer in peers for _ in range(5)))
        assert {(answer.status, len(answer.votes)) for answer in answers} == {("answered", 12)}
        assert len({answer.id for answer in answers}) == 15

    run(seed, scenario)


def test_equal_seeds_give_equal_receipts() -> None:
    kept: list[list[bytes]] = []

    async def scenario(world: World, peers: list[Peer]) -> None:
        for _ in range(3):
            await peers[1].ask()
        kept.append(await peers[1].receipts.recent(3))

    for _ in range(2):
        run(7, scenario)
    assert kept[0] == kept[1]
