"""The composition root: builds every part of a node from its `Config` and runs them in one TaskGroup. Read this first.

    data directory locked -> credentials (files, or admission) -> database -> links, overlay, DHT, agents, council, API
    -> listening -> brains loaded -> ready -> until a signal, `/v1/stop` or `/v1/leave` -> goodbye -> closed

A node is *ready* when it has its certificate, its links listen, its first DHT look-up is done where a peer answers, and its brains
are loaded or have failed with a reason. A node that was admitted once is ready even when no bootstrap answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import msgspec
import platformdirs
import structlog

from node.admission import Admission, obtain_credentials
from node.agents.book import SqliteBook
from node.agents.host import AgentHost, Surroundings
from node.agents.nursery import Nursery
from node.agents.replication import Replicator
from node.books import SqliteContacts, SqliteReceipts, SqliteRecords
from node.brains.base import Example
from node.brains.registry import Lineup, plan
from node.cells.home import GridHome
from node.cells.host import CellHost
from node.cells.post import Post
from node.config import Config
from node.council.canaries import CanarySet
from node.council.council import Council
from node.data_dir import DataDir, Ports
from node.dht.service import Dht
from node.directory import SwarmDirectory
from node.events import EventBus
from node.http.access import Access
from node.http.app import build_app
from node.http.server import ApiServer
from node.http.services import Services
from node.joining import renew
from node.keyring import Keyring
from node.links.exchange import Exchange
from node.links.wss import WssFactory
from node.metrics import Metrics
from node.overlay.announcer import Announcer
from node.overlay.broadcast import Broadcast
from node.overlay.members import TOPIC, Members, MemberView
from node.overlay.neighbours import Neighbours
from node.runs.manager import RunManager
from node.runtime import Runtime, SystemRuntime
from node.services import ControlView, CouncilView, DhtView, NodeView
from node.store import Store
from node.tasks.registry import shipped_tasks
from node.tokens import SqliteTokens, TokenView
from protocol.address import join_address, split_address
from protocol.api import ApiFile, BroadcastRequest, Ready
from protocol.errors import PeerError
from protocol.identity import Credentials, Member, renew_at, show_id
from protocol.messages import PROTOCOL_VERSION, Announcement, Contact, Gossip, Hello
from protocol.topics import TopicModel

FIRST_LOOKUP_S = 10.0
"""How long readiness waits for a DHT peer: a node that was admitted once is ready without one."""
CLOSE_S = 1.0
RENEW_EVERY_S = 3_600.0

log = structlog.get_logger("daemon")


OnProgress = Callable[[str, str, float], None]
"""`on_progress(brain, what, fraction)`, from any thread."""


class Node:
    """Every part of one node, wired. `run` is its life."""

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        data: DataDir,
        store: Store,
        keyring: Keyring,
        credentials: Credentials,
        lineup: Lineup,
        on_progress: OnProgress,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._data = data
        self._store = store
        self._keyring = keyring
        self._credentials = credentials
        self._stopping = asyncio.Event()
        self._ready = False
        self._leaving = False
        self._address = ""
        self._admin_token = runtime.token_bytes(24).hex()
        me = credentials.node_id
        canaries = CanarySet.load()
        topics = topic_model(canaries)
        self.events = EventBus(runtime)
        self.members = Members(runtime, me)
        self.directory = SwarmDirectory(self.members, me)
        self.tokens = SqliteTokens(store)
        self.admission = Admission(runtime, credentials, keyring.issuer(), self.tokens, self.directory.keepers)
        self.factory = WssFactory(credentials, self.admission.visits())
        self.exchange = Exchange(runtime, self.factory, me, self._hello, self.members.address_of)
        self.broadcast = Broadcast(runtime, lambda: self._credentials, self.exchange)
        self.neighbours = Neighbours(runtime, self.exchange, self.members, self.broadcast, me, lambda: list(config.bootstrap))
        self.announcer = Announcer(runtime, self.broadcast, self._announcement)
        self.dht = Dht(runtime, credentials, contacts=SqliteContacts(store, runtime.now), records=SqliteRecords(store))
        self.host = AgentHost(
            runtime,
            me,
            SqliteBook(store),
            lineup.teams,
            topics,
            examples_of(canaries),
            capacity=config.capacity,
            genesis=hashlib.sha256(config.name.encode()).digest(),
            surroundings=Surroundings(
                on_event=self._on_agent_event,
                on_change=self._on_agents_changed,
                on_progress=on_progress,
                cache_dir=Path(platformdirs.user_cache_dir("moot", appauthor=False)),
            ),
        )
        self.replicator = Replicator(
            runtime,
            me,
            self.host,
            self.exchange,
            self.directory.rooms,
            threshold=config.division_threshold,
            on_event=self._on_agent_event,
        )
        self.nursery = Nursery(runtime, self.host, self.exchange)
        receipts = SqliteReceipts(store, runtime.now)
        self.council = Council(runtime, lambda: self._credentials, self.exchange, self.host, self.directory, receipts, topics, canaries)
        tasks = shipped_tasks()
        self.post = Post(runtime, me, self.exchange)
        self.cells = CellHost(runtime, me, self.post, tasks)
        self.runs = RunManager(runtime, self._on_run_event)
        for job in GridHome(runtime, me, self.cells, self.post, self.directory.living).jobs(tasks):
            self.runs.register(job)
        self.api = self._build_api(lineup.notices)
        self._wire()

    # ---- construction -------------------------------------------------------------------------------------------

    def _build_api(self, notices: list[str]) -> ApiServer:
        config, runtime = self._config, self._runtime
        metrics = Metrics({
            "agents": ("Agents living here.", lambda: len(self.host.summaries())),
            "members": ("Live nodes known, this one included.", lambda: len(self.members.living())),
            "neighbours": ("Neighbours in the active view.", lambda: len(self.neighbours.view)),
            "links": ("Live links.", lambda: len(self.exchange.linked)),
            "messages_refused": ("Messages from peers that broke a rule.", lambda: self.exchange.dropped),
            "dht_contacts": ("Contacts in the routing table.", lambda: self.dht.stats.contacts),
            "dht_records": ("Records held.", lambda: self.dht.stats.records),
        })  # fmt: skip
        view = NodeView(
            config,
            runtime,
            self._credentials,
            self.host,
            self.directory,
            self.neighbours,
            lambda: self._address,
            lambda: self._ready,
            self._roles(),
            notices,
        )
        services = Services(
            runtime=runtime,
            access=Access(self._admin_token, config.api_tokens),
            node=view,
            council=CouncilView(self.council, self.events, metrics),
            dht=DhtView(self.dht),
            tokens=TokenView(self.tokens, self.admission, lambda: self._address),
            runs=self.runs,
            events=self.events,
            control=ControlView(self.broadcast, metrics, lambda: self._ready, self.stop, self._leave),
        )
        return ApiServer(build_app(services), config.api_host, config.api_port or self._data.ports().api)

    def _wire(self) -> None:
        """What one part tells another."""
        self.council.register()
        self.broadcast.on(TOPIC, self.members.deliver)
        self.broadcast.on("message", self._on_message)
        self.members.watch(self._on_member)
        for address in self._config.bootstrap:
            self.dht.add_bootstrap(address)

    # ---- life ---------------------------------------------------------------------------------------------------

    async def run(self, on_ready: Callable[[Ready], None]) -> None:
        """Live until stopped. Raises `UserError` when a port is taken or a file is damaged."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        async with AsyncExitStack() as stack:
            ports = await self._listen(stack)
            try:
                async with asyncio.TaskGroup() as tasks:
                    services = [tasks.create_task(part, name=name) for name, part in self._parts(tasks).items()]
                    await self._become_ready(tasks, ports, on_ready)
                    await self._stopping.wait()
                    self._ready = False
                    await self._part()
                    for service in services:
                        service.cancel()
                    await self.dht.close()
                    self.broadcast.close()
            finally:
                self._ready = False

    def _parts(self, tasks: asyncio.TaskGroup) -> dict[str, Coroutine[Any, Any, None]]:
        """The long-lived tasks, by name; starting order is their order."""
        self.exchange.start(tasks)
        self.broadcast.start(tasks)
        self.dht.start(tasks)
        return {
            "announcer": self.announcer.run(),
            "neighbours": self.neighbours.run(),
            "agents": self.host.run(),
            "replication": self.replicator.run(),
            "nursery": self.nursery.run(),
            "cells": self.cells.run(),
            "post": self.post.run(),
            "runs": self.runs.run(),
            "renewal": self._renew(),
        }

    async def _listen(self, stack: AsyncExitStack) -> Ports:
        """TCP links and UDP DHT on one number, then the API; ports chosen by the system are remembered."""
        config, known = self._config, self._data.ports()
        stack.push_async_callback(self.factory.close)
        host, port = await self.factory.listen(config.host, config.port or known.link, self.exchange.accept)
        await self.dht.listen(config.host, port)
        stack.push_async_callback(self.dht.close)
        self._address = config.advertise or join_address(dialable(host), port)
        await stack.enter_async_context(self.api)
        ports = Ports(port, self.api.port)
        self._data.remember_ports(ports)
        self._data.write_api_file(ApiFile(self.api.url, self._admin_token, os.getpid(), show_id(self._credentials.node_id)))
        return ports

    async def _become_ready(self, tasks: asyncio.TaskGroup, ports: Ports, on_ready: Callable[[Ready], None]) -> None:
        """Wait for brains and the first look-up, or for a stop before that."""
        stopped = tasks.create_task(self._stopping.wait())
        waiting = [tasks.create_task(self.host.ready.wait()), tasks.create_task(self._first_lookup())]
        for event in waiting:
            await asyncio.wait([event, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not self._stopping.is_set():
            stopped.cancel()
            self._ready = True
            await self.announcer.announce()  # the council finds this node's own agents by their announcement
            log.info("ready", address=self._address, api=self.api.url, port=ports.link)
            on_ready(Ready("ready", show_id(self._credentials.node_id), self._address, self.api.url))
        for event in waiting:
            event.cancel()

    async def _first_lookup(self) -> None:
        try:
            async with asyncio.timeout(FIRST_LOOKUP_S):
                await self.dht.ready()
        except TimeoutError:
            log.info("no DHT peer answered yet", bootstrap=list(self._config.bootstrap))

    def stop(self) -> None:
        """Begin a clean shutdown; returns at once."""
        self._stopping.set()

    async def _leave(self) -> None:
        """Tell the swarm that this node will not come back, then stop."""
        self._leaving = True
        await self.announcer.announce()
        self.stop()

    async def _part(self) -> None:
        """Say goodbye, bounded in time."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.exchange.close("leaving the swarm" if self._leaving else "stopping")
        except TimeoutError:
            log.info("some peers did not take the goodbye")

    async def _renew(self) -> None:
        """Renew the membership certificate at two thirds of its life."""
        while True:
            if self._runtime.now() >= renew_at(self._credentials.leaf):
                try:
                    self._use(await self._renewed())
                except PeerError as error:
                    log.warning("membership not renewed; trying again in an hour", reason=str(error))
            await asyncio.sleep(RENEW_EVERY_S)

    async def _renewed(self) -> Credentials:
        """A fresh certificate: our own where we may issue, a keeper's otherwise. Raises `Unreachable`."""
        own = await self._runtime.run_blocking(self._keyring.renew_own)
        if own is not None:
            return own
        granted = await renew(self.directory.keepers(), self._credentials, self._runtime)
        await self._runtime.run_blocking(self._keyring.adopt, granted)
        return granted

    def _use(self, credentials: Credentials) -> None:
        """Live links stay as they are; everything from now on shows the new certificate."""
        self._credentials = credentials
        self.admission.renew(credentials)
        self.factory.renew(credentials)
        self.dht.renew(credentials)

    # ---- wiring -------------------------------------------------------------------------------------------------

    def _hello(self) -> Hello:
        return Hello(PROTOCOL_VERSION, self._config.name, self._address)

    def _announcement(self) -> Announcement:
        return Announcement(
            name=self._config.name,
            address=self._address,
            keeper=self.admission.keeper,
            room=self.host.room(),
            agents=self.host.summaries(),
            leaving=self._leaving,
        )

    def _roles(self) -> list[str]:
        return ["member", "keeper"] if self.admission.keeper else ["member"]

    def _on_agents_changed(self) -> None:
        self.announcer.changed()

    def _on_agent_event(self, kind: Literal["birth", "death"], data: Mapping[str, str | float | int | bool | None]) -> None:
        self.events.emit(kind, dict(data))

    def _on_run_event(self, data: Mapping[str, str | float | int | bool | None]) -> None:
        self.events.emit("run", dict(data))

    def _on_member(self, view: MemberView, old: str | None) -> None:
        self.events.emit("member", {"node_id": show_id(view.node_id), "name": view.announcement.name, "state": view.state})
        if view.state in ("dead", "left"):
            self.dht.forget(view.node_id)
        elif view.state == "alive" and view.node_id != self._credentials.node_id and view.announcement.address:
            self.dht.seen(contact_of(view))

    async def _on_message(self, origin: Member, gossip: Gossip) -> None:
        message = msgspec.json.decode(gossip.body, type=BroadcastRequest)
        self.events.emit("message", {"from": show_id(origin.node_id), "topic": message.topic, "body": message.body})


def run(config: Config, on_ready: Callable[[Ready], None], on_progress: OnProgress) -> int:
    """The whole process of `moot up`; returns the exit code."""
    log_to_stderr(os.environ.get("MOOT_LOG", "warning"))
    asyncio.run(serve(config, SystemRuntime(), on_ready, on_progress))
    return 0


async def serve(config: Config, runtime: Runtime, on_ready: Callable[[Ready], None], on_progress: OnProgress) -> None:
    """Run one node until it is told to stop. Raises `UserError` or `PeerError` when it cannot start."""
    data = DataDir(config.data_dir)
    try:
        keyring = Keyring(config.data_dir, runtime)
        credentials = await obtain_credentials(keyring, runtime, open_swarm=config.open, bootstrap=config.bootstrap, token=config.token)
        lineup = plan(config, runtime)
        store = Store(config.database, runtime)
        try:
            await Node(config, runtime, data, store, keyring, credentials, lineup, on_progress).run(on_ready)
        finally:
            store.close()
    finally:
        data.close()


def log_to_stderr(level: str) -> None:
    """One line an event on stderr; stdout belongs to results."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping().get(level.upper(), logging.WARNING)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def topic_model(canaries: CanarySet) -> TopicModel:
    """Topics are those of the canaries: what has none is untested."""
    return TopicModel((canary.topic, canary.question, canary.choices) for canary in canaries.canaries)


def examples_of(canaries: CanarySet) -> list[Example]:
    """The canaries as the agents' side knows questions."""
    return [Example(canary.topic, canary.question, tuple(canary.choices), canary.answer) for canary in canaries.canaries]


def dialable(host: str) -> str:
    """The address under which others reach a socket bound to `host`: for a wildcard, that of the interface with the default route."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return host
    probe = ("192.0.2.1", 9) if host == "0.0.0.0" else ("2001:db8::1", 9)  # noqa: S104 - documentation addresses, never sent to
    family = socket.AF_INET if host == "0.0.0.0" else socket.AF_INET6  # noqa: S104
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(probe)
        except OSError:
            return "127.0.0.1" if family == socket.AF_INET else "::1"
        return str(sock.getsockname()[0])


def contact_of(view: MemberView) -> Contact:
    """A member as the DHT knows nodes: the same host and number, over UDP."""
    host, port = split_address(view.announcement.address)
    return Contact(view.node_id, host, port)
