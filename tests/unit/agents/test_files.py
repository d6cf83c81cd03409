"""Agents as files: what is imported is checked like a peer's offer and becomes a child, never a twin."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from node.agents.agent import born
from node.agents.files import export_agent, import_agent, lineage_of
from node.agents.host import AgentHost, Surroundings
from node.brains.tiny import TinyBrain
from node.runtime import Runtime
from node.testing.book import MemoryBook
from protocol.api.agents import AgentFile
from protocol.errors import InvalidRequest, NotAvailable, NotFound
from protocol.identity import NodeKey, show_id
from tests.unit.agents.house import host, running, simulated

KEY = NodeKey.from_seed(bytes(32))


def garbled(file: AgentFile) -> AgentFile:
    data = bytearray(base64.b64decode(file.genome))
    data[-30:] = b"\xff" * 30  # NaN weights
    return msgspec.structs.replace(file, genome=base64.b64encode(bytes(data)).decode())


Crime = Callable[[AgentFile], AgentFile]


def with_home(check: Callable[[AgentHost, Runtime], Any], capacity: int = 8) -> None:
    async def main(runtime: Runtime) -> None:
        home = host(runtime, TinyBrain(), agents=1, capacity=capacity, canaries=(), surroundings=Surroundings(key=KEY))
        async with running(home.run()):
            await asyncio.wait_for(home.ready.wait(), 60)
            await check(home, runtime)

    simulated(main)


@pytest.mark.parametrize(
    "crime",
    [
        garbled,
        lambda file: msgspec.structs.replace(file, genome="no base64!"),
        lambda file: msgspec.structs.replace(file, genome=base64.b64encode(b"\x80\x04pickle").decode()),
        lambda file: msgspec.structs.replace(file, agent_id=show_id(b"x" * 20)),
        lambda file: msgspec.structs.replace(file, generation=5),
        lambda file: msgspec.structs.replace(file, lineage=base64.b64encode(b"\x91\xc0").decode()),
    ],
)
def test_a_file_that_is_not_what_was_exported_is_refused(crime: Crime) -> None:
    async def check(home: AgentHost, runtime: Runtime) -> None:
        (agent,) = home.population.all()
        file = export_agent(home.population, show_id(agent.agent_id))
        with pytest.raises(InvalidRequest, match="no usable agent file"):
            await import_agent(home, runtime, crime(file))
        assert home.population.all() == [agent]

    with_home(check)


def test_a_full_node_says_so() -> None:
    async def check(home: AgentHost, runtime: Runtime) -> None:
        file = export_agent(home.population, show_id(home.population.all()[0].agent_id))
        with pytest.raises(NotAvailable, match="full"):
            await import_agent(home, runtime, file)

    with_home(check, capacity=1)


def test_two_imports_at_once_do_not_share_the_last_place(monkeypatch: pytest.MonkeyPatch) -> None:
    save = MemoryBook.save

    async def slowly(self: MemoryBook, rows: Mapping[bytes, bytes]) -> None:
        await asyncio.sleep(0.1)
        await save(self, rows)

    monkeypatch.setattr(MemoryBook, "save", slowly)

    async def check(home: AgentHost, runtime: Runtime) -> None:
        file = export_agent(home.population, show_id(home.population.all()[0].agent_id))
        results = await asyncio.gather(*(import_agent(home, runtime, file) for _ in range(2)), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Agent", "NotAvailable"]
        assert len(home.population.all()) == 2

    with_home(check, capacity=2)


def test_an_import_that_the_disk_refuses_gives_its_place_back() -> None:
    async def check(home: AgentHost, runtime: Runtime) -> None:
        file = export_agent(home.population, show_id(home.population.all()[0].agent_id))
        book = home.population._book
        assert isinstance(book, MemoryBook)
        book.broken = True
        with pytest.raises(NotAvailable, match="disk"):
            await import_agent(home, runtime, file)
        assert home.population.room() == 1
        book.broken = False

    with_home(check, capacity=2)


def test_an_agent_that_does_not_live_here_is_not_found() -> None:
    async def check(home: AgentHost, runtime: Runtime) -> None:
        with pytest.raises(NotFound):
            lineage_of(home.population, show_id(b"x" * 20))

    with_home(check)


def test_what_is_imported_is_a_child_with_the_same_weights_and_a_lineage_that_hashes() -> None:
    async def check(home: AgentHost, runtime: Runtime) -> None:
        (agent,) = home.population.all()
        file = export_agent(home.population, show_id(agent.agent_id))
        child = await import_agent(home, runtime, file)
        assert child.agent_id != agent.agent_id
        assert child.genome_hash == agent.genome_hash
        births = lineage_of(home.population, show_id(child.agent_id))
        assert [birth.generation for birth in births] == [1, 0]
        assert births[0].parent_id == births[1].agent_id == show_id(agent.agent_id)
        assert child.family == agent.family

    with_home(check)


def test_a_lineage_names_both_parents() -> None:
    async def check(home: AgentHost, runtime: Runtime) -> None:
        (parent,) = home.population.all()
        mate = born(parent.genome, runtime.now(), home.me, KEY, bytes(16), parent)
        child = born(parent.genome, runtime.now(), home.me, KEY, b"x" * 16, parent, mate)
        await home.adopt(mate)
        await home.adopt(child)
        newest, founder = lineage_of(home.population, show_id(child.agent_id))
        assert (newest.parent_id, newest.mate_id) == (show_id(parent.agent_id), show_id(mate.agent_id))
        assert (founder.parent_id, founder.mate_id) == (None, None)
        assert (await import_agent(home, runtime, export_agent(home.population, show_id(child.agent_id)))).parent_id == child.agent_id

    with_home(check)
