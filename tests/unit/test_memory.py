"""Semantic memory: what is found again, what may be quoted, what is forgotten."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.memory import Memory
from node.testing import SimRuntime
from protocol.errors import InvalidRequest, NotAvailable, NotFound, Unreachable
from protocol.identity import NodeKey, node_id_of
from protocol.memories import QUOTED, Entry, Recalled, encode_entry, plain, quote
from protocol.records import Record, living, merge, sign

KEYS = [NodeKey.from_seed(bytes([number]) * 32) for number in range(3)]
QUESTION = "which planet of the sun is the largest one of all"


class Shelf:
    """One shared shelf, written under a key of its own a node."""

    def __init__(self, held: dict[bytes, list[Record]], key: NodeKey, now: SimRuntime) -> None:
        self.held, self._key, self._now = held, key, now
        self.lookups, self.seq, self.down = 0, 0, False

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object:
        if self.down:
            raise Unreachable("nobody there")
        self.seq += 1
        record = sign(self._key, key=key, subkey=subkey, seq=self.seq, value=value, expires_at=int(self._now.now()) + ttl_s)
        self.held.setdefault(key, []).append(record)
        return None

    async def delete(self, key: bytes, subkey: str) -> object:
        self.seq += 1
        expires = int(self._now.now()) + 3_600
        self.held[key].append(sign(self._key, key=key, subkey=subkey, seq=self.seq, value=b"", expires_at=expires, deleted=True))
        return None

    async def get(self, key: bytes) -> list[Record]:
        self.lookups += 1
        return living(merge(self.held.get(key, [])), self._now.now())


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def nodes(clock: list[float]) -> list[tuple[Memory, Shelf]]:
    held: dict[bytes, list[Record]] = {}
    runtime = SimRuntime("memory", lambda: clock[0])
    shelves = [Shelf(held, key, runtime) for key in KEYS]
    return [(Memory(runtime, key.public, shelf), shelf) for key, shelf in zip(KEYS, shelves, strict=True)]


async def test_a_paraphrase_finds_the_answer_within_twelve_lookups(nodes: list[tuple[Memory, Shelf]]) -> None:
    name = await nodes[0][0].add(QUESTION, '"Jupiter"')
    await nodes[0][0].add("how do I change my password in the shop", '"settings"')
    found = await nodes[1][0].search("largest planet one all of sun the which is")
    assert [one.id for one in found] == [name]
    assert found[0].origin == node_id_of(KEYS[0].public)
    assert nodes[1][1].lookups <= 12


async def test_a_memory_is_quarantined_until_somebody_else_rates_it_well(nodes: list[tuple[Memory, Shelf]]) -> None:
    (author, _), (reader, _), _ = nodes
    name = await author.add(QUESTION, '"Jupiter"', fitness=1.0)
    await author.rate(QUESTION, name, 1.0)
    assert await reader.recall(QUESTION) == []
    assert (await reader.search(QUESTION))[0].quarantined
    await reader.rate(QUESTION, name, 1.0)
    assert [one.id for one in await reader.recall(QUESTION)] == [name]
    await nodes[2][0].rate(QUESTION, name, 0.0)
    await reader.rate(QUESTION, name, 0.2)
    assert await reader.recall(QUESTION) == []


async def test_a_rating_under_another_text_is_refused(nodes: list[tuple[Memory, Shelf]]) -> None:
    name = await nodes[0][0].add(QUESTION, '"Jupiter"')
    with pytest.raises(NotFound, match="about that text"):
        await nodes[1][0].rate("how do I change my password in the shop", name, 1.0)


async def test_a_well_rated_memory_fades(nodes: list[tuple[Memory, Shelf]], clock: list[float]) -> None:
    name = await nodes[0][0].add(QUESTION, '"Jupiter"')
    await nodes[1][0].rate(QUESTION, name, 1.0)
    fresh = (await nodes[1][0].search(QUESTION))[0].fitness
    clock[0] = 10 * 86_400.0
    assert 0.5 < (await nodes[1][0].search(QUESTION))[0].fitness < fresh


async def test_purging_our_own_deletes_and_purging_another_hides_it_here(nodes: list[tuple[Memory, Shelf]]) -> None:
    await nodes[0][0].add(QUESTION, '"Jupiter"')
    assert await nodes[1][0].purge(node_id_of(KEYS[0].public)) == 0
    assert await nodes[1][0].search(QUESTION) == []
    assert len(await nodes[2][0].search(QUESTION)) == 1
    assert await nodes[0][0].purge(node_id_of(KEYS[0].public)) == 1
    assert await nodes[2][0].search(QUESTION) == []


async def test_a_record_under_anothers_id_is_not_his_memory(nodes: list[tuple[Memory, Shelf]]) -> None:
    """Mallory copies a well-rated memory's id to inherit its ratings."""
    name = await nodes[0][0].add(QUESTION, '"Jupiter"')
    await nodes[1][0].rate(QUESTION, name, 1.0)
    mallory = nodes[2][1]
    for key in list(mallory.held):
        entry = Entry(QUESTION, '"Pluto"', b"", (await nodes[1][0].search(QUESTION))[0].entry.sketch)
        await mallory.put(key, name, encode_entry(entry), 60)
        await mallory.put(key, "junk", b"\xc1\xff", 60)
    assert {one.entry.answer for one in await nodes[1][0].search(QUESTION)} <= {'"Jupiter"'}


async def test_the_mean_of_memories_is_of_the_three_fittest(nodes: list[tuple[Memory, Shelf]]) -> None:
    query = [1.0, 0.5, -0.25, 2.0]
    for fitness, (memory, _) in zip((1.0, 0.9, 0.8), nodes, strict=True):
        await memory.add_vector(query, [fitness] * 4, fitness=fitness)
    found = await nodes[0][0].vectors(query)
    assert [round(vector[0], 6) for _, vector in found] == [1.0, 0.9, 0.8]


@pytest.mark.parametrize(("text", "error"), [("  ", InvalidRequest)])
async def test_an_empty_memory_is_refused(nodes: list[tuple[Memory, Shelf]], text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await nodes[0][0].add(text, '"x"')


async def test_nobody_to_keep_it_is_said(nodes: list[tuple[Memory, Shelf]]) -> None:
    nodes[0][1].down = True
    with pytest.raises(NotAvailable, match="No node kept"):
        await nodes[0][0].add(QUESTION, '"x"')


def test_long_and_foreign_texts_fit_a_record() -> None:
    async def add() -> None:
        held: dict[bytes, list[Record]] = {}
        runtime = SimRuntime("long", lambda: 0.0)
        await Memory(runtime, KEYS[0].public, Shelf(held, KEYS[0], runtime)).add("日本語 " * 5_000, '"' + "é" * 5_000 + '"')
        assert all(len(record.value) <= 512 for records in held.values() for record in records)

    asyncio.run(add())


@given(st.text(max_size=200), st.text(max_size=200))
def test_nothing_quoted_can_begin_a_line_or_close_its_quotes(text: str, answer: str) -> None:
    entry = Entry(text, answer)
    block = quote([Recalled("m", b"o" * 20, entry, 1.0, 0.9, False)])
    first, second = block.split("\n")
    assert first == QUOTED
    assert second.startswith("- from node ")
    assert "<" not in plain(text)
