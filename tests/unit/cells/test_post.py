"""An order of a run's home is said once, so it must not be lost with what cells repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from node.cells.post import MAX_QUEUED, ORDER_PAUSE_S, ORDER_TRIES, Post
from node.testing.simulation import World, simulate
from protocol.errors import Unreachable
from protocol.identity import NodeId
from protocol.messages import CellBundle, CellControl, CellMessage, LinkMessage

ME, PEER, RUN = NodeId(bytes(20)), NodeId(b"p" * 20), b"r" * 20
STOP = CellControl(RUN, "stopped")


class Line:
    """A courier whose first `failures` messages do not arrive."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.arrived: list[object] = []

    async def send(self, node_id: NodeId, message: LinkMessage) -> None:
        if self.failures:
            self.failures -= 1
            raise Unreachable("out of reach")
        assert isinstance(message, CellBundle)
        self.arrived += message.messages

    async def request(self, node_id: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        raise AssertionError("nothing here asks")

    def on(self, message_type: type[Any], handler: Callable[..., Awaitable[LinkMessage | None]]) -> None: ...


def sent(line: Line, fill: Callable[[Post], None], seconds: float = 60.0) -> list[object]:
    """What arrives of what `fill` sends."""

    async def main(world: World) -> None:
        post = Post(world.runtime, ME, line)
        running = asyncio.create_task(post.run())
        await asyncio.sleep(0)
        fill(post)
        await asyncio.sleep(seconds)
        running.cancel()

    simulate(1, main)
    return line.arrived


def said(iteration: int) -> CellMessage:
    return CellMessage(RUN, iteration, 0, 1, b"")


def test_an_order_goes_before_a_full_queue_and_is_not_pushed_out() -> None:
    def fill(post: Post) -> None:
        post.send(PEER, said(0))
        post.send(PEER, STOP)
        for iteration in range(MAX_QUEUED + 10):
            post.send(PEER, said(iteration))

    arrived = sent(Line(0), fill)
    assert arrived[0] == STOP
    assert arrived.count(STOP) == 1
    assert len(arrived) == MAX_QUEUED + 1


def test_an_order_is_tried_again_when_its_receiver_is_out_of_reach_for_a_moment() -> None:
    def fill(post: Post) -> None:
        post.send(PEER, said(1))
        post.send(PEER, STOP)

    assert sent(Line(ORDER_TRIES - 1), fill) == [STOP]  # what the cell said is old by then, and said again by the cell


def test_what_a_dead_node_was_to_hear_is_given_up_in_the_end() -> None:
    line = Line(ORDER_TRIES)
    assert sent(line, lambda post: post.send(PEER, STOP), ORDER_PAUSE_S * (ORDER_TRIES + 1)) == []
    assert line.failures == 0
