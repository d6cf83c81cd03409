"""The tiny brain: honest when untrained, the same with and without torch, learning in bounded steps."""

from __future__ import annotations

import math
import random
import sys

import numpy as np
import pytest

from node.agents.genome import pack, unpack
from node.brains.base import Ask, Genome, Lesson
from node.brains.tiny import DIM, LEARN_RATE, LEARN_STEPS, MAX_GRADIENT, TinyBrain, features
from protocol.ballots import logprobs_fault

REVIEW = "Is this review positive or negative? A joy from start to end."
MOODS = ("positive", "negative")
PINNED = [1.3229, 0.9449, -0.5669, 1.3229, 0.189, 1.3229, 0.5669, 0.9449, 0.189, 0.189, 2.4568, -0.189, -0.5669, -1.3229, -0.189, 0.189]


def quiet(what: str, fraction: float) -> None: ...


@pytest.fixture(scope="module")
def torch_brain() -> TinyBrain:
    brain = TinyBrain()
    brain.load(quiet)
    return brain


@pytest.fixture
def numpy_brain(monkeypatch: pytest.MonkeyPatch) -> TinyBrain:
    monkeypatch.setitem(sys.modules, "torch", None)
    brain = TinyBrain()
    brain.load(quiet)
    return brain


def agents(count: int) -> list[Genome]:
    return [TinyBrain().seed(random.Random(number)) for number in range(count)]


def questions(genomes: list[Genome]) -> list[Ask]:
    return [Ask(genome, REVIEW, MOODS) for genome in genomes]


def huge() -> Genome:
    """What a hostile peer could send: finite, and it overflows."""
    genome = agents(1)[0]
    return Genome("tiny:mlp", {name: np.full_like(tensor, 3e38) for name, tensor in genome.tensors.items()}, {"sigma": "much"})


def test_weights_that_overflow_still_give_a_vote(torch_brain: TinyBrain, numpy_brain: TinyBrain) -> None:
    for brain in (torch_brain, numpy_brain):
        (choice,) = brain.choose([Ask(huge(), REVIEW, MOODS)])
        assert logprobs_fault(choice.logprobs, 2) is None
        (vector,) = brain.transform([Ask(huge(), embedding=(1.0,) * DIM)])
        assert np.isfinite(vector).all()


def test_a_child_of_overflowing_weights_has_weights_that_peers_take() -> None:
    brain = TinyBrain()
    unpack(pack(brain.mutate(huge(), random.Random(1))), "tiny:mlp", brain.schema())


def test_a_lesson_for_overflowing_weights_changes_nothing(torch_brain: TinyBrain) -> None:
    genome = huge()
    assert torch_brain.learn([Lesson(Ask(genome, REVIEW, MOODS), 0)]) == [genome]


def test_without_torch_it_says_that_it_does_not_learn(numpy_brain: TinyBrain) -> None:
    assert not numpy_brain.capabilities.learns
    with pytest.raises(NotImplementedError):
        numpy_brain.learn([Lesson(questions(agents(1))[0], 0)])


def test_an_untrained_agent_does_not_pretend_to_know(torch_brain: TinyBrain) -> None:
    for choice in torch_brain.choose(questions(agents(100))):
        assert math.exp(max(choice.logprobs)) < 0.62


def test_numpy_answers_as_torch_does(torch_brain: TinyBrain, numpy_brain: TinyBrain) -> None:
    genomes = agents(20)
    for one, other in zip(torch_brain.choose(questions(genomes)), numpy_brain.choose(questions(genomes)), strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-6)
        assert one.prior == pytest.approx(other.prior, abs=1e-6)
    asks = [Ask(genome, embedding=tuple(np.linspace(-1, 1, DIM))) for genome in genomes]
    for vector, other_vector in zip(torch_brain.transform(asks), numpy_brain.transform(asks), strict=True):
        assert vector == pytest.approx(other_vector, abs=1e-5)


def test_a_batch_answers_as_its_members_alone(torch_brain: TinyBrain) -> None:
    asks = [*questions(agents(3)), Ask(agents(4)[3], "Which colour is the sky?", ("red", "green", "blue", "grey"))]
    together = torch_brain.choose(asks)
    for ask, choice in zip(asks, together, strict=True):
        assert torch_brain.choose([ask])[0].logprobs == pytest.approx(choice.logprobs, abs=1e-6)


def test_agents_differ(torch_brain: TinyBrain) -> None:
    assert len({choice.logprobs for choice in torch_brain.choose(questions(agents(10)))}) == 10


def test_it_learns_what_it_is_taught(torch_brain: TinyBrain) -> None:
    genomes = agents(5)
    for _ in range(4):
        genomes = torch_brain.learn([Lesson(ask, 1) for ask in questions(genomes)])
    assert all(math.exp(choice.logprobs[1]) > 0.75 for choice in torch_brain.choose(questions(genomes)))


def test_it_learns_vectors(torch_brain: TinyBrain) -> None:
    ask = Ask(agents(1)[0], embedding=(0.5,) * DIM)
    target = tuple(np.linspace(-1, 1, DIM))

    def error(genome: Genome) -> float:
        return float(((torch_brain.transform([Ask(genome, embedding=ask.embedding)])[0] - np.array(target)) ** 2).mean())

    genome = ask.genome
    for _ in range(20):
        (genome,) = torch_brain.learn([Lesson(Ask(genome, embedding=ask.embedding), target)])
    assert error(genome) < error(ask.genome) / 2


def test_one_lesson_moves_an_agent_by_a_bounded_step(torch_brain: TinyBrain) -> None:
    ask = Ask(agents(1)[0], embedding=(1e6,) * DIM)
    (after,) = torch_brain.learn([Lesson(ask, (-1e6,) * DIM)])
    moved = sum(float(((after.tensors[name] - ask.genome.tensors[name]) ** 2).sum()) for name in after.tensors) ** 0.5
    assert 0 < moved <= LEARN_STEPS * LEARN_RATE * MAX_GRADIENT * 1.01


def test_learning_leaves_the_old_genome_alone(torch_brain: TinyBrain) -> None:
    genome = agents(1)[0]
    before = {name: tensor.copy() for name, tensor in genome.tensors.items()}
    torch_brain.learn([Lesson(Ask(genome, REVIEW, MOODS), 0)])
    assert all(np.array_equal(genome.tensors[name], before[name]) for name in before)


def test_a_child_differs_by_gaussian_noise() -> None:
    brain, parent = TinyBrain(), agents(1)[0]
    child = brain.mutate(parent, random.Random(1))
    noise = np.concatenate([(child.tensors[name] - parent.tensors[name]).ravel() for name in parent.tensors])
    assert noise.std() == pytest.approx(0.01, rel=0.15)
    assert abs(noise.mean()) < 0.002
    assert brain.mutate(parent, random.Random(1)).tensors["w1"].tobytes() == child.tensors["w1"].tobytes()


def test_a_child_inherits_the_shape_that_peers_check() -> None:
    brain = TinyBrain()
    child = brain.mutate(agents(1)[0], random.Random(2))
    assert {name: (tensor.shape, str(tensor.dtype)) for name, tensor in child.tensors.items()} == {
        name: (spec.shape, spec.dtype) for name, spec in brain.schema().items()
    }


def test_memory_runs_and_does_not_steer_answers(numpy_brain: TinyBrain) -> None:
    genome = agents(1)[0]
    answer = np.ones(DIM, np.float32)
    later = numpy_brain.remember(numpy_brain.remember(genome, answer), answer)
    assert later.tensors["memory"] == pytest.approx(np.full(DIM, 0.19))
    assert numpy_brain.choose(questions([later])) == numpy_brain.choose(questions([genome]))


def test_features_are_the_same_on_every_machine() -> None:
    """Pinned: agents of two nodes must mean the same question."""
    assert features("Is it so?").round(4).tolist() == pytest.approx(PINNED, abs=1e-4)
    assert (features("A") == features("a")).all()
    assert not features("").any()


def test_a_child_of_kin_has_whole_units_of_either_parent(numpy_brain: TinyBrain) -> None:
    one = numpy_brain.seed(random.Random(1))
    kin, stranger = numpy_brain.mutate(one, random.Random(2)), numpy_brain.seed(random.Random(3))
    child = numpy_brain.cross(one, kin, random.Random(4))
    assert child is not None
    own = np.array([np.array_equal(row, ours) for row, ours in zip(child.tensors["w1"], one.tensors["w1"], strict=True)])
    assert 0 < own.sum() < own.size
    for unit in range(own.size):
        giver = one if own[unit] else kin
        assert np.array_equal(child.tensors["w2"][:, unit], giver.tensors["w2"][:, unit])
        assert child.tensors["b1"][unit] == giver.tensors["b1"][unit]
    unpack(pack(child), "tiny:mlp", numpy_brain.schema())
    assert numpy_brain.cross(one, stranger, random.Random(4)) is None


def test_one_question_to_all_is_answered_as_many_different_ones_are(torch_brain: TinyBrain, numpy_brain: TinyBrain) -> None:
    genomes = [torch_brain.seed(random.Random(number)) for number in range(3)]
    points = [(0.1,) * DIM, (0.1,) * DIM, (0.2,) * DIM]
    for brain in (torch_brain, numpy_brain):
        alike = brain.transform([Ask(genome, embedding=points[0]) for genome in genomes])
        unlike = brain.transform([Ask(genome, embedding=point) for genome, point in zip(genomes, points, strict=True)])
        assert alike[0] == pytest.approx(unlike[0], abs=1e-6)
        assert alike[1] == pytest.approx(unlike[1], abs=1e-6)
        assert not np.allclose(alike[2], unlike[2])


def test_what_was_learnt_is_learnt_again_beside_the_new_also_after_a_restart() -> None:
    choices = ("red", "green")
    before, after, fresh = TinyBrain(), TinyBrain(), TinyBrain()
    for brain in (before, after, fresh):
        brain.load(lambda what, fraction: None)
    (genome,) = before.learn([Lesson(Ask(before.seed(random.Random(1)), "what colour is blood", choices), 0)])
    notes = before.notes()
    assert len(notes) == 1
    assert before.notes() == []
    after.recall([b"damage", *notes])
    learnt = {}
    for name, brain in (("recalled", after), ("forgotten", fresh)):
        (now,) = brain.learn([Lesson(Ask(genome, "what colour is grass", choices), 1)])
        (learnt[name],) = brain.choose([Ask(now, "what colour is blood", choices)])
    assert learnt["recalled"].logprobs[0] > learnt["forgotten"].logprobs[0]


def test_what_a_rater_said_is_learnt_again_only_as_far_as_it_is_believed_now() -> None:
    choices = ("red", "green")
    brain = TinyBrain()
    brain.load(lambda what, fraction: None)
    brain.learn([Lesson(Ask(brain.seed(random.Random(1)), "what colour is blood", choices), 1, 1.0, b"liar")])
    genome = brain.seed(random.Random(2))
    lesson = Lesson(Ask(genome, "what colour is grass", choices), 1, 1.0, b"liar", lambda rater: 0.0)
    (now,) = brain.learn([lesson])
    assert all(np.allclose(now.tensors[name], genome.tensors[name]) for name in genome.tensors)
