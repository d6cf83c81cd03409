"""The routing table: kademlia's k-buckets, with a nearest-k that is exact and an eviction that does not start tasks of its own."""

from __future__ import annotations

import ipaddress
import random
from bisect import bisect_left
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Literal

from kademlia.node import Node
from kademlia.routing import RoutingTable

from protocol.messages import Contact

KSIZE = 20
"""Contacts a bucket (Maymounkov and Mazieres, 2002, section 2.4)."""
ID_SPACE = 2**160


class Table(RoutingTable):  # type: ignore[misc]  # kademlia is untyped
    """Contacts whose identity and address a session has proven. `on_full(head)`: a full bucket wants its oldest contact checked."""

    def __init__(self, node: Node, ksize: int, on_full: Callable[[Node], None]) -> None:
        self._on_full = on_full
        self._index: dict[bytes, Node] | None = None
        """Every contact by id; None when it has to be gathered anew."""
        super().__init__(None, ksize, node)

    def flush(self) -> None:
        super().flush()
        self._bounds = [bucket.range[1] for bucket in self.buckets]

    def split_bucket(self, index: int) -> None:
        super().split_bucket(index)
        self._bounds = [bucket.range[1] for bucket in self.buckets]

    def get_bucket_for(self, node: Node) -> int:
        """Ranges are closed on both sides (stock is off by one at every split)."""
        return bisect_left(self._bounds, node.long_id)

    def add_contact(self, node: Node) -> None:
        """Take a contact in, or into the bucket's replacement cache; a contact known before moves to the bucket's young end."""
        if node.id == self.node.id:
            return
        bucket = self.buckets[self.get_bucket_for(node)]
        known = bucket.nodes.get(node.id)
        if known is not None and known.same_home_as(node):
            bucket.nodes.move_to_end(node.id)
            return
        self._index = None
        waiting = node.id in bucket.replacement_nodes
        if bucket.add_node(node):
            bucket.replacement_nodes.pop(node.id, None)
        elif bucket.has_in_range(self.node) or bucket.depth() % 5 != 0:  # section 4.2 of the paper
            self.split_bucket(self.buckets.index(bucket))
            self.add_contact(node)
        elif not waiting:
            self._on_full(bucket.head())

    def remove_contact(self, node: Node) -> None:
        self._index = None
        super().remove_contact(node)

    def find_neighbors(self, node: Node, k: int | None = None, exclude: Node | None = None) -> list[Node]:
        """The k contacts nearest to `node`, nearest first, over all buckets."""
        here, without = node.long_id, None if exclude is None else exclude.id
        nearest = sorted(self.contacts(), key=lambda contact: contact.long_id ^ here)  # for hundreds, faster than a heap in Python
        return [contact for contact in nearest[: (k or self.ksize) + 1] if contact.id != without][: k or self.ksize]

    def contacts(self) -> Collection[Node]:
        return self._everyone().values()

    def get(self, node_id: bytes) -> Node | None:
        """The contact of this id."""
        return self._everyone().get(node_id)

    def _everyone(self) -> dict[bytes, Node]:
        if self._index is None:
            self._index = {node.id: node for bucket in self.buckets for node in bucket.nodes.values()}
        return self._index

    def refresh_ids(self, rng: random.Random) -> list[bytes]:
        """One id in the range of each bucket, to look up and so to keep the bucket filled."""
        ranges = [bucket.range for bucket in self.buckets]
        return [rng.randint(low, min(high, ID_SPACE - 1)).to_bytes(20, "big") for low, high in ranges]


def node_of(contact: Contact) -> Node:
    return Node(contact.node_id, contact.host, contact.port)


def contact_of(node: Node) -> Contact:
    return Contact(node.id, node.ip, node.port)


def worth_asking(contact: Contact, reporter: str) -> bool:
    """Whether hearsay may make us send to this address. `reporter` is the IP address of who named it.

    Only literal unicast addresses, and loopback only from loopback: a member must not aim us at our own services.
    """
    kind = _kind(contact.host)
    return kind == "unicast" or (kind == "loopback" and _kind(reporter) == "loopback")


@lru_cache(maxsize=4_096)
def _kind(host: str) -> Literal["unicast", "loopback", "unusable"]:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unusable"
    if address.is_multicast or address.is_unspecified or address.is_reserved:
        return "unusable"
    return "loopback" if address.is_loopback else "unicast"
