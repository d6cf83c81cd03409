"""Real daemons as separate processes, on loopback and free ports, gone when the test is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.child import ChildDaemon
from cli.client import Client
from node.runtime import SystemRuntime
from protocol.api.nodes import Peers, TokenReply, TokenRequest

LOOPBACK = ("--host", "127.0.0.1", "--port", "0", "--api-port", "0")
MEET_S = 90.0
"""A look's patience: what should hold holds in a second or two, and a busy machine is no failure."""


@dataclass
class LiveSwarm:
    """Daemons of one swarm; the first founded it."""

    root: Path
    stack: ExitStack
    nodes: list[ChildDaemon] = field(default_factory=list)

    def launch(self, name: str, *flags: str) -> ChildDaemon:
        """Start a daemon, not waiting for it."""
        daemon = ChildDaemon(self.root / name, [*LOOPBACK, "--name", name, *flags])
        self.stack.callback(daemon.stop)
        return daemon

    def found(self, *flags: str) -> ChildDaemon:
        """The first daemon, ready."""
        daemon = self.launch("n0", *flags)
        daemon.wait_ready()
        self.nodes.append(daemon)
        return daemon

    def token(self, uses: int = 1, ttl_s: int = 600) -> str:
        return self.nodes[0].client.post("/v1/tokens", TokenReply, TokenRequest(ttl_s, uses)).token

    def join(self, count: int, *flags: str) -> None:
        """More daemons, started at once, ready and known to all."""
        token = self.token(count)
        invitation = ("--bootstrap", self.nodes[0].address, "--token", token)
        joining = [self.launch(f"n{len(self.nodes) + number}", *invitation, *flags) for number in range(count)]
        for daemon in joining:
            daemon.wait_ready()
        self.nodes += joining
        self.wait(self.all_meet, "the nodes to meet")

    def all_meet(self, agents: int = 1) -> bool:
        """Every node sees every other alive, with at least so many agents announced."""
        views = [node.client.get("/v1/peers", Peers) for node in self.nodes]
        return all(
            len([member for member in view.members if member.state == "alive" and member.agents >= agents]) >= len(self.nodes)
            for view in views
        )

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = MEET_S) -> None:
        wait_until(condition, what, seconds)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = MEET_S) -> None:
    """Look again until it holds; fail with what was waited for. (A bounded look, never a fixed sleep.)"""
    import threading

    runtime, pause = SystemRuntime(), threading.Event()
    deadline = runtime.monotonic() + seconds
    while not condition():
        assert runtime.monotonic() < deadline, f"waited {seconds:.0f} s for {what}, in vain"
        pause.wait(0.1)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveSwarm]:
    """An empty swarm to fill."""
    with ExitStack() as stack:
        yield LiveSwarm(tmp_path, stack)


@dataclass(frozen=True)
class Address:
    """A node of the shared swarm, as a client sees it."""

    api: str
    client: Client


@dataclass(frozen=True)
class SharedSwarm:
    nodes: Sequence[Address]


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedSwarm]:
    """Three daemons with tiny agents, shared by tests that only ask."""
    with ExitStack() as stack:
        made = LiveSwarm(tmp_path_factory.mktemp("swarm"), stack)
        made.found("--brain", "tiny=2")
        made.join(2, "--brain", "tiny=2")
        yield SharedSwarm([Address(node.client.api, node.client) for node in made.nodes])
