"""DHT nodes in a simulated world."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from node.dht.memory import MemoryContacts, MemoryRecords
from node.dht.service import Dht
from node.testing import World, simulate
from protocol.identity import Credentials

PORT = 7337
HOUR_S = 3_600


class Swarm:
    """DHT nodes in a simulated world, each on its own host."""

    def __init__(self, world: World, tasks: asyncio.TaskGroup) -> None:
        self.world = world
        self.nodes: dict[str, Dht] = {}
        self._tasks = tasks
        self._lives: Counter[str] = Counter()

    async def start(
        self,
        name: str,
        bootstrap: str | None = None,
        *,
        credentials: Credentials | None = None,
        contacts: MemoryContacts | None = None,
        records: MemoryRecords | None = None,
    ) -> Dht:
        """A running node; `bootstrap` names the node it asks first. A name started again is the same member in a new process."""
        own = credentials or self.world.credentials(name)
        self._lives[name] += 1
        node = Dht(self.world.runtime_of(f"{name}, life {self._lives[name]}"), own, contacts=contacts, records=records)
        await node.listen(self.world.host(name), PORT)
        if bootstrap is not None:
            node.add_bootstrap(self.address(bootstrap))
        node.start(self._tasks)
        self.nodes[name] = node
        return node

    async def grow(self, count: int) -> list[Dht]:
        """Up to `count` nodes n0, n1, ..., each joining through a random earlier one."""
        for number in range(len(self.nodes), count):
            bootstrap = f"n{self.world.runtime.random().randrange(number)}" if number else None
            await (await self.start(f"n{number}", bootstrap)).ready()
        return list(self.nodes.values())

    def address(self, name: str) -> str:
        return f"{self.world.host(name)}:{PORT}"

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.close()


@asynccontextmanager
async def swarm_in(world: World) -> AsyncIterator[Swarm]:
    async with asyncio.TaskGroup() as tasks:
        swarm = Swarm(world, tasks)
        yield swarm
        await swarm.close()


async def settled(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether `condition` comes true within this much virtual time."""
    for _ in range(round(within_s * 10)):
        if condition():
            return True
        await asyncio.sleep(0.1)
    return condition()


async def values(node: Dht, key: bytes) -> list[bytes]:
    return [record.value for record in await node.get(key)]


def run(seed: int, story: Callable[[Swarm], Awaitable[None]]) -> None:
    async def main(world: World) -> None:
        async with swarm_in(world) as swarm:
            await story(swarm)

    simulate(seed, main)
