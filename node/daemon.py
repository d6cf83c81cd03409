"""The life of one process. Read this first; `parts.py` says what a node is made of.

    data directory locked -> credentials (files, or admission) -> database -> parts -> links, DHT and API listen
    -> brains loaded -> ready -> until a signal, `/v1/stop` or `/v1/leave` -> goodbye -> closed

A node is *ready* when it has its certificate, its links listen, it has a neighbour and its first DHT look-up is done where a peer
answers, and its brains are loaded or have failed with a reason. A node that was admitted once is ready even when no bootstrap answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import structlog

from node.admission import obtain_credentials
from node.agents.migration import Moved
from node.brains.embedders import notices
from node.brains.registry import plan
from node.config import Config
from node.data_dir import DataDir, Ports
from node.joining import renew
from node.keyring import Keyring
from node.parts import Controls, OnProgress, Parts
from node.ports import choose_port, dialable
from node.runtime import Runtime, SystemRuntime
from node.situation import Situation
from node.store import Store
from protocol.address import join_address
from protocol.api.nodes import ApiFile, Ready
from protocol.errors import PeerError
from protocol.identity import Credentials, renew_at, show_id
from protocol.pins import FULL, pinned_embedder

FIRST_CONTACT_S = 10.0
"""How long readiness waits for a neighbour and for a DHT peer: a node that was admitted once is ready without one."""
GOODBYE_S = 1.0
MOVE_S = 15.0
"""How long a node that leaves looks for new homes for its agents."""
WITHDRAW_S = 5.0
"""How long it takes their records out of the DHT."""
RENEW_EVERY_S = 3_600.0
INTERRUPTED = 130
BLAS_THREADS = "1"
"""Of numpy and scipy, unless whoever starts the node sets OPENBLAS_NUM_THREADS. Their products are small, and threads that share one spin
for each other on a machine that does other work: opening a labelling project of 3,000 rows took 12 to 19 s with two threads, 2 to 4 s with
one. Not OMP_NUM_THREADS or MKL_NUM_THREADS, which torch heeds too: how many cores read texts is torch's to choose."""

log = structlog.get_logger("daemon")


def run(config: Config, on_ready: Callable[[Ready], None], on_progress: OnProgress, on_notice: Callable[[str], None]) -> int:
    """The whole process of `moot up`; returns the exit code: 0, or 130 after Ctrl-C."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", BLAS_THREADS)  # before a brain imports numpy, which reads it once
    log_to_stderr(os.environ.get("MOOT_LOG", "warning"))
    return asyncio.run(serve(config, SystemRuntime(), on_ready, on_progress, on_notice))


async def serve(
    config: Config,
    runtime: Runtime,
    on_ready: Callable[[Ready], None],
    on_progress: OnProgress,
    on_notice: Callable[[str], None],
) -> int:
    """Run one node until it is told to stop. Raises `UserError` or `PeerError` when it cannot start."""
    lineup = plan(config, runtime)
    data = DataDir(config.data_dir)
    try:
        keyring = Keyring(config.data_dir, runtime)
        credentials = await obtain_credentials(
            keyring,
            runtime,
            open_swarm=config.open,
            bootstrap=config.bootstrap,
            token=config.token,
            embedder=FULL[config.embedder or "words"],
            tell=lambda stage, fraction: on_progress("swarm", stage, fraction),
        )
        situation = Situation(credentials, runtime.token_bytes(24).hex(), list(lineup.notices))
        situation.notices += notices(lineup.embedders, pinned_embedder(credentials.root), config.embedder)
        if config.open:
            situation.notices.append("This swarm is open: anybody who reaches it may join, vote and read what is stored in it.")
        for notice in situation.notices:
            on_notice(notice)
        store = Store(config.database, runtime)
        try:
            parts = Parts(config, runtime, store, keyring, lineup, situation, on_progress)
            return await Node(config, runtime, data, keyring, parts, situation).run(on_ready)
        finally:
            store.close()
    finally:
        data.close()


class Node:
    """One node's life: listening, ready, stopping."""

    def __init__(self, config: Config, runtime: Runtime, data: DataDir, keyring: Keyring, parts: Parts, situation: Situation) -> None:
        self._config = config
        self._runtime = runtime
        self._data = data
        self._keyring = keyring
        self._parts = parts
        self._now = situation
        self._stopping = asyncio.Event()
        self._must_leave = False
        self._exit_code = 0
        self._api = parts.api(Controls(self.stop, self._leave), config.api_port or data.ports().api)

    async def run(self, on_ready: Callable[[Ready], None]) -> int:
        """Live until stopped; returns the exit code. Raises `UserError` when a port is taken or a file is damaged."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        async with AsyncExitStack() as stack:
            await self._listen(stack)
            async with asyncio.TaskGroup() as tasks:
                services = [tasks.create_task(part, name=name) for name, part in self._services(tasks).items()]
                await self._become_ready(on_ready)
                await self._stopping.wait()
                if self._must_leave and not self._now.leaving:
                    await self._leave()
                self._now.ready = False
                if not self._now.leaving:
                    self._now.stopping = True
                    await self._parts.announcer.announce()
                await self._say_goodbye()
                for service in services:
                    service.cancel()
                await self._parts.dht.close()
                self._parts.broadcast.close()
        return self._exit_code

    def _services(self, tasks: asyncio.TaskGroup) -> dict[str, Coroutine[Any, Any, None]]:
        """The long-lived tasks by name; a failure of any ends the node."""
        parts = self._parts
        parts.exchange.start(tasks)
        parts.broadcast.start(tasks)
        parts.dht.start(tasks)
        return {
            "announcer": parts.announcer.run(),
            "neighbours": parts.neighbours.run(),
            "agents": parts.host.run(),
            "replication": parts.replicator.run(),
            "nursery": parts.nursery.run(),
            "homes of agents": parts.homes.run(),
            "rebirth": parts.rebirth.run(),
            "post": parts.post.run(),
            "cells": parts.cells.run(),
            "runs": parts.runs.run(),
            "succession": parts.succession.run(),
            "council": parts.council.run(),
            "labelling": parts.desk.run(),
            "renewal": self._renew(),
        }

    async def _listen(self, stack: AsyncExitStack) -> None:
        """TCP links and UDP DHT on one number, then the API; ports chosen by the system are remembered."""
        parts, config = self._parts, self._config
        stack.push_async_callback(parts.factory.close)
        wanted = choose_port(config.host, config.port, self._data.ports().link)
        host, port = await parts.factory.listen(config.host, wanted, parts.exchange.accept)
        await parts.dht.listen(config.host, port)
        await parts.recall()
        stack.push_async_callback(parts.dht.close)
        self._now.address = config.advertise or join_address(dialable(host), port)
        await stack.enter_async_context(self._api)
        self._data.remember_ports(Ports(port, self._api.port))
        node_id = show_id(self._now.credentials.node_id)
        self._data.write_api_file(ApiFile(self._api.url, self._now.admin_token, os.getpid(), node_id))

    async def _become_ready(self, on_ready: Callable[[Ready], None]) -> None:
        """Wait for brains and the first look-up, or for a stop before that."""
        loading: asyncio.Future[Any] = asyncio.gather(self._parts.host.ready.wait(), self._first_contact())
        stopped: asyncio.Future[Any] = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([loading, stopped], return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                return
            self._now.ready = True
            await self._parts.announcer.announce()  # the council finds this node's own agents by their announcement
            log.info("ready", address=self._now.address, api=self._api.url)
            me, near = show_id(self._now.credentials.node_id), len(self._parts.neighbours.view)
            on_ready(Ready("ready", me, self._now.address, self._api.url, near, len(self._parts.doors)))
        finally:
            loading.cancel()
            stopped.cancel()
            await asyncio.gather(loading, stopped, return_exceptions=True)  # else a stop while brains load ends with a trace

    async def _first_contact(self) -> None:
        """Until neighbours are there and the first look-up is done, or whoever is known was asked in vain."""
        try:
            async with asyncio.timeout(FIRST_CONTACT_S):
                await self._parts.neighbours.sought.wait()
                await self._parts.dht.ready()
        except TimeoutError:
            log.info("no peer answered yet", dialled=self._parts.doors)

    def stop(self) -> None:
        """Begin a clean shutdown; returns at once."""
        self._stopping.set()

    def _terminate(self) -> None:
        self._must_leave = self._config.leave_on_stop
        self.stop()

    def _interrupt(self) -> None:
        self._exit_code = INTERRUPTED
        self.stop()

    async def _leave(self) -> Moved:
        """Move the agents away, tell the swarm that this node will not come back, then stop."""
        moved = await self._parts.migration.move_all(MOVE_S)
        try:
            async with asyncio.timeout(WITHDRAW_S):
                await self._parts.homes.round()
        except TimeoutError:
            log.info("some records of agents are left to expire")
        self._now.leaving = True
        await self._parts.announcer.announce()
        self.stop()
        return moved

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._parts.broadcast.flush()
                await self._parts.exchange.close("leaving the swarm" if self._now.leaving else "stopping")
        except TimeoutError:
            log.info("some peers did not take the goodbye")

    async def _renew(self) -> None:
        """Renew the membership certificate at two thirds of its life."""
        while True:
            if self._runtime.now() >= renew_at(self._now.credentials.leaf):
                try:
                    self._parts.renew(await self._renewed())
                except PeerError as error:
                    log.warning("membership not renewed; trying again in an hour", reason=str(error))
            await asyncio.sleep(RENEW_EVERY_S)

    async def _renewed(self) -> Credentials:
        """A fresh certificate: our own where we may issue, a keeper's otherwise. Raises `Unreachable`."""
        own = await self._runtime.run_blocking(self._keyring.renew_own)
        if own is not None:
            return own
        granted = await renew(self._parts.directory.keepers(), self._now.credentials, self._runtime)
        await self._runtime.run_blocking(self._keyring.adopt, granted)
        return granted


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
