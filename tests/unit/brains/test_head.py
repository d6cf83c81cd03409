"""tiny:head: learns from right and wrong alone, in bounded steps, for any choices and any dimension."""

from __future__ import annotations

import random

import numpy as np
import pytest

from node.agents.genome import pack, unpack
from node.brains.base import Ask, Genome, Lesson
from node.brains.embedder import HashedEmbedder
from node.brains.head import MAX_DRIFT, HeadBrain
from node.brains.losses import shares
from node.brains.replay import Remembered, mark_of
from protocol.ballots import logprobs_fault

COLOURS = ("red", "green", "blue")


@pytest.fixture
def brain() -> HeadBrain:
    made = HeadBrain(embedder=HashedEmbedder)
    made.load(lambda what, fraction: None)
    return made


def born(brain: HeadBrain, count: int) -> list[Genome]:
    return [brain.seed(random.Random(number)) for number in range(count)]


def point(number: int, dim: int = 24) -> tuple[float, ...]:
    centre = np.random.default_rng(number % 3).normal(size=dim)
    noise: list[float] = (centre + 0.3 * np.random.default_rng(number).normal(size=dim)).tolist()
    return tuple(noise)


def test_weights_that_overflow_still_give_a_vote(brain: HeadBrain) -> None:
    (genome,) = born(brain, 1)
    huge = Genome(genome.brain, {"w": np.full_like(genome.tensors["w"], 3e38)}, {"view": -1, "rate": "fast", "sigma": True})
    with np.errstate(all="ignore"):
        (choice,) = brain.choose([Ask(huge, "", COLOURS, point(1))])
        assert brain.learn([Lesson(Ask(huge, "", COLOURS, point(1)), 0)])[0] is huge
    assert logprobs_fault(choice.logprobs, 3) is None
    unpack(pack(brain.mutate(huge, random.Random(1))), "tiny:head", brain.schema())


def test_it_learns_from_right_and_wrong_alone(brain: HeadBrain) -> None:
    genomes = born(brain, 3)
    for number in range(150):
        votes = brain.choose([Ask(genome, "", COLOURS, point(number)) for genome in genomes])
        said = int(np.argmax(np.sum([vote.logprobs for vote in votes], axis=0)))
        genomes = brain.learn([Lesson(Ask(genome, "", COLOURS, point(number)), said, float(said == number % 3)) for genome in genomes])
    held_out = range(1_000, 1_060)
    right = sum(
        int(np.argmax(brain.choose([Ask(genome, "", COLOURS, point(n))])[0].logprobs)) == n % 3 for n in held_out for genome in genomes
    )
    assert right >= 0.95 * 60 * 3


def test_a_rater_nobody_believes_teaches_nothing(brain: HeadBrain) -> None:
    (genome,) = born(brain, 1)
    lesson = Lesson(Ask(genome, "", COLOURS, point(1)), 0, 1.0, b"liar", lambda rater: 0.0)
    (after,) = brain.learn([lesson])
    assert np.allclose(after.tensors["w"], genome.tensors["w"])


def test_a_lesson_moves_the_weights_by_a_bounded_length(brain: HeadBrain) -> None:
    (genome,) = born(brain, 1)
    fast = Genome(genome.brain, genome.tensors, {**genome.settings, "rate": 1e9})
    (after,) = brain.learn([Lesson(Ask(fast, "", COLOURS, point(1)), 2)])
    assert 0 < np.linalg.norm(after.tensors["w"] - genome.tensors["w"]) <= MAX_DRIFT * 1.01


def test_it_learns_texts(brain: HeadBrain) -> None:
    (genome,) = born(brain, 1)
    rows = [("the courier lost my parcel", 0), ("I was charged twice", 1), ("it does not switch on", 2)]
    for _ in range(5):
        for text, right in rows:
            (genome,) = brain.learn([Lesson(Ask(genome, text, COLOURS), right)])
    for text, right in rows:
        assert int(np.argmax(brain.choose([Ask(genome, text, COLOURS)])[0].logprobs)) == right


def test_a_batch_answers_as_its_members_alone(brain: HeadBrain) -> None:
    asks = [Ask(genome, "", COLOURS, point(number)) for number, genome in enumerate(born(brain, 40))]
    for ask, choice in zip(asks, brain.choose(asks), strict=True):
        assert brain.choose([ask])[0].logprobs == pytest.approx(choice.logprobs, abs=1e-5)


def test_agents_differ_and_do_not_pretend_to_know(brain: HeadBrain) -> None:
    votes = brain.choose([Ask(genome, "", COLOURS, point(1)) for genome in born(brain, 20)])
    assert len({vote.logprobs for vote in votes}) == 20
    assert np.exp(max(max(vote.logprobs) for vote in votes)) < 0.75


def test_a_child_has_its_parents_view_and_other_weights(brain: HeadBrain) -> None:
    (genome,) = born(brain, 1)
    child = brain.mutate(genome, random.Random(3))
    assert child.settings["view"] == genome.settings["view"]
    assert 0.005 < float(np.std(child.tensors["w"] - genome.tensors["w"])) < 0.02
    assert 90_000 < child.tensors["w"].size < 110_000


def test_kin_are_blended_and_strangers_are_not(brain: HeadBrain) -> None:
    one, stranger = born(brain, 2)
    kin = brain.mutate(one, random.Random(1))
    child = brain.cross(one, kin, random.Random(2))
    assert child is not None
    asks = [Ask(genome, "", COLOURS, point(1)) for genome in (one, child, kin)]
    low, between, high = sorted((choice.logprobs[0] - choice.logprobs[1], row) for row, choice in enumerate(brain.choose(asks)))
    assert between[1] == 1
    assert low[0] < between[0] < high[0]
    unpack(pack(child), "tiny:head", brain.schema())
    assert brain.cross(one, stranger, random.Random(2)) is None


def test_parents_that_overflow_have_a_child_that_peers_take(brain: HeadBrain) -> None:
    (genome,) = born(brain, 1)
    huge = Genome(genome.brain, {"w": np.full_like(genome.tensors["w"], 3e38)}, {**genome.settings, "rate": "fast"})
    child = brain.cross(huge, genome, random.Random(1))
    assert child is not None
    unpack(pack(child), "tiny:head", brain.schema())


def test_a_crowd_asked_again_answers_the_same_and_one_that_learnt_answers_anew(brain: HeadBrain) -> None:
    genomes = born(brain, 40)
    asks = [Ask(genome, "", COLOURS, point(1)) for genome in genomes]
    first, *again = [brain.choose(asks) for _ in range(3)]
    for answers in again:
        for one, other in zip(first, answers, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    genomes[7] = brain.learn([Lesson(asks[7], 2)])[0]
    for _ in range(3):
        after = brain.choose([Ask(genome, "", COLOURS, point(1)) for genome in genomes])
        assert after[7].logprobs[2] > first[7].logprobs[2] + 0.1
        assert after[8].logprobs == pytest.approx(first[8].logprobs, abs=1e-5)


def test_agents_take_the_same_lessons_to_heart_differently_and_the_newest_always(brain: HeadBrain) -> None:
    lessons = [Remembered(np.zeros(1, np.float32), 0, 1.0, b"", mark_of(bytes([number]), 0, b"")) for number in range(200)]
    taken = shares([1, 2, 3], lessons)
    assert set(np.unique(taken)) == {0.0, 1.0, 2.0}
    assert taken.mean(1) == pytest.approx([1.0, 1.0, 1.0], abs=0.2)
    assert not np.array_equal(taken[0], taken[1])
    assert np.array_equal(taken[1:2], shares([2], lessons))
    for number in range(20):
        (genome,) = born(brain, 1)
        (after,) = brain.learn([Lesson(Ask(genome, "", COLOURS, point(number)), 0)])
        now, then = (brain.choose([Ask(one, "", COLOURS, point(number))])[0].logprobs[0] for one in (after, genome))
        assert now > then


def test_many_agents_asked_about_the_same_choices_again_say_what_each_says_alone(brain: HeadBrain) -> None:
    genomes = born(brain, 40)
    for question in (point(1), point(2), point(3)):
        together = brain.choose([Ask(genome, "", COLOURS, question) for genome in genomes])
        alone = [brain.choose([Ask(genome, "", COLOURS, question)])[0] for genome in genomes]
        assert np.allclose([one.logprobs for one in together], [one.logprobs for one in alone], atol=1e-5)
