"""Every part of one node, built and wired: the composition root's "what"; `daemon.py` is its "when".

`Parts` owns the parts, each part owns its own state. What changes while the node lives and several parts look at (credentials,
address, whether it is ready) stands in one `Situation`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import platformdirs

from node.admission import Admission
from node.agents.book import SqliteBook
from node.agents.homes import Homes
from node.agents.host import AgentHost, Surroundings
from node.agents.limits import BirthRule
from node.agents.migration import Migration, Moved
from node.agents.nursery import Nursery
from node.agents.rebirth import Rebirth
from node.agents.replication import Replicator
from node.blobs import Blobs
from node.books import SqliteContacts, SqliteKeep, SqliteReceipts, SqliteRecords
from node.brains.base import Example
from node.brains.embedders import Pinned
from node.brains.registry import Lineup
from node.cells.brains import CellBrains
from node.cells.home import GridHome
from node.cells.host import CellHost
from node.cells.post import Post
from node.config import Config
from node.council.canaries import CanarySet
from node.council.council import Council
from node.dht.service import Dht
from node.directory import SwarmDirectory, contact_of
from node.events import EventBus
from node.figures import figures
from node.http.access import Access
from node.http.app import build_app
from node.http.server import ApiServer
from node.http.services import Services
from node.keyring import Keyring
from node.label.around import Around, HostedMinds
from node.label.assemble import build_desk
from node.links.exchange import Exchange
from node.links.wss import WssFactory
from node.memory import Memory
from node.overlay.announcer import Announcer
from node.overlay.broadcast import Broadcast
from node.overlay.members import TOPIC, Members, MemberView
from node.overlay.neighbours import Neighbours
from node.runs.claims import Claims
from node.runs.manager import RunManager
from node.runs.succession import Succession
from node.runtime import Runtime
from node.services import ControlView, CouncilView, DhtView, MemoryView, NodeView
from node.situation import Situation
from node.store import Store
from node.tasks.registry import shipped_tasks
from node.tokens import SqliteTokens, TokenView
from protocol.address import join_address
from protocol.api.nodes import BroadcastRequest
from protocol.errors import Malformed
from protocol.identity import Credentials, Member, NodeId, show_id
from protocol.messages import PROTOCOL_VERSION, Announcement, Gossip, Hello
from protocol.pins import pinned_embedder
from protocol.topics import TopicModel

MAX_DOORS = 8
"""Members of the last time that are dialled at the start, beside the bootstrap addresses."""
OnProgress = Callable[[str, str, float], None]
"""`on_progress(brain, what, fraction)`."""
EventData = Mapping[str, str | float | int | bool | None]


@dataclass(frozen=True, slots=True)
class Controls:
    """How a request ends the node; the daemon supplies them."""

    stop: Callable[[], None]
    leave: Callable[[], Awaitable[Moved]]


class Parts:
    """Everything a node is made of."""

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        store: Store,
        keyring: Keyring,
        lineup: Lineup,
        situation: Situation,
        on_progress: OnProgress,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._now = situation
        credentials, me = situation.credentials, situation.credentials.node_id
        self.events = EventBus(runtime)
        self.members = Members(runtime, me)
        self.directory = SwarmDirectory(self.members, me)
        self.tokens = SqliteTokens(store)
        self.admission = Admission(runtime, credentials, keyring.issuer(), self.tokens, self.directory.keepers)
        self.factory = WssFactory(credentials, self.admission.visits())
        self.exchange = Exchange(runtime, self.factory, me, self._hello, self.members.address_of)
        self.broadcast = Broadcast(runtime, lambda: situation.credentials, self.exchange)
        self._contacts = SqliteContacts(store, runtime.now)
        self.doors: list[str] = list(config.bootstrap)
        """Addresses to dial while there is no neighbour."""
        self.neighbours = Neighbours(runtime, self.exchange, self.members, self.broadcast, me, lambda: self.doors)
        self.announcer = Announcer(runtime, self.broadcast, self._announcement)
        self.dht = Dht(runtime, credentials, contacts=self._contacts, records=SqliteRecords(store))
        self.blobs = Blobs(runtime, config.data_dir / "blobs", self.exchange)
        canaries = CanarySet.load()
        topics = TopicModel((canary.topic, canary.question, canary.choices) for canary in canaries.canaries)
        self._build_agents(store, lineup, on_progress, canaries, topics)
        self._build_council(store, lineup, canaries, topics)
        self._build_grid(store, lineup)
        self._wire()

    def _build_agents(self, store: Store, lineup: Lineup, on_progress: OnProgress, canaries: CanarySet, topics: TopicModel) -> None:
        """Brains and agents, their replication, and what keeps them alive."""
        runtime, situation = self._runtime, self._now
        me = situation.credentials.node_id
        examples = [Example(canary.topic, canary.question, tuple(canary.choices), canary.answer) for canary in canaries.canaries]
        surroundings = Surroundings(
            on_event=self._on_agent_event,
            on_change=self._on_agents_changed,
            on_progress=on_progress,
            key=situation.credentials.key,
            cache_dir=Path(platformdirs.user_cache_dir("moot", appauthor=False)),
        )
        self.host = AgentHost(
            runtime,
            me,
            SqliteBook(store),
            lineup.teams,
            topics,
            examples,
            capacity=self._config.capacity,
            genesis=hashlib.sha256(self._config.name.encode()).digest(),
            surroundings=surroundings,
        )
        rule = BirthRule(me, self.directory.census)
        self.replicator = Replicator(
            runtime,
            me,
            self.host,
            self.exchange,
            self.directory.rooms,
            rule=rule,
            threshold=self._config.division_threshold,
            scaled=True,
            on_event=self._on_agent_event,
        )
        self.nursery = Nursery(runtime, self.host, self.exchange, rule=rule, lives_on=self.directory.lives_on)
        self.migration = Migration(runtime, me, self.host, self.replicator.handover, self.directory)
        self.homes = Homes(runtime, me, self.host.population, self.dht, self.directory, self.blobs)
        self.rebirth = Rebirth(runtime, me, self.host, self.dht, self.directory, self.blobs)

    def _build_council(self, store: Store, lineup: Lineup, canaries: CanarySet, topics: TopicModel) -> None:
        """The council that asks agents, and the memory that it quotes."""
        runtime, situation = self._runtime, self._now
        self.pinned = Pinned(runtime, lineup.embedders, pinned_embedder(situation.credentials.root))
        self.memory = Memory(runtime, situation.credentials.key.public, self.dht, SqliteKeep(store), self.pinned)
        receipts = SqliteReceipts(store, runtime.now)
        self.council = Council(
            runtime,
            lambda: situation.credentials,
            self.exchange,
            self.host,
            self.directory,
            receipts,
            topics,
            canaries,
            shelf=self.dht,
            keep=SqliteKeep(store),
            memory=self.memory,
        )

    def _build_grid(self, store: Store, lineup: Lineup) -> None:
        """Cells of anybody's runs, the runs that start here, and labelling."""
        me, tasks = self._now.credentials.node_id, shipped_tasks()
        self.post = Post(self._runtime, me, self.exchange)
        self.claims = Claims()
        self.minds = CellBrains(self.host)
        self.cells = CellHost(
            self._runtime, me, self.post, self.minds.choose, pens=self.minds.write, claims=self.claims,
            overlay=lambda: self.neighbours.view,
        )  # fmt: skip
        self.runs = RunManager(self._runtime, self._on_run_event)
        home = GridHome(self._runtime, me, self.cells, self.post, self.directory.hosts, self.claims)
        self.succession = Succession(
            self._runtime, me, self.exchange, self.blobs, self.runs, self.claims, self.directory.hosts, self.dht
        )  # fmt: skip
        for job in home.jobs(tasks):
            self.runs.register(job)
        self.runs.register_files(home.file_job)
        self.desk = build_desk(
            self._runtime, store, lambda: self._now.credentials, self.exchange, self.directory.living, self.blobs, self.broadcast,
            Around(HostedMinds(self.host), lambda: self.host.capacity.agents, self._name_of, self._on_labelling_event),
            lineup.embedders,
            self.dht,
        )  # fmt: skip

    def api(self, controls: Controls, port: int) -> ApiServer:
        """The HTTP API over these parts; not listening yet."""
        config, situation = self._config, self._now
        metrics = figures(self)
        view = NodeView(config, self._runtime, situation, self.host, self.directory, self.neighbours, self.admission, self.pinned)
        services = Services(
            runtime=self._runtime,
            access=Access(situation.admin_token, config.api_tokens),
            node=view,
            council=CouncilView(self.council, self.events, metrics),
            dht=DhtView(self.dht),
            tokens=TokenView(self.tokens, self.admission, lambda: situation.address),
            runs=self.runs,
            events=self.events,
            memory=MemoryView(self.memory, self.council),
            labelling=self.desk,
            control=ControlView(self.broadcast, metrics, lambda: situation.ready, controls.stop, controls.leave),
        )
        return ApiServer(build_app(services), config.api_host, port)

    async def recall(self) -> None:
        """Where members were seen last: a node that was killed knocks there itself when it comes back, bootstrap or not."""
        seen = [join_address(contact.host, contact.port) for contact in (await self._contacts.load())[:MAX_DOORS]]
        self.doors = list(dict.fromkeys([*self.doors, *seen]))

    def renew(self, credentials: Credentials) -> None:
        """Live links stay as they are; everything from now on shows the new certificate."""
        self._now.credentials = credentials
        self.admission.renew(credentials)
        self.factory.renew(credentials)
        self.dht.renew(credentials)

    # ---- what one part tells another ------------------------------------------------------------------------------

    def _wire(self) -> None:
        self.council.register()
        self.broadcast.on(TOPIC, self.members.deliver)
        self.broadcast.on("message", self._on_message)
        self.members.watch(self._on_member)
        for address in self._config.bootstrap:
            self.dht.add_bootstrap(address)

    def _hello(self) -> Hello:
        return Hello(PROTOCOL_VERSION, self._config.name, self._now.address)

    def _announcement(self) -> Announcement:
        return Announcement(
            name=self._config.name,
            address=self._now.address,
            keeper=self.admission.keeper,
            room=self.host.room(),
            agents=self.host.summaries(),
            leaving=self._now.leaving,
            capacity=self.cells.cores,
            stopping=self._now.stopping,
        )

    def _on_agents_changed(self) -> None:
        self.announcer.changed()
        self.homes.changed()

    def _on_agent_event(self, kind: Literal["birth", "death"], data: EventData) -> None:
        self.events.emit(kind, dict(data))

    def _name_of(self, node: NodeId) -> str:
        view = self.members.get(node)
        return view.announcement.name if view is not None else self._config.name if node == self._now.credentials.node_id else show_id(node)

    def _on_labelling_event(self, data: EventData) -> None:
        self.events.emit("labelling", dict(data))

    def _on_run_event(self, data: EventData) -> None:
        self.events.emit("run", dict(data))

    def _on_member(self, view: MemberView, old: str | None) -> None:
        self.events.emit("member", {"node_id": show_id(view.node_id), "name": view.announcement.name, "state": view.shown})
        if view.state in ("dead", "left"):
            self.dht.forget(view.node_id)
        elif view.state == "alive" and view.node_id != self._now.credentials.node_id and view.announcement.address:
            self.dht.seen(contact_of(view))

    async def _on_message(self, origin: Member, gossip: Gossip) -> None:
        try:
            message = msgspec.json.decode(gossip.body, type=BroadcastRequest)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Malformed(f"the body of a message is not what the API sends: {error}") from error
        self.events.emit("message", {"from": show_id(origin.node_id), "topic": message.topic, "body": message.body})
