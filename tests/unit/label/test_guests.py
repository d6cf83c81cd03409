"""The desk lets brains read what the heads are unsure of: after a trial, in the background, while it is not paused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from node.brains.base import Ask, Choice
from node.label import guests
from node.label.around import Around
from node.label.desk import Desk
from node.label.fewshot import AGENTS
from node.label.guests import FEWEST
from node.label.invitation import AT_ONCE
from protocol.errors import NotAvailable
from protocol.labelling import AnswerRequest, GuestsRequest, ProjectInfo, ProjectRequest, RowsRequest
from tests.unit.label.test_teaching import LABELS, WORDS
from tests.unit.label.town import running

ROWS, ANSWERS, KNOWN = 240, 64, 3


def muddle() -> tuple[list[str], list[str]]:
    """Rows whose words tell little: only somebody who knows them can label them."""
    rng = random.Random(5)
    words = [word for found in WORDS.values() for word in found]
    gold = [rng.choice(LABELS) for _ in range(ROWS)]
    return [" ".join(rng.sample(WORDS[label], 2) + rng.sample(words, 4)) + f" {row}" for row, label in enumerate(gold)], gold


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest reads few rows of the pile."""
    monkeypatch.setattr(guests, "READ", 24)


class Brain:
    """A brain that chooses the true label with some probability, else any; it fails where it is told to."""

    def __init__(self, gold: dict[str, str], skill: float) -> None:
        self._gold = gold
        self._skill = skill
        self._rng = random.Random(7)
        self.asked: list[str] = []
        self.largest = 0
        self.fails = False
        self.local: list[bool] = []

    def names(self, *, local: bool) -> list[str]:
        self.local.append(local)
        return ["oracle:1"]

    async def choose(self, brain: str, asks: Sequence[Ask], *, urgent: bool = False) -> list[Choice]:
        await asyncio.sleep(0)
        if self.fails:
            raise NotAvailable("The brain is gone.")
        self.largest = max(self.largest, len(asks))
        return [self._one(ask.question.split('"')[1]) for ask in asks]

    def _one(self, text: str) -> Choice:
        self.asked.append(text)
        said = self._gold[text] if self._rng.random() < self._skill else self._rng.choice(LABELS)
        return Choice(tuple(-0.05 if label == said else -3.7 for label in LABELS), (-1.1,) * len(LABELS))


async def taught(desk: Desk, texts: list[str], gold: list[str], answers: int = ANSWERS) -> str:
    project = (await desk.start(ProjectRequest("s", "pile", list(LABELS), 200))).id
    for start in range(0, len(texts), 80):
        await desk.add(project, RowsRequest(start, texts[start : start + 80]))
    await desk.complete(project)
    async with asyncio.timeout(200):
        while (await desk.info(project)).phase == "reading":
            await asyncio.sleep(0.01)
    await teach(desk, project, gold, answers)
    return project


async def teach(desk: Desk, project: str, gold: list[str], answers: int) -> None:
    """A few answers at a time; what they set off is over before the next, so that guests are tried on the same corrections each time."""
    while (await desk.info(project)).corrections < answers:
        for question in (await desk.questions(project, 4)).questions:
            await desk.answer(project, AnswerRequest(question.row, gold[question.row]))
        await settled(desk, project)


def at_work(desk: Desk) -> bool:
    """Whether corrections are held back or a guest reads at this moment."""
    return bool(desk._benches._measured or desk._benches.invitations._under_way)


async def settled(desk: Desk, project: str) -> ProjectInfo:
    """When nothing is measured or read in the background any more, looked at thrice: one task hands over to the next."""
    looks = 0
    async with asyncio.timeout(200):
        while looks < 3:
            await asyncio.sleep(0.01)
            looks = 0 if at_work(desk) else looks + 1
    return await desk.info(project)


async def right(desk: Desk, project: str, gold: list[str]) -> int:
    rows = (await desk.labels(project, 0)).rows
    while len(rows) < ROWS:
        rows += (await desk.labels(project, len(rows))).rows
    return sum(row.best == label for row, label in zip(rows, gold, strict=True))


async def test_a_guest_that_knows_makes_labels_better_and_the_status_says_why_it_is_asked(tmp_path: Path) -> None:
    texts, gold = muddle()
    knows = Brain(dict(zip(texts, gold, strict=True)), 0.97)
    found: dict[str, int] = {}
    for name, around in (("without", None), ("with", Around(minds=knows))):
        async with running(tmp_path / name, around=around) as desk:
            project = await taught(desk, texts, gold)
            if around is not None:
                info = await settled(desk, project)
                (guest,) = info.guests
                assert guest.weight > 0
                assert guest.reason.startswith("asked about")
                assert info.heads["oracle:1"] == guest.weight
                assert knows.largest <= AT_ONCE
            found[name] = await right(desk, project, gold)
    assert found["with"] > found["without"] + KNOWN


async def test_a_guest_that_guesses_is_tried_and_not_asked_about_the_pile(tmp_path: Path) -> None:
    texts, gold = muddle()
    guesses = Brain(dict(zip(texts, gold, strict=True)), 0.0)
    async with running(tmp_path, around=Around(minds=guesses)) as desk:
        project = await taught(desk, texts, gold)
        (guest,) = (await settled(desk, project)).guests
        assert guest.weight == 0
        assert guest.reason.startswith(("on trial", "not asked"))
        corrected = {texts[row] for row in (await desk._book.answers(project))}
        assert set(guesses.asked) <= corrected
        assert len(guesses.asked) <= 2 * AGENTS * ANSWERS


async def test_a_pause_keeps_brains_from_the_rows_until_it_ends(tmp_path: Path) -> None:
    texts, gold = muddle()
    knows = Brain(dict(zip(texts, gold, strict=True)), 0.97)
    async with running(tmp_path, around=Around(minds=knows)) as desk:
        project = await taught(desk, texts, gold, FEWEST - 8)
        await desk.ask_guests(project, GuestsRequest(False))
        await teach(desk, project, gold, ANSWERS)
        await settled(desk, project)
        assert knows.asked == []
        await desk.ask_guests(project, GuestsRequest(True))
        assert (await settled(desk, project)).guests[0].weight > 0


async def test_a_brain_that_fails_costs_nothing_but_its_votes(tmp_path: Path) -> None:
    texts, gold = muddle()
    gone = Brain(dict(zip(texts, gold, strict=True)), 1.0)
    gone.fails = True
    async with running(tmp_path, around=Around(minds=gone)) as desk:
        project = await taught(desk, texts, gold)
        (guest,) = (await settled(desk, project)).guests
        assert guest.weight == 0
        assert len((await desk.labels(project, 0)).rows) > 0
