"""How a node's parts make its labelling desk."""

from __future__ import annotations

from collections.abc import Callable

from node.blobs import Blobs
from node.brains.embedders import Embedders
from node.label.around import Around
from node.label.book import LabelBook
from node.label.crew import Crew, Reader
from node.label.desk import Desk
from node.label.lending import Lending
from node.label.sharing import TOPIC, Sharing
from node.label.whereabouts import Shelf
from node.links.exchange import Exchange
from node.overlay.broadcast import Broadcast
from node.runtime import Runtime
from node.store import Store
from protocol.identity import Credentials, NodeId


def build_desk(
    runtime: Runtime,
    store: Store,
    credentials: Callable[[], Credentials],
    exchange: Exchange,
    living: Callable[[], list[NodeId]],
    blobs: Blobs,
    broadcast: Broadcast,
    around: Around | None = None,
    embedders: Embedders | None = None,
    shelf: Shelf | None = None,
) -> Desk:
    """`living` names the live nodes, this one included; `shelf` is the DHT."""
    reader, book, me = Reader(runtime, embedders or Embedders()), LabelBook(store), credentials().node_id
    sharing = Sharing(runtime, credentials, book, blobs, exchange, broadcast, living, shelf)
    broadcast.on(TOPIC, sharing.deliver)
    crew, lending = Crew(runtime, me, exchange, living, reader), Lending(me, exchange, living)
    return Desk(runtime, me, book, reader, crew, lending, sharing, around)
