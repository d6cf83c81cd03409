"""A project lives in the swarm: whoever heard of it answers, and corrections mean the same everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from node.label import sharing
from node.label.desk import Desk
from node.label.pools import cut
from protocol.corrections import (
    Correction,
    News,
    Part,
    check_statement,
    mark,
    pack_news,
    pack_part,
    rank,
    read_news,
    read_part,
    sign_statement,
)
from protocol.errors import BadSignature, Malformed, NotFound
from protocol.identity import NodeKey
from protocol.labelling import AnswerRequest, ProjectRequest, RowsRequest, merkle_root
from tests.unit.label.test_desk import filled
from tests.unit.label.test_teaching import LABELS, pile
from tests.unit.label.town import Town, running

ROWS = 60
TEXTS, GOLD = pile(ROWS)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SYNC_S", 0.05)
    monkeypatch.setattr(sharing, "GATHER_S", 0.01)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(200):
        while not await condition():
            await asyncio.sleep(0.01)


async def knows(desk: Desk, project: str, corrections: int) -> bool:
    try:
        return (await desk.info(project)).corrections == corrections
    except NotFound:
        return False


async def taught(desk: Desk, project: str, count: int) -> None:
    for _ in range(count):
        row = (await desk.questions(project, 1)).questions[0].row
        await desk.answer(project, AnswerRequest(row, GOLD[row]))


async def test_the_home_dies_and_whoever_is_left_answers_learns_and_brings_newcomers_up(tmp_path: Path) -> None:
    town = Town()
    async with AsyncExitStack() as stack:
        home = AsyncExitStack()
        first = await home.enter_async_context(running(tmp_path / "a", town, 1))
        second = await stack.enter_async_context(running(tmp_path / "b", town, 2))
        project = await filled(first, TEXTS)
        await taught(first, project, 12)
        await until(lambda: knows(second, project, 12))
        before = [row.label for row in await first.judge(project, TEXTS)]
        await until(lambda: held_by(first, project, 2))
        await home.aclose()

        third = await stack.enter_async_context(running(tmp_path / "c", town, 3))
        await until(lambda: knows(third, project, 12))
        for desk in (second, third):
            after = [row.label for row in await desk.judge(project, TEXTS)]
            assert sum(one == other for one, other in zip(before, after, strict=True)) >= 0.9 * ROWS  # their heads took other ways
        await taught(third, project, 1)
        await until(lambda: knows(second, project, 13))
        rows = (await third.labels(project, 0)).rows
        assert len(rows) == ROWS
        assert (await third.receipt(project)).rows == ROWS


async def held_by(desk: Desk, project: str, nodes: int) -> bool:
    return (await desk.info(project)).holders == nodes


async def test_contradictory_corrections_end_the_same_everywhere_and_are_shown(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as first, running(tmp_path / "b", town, 2) as second:
        project = await filled(first, TEXTS)
        row = (await first.questions(project, 1)).questions[0].row
        await until(lambda: knows(second, project, 0))
        await first.answer(project, AnswerRequest(row, "billing"))
        await until(lambda: knows(second, project, 1))
        await second.answer(project, AnswerRequest(row, "a new label"))

        async def settled() -> bool:
            return bool((await first.info(project)).changed)

        await until(settled)
        info = await first.info(project)
        assert (info.corrections, info.labels[-1]) == (1, "a new label")
        (change,) = info.latest_changes
        assert (change.row, change.former, change.label) == (row, "billing", "a new label")


async def test_who_missed_the_gossip_catches_up_and_an_undo_travels_too(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as first, running(tmp_path / "b", town, 2) as second:
        town.deaf.update(town.nodes)
        project = await filled(first, TEXTS)
        row = (await first.questions(project, 1)).questions[0].row
        await first.answer(project, AnswerRequest(row, "billing"))
        await until(lambda: knows(second, project, 1))
        await first.answer(project, AnswerRequest(row, undo=True))
        await until(lambda: knows(second, project, 0))


async def test_two_people_at_two_nodes_are_asked_about_different_rows(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as first, running(tmp_path / "b", town, 2) as second:
        project = await filled(first, TEXTS)
        await taught(first, project, 2)
        await until(lambda: knows(second, project, 2))
        await taught(second, project, 2)
        await until(lambda: knows(first, project, 4))
        here, there = [[asked.row for asked in (await desk.questions(project, 4)).questions] for desk in (first, second)]
        assert not set(here) & set(there)


async def test_a_local_project_is_unknown_elsewhere(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as first, running(tmp_path / "b", town, 2) as second:
        project = (await first.start(ProjectRequest("s", "pile", ["billing", "shipping"], local=True))).id
        await first.add(project, RowsRequest(0, TEXTS))
        await first.complete(project)
        await until(lambda: asking(first, project))
        await taught(first, project, 3)
        with pytest.raises(NotFound, match="No living node"):
            await second.judge(project, ["hello"])
        assert await second.projects() == []


async def asking(desk: Desk, project: str) -> bool:
    return (await desk.info(project)).phase == "asking"


async def test_the_same_pile_started_at_another_node_goes_on_there(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as first, running(tmp_path / "b", town, 2) as second:
        project = await filled(first, TEXTS)
        await taught(first, project, 3)
        await until(lambda: knows(second, project, 3))
        info = await second.start(ProjectRequest("s", "pile", list(LABELS), 20))
        assert (info.id, info.rows, info.corrections, info.home) == (project, ROWS, 3, (await first.info(project)).home)


async def test_the_same_pile_started_at_two_nodes_at_once_ends_as_one_project(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as first, running(tmp_path / "b", town, 2) as second:
        one, other = await asyncio.gather(filled(first, TEXTS), filled(second, TEXTS))
        assert one == other
        await taught(first, one, 2)
        await until(lambda: knows(second, one, 2))


async def test_a_correction_in_anothers_name_or_with_a_counter_from_nowhere_is_refused(tmp_path: Path) -> None:
    town, thief = Town(), NodeKey.from_seed(b"t" * 32)
    async with running(tmp_path / "a", town, 1) as first, running(tmp_path / "b", town, 2) as second:
        project = await filled(first, TEXTS)
        await until(lambda: knows(second, project, 0))
        said = sign_statement(thief, Correction(project, 0, "billing", False, 1, 0.0, thief.public))
        far = sign_statement(thief, Correction(project, 0, "billing", False, 10**15, 0.0, thief.public))
        home, other = town.nodes.values()
        assert home.deliver is not None
        with pytest.raises(BadSignature, match="somebody else"):
            await other.publish("labelling", pack_news(News([], [said])), 60)
        with pytest.raises(Malformed, match="far ahead"):
            await first._sharing._take(News([], [far]))
        assert (await first.info(project)).corrections == 0


def test_statements_hold_only_as_signed_and_the_later_outranks() -> None:
    key = NodeKey.from_seed(b"k" * 32)
    said = sign_statement(key, Correction("p", 3, "a", False, 2, 5.0, key.public))
    check_statement(said)
    (read,) = read_news(pack_news(News([], [said]))).corrections
    assert read == said
    forged = Correction("p", 3, "b", False, 2, 5.0, key.public, said.signature)
    with pytest.raises(BadSignature):
        check_statement(forged)
    assert rank(Correction("p", 3, "b", False, 3, 1.0, key.public)) > rank(said)
    assert mark([(1, 2, b"a"), (2, 1, b"b")]) == mark([(2, 1, b"b"), (1, 2, b"a")]) != mark([(1, 2, b"a")])
    for broken in (b"", b"\xc1", pack_part(Part(0, 1, ["a"], ["x", "y"], b""))):
        with pytest.raises(Malformed):
            read_part(broken)


async def test_a_pool_is_every_nth_row_and_all_examples() -> None:
    async def batches() -> object:
        yield -2, ["example", "other"], ["a", "b"], b"eeoo"
        for start in range(0, 20, 5):
            yield start, [f"row {start + at}" for at in range(5)], [], b"".join(b"%02d" % (start + at) for at in range(5))

    parts = [part async for part in cut(batches(), 3)]  # type: ignore[arg-type]
    assert parts[0] == Part(-2, 1, ["example", "other"], ["a", "b"], b"eeoo")
    assert parts[1] == Part(0, 3, [f"row {at}" for at in range(0, 20, 3)], [], b"00030609121518")


def test_a_receipts_root_is_the_rfcs_whatever_the_number_of_leaves() -> None:
    import hashlib

    def rfc(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        half = 1 << ((len(leaves) - 1).bit_length() - 1)
        return hashlib.sha256(b"\x01" + rfc(leaves[:half]) + rfc(leaves[half:])).digest()

    for count in range(1, 40):
        leaves = [bytes([number]) * 32 for number in range(count)]
        assert merkle_root(leaves) == rfc(leaves)
