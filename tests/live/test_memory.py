"""Two real daemons share one memory: the founder pins MiniLM, the joiner gets the pin and finds the founder's memory in other words."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from cli.client import in_path
from node.brains.embedder import minilm_installed
from protocol.api.memory import MemoryAdded, MemoryInfo, MemoryRequest
from protocol.api.nodes import NodeInfo
from protocol.errors import NotAvailable
from tests.live.conftest import LiveSwarm, SharedSwarm, wait_until

T = TypeVar("T")

LOADED_S = 120.0
pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def once_loaded(call: Callable[[], T], what: str) -> T:
    """The result, however long the weights take to load on this machine."""
    found: list[T] = []

    def tried() -> bool:
        try:
            found.append(call())
        except NotAvailable as error:
            if error.code != "busy":
                raise
        return bool(found)

    wait_until(tried, what, LOADED_S)
    return found[0]


@pytest.mark.skipif(not minilm_installed() and not os.environ.get("CI"), reason="needs moot[embed], which CI must have")
def test_a_joiner_finds_the_founders_memory_in_other_words(live: LiveSwarm) -> None:
    founder = live.found("--brain", "tiny=1", "--embedder", "minilm")
    live.join(1, "--brain", "tiny=1", "--embedder", "words")
    joiner = live.nodes[1]
    infos = [node.client.get("/v1/node", NodeInfo) for node in live.nodes]
    assert [(info.embedder, info.embedder_problem) for info in infos] == [("minilm", ""), ("minilm", "")]
    assert any("as its founder settled" in notice for notice in infos[1].notices)

    kept = MemoryRequest("At nine.", "When does the ferry to the island leave?")
    name = once_loaded(lambda: founder.client.post("/v1/memory", MemoryAdded, kept), "the founder to keep a memory").id
    asked = in_path("At what time does the boat for the island depart?")
    found = once_loaded(lambda: joiner.client.get(f"/v1/memory?query={asked}", list[MemoryInfo]), "the joiner to search")
    assert [memory.id for memory in found] == [name]
    assert found[0].node_id == infos[0].node_id


def test_a_founder_that_says_nothing_pins_words(swarm: SharedSwarm) -> None:
    assert [node.client.get("/v1/node", NodeInfo).embedder for node in swarm.nodes] == ["words"] * 3
