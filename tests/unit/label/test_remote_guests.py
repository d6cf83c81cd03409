"""Remote brains as guests, over real HTTP: the good one is asked, the bad one is not, and no slow or dead one delays anybody."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from node.agents.worker import BrainWorker
from node.brains.remote import RemoteBrain
from node.label import fewshot, guests, invitation
from node.label.around import Around, HostedMinds
from node.label.desk import Desk
from node.runtime import SystemRuntime
from protocol.api.nodes import BrainInfo
from protocol.labelling import AnswerRequest, ProjectInfo
from tests.unit.label.test_guests import at_work, muddle, right, taught
from tests.unit.label.test_teaching import LABELS
from tests.unit.label.town import running

RUNTIME = SystemRuntime()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One agent a brain, few rows: each is an HTTP request or five."""
    monkeypatch.setattr(fewshot, "AGENTS", 1)
    monkeypatch.setattr(guests, "READ", 24)
    monkeypatch.setattr(guests, "PATIENCE", 48)


@dataclass
class Server:
    """Speaks as an OpenAI-compatible server; knows the answer with some probability, else guesses."""

    gold: dict[str, str]
    skill: float
    logprobs: bool = True
    held: asyncio.Event | None = None
    """When set, no question is answered before it."""
    url: str = ""
    asked: list[str] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(3))

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "toy"}]})

    async def complete(self, request: web.Request) -> web.Response:
        question = (await request.json())["messages"][-1]["content"]
        text = re.search(r'"(.*)"', question)
        assert text is not None
        self.asked.append(text[1])
        if self.held is not None:
            await self.held.wait()
        known = text[1] in self.gold and self.rng.random() < self.skill
        said = self.gold[text[1]] if known else self.rng.choice(LABELS)
        choice = {"index": 0, "message": {"role": "assistant", "content": said}}
        if self.logprobs:
            token = {"token": said, "logprob": -0.1}
            choice["logprobs"] = {"content": [token | {"top_logprobs": [token, *({"token": name, "logprob": -3.5} for name in LABELS)]}]}
        return web.json_response({"choices": [choice]})


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    app = web.Application()
    app.add_routes([web.get("/v1/models", server.models), web.post("/v1/chat/completions", server.complete)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        if server.held is not None:
            server.held.set()
        await runner.cleanup()


class Host:
    """Workers, as the agent host has them."""

    def __init__(self, workers: Sequence[BrainWorker]) -> None:
        self._workers = {worker.brain.name: worker for worker in workers}

    def worker(self, brain: str) -> BrainWorker | None:
        return self._workers.get(brain)

    def brain_infos(self) -> list[BrainInfo]:
        return [BrainInfo(name, name, "", ["choice"], "ready") for name in self._workers]


@asynccontextmanager
async def hosted(url: str) -> AsyncIterator[HostedMinds]:
    """The brain at this address at work in its own thread."""
    worker = BrainWorker(RUNTIME, RemoteBrain(url, "toy", RUNTIME.monotonic), lambda brain, what, fraction: None)
    await worker.load()
    task = asyncio.create_task(worker.serve())
    try:
        yield HostedMinds(Host([worker]))
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        worker.close()


async def quiet(desk: Desk, project: str, server: Server) -> ProjectInfo:
    """When the server has not been asked for a while."""
    async with asyncio.timeout(120):
        seen = -1
        while at_work(desk) or seen != len(server.asked):
            seen = len(server.asked)
            await asyncio.sleep(0.5)
    return await desk.info(project)


async def test_a_server_that_knows_is_let_in_and_makes_labels_better(tmp_path: Path) -> None:
    texts, gold = muddle()
    server, found = Server(dict(zip(texts, gold, strict=True)), 0.97), {}
    async with serving(server), hosted(server.url) as minds:
        for name, around in (("without", None), ("with", Around(minds=minds))):
            async with running(tmp_path / name, around=around) as desk:
                project = await taught(desk, texts, gold)
                info = await quiet(desk, project, server)
                found[name] = await right(desk, project, gold)
    (guest,) = info.guests
    assert guest.name == "remote:toy"
    assert guest.weight > 0
    assert found["with"] > found["without"] + 3


async def test_a_server_without_log_probabilities_is_let_in_by_what_it_says(tmp_path: Path) -> None:
    texts, gold = muddle()
    server = Server(dict(zip(texts, gold, strict=True)), 0.97, logprobs=False)
    async with serving(server), hosted(server.url) as minds, running(tmp_path, around=Around(minds=minds)) as desk:
        project = await taught(desk, texts, gold)
        assert (await quiet(desk, project, server)).guests[0].weight > 0


async def test_a_server_that_guesses_is_not_asked_after_its_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "PATIENCE", 16)
    texts, gold = muddle()
    server = Server(dict(zip(texts, gold, strict=True)), 0.0)
    async with serving(server), hosted(server.url) as minds, running(tmp_path, around=Around(minds=minds)) as desk:
        project = await taught(desk, texts, gold, 48)
        info = await quiet(desk, project, server)
        (guest,) = info.guests
        assert guest.reason.startswith("not asked, and not tried any more")
        before = len(server.asked)
        (row,) = await desk.judge(project, ["something that nobody knows"])
        assert row.late == []
        assert len(server.asked) == before


async def test_a_server_that_never_answers_delays_neither_answers_nor_labels(tmp_path: Path) -> None:
    texts, gold = muddle()
    held = asyncio.Event()
    server = Server({}, 0.0, held=held)
    async with serving(server), hosted(server.url) as minds, running(tmp_path, around=Around(minds=minds)) as desk:
        project = await taught(desk, texts, gold, 16)  # so many before a guest is tried: none is at work yet
        for _ in range(16):
            await taught_once(desk, project, gold)
        while not server.asked:
            await asyncio.sleep(0.01)
        for _ in range(4):
            await taught_once(desk, project, gold)
        assert len((await desk.labels(project, 0)).rows) > 0
        assert (await desk.info(project)).corrections == 36
        assert at_work(desk)  # all the while
        held.set()  # else the brain's worker ends with its deadline only, a minute from now


async def taught_once(desk: Desk, project: str, gold: list[str]) -> None:
    (question,) = (await desk.questions(project, 1)).questions
    await desk.answer(project, AnswerRequest(question.row, gold[question.row]))


async def test_a_server_that_is_gone_costs_nothing_but_its_votes(tmp_path: Path) -> None:
    texts, gold = muddle()
    server = Server({}, 0.0)
    async with serving(server), hosted(server.url) as minds:
        pass
    async with hosted(server.url) as minds, running(tmp_path, around=Around(minds=minds)) as desk:
        project = await taught(desk, texts, gold, 32)
        assert len((await desk.labels(project, 0)).rows) > 0


async def test_new_texts_have_the_votes_of_a_guest_that_helps_and_say_when_it_was_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, gold = muddle()
    server = Server(dict(zip(texts, gold, strict=True)), 0.97)
    async with serving(server), hosted(server.url) as minds, running(tmp_path, around=Around(minds=minds)) as desk:
        project = await taught(desk, texts, gold)
        assert (await quiet(desk, project, server)).guests[0].weight > 0
        known = set(await desk._book.answers(project))
        rows = [row for row in range(len(texts)) if row not in known]
        new = [f"{texts[row]} indeed" for row in rows][:120]
        server.gold |= {text: gold[row] for text, row in zip(new, rows, strict=False)}
        judged = await desk.judge(project, new)
        heard = [(row, gold[at]) for row, at in zip(judged, rows, strict=False) if "remote:toy=" in row.votes]
        assert heard
        assert not any(row.late for row in judged)
        assert sum(row.best == label for row, label in heard) > 0.7 * len(heard)

        monkeypatch.setattr(invitation, "NEW_TEXT_S", 0.2)
        server.held = asyncio.Event()
        late = await desk.judge(project, new)
        assert {row.late[0] for row in late if row.late} == {"remote:toy"}
        asked = len(server.asked)
        assert sum(bool(row.late) for row in await desk.judge(project, new)) == sum(bool(row.late) for row in late)
        assert len(server.asked) <= asked + 4  # it rests: nobody waits for it again


async def test_what_is_kept_on_this_machine_is_read_by_no_server_elsewhere() -> None:
    here, away = (RemoteBrain(url, "toy", RUNTIME.monotonic) for url in ("http://127.0.0.1:1", "http://10.1.2.3:1"))
    for brain, local in ((here, ["remote:toy"]), (away, [])):
        minds = HostedMinds(Host([BrainWorker(RUNTIME, brain, lambda brain, what, fraction: None)]))
        assert minds.names(local=True) == local
        assert minds.names(local=False) == ["remote:toy"]
