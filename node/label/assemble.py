"""How a node's parts make its labelling desk."""

from __future__ import annotations

from collections.abc import Callable

from node.label.book import LabelBook
from node.label.crew import Crew, Reader
from node.label.desk import Desk
from node.label.lending import Lending
from node.links.exchange import Exchange
from node.runtime import Runtime
from node.store import Store
from protocol.identity import NodeId


def build_desk(runtime: Runtime, store: Store, me: NodeId, exchange: Exchange, living: Callable[[], list[NodeId]]) -> Desk:
    """`living` names the live nodes, this one included."""
    reader = Reader(runtime)
    return Desk(runtime, LabelBook(store), reader, Crew(runtime, me, exchange, living, reader), Lending(me, exchange, living))
