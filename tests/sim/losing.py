"""A way to lose chosen messages, or only their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from node.links.courier import Courier
from protocol.errors import Unreachable
from protocol.identity import Member, NodeId
from protocol.messages import LinkMessage

M = TypeVar("M")


class Losing:
    """A courier that loses the first `losses` requests of a kind: before they are served, or their answers."""

    def __init__(self, courier: Courier, kind: type, answer: bool, losses: int) -> None:
        self._courier, self._kind, self._answer, self._losses = courier, kind, answer, losses

    async def request(self, node_id: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        loses = isinstance(message, self._kind) and self._losses > 0
        self._losses -= loses
        if loses and not self._answer:
            raise Unreachable("the message is lost")
        reply = await self._courier.request(node_id, message, timeout)
        if loses:
            raise Unreachable("the answer is lost")
        return reply

    async def send(self, node_id: NodeId, message: LinkMessage) -> None:
        await self._courier.send(node_id, message)

    def on(self, message_type: type[M], handler: Callable[[Member, M], Awaitable[LinkMessage | None]]) -> None:
        self._courier.on(message_type, handler)
