"""A lineage hashes from the child to the founder, or it is none."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocol.errors import BadSignature, Malformed, PeerError
from protocol.identity import NodeKey
from protocol.lineage import MAX_LINKS, Descent, agent_id_of, check_lineage, conceive, founder_of

KEYS = [NodeKey.from_seed(bytes([number]) * 32) for number in range(3)]


def family(generations: int) -> tuple[bytes, list[Descent]]:
    """The last of a line, each conceived on another node."""
    agent = b""
    chain: list[Descent] = []
    for number in range(generations):
        agent, chain = conceive(KEYS[number % 3], agent, chain, number, bytes([number]) * 32, bytes([number]) * 16)
    return agent, chain


def check(agent: bytes, chain: list[Descent]) -> None:
    check_lineage(chain, agent, chain[0].parent, chain[0].generation, chain[0].genome)


def test_a_link_left_out_exchanged_or_repeated_is_noticed() -> None:
    agent, chain = family(4)
    _, other = family(3)
    stranger = conceive(KEYS[0], b"", [], 0, b"z" * 32, b"z" * 16)[1][0]
    for forged in (chain[:1] + chain[2:], [*chain[:3], stranger], [chain[0], *chain], chain[1:], other):
        with pytest.raises(PeerError):
            check(agent, forged)


@pytest.mark.parametrize("change", [{"genome": b"x" * 32}, {"generation": 9}, {"nonce": b"x" * 16}, {"founder": b"x" * 20}])
def test_no_field_of_an_ancestor_can_change(change: dict[str, object]) -> None:
    agent, chain = family(4)
    with pytest.raises(Malformed):
        check(agent, [*chain[:2], replace(chain[2], **change), chain[3]])


def test_a_link_that_its_node_did_not_sign_is_refused() -> None:
    agent, chain = family(2)
    with pytest.raises(BadSignature):
        check(agent, [replace(chain[0], signature=bytes(64)), chain[1]])


def test_a_second_parent_stands_in_the_lineage_and_cannot_be_changed() -> None:
    agent, chain = family(2)
    child, links = conceive(KEYS[0], agent, chain, 2, b"c" * 32, b"c" * 16, b"m" * 20)
    check(child, links)
    assert (links[0].parent, links[0].mate) == (agent, b"m" * 20)
    for mate in (b"", b"x" * 20):
        with pytest.raises(Malformed):
            check(child, [replace(links[0], mate=mate), *links[1:]])


@pytest.mark.parametrize("mate", [b"p" * 20, b"m" * 20])
def test_a_mate_without_a_parent_or_twice_the_same_parent_is_refused(mate: bytes) -> None:
    parent = mate if mate == b"p" * 20 else b""
    child, links = conceive(KEYS[0], parent, [], 1, b"c" * 32, b"c" * 16, mate)
    with pytest.raises(Malformed, match="mate"):
        check(child, links)


def test_ids_of_before_there_were_second_parents_stay() -> None:
    founder, chain = conceive(KEYS[0], b"", [], 0, bytes([1]) * 32, bytes([2]) * 16)
    child, _ = conceive(KEYS[0], founder, chain, 1, bytes([3]) * 32, bytes([4]) * 16)
    assert founder.hex() == "9c912acb2a3c5350b9c4b366b38960dee9d2ee2a"
    assert child.hex() == "d3647ce719ff5989024e7f0b28843415ccaca9e7"


def test_an_empty_lineage_is_none() -> None:
    with pytest.raises(Malformed):
        check_lineage([], b"x" * 20, b"", 0, b"g" * 32)


def test_a_long_line_is_cut_and_still_knows_its_founder() -> None:
    founder = agent_id_of(family(1)[1][0])
    agent, chain = family(MAX_LINKS + 5)
    assert len(chain) == MAX_LINKS
    check(agent, chain)
    assert founder_of(chain) == founder
