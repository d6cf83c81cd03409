"""The routing table: exact neighbours, bounded buckets, nothing from hearsay that could be aimed at us."""

from __future__ import annotations

import random

import pytest
from kademlia.node import Node

from node.dht.table import KSIZE, Table, contact_of, node_of, worth_asking
from protocol.messages import Contact

RNG = random.Random(7)


def node(host: str = "10.0.0.1") -> Node:
    return Node(RNG.randbytes(20), host, 7337)


def table_of(count: int) -> tuple[Table, list[Node]]:
    full: list[Node] = []
    table = Table(node(), KSIZE, full.append)
    for _ in range(count):
        table.add_contact(node())
    return table, full


@pytest.mark.parametrize("count", [5, 50, 200, 2000])
def test_the_nearest_contacts_are_exactly_the_nearest(count: int) -> None:
    table, _ = table_of(count)
    for _ in range(20):
        target = node()
        exact = sorted(table.contacts(), key=target.distance_to)
        assert table.find_neighbors(target) == exact[:KSIZE]
        assert table.find_neighbors(target, 3, exclude=exact[1]) == [exact[0], exact[2], exact[3]]


def test_a_contact_that_is_the_target_itself_is_found() -> None:
    table, _ = table_of(50)
    known = list(table.contacts())[7]
    assert table.find_neighbors(Node(known.id))[0] is known


def test_the_table_stays_small_and_asks_about_the_oldest_contact_of_a_full_bucket() -> None:
    table, full = table_of(5000)
    assert all(len(bucket) <= KSIZE for bucket in table.buckets)
    assert 100 < len(table.contacts()) < 1500
    assert full
    assert all(table.get(head.id) is head for head in full[-20:])


def test_one_contact_waiting_for_a_full_bucket_asks_once_however_often_it_speaks() -> None:
    table, full = table_of(5000)
    waiting = next(iter(next(b for b in table.buckets if b.replacement_nodes).replacement_nodes.values()))
    before = len(full)
    for _ in range(10):
        table.add_contact(waiting)
    assert len(full) == before


def test_a_lost_contact_is_replaced_by_the_one_heard_last() -> None:
    table, _ = table_of(5000)
    bucket = next(b for b in table.buckets if b.replacement_nodes)
    heir = next(reversed(bucket.replacement_nodes.values()))
    table.remove_contact(bucket.head())
    assert table.get(heir.id) is heir


def test_a_node_is_not_its_own_contact() -> None:
    table, _ = table_of(0)
    table.add_contact(Node(table.node.id, "10.0.0.9", 1))
    assert not table.contacts()


def test_a_contact_at_a_new_address_is_kept_once_and_there() -> None:
    table, _ = table_of(10)
    moved = Node(list(table.contacts())[3].id, "10.9.9.9", 1)
    table.add_contact(moved)
    assert len(table.contacts()) == 10
    found = table.get(moved.id)
    assert found is not None
    assert found.same_home_as(moved)


def test_ids_on_the_edge_of_a_bucket_are_found_again() -> None:
    table, _ = table_of(500)
    for bucket in list(table.buckets):
        for edge in bucket.range:
            if edge < 2**160:
                on_edge = Node(edge.to_bytes(20, "big"), "10.0.0.1", 1)
                assert table.buckets[table.get_bucket_for(on_edge)].has_in_range(on_edge)


def test_refresh_looks_into_every_bucket() -> None:
    table, _ = table_of(500)
    targets = table.refresh_ids(random.Random(1))
    assert len(targets) == len(table.buckets)
    assert all(bucket.has_in_range(Node(target)) for bucket, target in zip(table.buckets, targets, strict=True))


def test_contacts_survive_the_wire() -> None:
    contact = Contact(bytes(20), "2001:db8::1", 7337)
    assert contact_of(node_of(contact)) == contact


@pytest.mark.parametrize(
    ("host", "reporter", "usable"),
    [
        ("192.0.2.1", "10.0.0.1", True),
        ("2001:db8::1", "10.0.0.1", True),
        ("10.0.0.2", "192.0.2.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("::1", "10.0.0.1", False),
        ("224.0.0.1", "10.0.0.1", False),
        ("0.0.0.0", "10.0.0.1", False),
        ("255.255.255.255", "10.0.0.1", False),
        ("localhost", "127.0.0.1", False),
        ("example.org", "10.0.0.1", False),
        ("", "10.0.0.1", False),
    ],
)
def test_hearsay_is_asked_only_where_it_could_be_a_member(host: str, reporter: str, usable: bool) -> None:
    assert worth_asking(Contact(bytes(20), host, 7337), reporter) is usable
