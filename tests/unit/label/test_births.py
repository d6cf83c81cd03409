"""Heads divide onto machines with room; children are kept, shared, tried before they vote, and answer when the home is gone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node.label import lineup, sharing
from node.label.around import Around
from node.label.desk import Desk
from node.label.heads import founders
from node.label.lineup import Gain
from protocol import heads
from protocol.corrections import News, pack_news
from protocol.errors import BadSignature, NotFound
from protocol.heads import HeadStatement, mutate, sign_head
from protocol.identity import NodeKey
from protocol.labelling import ProjectInfo
from tests.unit.label.test_desk import filled
from tests.unit.label.test_sharing import TEXTS, knows, taught, until
from tests.unit.label.town import Town, running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SYNC_S", 0.05)
    monkeypatch.setattr(sharing, "GATHER_S", 0.01)
    monkeypatch.setattr(heads, "CLEARLY", 10.0)  # in a pile as clear as this one all heads are about as fit


def helping(monkeypatch: pytest.MonkeyPatch, gain: float) -> None:
    """What held-back corrections say of every child."""
    monkeypatch.setattr(lineup, "_gain", lambda *args: Gain(gain, gain))


async def alive(desk: Desk, project: str, standing: str) -> list[str]:
    """Ids of children of this standing."""
    try:
        info = await desk.info(project)
    except NotFound:
        return []
    return [one.id for one in info.agents if one.generation and one.standing == standing]


async def test_a_head_divides_onto_another_machine_and_the_others_answer_with_the_same_heads_when_the_home_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helping(monkeypatch, 1.0)
    events: list[Mapping[str, Any]] = []
    names: dict[bytes, str] = {}
    town, around = Town(), Around(name_of=lambda node: names.get(node, "?"), on_event=events.append)
    async with AsyncExitStack() as stack:
        home_stack = AsyncExitStack()
        home = await home_stack.enter_async_context(running(tmp_path / "alder", town, 1, around=around))
        birch = await stack.enter_async_context(running(tmp_path / "birch", town, 2, around=around))
        cedar = await stack.enter_async_context(running(tmp_path / "cedar", town, 3, around=around))
        names.update(zip(town.nodes, ("alder", "birch", "cedar"), strict=True))
        project = await filled(home, TEXTS, budget=60)
        await taught(home, project, 12)
        for desk in (birch, cedar):
            await until(lambda desk=desk: knows(desk, project, 12))  # type: ignore[misc]

        async def divided() -> bool:
            return len((await home.info(project)).learners) == 3

        await until(divided)
        await taught(home, project, 16)

        async def everywhere() -> bool:
            infos: list[ProjectInfo] = [await desk.info(project) for desk in (home, birch, cedar)]
            born = [{one.id for one in info.agents if one.standing == "votes" and one.generation} for info in infos]
            return bool(born[0]) and born[0] == born[1] == born[2]

        await until(everywhere)
        info = await home.info(project)
        children = [one for one in info.agents if one.generation and one.standing == "votes"]
        assert {one.bearer for one in children} <= {"birch", "cedar"}
        assert all(one.corrections >= heads.FEWEST and one.loss is not None for one in children)
        assert any("divided: child" in line for line in info.divisions)
        assert any(" divided: child " in str(event.get("head")) for event in events)
        await home_stack.aclose()

        for desk in (birch, cedar):
            (row,) = await desk.judge(project, TEXTS[:1])
            assert all(one.id in row.votes for one in children)


async def test_a_child_that_does_not_help_gets_no_vote_and_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helping(monkeypatch, -1.0)
    async with running(tmp_path) as desk:
        project = await filled(desk, TEXTS, budget=60)
        await taught(desk, project, 28)
        await until(lambda: any_of(desk, project, "tried"))
        first = await alive(desk, project, "tried")
        await taught(desk, project, 28)

        async def dead() -> bool:
            return bool(set(first) & set(await alive(desk, project, "dead")))

        await until(dead)
        (row,) = await desk.judge(project, TEXTS[:1])
        assert len(row.votes.split("; ")) == len(founders()) + 1  # and the discriminant


async def any_of(desk: Desk, project: str, standing: str) -> bool:
    return bool(await alive(desk, project, standing))


async def test_genomes_outlive_a_stop_whatever_the_next_version_would_begin_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as desk:
        project = await filled(desk, TEXTS)
        await taught(desk, project, 6)
        before = [one.id for one in (await desk.info(project)).agents]
        judged = await desk.judge(project, TEXTS)
    monkeypatch.setattr("node.label.graph.NEIGHBOURS", 3)
    monkeypatch.setattr("node.label.views.NGRAM_WEIGHT", 0.1)
    async with running(tmp_path) as desk:
        after = await desk.judge(project, TEXTS)
        assert [one.id for one in (await desk.info(project)).agents] == before
        assert [row.label for row in after] == [row.label for row in judged]


async def test_nobody_names_founders_of_anothers_project_or_speaks_for_anothers_child(tmp_path: Path) -> None:
    town, thief = Town(), NodeKey.from_seed(b"t" * 32)
    async with running(tmp_path / "a", town, 1) as first, running(tmp_path / "b", town, 2) as second:
        project = await filled(first, TEXTS)
        await until(lambda: knows(second, project, 0))
        strange = msgspec.structs.replace(founders()[0], alpha=0.2)
        child = mutate(founders()[0], random.Random(1))
        honest = NodeKey.from_seed(bytes([2]) * 32)
        said = [
            HeadStatement(project, strange, "votes", thief.public, 1, 0.0, thief.public),
            HeadStatement(project, child, "votes", honest.public, 1, 0.0, thief.public),
        ]
        await first._sharing._take(News([], [], [sign_head(thief, one) for one in said]))
        assert await any_of(first, project, "votes") is False
        assert not any(said.genome in (strange, child) for said in await first._book.heads(project))
        _, other = town.nodes.values()
        with pytest.raises(BadSignature):
            await other.publish("labelling", pack_news(News([], [], [sign_head(thief, said[0])])), 60)
