"""A council whose node cannot embed in the swarm's way: the question is asked without memories, and that is said."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from rich.console import Console

from cli.render import render_answer
from node.council.council import Council
from node.memory import Memory
from node.testing import SimRuntime
from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.identity import NodeKey
from tests.unit.council.world import Node, Swarm, Topics
from tests.unit.meanings import pinned
from tests.unit.test_memory import Shelf

ASKED = ConsensusRequest(question="A colours question: is it good or bad?", choices=["good", "bad"], remember=True)


def shown(answer: ConsensusAnswer) -> str:
    console = Console(width=400)
    with console.capture() as captured:
        console.print(render_answer(answer))
    return captured.get()


def council_with(memory: Memory, node: Node, swarm: Swarm) -> Council:
    council = Council(
        node.runtime, lambda: node.credentials, node.mailbox, node.host, swarm, node.receipts, Topics(swarm.canaries), swarm.canaries,
        memory=memory,
    )  # fmt: skip
    council.register()
    return council


@pytest.mark.parametrize("remember", [True, False])
async def test_without_the_pinned_embedder_the_answer_comes_marked(swarm: Swarm, remember: bool) -> None:
    node = swarm.add("good", "good", "good")
    shelf = Shelf({}, NodeKey.from_seed(b"s" * 32), SimRuntime("shelf", lambda: 0.0))
    memory = Memory(node.runtime, node.credentials.key.public, shelf, pinned=pinned(node.runtime, None))
    answer = await council_with(memory, node, swarm).ask(msgspec.structs.replace(ASKED, remember=remember))
    assert (answer.status, answer.answer, answer.memories) == ("answered", "good", [])
    assert ("update moot on this node" in answer.memory_problem) == remember
    assert ("not asked: This version of moot" in shown(answer)) == remember
    assert shelf.lookups == 0


async def test_an_embedder_that_is_slow_costs_a_share_of_the_deadline_and_is_named(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    node = swarm.add("good", "good", "good")
    shelf = Shelf({}, NodeKey.from_seed(b"s" * 32), SimRuntime("shelf", lambda: 0.0))
    slow = pinned(node.runtime, None)
    monkeypatch.setattr(slow, "embed", lambda texts: asyncio.sleep(3600))
    memory = Memory(node.runtime, node.credentials.key.public, shelf, pinned=slow)
    answer = await council_with(memory, node, swarm).ask(msgspec.structs.replace(ASKED, deadline_s=1.0))
    assert (answer.status, answer.answer) == ("answered", "good")
    assert "not found within 0.2 s" in answer.memory_problem
