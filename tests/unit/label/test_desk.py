"""A project's life: rows in, questions, answers, labels out; and again after the daemon was stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from node.label.desk import Desk
from protocol.errors import Conflict, InvalidRequest, NotFound
from protocol.labelling import AnswerRequest, ExamplesRequest, ProjectRequest, RowLabel, RowsRequest, merkle_root, row_leaf
from tests.unit.label.test_teaching import LABELS, pile
from tests.unit.label.town import running

ROWS = 60


async def filled(desk: Desk, texts: list[str], *, budget: int = 20) -> str:
    project = (await desk.start(ProjectRequest("s", "pile", list(LABELS), budget))).id
    for start in range(0, len(texts), 25):
        await desk.add(project, RowsRequest(start, texts[start : start + 25]))
    await desk.complete(project)
    async with asyncio.timeout(200):
        while (await desk.info(project)).phase == "reading":
            await asyncio.sleep(0.01)
    return project


async def everything(desk: Desk, project: str) -> list[RowLabel]:
    rows: list[RowLabel] = []
    while len(rows) < ROWS:
        rows += (await desk.labels(project, len(rows))).rows
    return rows


async def test_from_rows_to_labels_with_a_receipt_that_anyone_can_recompute(tmp_path: Path) -> None:
    texts, gold = pile(ROWS)
    async with running(tmp_path) as desk:
        project = await filled(desk, texts)
        while asked := (await desk.questions(project, 1)).questions:
            await desk.answer(project, AnswerRequest(asked[0].row, gold[asked[0].row]))
        rows = await everything(desk, project)
        assert sum(row.label == label for row, label in zip(rows, gold, strict=True)) >= 55
        root = merkle_root([row_leaf(number, text, row) for number, (text, row) in enumerate(zip(texts, rows, strict=True))]).hex()
        assert (await desk.receipt(project)).root == root
        assert (await desk.info(project)).corrections == 20


async def test_a_stop_loses_nothing_and_the_same_source_goes_on(tmp_path: Path) -> None:
    texts, gold = pile(ROWS)
    async with running(tmp_path) as desk:
        project = await filled(desk, texts)
        for question in (await desk.questions(project, 6)).questions:
            await desk.answer(project, AnswerRequest(question.row, gold[question.row]))
    async with running(tmp_path) as desk:
        info = await desk.start(ProjectRequest("s", "pile", list(LABELS), 30))
        assert (info.id, info.rows, info.read, info.corrections, info.budget) == (project, ROWS, ROWS, 6, 30)
        await desk.add(project, RowsRequest(0, texts[:25]))
        assert (await desk.info(project)).rows == ROWS


async def test_rows_sent_twice_are_kept_once_and_a_gap_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as desk:
        project = (await desk.start(ProjectRequest("s"))).id
        await desk.add(project, RowsRequest(0, ["a", "b"]))
        assert (await desk.add(project, RowsRequest(0, ["a", "b"]))).rows == 2
        with pytest.raises(Conflict, match="2 is next"):
            await desk.add(project, RowsRequest(5, ["c"]))


@pytest.mark.parametrize(
    ("first", "again", "budget"), [(None, None, 100), (20, None, 20), (None, 20, 100), (20, 30, 30), (30, 20, 30), (0, None, 0)]
)
async def test_a_budget_is_raised_by_who_asks_for_more_and_by_nobody_else(
    tmp_path: Path, first: int | None, again: int | None, budget: int
) -> None:
    async with running(tmp_path) as desk:
        await desk.start(ProjectRequest("s", "pile", list(LABELS), first))
        assert (await desk.start(ProjectRequest("s", "pile", list(LABELS), again))).budget == budget


async def test_the_same_pile_started_twice_at_once_is_one_project_and_read_once(tmp_path: Path) -> None:
    texts, _ = pile(ROWS)
    async with running(tmp_path) as desk:
        one, other = await asyncio.gather(filled(desk, texts), filled(desk, texts))
        assert one == other
        info = await desk.info(one)
        assert (info.rows, info.read, sum(helper.rows for helper in info.helpers)) == (ROWS, ROWS, ROWS)
        assert len(await desk.projects()) == 1


async def test_of_contradictory_answers_the_later_wins_and_is_counted(tmp_path: Path) -> None:
    texts, _ = pile(ROWS)
    async with running(tmp_path) as desk:
        project = await filled(desk, texts)
        row = (await desk.questions(project, 1)).questions[0].row
        await desk.answer(project, AnswerRequest(row, "billing"))
        info = await desk.answer(project, AnswerRequest(row, "a new label"))
        assert (info.corrections, info.changed, info.labels[-1]) == (1, 1, "a new label")
        assert (await desk.answer(project, AnswerRequest(row, undo=True))).corrections == 0


@pytest.mark.parametrize(("labels", "why"), [(["one"], "one label only"), (["a", " "], "empty"), (["a", "b", "a "], "stands twice")])
async def test_labels_that_nobody_could_choose_between_are_refused(tmp_path: Path, labels: list[str], why: str) -> None:
    async with running(tmp_path) as desk:
        with pytest.raises(InvalidRequest, match=why):
            await desk.start(ProjectRequest("s", labels=labels))


async def test_an_example_with_a_strange_label_is_refused_and_a_good_one_teaches(tmp_path: Path) -> None:
    texts, gold = pile(ROWS)
    async with running(tmp_path) as desk:
        project = (await desk.start(ProjectRequest("s", "pile", list(LABELS)))).id
        with pytest.raises(InvalidRequest, match="'weather', which is not among billing"):
            await desk.add_examples(project, ExamplesRequest(["rain"], ["weather"]))
        await desk.add_examples(project, ExamplesRequest(texts[:12], gold[:12]))
        project = await filled(desk, texts)
        rows = await everything(desk, project)
        assert sum(row.label == label for row, label in zip(rows, gold, strict=True)) >= 50


async def test_an_empty_pile_and_an_unknown_project_are_said_so(tmp_path: Path) -> None:
    async with running(tmp_path) as desk:
        project = (await desk.start(ProjectRequest("s"))).id
        with pytest.raises(InvalidRequest, match="empty"):
            await desk.complete(project)
        with pytest.raises(Conflict, match="rows are read"):
            await desk.questions(project, 1)
        with pytest.raises(NotFound, match="moot label ls"):
            await desk.info("nothing")


async def test_five_hundred_labels_are_taken(tmp_path: Path) -> None:
    texts, _ = pile(ROWS)
    async with running(tmp_path) as desk:
        project = (await desk.start(ProjectRequest("many", labels=[f"label {number}" for number in range(500)]))).id
        await desk.add(project, RowsRequest(0, texts))
        await desk.complete(project)
        async with asyncio.timeout(200):
            while (await desk.info(project)).phase == "reading":
                await asyncio.sleep(0.01)
        for number, question in enumerate((await desk.questions(project, 8)).questions):
            await desk.answer(project, AnswerRequest(question.row, f"label {number % 4}"))
        assert len(await everything(desk, project)) == ROWS
