"""What a restart brings back: agents under their brain's present name, lessons that are learnt again, who is believed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from node.agents.agent import read_row, to_row
from node.agents.behind import SAVE_S
from node.agents.book import SqliteBook
from node.agents.genome import renamed
from node.agents.host import AgentHost
from node.agents.raters import MAX_RATERS, Raters
from node.brains.base import Ask, Lesson
from node.brains.embedder import Embedder, HashedEmbedder, WordsEmbedder
from node.brains.head import HeadBrain
from node.brains.tiny import TinyBrain
from node.runtime import Runtime, SystemRuntime
from node.store import Store
from node.testing.book import MemoryBook
from protocol.ballots import Question
from tests.unit.agents.house import host, living, simulated

COLOURS = ("red", "green", "blue")


def head(embedder: type[Embedder] = HashedEmbedder) -> HeadBrain:
    return HeadBrain(embedder=embedder)


async def taught(house: AgentHost, agent_id: bytes, number: int) -> None:
    """One question, and a rater that says that the answer was wrong."""
    asked = Question(number.to_bytes(20, "big"), "choice", "", list(COLOURS), [float(number), 2.0], "", 0.0)
    await house.vote(asked, [agent_id], 1.0)
    await house.answer_rated(asked.id, "red", 0.0, b"somebody")


def loaded(embedder: type[Embedder] = HashedEmbedder) -> HeadBrain:
    brain = head(embedder)
    brain.load(lambda what, fraction: None)
    return brain


# ---- what is damaged or foreign --------------------------------------------------------------------------------------


@pytest.mark.parametrize("note", [b"", b"damage", msgspec.msgpack.encode(["", b"1234", ["a"], 1, 1.0, b""])])
def test_a_damaged_note_is_left_out(note: bytes) -> None:
    brain = loaded()
    brain.recall([note])
    assert brain.remembered == 0


def test_lessons_that_another_embedder_read_are_left_out() -> None:
    brain = loaded()
    genome = brain.seed(random.Random(1))
    brain.learn([Lesson(Ask(genome, "where is my parcel", COLOURS), 0), Lesson(Ask(genome, "", COLOURS, (1.0, 2.0)), 0)])
    notes = brain.notes()
    same, other = loaded(), loaded(WordsEmbedder)
    same.recall(notes)
    other.recall(notes)
    assert (same.remembered, other.remembered) == (2, 1)


def test_a_damaged_record_of_a_rater_is_left_out() -> None:
    raters = Raters(b"me")
    before = raters.believed(b"somebody")
    raters.load({b"somebody": b"damage", b"nan": msgspec.msgpack.encode([float("nan"), 0.0, 0.0])})
    assert raters.believed(b"somebody") == raters.believed(b"nan") == before


def test_a_disk_that_refuses_for_a_while_loses_no_lesson() -> None:
    async def main(runtime: Runtime) -> None:
        book = MemoryBook()
        house = host(runtime, head(), book=book, agents=1)
        async with living(house) as agents:
            book.broken = True
            await taught(house, agents[0].agent_id, 1)
            await asyncio.sleep(3 * SAVE_S)
            assert not book.notes
            assert not book.raters
            book.broken = False
            await taught(house, agents[0].agent_id, 2)
            await asyncio.sleep(3 * SAVE_S)
        assert len(book.notes["tiny:head"]) == 2
        assert list(book.raters) == [b"somebody"]

    simulated(main)


def test_a_node_that_stops_while_it_writes_a_lesson_keeps_it_once() -> None:
    async def main(runtime: Runtime) -> None:
        class Slow(MemoryBook):
            async def save_notes(self, brain: str, notes: Sequence[bytes]) -> None:
                await super().save_notes(brain, notes)  # a change that was accepted is written, whoever waits for it
                await asyncio.sleep(SAVE_S / 2)

        book = Slow()
        house = host(runtime, head(), book=book, agents=1)
        async with living(house) as agents:
            await taught(house, agents[0].agent_id, 1)
            await asyncio.sleep(1.25 * SAVE_S)
        assert len(book.notes["tiny:head"]) == 1

    simulated(main)


def test_an_agent_saved_under_its_brains_former_name_lives_again() -> None:
    async def main(runtime: Runtime) -> None:
        book = MemoryBook()
        async with living(host(runtime, TinyBrain(), book=book, agents=1)) as (agent,):
            agent.interactions = 7
            older = msgspec.structs.replace(read_row(to_row(agent)), brain="tiny", genome=renamed(agent.packed, "tiny"))
            weights = agent.genome.tensors["w1"]
        book.rows = {agent.agent_id: msgspec.msgpack.encode(older)}
        async with living(host(runtime, TinyBrain(), book=book, agents=1)) as (again,):
            assert (again.agent_id, again.brain, again.interactions) == (agent.agent_id, "tiny:mlp", 7)
            assert np.array_equal(again.genome.tensors["w1"], weights)

    simulated(main)


@pytest.mark.parametrize("genome", [b"", b"moot\x01\xff\xff\xff\xff", b"moot\x01\x00\x00\x00\x09short"])
def test_a_damaged_genome_under_a_former_name_is_left_alone(genome: bytes) -> None:
    async def main(runtime: Runtime) -> None:
        book = MemoryBook()
        async with living(host(runtime, TinyBrain(), book=book, agents=1)) as (agent,):
            older = msgspec.structs.replace(read_row(to_row(agent)), agent_id=b"d" * 20, brain="tiny", genome=genome)
        book.rows[b"d" * 20] = msgspec.msgpack.encode(older)
        async with living(host(runtime, TinyBrain(), book=book, agents=1)) as agents:
            assert [one.agent_id for one in agents] == [agent.agent_id]

    simulated(main)


# ---- what lasts --------------------------------------------------------------------------------------------------------


def test_a_restart_keeps_lessons_and_who_is_believed() -> None:
    async def main(runtime: Runtime) -> None:
        book = MemoryBook()
        first, second = head(), head()
        house = host(runtime, first, book=book, agents=1)
        async with living(house) as agents:
            for number in range(12):
                await taught(house, agents[0].agent_id, number)
            believed = house.raters.believed(b"somebody")
        assert believed != Raters(b"me").believed(b"somebody")
        again = host(runtime, second, book=book, agents=1)
        async with living(again) as agents:
            assert again.raters.believed(b"somebody") == believed
            assert second.remembered == first.remembered == 12
            await taught(again, agents[0].agent_id, 12)
        assert len(book.notes["tiny:head"]) == 13

    simulated(main)


async def test_the_book_keeps_the_newest_notes_of_each_brain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.agents.book.MAX_NOTES", 3)
    store = Store(tmp_path / "moot.sqlite3", SystemRuntime())
    book = SqliteBook(store)
    for number in range(5):
        await book.save_notes("tiny:head", [bytes([number])])
    await book.save_notes("other", [b"its own"])
    store.close()
    store = Store(tmp_path / "moot.sqlite3", SystemRuntime())
    assert await SqliteBook(store).load_notes("tiny:head") == [b"\x02", b"\x03", b"\x04"]
    assert await SqliteBook(store).load_notes("other") == [b"its own"]
    store.close()


async def test_the_book_keeps_raters_and_forgets_those_that_the_node_forgot(tmp_path: Path) -> None:
    store = Store(tmp_path / "moot.sqlite3", SystemRuntime())
    book = SqliteBook(store)
    await book.save_raters({b"a": b"one", b"b": b"two"}, [])
    await book.save_raters({b"a": b"older"}, [b"b"])
    assert await book.load_raters() == {b"a": b"older"}
    store.close()


def test_raters_forgotten_for_want_of_room_are_named() -> None:
    raters = Raters(b"me")
    for number in range(MAX_RATERS + 1):
        raters.heard(number.to_bytes(4, "big"), 1.0, 0.9)
    rows, forgotten = raters.changed()
    assert (len(rows), forgotten) == (MAX_RATERS, [bytes(4)])
    assert raters.changed() == ({}, [])
