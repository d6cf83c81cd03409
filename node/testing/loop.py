"""An asyncio loop in virtual time: instead of waiting for the next timer it moves its clock there."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from protocol.errors import LocalError

if TYPE_CHECKING:
    from node.testing.network import SimNetwork

T = TypeVar("T")
P = TypeVar("P", bound=asyncio.BaseProtocol)


class Deadlock(LocalError):
    """Every task waits for something that can no longer happen, or virtual time ran out."""


class SimLoop(asyncio.SelectorEventLoop):
    """The loop of one simulation. `limit_s` bounds its virtual time, so that a forgotten periodic task cannot run for ever."""

    def __init__(self, network: SimNetwork, limit_s: float) -> None:
        self._virtual = _JumpingSelector()
        self._network = network
        super().__init__(self._virtual)
        self._virtual.on_idle = self._fail
        self.grant(limit_s)
        numbers = itertools.count()
        self.set_task_factory(lambda loop, coro, **kwargs: _SimTask(next(numbers), coro, loop=loop, **kwargs))

    def time(self) -> float:
        """Virtual seconds since the simulation began."""
        return self._virtual.now

    def grant(self, seconds: float) -> None:
        """Let virtual time run this much further from now."""
        self._virtual.limit = self._virtual.now + seconds

    async def create_datagram_endpoint(  # type: ignore[override]  # the simulated network has no socket options
        self,
        protocol_factory: Callable[[], P],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        **options: object,
    ) -> tuple[asyncio.DatagramTransport, P]:
        """An endpoint on the simulated network; raises OSError (address in use) as a real one would."""
        if local_addr is None or remote_addr is not None:
            raise LocalError("a simulated endpoint is bound to its own host and connected to nobody: give local_addr only")
        protocol = protocol_factory()
        return self._network.open_datagrams(protocol, local_addr), protocol

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Refused: threads would break equal seeds. `Runtime.run_blocking` runs inline here."""
        raise LocalError("no threads under virtual time: use Runtime.run_blocking")

    def _fail(self, why: str) -> NoReturn:
        waiting = sorted((task for task in asyncio.all_tasks(self) if not task.done()), key=hash)
        lines = "\n".join(f"  {task.get_name()}: {_place(task)}" for task in waiting[:20])
        raise Deadlock(
            f"{why} at virtual second {self.time():.3f}; real sockets and threads do not exist here. Of {len(waiting)} tasks wait:\n{lines}"
        )


class _SimTask(asyncio.Task[Any]):
    """A task hashed by its number: a TaskGroup keeps its tasks in a set, and address order would differ between processes."""

    def __init__(
        self,
        number: int,
        coro: Coroutine[Any, Any, Any],
        *,
        loop: asyncio.AbstractEventLoop,
        name: str | None = None,
        context: Context | None = None,
    ) -> None:
        self._number = number
        super().__init__(coro, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self._number


class _JumpingSelector(selectors.SelectSelector):
    """Never waits and never polls: it moves the clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.limit = 0.0
        self.on_idle: Callable[[str], NoReturn]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            self.on_idle("deadlock: nothing is scheduled")
        if timeout > 0:
            self.now += timeout
            if self.now > self.limit:
                self.on_idle(f"the limit of {self.limit:.0f} virtual seconds is reached")
        return []


def _place(task: asyncio.Task[Any]) -> str:
    """Function and line where a task waits: its innermost coroutine."""
    inner: Any = task.get_coro()
    while getattr(getattr(inner, "cr_await", None), "cr_frame", None) is not None:
        inner = inner.cr_await
    frame = getattr(inner, "cr_frame", None)
    return f"{frame.f_code.co_qualname}, line {frame.f_lineno}" if frame is not None else "ending"
