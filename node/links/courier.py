"""What parts that talk to other nodes ask of links; `node.links.exchange.Exchange` is one, tests bring their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from protocol.identity import Member, NodeId
from protocol.messages import LinkMessage

M = TypeVar("M")


class Courier(Protocol):
    """Messages to other nodes."""

    async def request(self, node_id: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        """Raises `Unreachable` or `Refused`."""

    async def send(self, node_id: NodeId, message: LinkMessage) -> None:
        """Raises `Unreachable`."""

    def on(self, message_type: type[M], handler: Callable[[Member, M], Awaitable[LinkMessage | None]]) -> None: ...
