"""A model as chooser: always a move, never the same word whatever it is told, and one call for all that wait."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from node.brains.base import Ask, Choice, Proposal
from node.cells.choosers import Bandit, Scripted, Sight, Uniform
from node.cells.minds import BLANK, MAX_CALL, Faculties, Model, Shared, Writer, make_chooser
from node.cells.personas import TRAITS, adapted, born, persona_text
from node.runtime import SystemRuntime
from node.tasks.base import WRITTEN
from protocol.errors import NotAvailable

SPOKEN = {"HOLE 1": "hole", "ROWS": "rows", "COPY": "copy"}
SIGHT = Sight(b"\x01\x00\x00", "circles 9; loose 1 | standing behind; gap small")


class Brain:
    """Says what a table says; leans to `rows` whatever it is told."""

    def __init__(self, told: Sequence[float] = (-3.0, -0.1, -3.0)) -> None:
        self.calls: list[list[Ask]] = []
        self.told = tuple(told)
        self.busy = asyncio.Event()
        self.busy.set()
        self.fails = False

    async def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        self.calls.append(list(asks))
        await self.busy.wait()
        if self.fails:
            raise NotAvailable("no brain")
        return [Choice((-3.0, -0.1, -3.0) if ask.question == BLANK else self.told, (0.0,) * 3, 20) for ask in asks]

    async def write(self, asks: Sequence[Ask]) -> list[Proposal]:
        self.calls.append(list(asks))
        return [Proposal(f"0.{number} 0.5", -1.0, 10, 5) for number, _ in enumerate(asks)]


def model(brain: Brain, shared: Shared | None = None) -> Model:
    return Model("gemma", SPOKEN, brain.choose, shared or Shared(SystemRuntime()), shuffled=False)


async def test_a_leaning_that_does_not_depend_on_what_it_is_told_is_taken_off() -> None:
    picked = await model(Brain()).pick(SIGHT, 3_000, random.Random(1))
    counts = Counter(picked.moves)
    assert set(counts) == set(SPOKEN)
    assert max(counts.values()) < 1.15 * min(counts.values())


async def test_what_it_is_told_counts_and_its_words_are_moves() -> None:
    picked = await model(Brain((-0.1, -3.0, -3.0))).pick(SIGHT, 300, random.Random(1))
    assert Counter(picked.moves).most_common(1)[0][0] == "HOLE 1"
    assert picked.heard == "standing behind; gap small"
    assert picked.tokens == 40


async def test_cells_that_come_while_the_model_is_busy_share_its_next_call_and_equal_questions_are_one() -> None:
    brain, shared = Brain(), Shared(SystemRuntime())
    brain.busy.clear()
    sights = [Sight(SIGHT.persona, f"circles {number % 10} | standing level") for number in range(1_000)]
    async with asyncio.TaskGroup() as cells:
        for sight in sights:
            cells.create_task(model(brain, shared).pick(sight, 1, random.Random(1)))
        await asyncio.sleep(0)
        brain.busy.set()
    assert len(brain.calls) <= 4
    assert len({ask.question for call in brain.calls for ask in call}) == 11
    assert sum(map(len, brain.calls)) <= 4 * 11
    assert max(map(len, brain.calls)) <= MAX_CALL


async def test_a_model_that_fails_fails_every_cell_that_waited_and_the_next_asks_again() -> None:
    brain, shared = Brain(), Shared(SystemRuntime())
    brain.fails = True
    with pytest.raises(NotAvailable):
        await model(brain, shared).pick(SIGHT, 1, random.Random(1))
    brain.fails = False
    assert len((await model(brain, shared).pick(SIGHT, 1, random.Random(1))).moves) == 1


async def test_a_cell_that_is_cancelled_leaves_the_others_their_answer() -> None:
    brain, shared = Brain(), Shared(SystemRuntime())
    brain.busy.clear()
    first = asyncio.create_task(model(brain, shared).pick(SIGHT, 1, random.Random(1)))
    second = asyncio.create_task(model(brain, shared).pick(SIGHT, 1, random.Random(2)))
    await asyncio.sleep(0)
    first.cancel()
    brain.busy.set()
    assert len((await second).moves) == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_successes_of_the_run_become_examples_shared_by_a_persona() -> None:
    brain, shared = Brain(), Shared(SystemRuntime())
    mind = model(brain, shared)
    picked = await mind.pick(SIGHT, 8, random.Random(1))
    assert brain.calls[-1][0].examples == ()
    mind.learn(picked, [1.0] * 8)
    await mind.pick(SIGHT, 1, random.Random(1))
    await model(brain, shared).pick(Sight(SIGHT.persona, "circles 4 |"), 1, random.Random(5))
    first, second = (call[0].examples for call in brain.calls[-2:])
    assert first == second
    assert {shown.answer for shown in first} <= set(SPOKEN.values())


async def test_a_writer_hands_texts_on_as_they_are() -> None:
    brain = Brain()
    writer = Writer("gemma", brain.write, Shared(SystemRuntime()))
    picked = await writer.pick(Sight(b"\0\0\0", question="Points:", shown=("0.1 0.2", "0.3 0.4")), 2, random.Random(1))
    assert picked.moves == [WRITTEN + "0.0 0.5", WRITTEN + "0.1 0.5"]
    assert [example.answer for example in brain.calls[0][0].examples] == ["0.1 0.2", "0.3 0.4"]
    assert picked.tokens == 30


@pytest.mark.parametrize(
    ("kind", "proposals", "made"),
    [
        ("scripted", "moves", Scripted),
        ("random", "moves", Uniform),
        ("bandit", "moves", Bandit),
        ("brain", "moves", Model),
        ("shuffled", "moves", Model),
        ("brain", "coordinates", Writer),
    ],
)
def test_choosers_by_name(kind: str, proposals: str, made: type) -> None:
    brain = Brain()
    given = Faculties("gemma", tuple(SPOKEN), {}, brain.choose, brain.write, Shared(SystemRuntime()))
    assert type(make_chooser(kind, proposals, given)) is made


def test_a_persona_takes_a_trait_of_the_winner_and_ignores_what_is_none() -> None:
    own, winner, changed = b"\0\0\0", b"\x03\x03\x01", Counter[bytes]()
    for seed in range(400):
        changed[adapted(own, winner, random.Random(seed))] += 1
    singles = {b"\x03\0\0", b"\0\x03\0", b"\0\0\x01"}
    assert sum(changed[one] for one in singles) > 340
    assert len(changed) > len(singles)
    for forged in (b"", b"\xff", b"\xff" * 8):
        assert len(adapted(own, forged, random.Random(1))) == len(TRAITS)
    assert persona_text(born(random.Random(1))).startswith("You are one of many minds")
