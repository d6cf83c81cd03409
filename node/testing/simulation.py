"""`simulate(seed, main)`: build a world, run `main` in it in virtual time, and fail loudly when anything in it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from node.testing.libraries import rebind_libraries
from node.testing.loop import SimLoop
from node.testing.network import SimNetwork
from node.testing.runtime import SimRuntime
from node.testing.swarm import Swarm
from protocol.errors import LocalError
from protocol.identity import Credentials, NodeKey

T = TypeVar("T")

DAY_S = 86_400.0
WIND_UP_S = 60.0
"""Virtual seconds that cancelled tasks have to end in."""


class World:
    """Everything a simulated swarm needs, derived from one seed. Names are free text; equal names give equal things."""

    def __init__(self, seed: int, clock: Callable[[], float], network: SimNetwork) -> None:
        self.seed = seed
        self.network = network
        self._clock = clock
        self.runtime = self.runtime_of("world")
        """For the test itself; nodes have their own (`runtime_of`)."""
        self._hosts: dict[str, str] = {}
        self._swarm = Swarm(self.runtime_of("swarm"))

    def runtime_of(self, name: str) -> SimRuntime:
        """A node's clock and its own random stream: what one node draws never shifts another's."""
        return SimRuntime(f"{self.seed} {name}", self._clock)

    def host(self, name: str) -> str:
        """The node's address, 10.0.0.1 onwards in the order first asked for."""
        number = len(self._hosts) + 1
        return self._hosts.setdefault(name, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")

    def key(self, name: str) -> NodeKey:
        """A node key that depends on seed and name only (OpenSSL ignores seeds)."""
        return NodeKey.from_seed(self.runtime_of(f"key {name}").token_bytes(32))

    def credentials(self, name: str, *, keeper: bool = False) -> Credentials:
        """Membership of the world's one swarm, issued now."""
        return self._swarm.credentials(self.key(name), keeper=keeper)


def simulate(seed: int, main: Callable[[World], Awaitable[T]], *, limit_s: float = DAY_S) -> T:
    """Run `main` to its end in virtual time and return what it returns.

    Tasks that still run then are cancelled. Raises what `main` raises, `Deadlock` when nothing can happen any more or `limit_s`
    virtual seconds have passed, and the error of any callback or task that failed unobserved. The seed stands in the traceback.
    """
    network = SimNetwork(seed)
    loop = SimLoop(network, limit_s)
    failures: list[BaseException] = []
    loop.set_exception_handler(lambda _, context: failures.append(_failure(context)))
    world = World(seed, loop.time, network)
    try:
        with rebind_libraries(world.runtime_of("libraries")):
            try:
                result = loop.run_until_complete(_run(main, world))
            finally:
                _wind_up(loop)
        if failures:
            raise failures[0]
    except BaseException as error:
        error.add_note(f"simulation: seed {seed}, virtual second {loop.time():.3f}, {network.sent} packets, trace {network.trace()}")
        raise
    finally:
        loop.close()
    return result


async def _run(main: Callable[[World], Awaitable[T]], world: World) -> T:
    return await main(world)


def _wind_up(loop: SimLoop) -> None:
    loop.grant(WIND_UP_S)
    left = sorted(asyncio.all_tasks(loop), key=hash)
    for task in left:
        task.cancel()
    loop.run_until_complete(_ended(left))
    loop.run_until_complete(loop.shutdown_asyncgens())


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _failure(context: dict[str, Any]) -> BaseException:
    error = context.get("exception")
    return error if isinstance(error, BaseException) else LocalError(str(context.get("message")))
