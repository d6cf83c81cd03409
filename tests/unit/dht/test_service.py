"""The facade on real sockets: ports, limits, random bytes from the network, what a person reads when something is wrong."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator

import pytest

from node.dht.service import Dht
from node.runtime import SystemRuntime
from protocol.errors import Conflict, InvalidRequest, LocalError, NotAvailable, RequestTooLarge
from protocol.identity import Credentials, NodeKey, issue_keeper, issue_leaf, issue_root
from protocol.records import MAX_TTL_S, key_of

RUNTIME = SystemRuntime()
ROOT_KEY, KEEPER_KEY = (NodeKey.from_seed(bytes([number]) * 32) for number in (101, 102))
ROOT = issue_root(ROOT_KEY, serial=1, now=RUNTIME.now())
KEEPER = issue_keeper(ROOT_KEY, ROOT, KEEPER_KEY.public, serial=2, now=RUNTIME.now())


def credentials(number: int) -> Credentials:
    key = NodeKey.from_seed(bytes([number]) * 32)
    leaf = issue_leaf(KEEPER_KEY, KEEPER, key.public, is_keeper=False, serial=number + 10, now=RUNTIME.now())
    return Credentials(key, leaf, KEEPER, ROOT)


@pytest.fixture
async def swarm() -> AsyncIterator[list[Dht]]:
    """Three nodes on loopback, joined."""
    async with asyncio.TaskGroup() as tasks:
        nodes = [Dht(RUNTIME, credentials(number)) for number in range(3)]
        for node in nodes:
            port = await node.listen("127.0.0.1", 0)
            if node is nodes[0]:
                first = f"127.0.0.1:{port}"
            node.add_bootstrap(first)
            node.start(tasks)
            await node.ready()
        yield nodes
        for node in nodes:
            await node.close()


def port_of(node: Dht) -> int:
    transport = node._protocol.transport
    assert transport is not None
    return int(transport.get_extra_info("sockname")[1])


async def test_three_nodes_share_a_value_over_loopback(swarm: list[Dht]) -> None:
    result = await swarm[0].put(key_of("k"), "s", b"value", 60)
    assert result.replicas == 3
    [record] = await swarm[2].get(key_of("k"))
    assert (record.subkey, record.value, record.seq, record.expires_at) == ("s", b"value", result.seq, result.expires_at)
    assert (await swarm[0].put(key_of("k"), "s", b"newer", 60)).seq > result.seq
    await swarm[0].delete(key_of("k"), "s")
    assert await swarm[1].get(key_of("k")) == []


async def test_random_datagrams_get_no_answer_and_harm_nobody(swarm: list[Dht]) -> None:
    rng, loop = random.Random(11), asyncio.get_running_loop()
    noise = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    noise.setblocking(False)
    with noise:
        for size in [0, 1, 20, 21, 22, 100, 1_199, 1_200, 1_201, 9_000, 60_000] * 20:
            noise.sendto(rng.randbytes(size), ("127.0.0.1", port_of(swarm[0])))
        await swarm[1].put(key_of("k"), "", b"value", 60)
        assert len(await swarm[0].get(key_of("k"))) == 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await loop.sock_recv(noise, 1_500)
    assert sum(swarm[0].stats.dropped.values()) > 0


async def test_a_port_that_is_taken_is_named(swarm: list[Dht]) -> None:
    port = port_of(swarm[0])
    with pytest.raises(Conflict, match=str(port)):
        await Dht(RUNTIME, credentials(9)).listen("127.0.0.1", port)


async def test_a_node_may_listen_again_after_a_conflict(swarm: list[Dht]) -> None:
    node = Dht(RUNTIME, credentials(9))
    with pytest.raises(Conflict):
        await node.listen("127.0.0.1", port_of(swarm[0]))
    assert await node.listen("127.0.0.1", 0)
    await node.close()


async def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(NotAvailable, match=r"192\.0\.2\.1"):
        await Dht(RUNTIME, credentials(9)).listen("192.0.2.1", 0)


async def test_a_bootstrap_may_be_a_name_and_may_be_ourselves(swarm: list[Dht]) -> None:
    async with asyncio.TaskGroup() as tasks:
        node = Dht(RUNTIME, credentials(9))
        port = await node.listen("127.0.0.1", 0)
        node.add_bootstrap(f"127.0.0.1:{port}")
        node.add_bootstrap(f"localhost:{port_of(swarm[0])}")
        node.add_bootstrap("no-such-host.invalid:7337")
        node.start(tasks)
        await node.ready()
        assert node.joined
        assert node._credentials.node_id not in [contact.node_id for contact in node.contacts]
        await node.close()


async def test_what_cannot_be_put_is_refused_with_a_reason(swarm: list[Dht]) -> None:
    node, key = swarm[0], key_of("k")
    with pytest.raises(RequestTooLarge, match="513"):
        await node.put(key, "", bytes(513), 60)
    for ttl in (0, -1, MAX_TTL_S + 1):
        with pytest.raises(InvalidRequest):
            await node.put(key, "", b"", ttl)
    with pytest.raises(InvalidRequest):
        await node.put(b"short", "", b"", 60)
    with pytest.raises(InvalidRequest):
        await node.get(b"short")
    with pytest.raises(InvalidRequest):
        await node.put(key, "ü" * 33, b"", 60)


async def test_a_full_author_is_told_that_nobody_kept_the_value(swarm: list[Dht]) -> None:
    for number in range(64):
        await swarm[0].put(key_of("k"), str(number), b"", 60)
    with pytest.raises(NotAvailable, match="quota"):
        await swarm[0].put(key_of("k"), "one too many", b"", 60)


async def test_a_member_that_is_forgotten_is_gone_from_the_contacts(swarm: list[Dht]) -> None:
    gone = swarm[2]._credentials.node_id
    assert gone in [contact.node_id for contact in swarm[0].contacts]
    swarm[0].forget(gone)
    assert gone not in [contact.node_id for contact in swarm[0].contacts]


async def test_a_renewed_certificate_is_of_the_same_key(swarm: list[Dht]) -> None:
    swarm[0].renew(credentials(0))
    with pytest.raises(LocalError):
        swarm[0].renew(credentials(1))


async def test_closing_twice_or_before_listening_is_fine() -> None:
    node = Dht(RUNTIME, credentials(9))
    await node.close()
    await node.listen("127.0.0.1", 0)
    await node.close()
    await node.close()


def test_a_bootstrap_that_is_no_address_is_refused_with_an_example() -> None:
    for text in ("", "192.0.2.7", ":7337", "host:0", "host:65536", "host:port"):
        with pytest.raises(InvalidRequest, match="HOST:PORT"):
            Dht(RUNTIME, credentials(9)).add_bootstrap(text)
