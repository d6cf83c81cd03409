"""A member that says what nobody should believe costs others little: their projects go on, and so do their nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from node.label import benches, sharing
from node.label.desk import Desk
from node.label.heads import founders
from protocol.corrections import Charter, Correction, News, Part, pack_news, pack_part, sign_statement
from protocol.errors import NotAvailable, PeerError
from protocol.heads import MAX_HEADS, HeadStatement, Standing, head_id, sign_head
from protocol.identity import Member, NodeKey, node_id_of
from protocol.labelling import MAX_LABELS
from protocol.messages import Gossip, LabelNews, LabelSync
from tests.unit.label.test_desk import filled
from tests.unit.label.test_sharing import ROWS, TEXTS, knows, taught, until
from tests.unit.label.town import Node, Town, running

KEY = NodeKey.from_seed(bytes([66]) * 32)
ME = Member(node_id_of(KEY.public), KEY.public, False, 2e9)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SYNC_S", 0.05)
    monkeypatch.setattr(sharing, "GATHER_S", 0.01)


def gossip(news: News) -> Gossip:
    return Gossip([b"", b""], 1, 1.0, sharing.TOPIC, pack_news(news), bytes(64))


async def say(town: Town, news: News) -> None:
    """The member gossips: every node there hears it, and may refuse it."""
    for node in list(town.nodes.values()):
        assert node.deliver is not None
        try:
            await node.deliver(ME, gossip(news))
        except PeerError:
            continue


def correction(project: str, row: int, label: str | None = "billing", counter: int = 1, at: float = 1.0) -> Correction:
    return sign_statement(KEY, Correction(project, row, label, False, counter, at, KEY.public))


def child(project: str, seed: int = 7, counter: int = 1, at: float = 1.0) -> HeadStatement:
    parent = founders()[2]
    genome = msgspec.structs.replace(parent, seed=seed, generation=1, parent=head_id(parent))
    return sign_head(KEY, HeadStatement(project, genome, "votes", KEY.public, counter, at, KEY.public))


class Serves:
    """The member answers whoever asks it for news."""

    def __init__(self, town: Town, news: News) -> None:
        self.node, self._data = Node(town, ME), pack_news(news)
        self.asked = 0
        self.node.on(LabelSync, self._serve)
        town.nodes[ME.node_id] = self.node

    async def _serve(self, peer: Member, message: LabelSync) -> LabelNews:
        self.asked += 1
        return LabelNews(self._data)


async def asked(serves: Serves) -> None:
    """Whoever asked it has taken, or refused, what it said twice."""
    before = serves.asked

    async def again() -> bool:
        return serves.asked >= before + 3

    await until(again)


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -float("inf")])
async def test_a_statement_of_no_time_is_refused_and_the_node_lives(tmp_path: Path, at: float) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        project = await filled(desk, TEXTS)
        await until(lambda: shared(desk, project))
        serves = Serves(town, News([], [correction(project, 3, at=at)], [child(project, at=at)]))
        await asked(serves)
        assert (await desk.info(project)).corrections == 0
        assert not (await desk.info(project)).divisions
        await taught(desk, project, 1)


async def shared(desk: Desk, project: str) -> bool:
    return project in desk._sharing.charters


async def test_a_child_that_is_spoken_of_before_its_founders_leaves_the_founders_in_place(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        project = await filled(desk, TEXTS)
        await until(lambda: shared(desk, project))
        await say(town, News([], [], [child(project)]))
        await taught(desk, project, 6)
        assert [row.label for row in await desk.judge(project, TEXTS[:4])]
        assert len([one for one in (await desk.info(project)).agents if one.generation == 0]) == len(founders())


async def test_labels_rows_and_corrections_beyond_what_a_project_can_have_are_not_taken(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        project = await filled(desk, TEXTS)
        await until(lambda: shared(desk, project))
        far = [correction(project, row) for row in (ROWS, 10**9, -(10**9))]
        await say(town, News([], far))
        assert (await desk.info(project)).corrections == 0
        assert not await desk._book.ranks(project)


async def test_more_labels_than_a_project_may_have_are_not_made_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.label.projects.MAX_LABELS", 20)
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        project = await filled(desk, TEXTS)
        await until(lambda: shared(desk, project))
        await say(town, News([], [correction(project, row, f"label {row}") for row in range(ROWS - 5)]))
        await until(lambda: knows(desk, project, ROWS - 5))
        await desk.judge(project, TEXTS[:2])
        assert len((await desk.info(project)).labels) == 20
        assert MAX_LABELS >= 20


async def test_whoever_comes_late_learns_what_was_said_after_a_counter_was_driven_up(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        project = await filled(desk, TEXTS)
        await until(lambda: shared(desk, project))
        for counter in (90_000, 180_000, 270_000):
            await say(town, News([], [correction(project, 3, "billing", counter)], [child(project, counter=counter)]))
        await taught(desk, project, 2)
        known = (await desk.info(project)).corrections
        async with running(tmp_path / "b", town, 2) as late:
            await until(lambda: knows(late, project, known))
            assert len((await late.info(project)).divisions) == len((await desk.info(project)).divisions)


async def test_what_holds_is_learnt_although_what_came_with_it_does_not(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        project = await filled(desk, TEXTS)
        await taught(desk, project, 4)
        heard: list[str] = []
        desk._sharing.watch(heard.append)
        false = msgspec.structs.replace(correction(project, 8), label="shipping")
        row = next(iter(set(range(ROWS)) - set(await desk._book.answers(project))))
        await say(town, News([], [correction(project, row, counter=50), false]))
        assert row in await desk._book.answers(project)
        assert heard == [project]


def charter(name: str, parts: Sequence[bytes], rows: int = 10, labels: Sequence[str] = ("billing", "shipping")) -> Charter:
    return sign_statement(KEY, Charter(name, "theirs", list(labels), 9, "hashed-ngrams-1", rows, list(parts), KEY.public))


async def test_charters_that_fill_more_than_an_answer_come_in_several(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        labels = ["x" * 190 + str(number) for number in range(280)]
        for number in range(30):
            await say(town, News([charter(f"p{number}", [bytes([number]) * 32], labels=labels)], []))
        assert len(desk.known()) == 30
        async with running(tmp_path / "b", town, 2) as late:

            async def all_known() -> bool:
                return len(late.known()) == 30

            await until(all_known)


async def test_a_home_that_names_many_founders_has_no_more_of_them_built_than_may_vote(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        name = await theirs(desk, town, "f", TEXTS)
        many = [msgspec.structs.replace(founders()[3], l2=10.0**-power * 2) for power in range(1, 6)]
        many += [msgspec.structs.replace(founders()[3], l2=10.0**-power * 3) for power in range(1, 6)]
        said = [sign_head(KEY, HeadStatement(name, genome, "votes", KEY.public, 1, 1.0, KEY.public)) for genome in many]
        await say(town, News([], [], said))
        await taught(desk, name, 1)
        bench = desk._benches.known(name)
        assert bench is not None
        assert len(bench.lineup.founders) == MAX_HEADS


async def theirs(desk: Desk, town: Town, name: str, texts: list[str], claimed: int = 0) -> str:
    """A project of the member's, whose rows this node has."""
    vectors = (await desk._reader.pack(texts)) if texts else b""
    data = pack_part(Part(0, 1, texts, [], vectors))
    digest = await desk._sharing.pools._blobs.put(data)
    await say(town, News([charter(name, [digest], claimed or len(texts))], []))
    return name


async def test_a_pile_is_as_large_as_it_is_and_not_as_its_charter_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benches, "why_no_room", lambda rows, guests, capacity: "too many rows" if rows > 30 else "")
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        name = await theirs(desk, town, "small", TEXTS, claimed=3)
        with pytest.raises(NotAvailable, match="too many rows"):
            await desk.questions(name, 1)


async def test_projects_of_others_do_not_drive_out_what_people_here_work_on(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        mine = await filled(desk, TEXTS)
        await taught(desk, mine, 1)
        for number in range(benches.OPEN + 1):
            name = await theirs(desk, town, f"p{number}", TEXTS[: 20 + number])
            await desk.questions(name, 1)
        assert desk._benches.known(mine) is not None
        assert desk._benches.known(name) is not None
        assert len(desk._benches._open) == benches.OPEN


async def test_rows_that_are_slow_to_come_hold_up_no_other_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        mine = await filled(desk, TEXTS)
        begun = asyncio.Event()

        async def slow(digest: bytes, holders: object) -> bytes:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(desk._sharing.pools._blobs, "fetch", slow)
        await say(town, News([charter("slow", [bytes(32)])], []))
        asked = asyncio.create_task(desk.questions("slow", 1))
        await begun.wait()
        async with asyncio.timeout(60):
            await taught(desk, mine, 1)
        asked.cancel()


async def test_a_head_that_is_called_dead_and_alive_in_turn_is_followed_by_one_task(tmp_path: Path) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as desk:
        project = await filled(desk, TEXTS)
        await taught(desk, project, 6)
        standings: list[Standing] = ["votes", "dead"] * 30
        turns = [msgspec.structs.replace(child(project, counter=1 + at), standing=standing) for at, standing in enumerate(standings)]
        before = len(asyncio.all_tasks())
        await desk._sharing._take(News([], [], [sign_head(KEY, said) for said in turns]))
        assert len(asyncio.all_tasks()) <= before + 10

        async def followed() -> bool:
            return not desk._following

        await until(followed)
        bench = desk._benches.known(project)
        assert bench is not None
        assert bench.lineup.proposed == []
