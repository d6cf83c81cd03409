"""A project lives in the swarm: every node keeps its corrections and the rows its learners are made of.

When a pile is read, its pool (texts, vectors, examples) is cut into blobs and a signed charter that names them is gossiped; every
node fetches the blobs from whoever holds them and pins them. Each correction, given at whatever node, is signed and gossiped (those
of a moment together), and so is what nodes say of heads. Every `SYNC_S` a node also asks a random other one for what it lacks, so that
nodes that joined late or missed gossip catch up (`comparing.py`); who never heard of a project finds its holders in the DHT
(`whereabouts.py`). What stands is decided by `protocol.corrections` and `protocol.heads`; the learners follow from it, so no weights are
copied.

Nothing of a project that is kept on one machine (`local`) comes here but its signatures. First form: every node copies every pool
(at most 10,000 rows, about 0.9 KB each), and whoever is a member may correct, save a node that was found lying here and one whose
corrections are distrusted: on every node when whoever started the project said so, else where it was said. Nothing ties a project's id to
who started it: of two charters each node keeps the one that it heard first, so a member can pass for the founder with those who come late.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec
import structlog

from node.blobs import Blobs
from node.label.book import LabelBook
from node.label.comparing import MAX_CHARTERS, Comparing, Statement, add
from node.label.hearing import Hearing
from node.label.pools import Pools
from node.label.whereabouts import Shelf, Whereabouts
from node.links.courier import Courier
from node.runtime import Runtime
from protocol.corrections import (
    Charter,
    Correction,
    Distrust,
    News,
    Part,
    check_statement,
    pack_news,
    read_news,
    sign_statement,
)
from protocol.errors import BadSignature, Malformed, NotAvailable, PeerError
from protocol.heads import HeadGenome, HeadStatement, Standing, head_id, sign_head
from protocol.identity import Credentials, Member, NodeId, show_id
from protocol.messages import Gossip, LabelNews, LabelSync

TOPIC = "labelling"
TTL_S = 600.0
GATHER_S = 0.3
"""Corrections of so long go out together: gossip allows a node five statements a second."""
GOSSIP_BYTES = 60_000
SYNC_S = 5.0
ANSWER_S = 20.0
MAX_CHARTERS_EACH = 100
"""Projects that a node keeps of one other node."""

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
        shelf: Shelf | None = None,
    ) -> None:
        self._runtime = runtime
        self._rng = runtime.random()
        self._credentials = credentials
        self._book = book
        self._courier = courier
        self._gossip = gossip
        self._living = living
        self.charters: dict[str, Charter] = {}
        self.hearing = Hearing(runtime, book, self.charters)
        self.whereabouts = Whereabouts(runtime, self._me, living, shelf)
        self.pools = Pools(blobs, self.charters, self.whereabouts.near)
        self._comparing = Comparing(book, self.charters, self.pools.whole, lambda project: self._learns(project), self._rng)
        self._waiting: list[Statement] = []
        self._news = asyncio.Event()
        self._changed: Callable[[str], None] = lambda project: None
        self._learns: Callable[[str], bool] = lambda project: False
        self._divided: Callable[[str], None] = lambda project: None
        self._told: Callable[[HeadStatement], None] = lambda said: None
        courier.on(LabelSync, self._serve)

    def watch(self, changed: Callable[[str], None]) -> None:
        """`changed(project)` after every correction that came from elsewhere and stands."""
        self._changed = changed

    def watch_learners(self, learns: Callable[[str], bool], divided: Callable[[str], None]) -> None:
        """`learns`: whether this node has a project's learners; `divided(project)` when another node said that it has, or no longer."""
        self._learns, self._divided = learns, divided

    def watch_heads(self, told: Callable[[HeadStatement], None]) -> None:
        """`told(said)` after every statement on a head that stands, this node's own among them."""
        self._told = told

    async def open(self) -> None:
        """What is known from before; before `run`."""
        self.charters.update(await self._book.charters())

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
        self._say(said)

    async def say_head(self, project: str, genome: HeadGenome, standing: Standing) -> None:
        """What has become of a head, as this node says; on its way where the project is shared."""
        key, head = self._credentials().key, head_id(genome)
        known = next((said for said in await self._book.heads(project) if head_id(said.genome) == head), None)
        bearer, counter = (known.bearer, known.counter + 1) if known is not None else (key.public, 1)
        said = sign_head(key, HeadStatement(project, genome, standing, bearer, counter, self._runtime.now(), key.public))
        if await self._book.keep_head(said):
            self._say(said)
            self._told(said)

    async def distrust(self, project: str, node: NodeId, *, trusted: bool) -> None:
        """What that node said of rows of the project counts no more, or again from now on."""
        key = self._credentials().key
        known = next((said for said in await self._book.distrusts(project) if said.node == node), None)
        counter = known.counter + 1 if known is not None else 1
        said = sign_statement(key, Distrust(project, node, trusted, counter, self._runtime.now(), key.public))
        if await self._book.distrust(said):
            charter = self.charters.get(project)
            if charter is not None and charter.author == key.public:
                self._say(said)

    def _say(self, said: Statement) -> None:
        if said.project in self.charters:
            self._waiting.append(said)
            self._news.set()

    async def share(self, charter: Charter, parts: AsyncIterator[Part]) -> None:
        """A pile of this node has been read: `charter` needs its `parts`, author and signature still."""
        digests = await self.pools.store(charter.project, parts)
        if not digests:
            return
        key = self._credentials().key
        whole = sign_statement(key, msgspec.structs.replace(charter, parts=digests, author=key.public))
        await self._book.keep_charter(whole)
        self.charters[charter.project] = whole
        await self._publish(News([whole], []))
        for head in await self._book.heads(charter.project):
            self._say(head)
        for said in await self._book.statements(charter.project):
            self._say(said)

    async def _speak(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_S)
            self._news.clear()
            said, self._waiting = self._waiting, []
            size, batch = 0, News([], [])
            for statement in said:
                size += add(batch, statement)
                if size > GOSSIP_BYTES - 4_096:
                    await self._publish(batch)
                    size, batch = 0, News([], [])
            if size:
                await self._publish(batch)

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
        authors |= {said.author for said in news.heads} | {said.author for said in news.distrusts}
        if authors - {origin.public_key}:
            raise BadSignature("a statement of somebody else")
        if origin.node_id != self._credentials().node_id:
            await self._take(news)

    async def _take(self, news: News) -> None:
        """What holds, although other news that came with it do not: then raises the first fault, a `PeerError`."""
        changed, faults = set[str](), list[PeerError]()
        all_of_it: list[Charter | Distrust | Correction | HeadStatement] = [*news.charters, *news.distrusts, *news.corrections, *news.heads]
        try:
            for said in all_of_it:
                try:
                    if await self._stands(said) and not isinstance(said, HeadStatement):
                        changed.add(said.project)
                except PeerError as fault:
                    faults.append(fault)
        finally:
            for project in changed:
                self._changed(project)
        if faults:
            raise faults[0]

    async def _stands(self, said: Charter | Correction | HeadStatement | Distrust) -> bool:
        """Whether a statement is taken. Raises `BadSignature` and `Malformed`."""
        if isinstance(said, Charter):
            return await self._charter(said)
        if isinstance(said, Distrust):
            return await self.hearing.distrust(said)
        if isinstance(said, Correction):
            return await self.hearing.correction(said)
        stands = await self.hearing.head(said)
        if stands:
            self._told(said)
        return stands

    async def _charter(self, charter: Charter) -> bool:
        """The first one known of a project stands; of one node so many at most."""
        of_author = sum(known.author == charter.author for known in self.charters.values())
        if charter.project in self.charters or len(self.charters) >= MAX_CHARTERS or of_author >= MAX_CHARTERS_EACH:
            return False
        await self._runtime.run_blocking(check_statement, charter)
        if self.charters.setdefault(charter.project, charter) is not charter:
            return False
        await self._book.keep_charter(charter)
        return True

    async def _catch_up(self) -> None:
        """Ask a random node for what this one lacks, then fetch rows of projects that are new here."""
        while True:
            try:
                await self._ask_somebody()
                for charter in [charter for charter in self.charters.values() if not self.pools.whole(charter)]:
                    await self.pools.fetch(charter)
                await self._write_notice()
            except NotAvailable as error:
                log.warning("labelling news wait", reason=str(error))
            await asyncio.sleep(SYNC_S)

    async def _ask_somebody(self) -> None:
        others = [node for node in self._living() if node != self._me()]
        if others:
            try:
                await self._ask(self._rng.choice(others))
            except PeerError as error:
                log.debug("no labelling news", reason=str(error))

    @property
    def barred(self) -> set[NodeId]:
        """Nodes that were found lying here: nothing is taken from them."""
        return self.hearing.barred

    async def distrusted(self, project: str) -> set[NodeId]:
        """Nodes whose corrections of this project are not taken here."""
        return await self.hearing.distrusted(project)

    async def _write_notice(self) -> None:
        """In the DHT, of one project that is whole here: writing costs a look-up and some stores."""
        due = (one for one in self.charters.values() if self.whereabouts.due(one.project) and self.pools.whole(one))
        if (charter := next(due, None)) is not None:
            answers = await self._book.answers(charter.project)
            labels = {*charter.labels, *(label for label in answers.values() if label)}
            learns = self._learns(charter.project)
            await self.whereabouts.write(charter, len(labels), sum(row >= 0 for row in answers), learns=learns)

    async def find(self, project: str) -> bool:
        """Get to know a project that this node never heard of, from those who hold it; whether it is known now."""
        if project in self.charters or len(project) != len(show_id(self._me())):
            return project in self.charters
        for node in await self.whereabouts.find(project):
            try:
                await self._ask(node, project)
            except PeerError as error:
                log.info("a holder of a project does not answer", project=project, reason=str(error))
            if project in self.charters:
                break
        return project in self.charters

    async def _ask(self, node: NodeId, wanted: str = "") -> None:
        marks = [] if wanted else await self._comparing.marks()
        answer = await self._courier.request(node, LabelSync(marks, wanted), ANSWER_S)
        if not isinstance(answer, LabelNews):
            raise Malformed("news were asked for")
        await self._take(read_news(answer.data))

    async def _serve(self, peer: Member, message: LabelSync) -> LabelNews:
        for held in message.held:
            if held.project in self.charters and self.whereabouts.hear(peer.node_id, held):
                self._divided(held.project)
        return LabelNews(pack_news(await self._comparing.lacking(message)))

    # ---- who has it ----------------------------------------------------------------------------------------------------

    def holders(self, project: str) -> int:
        """Nodes that hold the project, as they said, and live; this one included."""
        return 1 + len(self.whereabouts.holders(project))

    def learners(self, project: str) -> list[NodeId]:
        """Live nodes that have the project's learners, as they said; this one included if it does."""
        return [self._me()] * self._learns(project) + sorted(self.whereabouts.learners(project))

    def _me(self) -> NodeId:
        return self._credentials().node_id
