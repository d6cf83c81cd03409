"""A project lives in the swarm: every node keeps its corrections and the rows its learners are made of.

When a pile is read, its pool (texts, vectors, examples) is cut into blobs and a signed charter that names them is gossiped; every
node fetches the blobs from whoever holds them and pins them. Each correction, given at whatever node, is signed and gossiped (those
of a moment together). Every `SYNC_S` a node also asks a random other one for what it lacks, so that nodes that joined late or missed
gossip catch up. What stands is decided by `protocol.corrections`; the learners follow from it, so no weights are copied.

Nothing of a project that is kept on one machine (`local`) comes here but its signatures. First form: every node copies every pool
(at most 10,000 rows, about 0.9 KB each), and whoever is a member may correct, save a node that was found lying here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec
import structlog

from node.blobs import Blobs
from node.label.book import LabelBook
from node.links.courier import Courier
from node.runtime import Runtime
from protocol.corrections import (
    MAX_AHEAD,
    MAX_PARTS,
    Charter,
    Correction,
    News,
    Part,
    check_statement,
    mark,
    pack_news,
    pack_part,
    read_news,
    read_part,
    sign_statement,
)
from protocol.errors import BadSignature, Malformed, NotAvailable, PeerError, RequestTooLarge
from protocol.identity import Credentials, Member, NodeId, node_id_of
from protocol.messages import Gossip, LabelNews, LabelSync, ProjectMark

TOPIC = "labelling"
TTL_S = 600.0
GATHER_S = 0.3
"""Corrections of so long go out together: gossip allows a node five statements a second."""
GOSSIP_BYTES = 60_000
NEWS_BYTES = 900_000
SYNC_S = 5.0
ANSWER_S = 20.0
MAX_CHARTERS = 1_000
PART_BYTES = 2 * 1024 * 1024

log = structlog.get_logger("labelling")


class Gossiper(Protocol):
    """What is asked of `node.overlay.broadcast.Broadcast`."""

    async def publish(self, topic: str, body: bytes, ttl_s: float) -> Gossip: ...


class Sharing:
    """`run` it in the desk's TaskGroup; `deliver` gets the topic's gossip."""

    def __init__(
        self,
        runtime: Runtime,
        credentials: Callable[[], Credentials],
        book: LabelBook,
        blobs: Blobs,
        courier: Courier,
        gossip: Gossiper,
        living: Callable[[], list[NodeId]],
    ) -> None:
        self._runtime = runtime
        self._rng = runtime.random()
        self._credentials = credentials
        self._book = book
        self._blobs = blobs
        self._courier = courier
        self._gossip = gossip
        self._living = living
        self.charters: dict[str, Charter] = {}
        self.barred: set[NodeId] = set()
        """Found lying here: their corrections are not taken."""
        self._holders: dict[str, set[NodeId]] = {}
        self._learners: dict[str, set[NodeId]] = {}
        """Other nodes that said of themselves that they have the learners."""
        self._waiting: list[Correction] = []
        self._news = asyncio.Event()
        self._changed: Callable[[str], None] = lambda project: None
        self._learns: Callable[[str], bool] = lambda project: False
        self._divided: Callable[[str], None] = lambda project: None
        courier.on(LabelSync, self._serve)

    def watch(self, changed: Callable[[str], None]) -> None:
        """`changed(project)` after every correction that came from elsewhere and stands."""
        self._changed = changed

    def watch_learners(self, learns: Callable[[str], bool], divided: Callable[[str], None]) -> None:
        """`learns`: whether this node has a project's learners; `divided(project)` when another node said that it has, or no longer."""
        self._learns, self._divided = learns, divided

    async def open(self) -> None:
        """What is known from before; before `run`."""
        self.charters = await self._book.charters()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._speak(), name="labelling: corrections to gossip")
            tasks.create_task(self._catch_up(), name="labelling: catching up")

    # ---- what this node says -----------------------------------------------------------------------------------------

    async def correct(self, project: str, row: int, label: str | None, *, undo: bool = False) -> None:
        """A person at this node said this; it is on disk when this returns, and on its way where the project is shared."""
        key, now = self._credentials().key, self._runtime.now()
        counter = await self._book.last_counter(project) + 1
        said = sign_statement(key, Correction(project, row, None if undo else label, undo, counter, now, key.public))
        await self._book.correct(said)
        if project in self.charters:
            self._waiting.append(said)
            self._news.set()

    async def share(self, charter: Charter, parts: AsyncIterator[Part]) -> None:
        """A pile of this node has been read: `charter` needs its `parts`, author and signature still."""
        digests: list[bytes] = []
        try:
            async for part in parts:
                digests.append(await self._blobs.put(pack_part(part), pin=True))
        except (NotAvailable, RequestTooLarge) as error:
            log.warning("a project is not shared", project=charter.project, reason=str(error))
            return
        if not 0 < len(digests) <= MAX_PARTS:
            log.warning("a project is not shared: its rows are too long", project=charter.project, parts=len(digests))
            return
        key = self._credentials().key
        whole = sign_statement(key, msgspec.structs.replace(charter, parts=digests, author=key.public))
        await self._book.keep_charter(whole)
        self.charters[charter.project] = whole
        self._waiting += await self._book.statements(charter.project)
        self._news.set()
        await self._publish(News([whole], []))

    async def _speak(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_S)
            self._news.clear()
            said, self._waiting = self._waiting, []
            size, batch = 0, list[Correction]()
            for correction in said:
                size += len(msgspec.msgpack.encode(correction))
                batch.append(correction)
                if size > GOSSIP_BYTES - 4_096:
                    await self._publish(News([], batch))
                    size, batch = 0, []
            if batch:
                await self._publish(News([], batch))

    async def _publish(self, news: News) -> None:
        body = pack_news(news)
        try:
            if len(body) <= GOSSIP_BYTES:
                await self._gossip.publish(TOPIC, body, TTL_S)
        except PeerError as error:  # too much said at once: others catch up by asking
            log.info("labelling news not gossiped", reason=str(error))

    # ---- what it hears -----------------------------------------------------------------------------------------------

    async def deliver(self, origin: Member, gossip: Gossip) -> None:
        """Statements of a member, each signed by it. Raises `PeerError`."""
        news = read_news(gossip.body)
        authors = {said.author for said in news.charters} | {said.author for said in news.corrections}
        if authors - {origin.public_key}:
            raise BadSignature("a statement of somebody else")
        if origin.node_id != self._credentials().node_id:
            await self._take(news)

    async def _take(self, news: News) -> None:
        for charter in news.charters:
            if charter.project in self.charters or len(self.charters) >= MAX_CHARTERS:
                continue  # the first one known stands
            await self._runtime.run_blocking(check_statement, charter)
            await self._book.keep_charter(charter)
            self.charters[charter.project] = charter
            self._changed(charter.project)
        changed = {said.project for said in news.corrections if await self._take_one(said)}
        for project in changed:
            self._changed(project)

    async def _take_one(self, said: Correction) -> bool:
        """Whether it stands now."""
        if said.project not in self.charters or node_id_of(said.author) in self.barred:
            return False
        if said.counter > await self._book.last_counter(said.project) + MAX_AHEAD:
            raise Malformed("a counter far ahead of its project")
        await self._runtime.run_blocking(check_statement, said)
        return await self._book.correct(said)

    async def _catch_up(self) -> None:
        """Ask a random node for what this one lacks, then fetch rows of projects that are new here."""
        while True:
            others = [node for node in self._living() if node != self._credentials().node_id]
            if others:
                try:
                    await self._ask(self._rng.choice(others))
                except PeerError as error:
                    log.debug("no labelling news", reason=str(error))
            for project in [project for project, charter in self.charters.items() if not self.whole(charter)]:
                await self._fetch(self.charters[project])
            await asyncio.sleep(SYNC_S)

    async def _ask(self, node: NodeId) -> None:
        answer = await self._courier.request(node, LabelSync(await self._marks()), ANSWER_S)
        if not isinstance(answer, LabelNews):
            raise Malformed("news were asked for")
        await self._take(read_news(answer.data))

    async def _serve(self, peer: Member, message: LabelSync) -> LabelNews:
        """What that node lacks; in random order, so that what is cut off comes another time."""
        theirs = {held.project: held for held in message.held}
        for held in message.held:
            if held.whole and held.project in self.charters:
                self._holders.setdefault(held.project, set()).add(peer.node_id)
            self._hear_learner(peer.node_id, held)
        news, size = News([], []), 0
        for project, charter in list(self.charters.items()):
            if project not in theirs:
                news.charters.append(charter)
                size += len(msgspec.msgpack.encode(charter))
            if project in theirs and theirs[project].mark == (await self._mark(project)).mark:
                continue
            statements = await self._book.statements(project)
            self._rng.shuffle(statements)
            for said in statements:
                size += len(msgspec.msgpack.encode(said))
                if size > NEWS_BYTES:
                    return LabelNews(pack_news(news))
                news.corrections.append(said)
        return LabelNews(pack_news(news))

    def _hear_learner(self, node: NodeId, held: ProjectMark) -> None:
        known = self._learners.get(held.project, set())
        if held.project in self.charters and held.learns != (node in known):
            self._learners[held.project] = known | {node} if held.learns else known - {node}
            self._divided(held.project)

    async def _marks(self) -> list[ProjectMark]:
        return [await self._mark(project) for project in list(self.charters)]

    async def _mark(self, project: str) -> ProjectMark:
        ranks = await self._book.ranks(project)
        return ProjectMark(project, len(ranks), mark(ranks), self.whole(self.charters[project]), self._learns(project))

    # ---- rows ----------------------------------------------------------------------------------------------------------

    def whole(self, charter: Charter) -> bool:
        """Whether all rows of its pool are here."""
        return all(self._blobs.held(digest) for digest in charter.parts)

    def holders(self, project: str) -> int:
        """Nodes that hold the project, as they said, and live; this one included."""
        return 1 + len(self._holders.get(project, set()) & set(self._living()) - {self._credentials().node_id})

    def learners(self, project: str) -> list[NodeId]:
        """Live nodes that have the project's learners, as they said; this one included if it does."""
        me = [self._credentials().node_id] if self._learns(project) else []
        return me + sorted(self._learners.get(project, set()) & set(self._living()) - {self._credentials().node_id})

    async def parts(self, project: str) -> AsyncIterator[Part]:
        """The pool. Raises `Unreachable` when nobody gives a part, `Malformed` when one is not what it should be."""
        charter = self.charters[project]
        for digest in charter.parts:
            yield await self._part(charter, digest)

    async def _part(self, charter: Charter, digest: bytes) -> Part:
        data = await self._blobs.fetch(digest, self._near(charter))
        part = read_part(data)
        await self._blobs.put(data, pin=True)
        return part

    async def _fetch(self, charter: Charter) -> None:
        try:
            for digest in charter.parts:
                await self._part(charter, digest)
        except (PeerError, NotAvailable) as error:
            log.info("rows of a project are not here yet", project=charter.project, reason=str(error))

    def _near(self, charter: Charter) -> list[NodeId]:
        """Who may hold its blobs: its author, then those who said so, then anybody."""
        me, author, said = self._credentials().node_id, node_id_of(charter.author), self._holders.get(charter.project, set())
        others = [node for node in self._living() if node != me]
        return sorted(others, key=lambda node: (node != author, node not in said))


async def cut(rows: AsyncIterator[tuple[int, list[str], list[str], bytes]], step: int) -> AsyncIterator[Part]:
    """Parts of a pool from consecutive batches (start, texts, labels of examples, float16 vectors): every `step`-th row."""
    held: Part | None = None
    async for start, texts, labels, vectors in rows:
        width = len(vectors) // len(texts)
        stride = 1 if start < 0 else step
        first = -start % stride
        taken = range(first, len(texts), stride)
        if not taken:
            continue
        new = Part(
            start + first,
            stride,
            [texts[at] for at in taken],
            [labels[at] for at in taken] if labels else [],
            b"".join(vectors[at * width : (at + 1) * width] for at in taken),
        )
        if held is not None and _follows(held, new) and _bytes(held) < PART_BYTES:
            new = Part(held.start, stride, held.texts + new.texts, held.labels + new.labels, held.vectors + new.vectors)
        elif held is not None:
            yield held
        held = new
    if held is not None:
        yield held


def _follows(held: Part, new: Part) -> bool:
    end = held.start + held.step * len(held.texts)
    return (end, held.step, bool(held.labels)) == (new.start, new.step, bool(new.labels))


def _bytes(part: Part) -> int:
    return len(part.vectors) + sum(map(len, part.texts))
