"""A node that never heard of a project finds it in the DHT; whoever corrected wrongly is taken out."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.label import sharing
from node.label.around import Around
from protocol.corrections import MAX_PARTS, Notice, pack_notice, read_notice
from protocol.errors import InvalidRequest, Malformed, NotFound
from protocol.labelling import AnswerRequest, DistrustRequest
from protocol.records import MAX_VALUE
from tests.unit.label.test_desk import filled
from tests.unit.label.test_sharing import GOLD, TEXTS, knows, taught, until
from tests.unit.label.town import Town, running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SYNC_S", 0.05)
    monkeypatch.setattr(sharing, "GATHER_S", 0.01)


async def test_a_node_that_never_heard_of_a_project_is_asked_and_finds_a_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as home:
        project = await filled(home, TEXTS)
        await taught(home, project, 12)

        async def noticed() -> bool:
            return bool(town.records)

        await until(noticed)
        monkeypatch.setattr(sharing, "SYNC_S", 3_600.0)
        monkeypatch.setattr(sharing.Sharing, "_ask_somebody", nobody)
        async with running(tmp_path / "b", town, 2) as stranger:
            town.deaf.update(town.nodes)
            assert await stranger.projects() == []
            judged = await stranger.judge(project, TEXTS)
            expected = [row.label for row in await home.judge(project, TEXTS)]
            assert [row.label for row in judged] == expected
            info = await stranger.info(project)
            assert (info.corrections, info.home) == (12, (await home.info(project)).home)
            with pytest.raises(NotFound, match="no labelling project"):
                await stranger.info("nothing")


async def nobody(self: sharing.Sharing) -> None:
    """Catching up is off."""


def test_the_longest_notice_fits_into_a_record() -> None:
    notice = Notice("\N{EURO SIGN}" * 13, 2**60, 2**60, 2**60, b"a" * 32, [bytes(32)] * 4, True)
    assert len(pack_notice(notice)) <= MAX_VALUE
    assert read_notice(pack_notice(notice)) == notice
    with pytest.raises(Malformed):
        read_notice(pack_notice(Notice("n", 0, 0, 0, b"a" * 32, [bytes(32)] * MAX_PARTS, True)))


async def test_a_machines_corrections_are_counted_and_taken_out_everywhere_when_the_home_says_so(tmp_path: Path) -> None:
    town, names = Town(), dict[bytes, str]()
    around = Around(name_of=lambda node: names.get(node, "?"))
    async with running(tmp_path / "a", town, 1, around) as home, running(tmp_path / "b", town, 2, around) as other:
        names.update(zip(town.nodes, ("alder", "birch"), strict=True))
        project = await filled(home, TEXTS)
        await taught(home, project, 4)
        await until(lambda: knows(other, project, 4))
        wrong = [question.row for question in (await other.questions(project, 3)).questions]
        for row in wrong:
            await other.answer(project, AnswerRequest(row, next(label for label in GOLD if label != GOLD[row])))
        await until(lambda: knows(home, project, 7))
        counts = {one.name: one.corrections for one in (await home.info(project)).correctors}
        assert counts == {"alder": 4, "birch": 3}
        birch = next(one.node_id for one in (await home.info(project)).correctors if one.name == "birch")
        with pytest.raises(InvalidRequest, match="names 0 nodes"):
            await home.distrust(project, DistrustRequest("zzzz"))

        info = await home.distrust(project, DistrustRequest("birch"))
        assert info.corrections == 4
        assert {one.name: one.distrusted for one in info.correctors} == {"alder": False, "birch": True}
        await until(lambda: knows(other, project, 4))
        await other.answer(project, AnswerRequest(wrong[0], "nonsense"))
        await taught(home, project, 1)
        await until(lambda: knows(other, project, 6))
        assert (await home.info(project)).corrections == 5  # what it says is not heard

        await home.distrust(project, DistrustRequest(birch, trusted=True))
        await until(lambda: knows(home, project, 6))


async def test_machines_of_one_name_are_told_apart(tmp_path: Path) -> None:
    town, around = Town(), Around(name_of=lambda node: "vm")
    async with running(tmp_path / "a", town, 1, around) as home:
        project = await filled(home, TEXTS)
        await taught(home, project, 4)
        assert (await home.info(project)).learners == ["vm"]
        async with running(tmp_path / "b", town, 2, around) as other:
            await taught(home, project, 1)
            await until(lambda: knows(other, project, 5))
            await other.judge(project, TEXTS[:1])

            async def both() -> bool:
                return len((await home.info(project)).learners) == 2

            await until(both)
            learners = (await home.info(project)).learners
            assert len(set(learners)) == 2
            assert all(name.startswith("vm ") for name in learners)


async def test_distrust_of_another_node_than_the_home_holds_where_it_was_said(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as home, running(tmp_path / "b", town, 2) as other:
        project = await filled(home, TEXTS)
        await taught(home, project, 4)
        await until(lambda: knows(other, project, 4))
        me = (await home.info(project)).home
        assert (await other.distrust(project, DistrustRequest(me))).corrections == 0
        assert (await home.info(project)).corrections == 4


async def test_a_spent_budget_is_said_after_a_restart_too_and_one_answer_is_one(tmp_path: Path) -> None:
    async with running(tmp_path) as desk:
        project = await filled(desk, TEXTS, budget=2)
        await taught(desk, project, 1)
        assert (await desk.info(project)).hint == "1 answer is left in the budget."
        await taught(desk, project, 1)
    async with running(tmp_path) as desk:
        info = await desk.info(project)
        assert (info.phase, info.hint) == ("enough", "The budget of 2 answers is spent.")
