"""Genomes of heads: what may be decoded, how they divide, and who says what of them."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BadSignature, Malformed
from protocol.heads import (
    FEWEST,
    Fitness,
    HeadGenome,
    HeadStatement,
    birthplace,
    check_statement_of_head,
    head_id,
    mutate,
    pack_head,
    read_head,
    sign_head,
    who_dies,
    who_divides,
)
from protocol.identity import NodeKey

FOUNDER = HeadGenome("spread", "joint", 0, 0.6, 0, 1.0, 3e-4, 12, 8.0, 0.9)
KEY = NodeKey.from_seed(b"k" * 32)


def changed(**fields: object) -> bytes:
    names = HeadGenome.__struct_fields__
    row = dict(zip(names, msgspec.structs.astuple(FOUNDER), strict=True)) | fields
    return msgspec.msgpack.encode([row[name] for name in names])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        changed(kind="pickle"),
        changed(view="everything"),
        changed(seed=2**32),
        changed(features=10**6),
        changed(neighbours=10**6),
        changed(l2=0.0),
        changed(l2=float("nan")),
        changed(width=float("inf")),
        changed(generation=1),
        changed(parent=b"x" * 32),
        changed(generation=1, parent=b"short"),
    ],
)
def test_a_genome_beyond_bounds_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_head(data)


@given(st.sampled_from(("spread", "logistic")), st.integers(0, 2**31), st.integers(1, 40))
def test_every_descendant_is_within_bounds_and_known_by_its_hash(kind: str, seed: int, generations: int) -> None:
    rng, genome = random.Random(seed), msgspec.structs.replace(FOUNDER, kind=kind)
    for _ in range(generations):
        child = mutate(genome, rng)
        assert read_head(pack_head(child)) == child
        assert child.parent == head_id(genome) != head_id(child)
        genome = child
    assert genome.generation == generations


def fit(loss: float, corrections: int = FEWEST) -> Fitness:
    return Fitness(loss, 0.9, corrections)


def test_only_a_head_that_is_clearly_fitter_divides_and_not_before_enough_was_held_back() -> None:
    a, b, c = b"a", b"b", b"c"
    assert who_divides({a: fit(0.1), b: fit(0.3), c: fit(0.3)}, [a, b, c]) == a
    assert who_divides({a: fit(0.29), b: fit(0.3), c: fit(0.3)}, [a, b, c]) is None
    assert who_divides({a: fit(0.1, FEWEST - 1), b: fit(0.3, FEWEST - 1)}, [a, b]) is None
    assert who_divides({a: fit(0.1), b: fit(0.3)}, [b]) is None


def test_the_least_fit_beyond_capacity_die_and_the_unmeasured_live() -> None:
    fits = {b"a": fit(0.1), b"b": fit(0.5), b"c": fit(0.3)}
    assert who_dies(fits, [b"a", b"b", b"c", b"new"], 3) == [b"b"]
    assert who_dies(fits, [b"a", b"b"], 3) == []


def test_children_are_born_away_from_home_where_there_is_another_machine_and_places_take_turns() -> None:
    assert birthplace([b"home"], b"home", b"1") == b"home"
    assert {birthplace([b"home", b"x", b"y"], b"home", bytes([turn])) for turn in range(40)} == {b"x", b"y"}
    assert birthplace([], b"home", b"1") is None


def test_a_statement_on_a_head_holds_as_signed_only() -> None:
    said = sign_head(KEY, HeadStatement("p", FOUNDER, "votes", KEY.public, 1, 0.0, KEY.public))
    check_statement_of_head(said)
    with pytest.raises(BadSignature):
        check_statement_of_head(msgspec.structs.replace(said, standing="dead"))
    wrong = msgspec.structs.replace(FOUNDER, generation=3)
    with pytest.raises(Malformed):
        check_statement_of_head(sign_head(KEY, msgspec.structs.replace(said, genome=wrong)))
