"""Children of heads: the same everywhere by their genome, and without a vote until corrections held back show that they help."""

from __future__ import annotations

import random

import numpy as np

from node.label.crew import pack
from node.label.heads import Head, Indices, founders
from node.label.lineup import Lineup
from node.label.panel import Panel
from node.label.vectors import unpack
from node.label.views import Matrix, Views
from protocol.heads import HeadGenome, mutate
from tests.unit.label.test_teaching import EMBEDDER, LABELS, pile

ROWS = 120


def panel(genomes: tuple[HeadGenome, ...] = ()) -> tuple[Panel, list[str], Matrix, np.ndarray]:
    texts, gold = pile(ROWS)
    vectors = unpack(pack(EMBEDDER.embed(texts)), ROWS)
    return Panel(texts, vectors, genomes), texts, vectors, np.array([LABELS.index(label) for label in gold])


class Scripted(Head):
    """Votes for the right label with this probability; it knows the gold labels."""

    def __init__(self, genome: HeadGenome, gold: np.ndarray, share: float) -> None:
        super().__init__(genome, lambda rows: rows.meaning)
        other = (1 - share) / (len(LABELS) - 1)
        self._votes = np.where(np.eye(len(LABELS))[gold] > 0, share, other).astype(np.float32)

    def fit(self, rows: Indices, targets: Matrix) -> None:
        pass

    def pile(self) -> Matrix:
        return self._votes

    def new(self, views: Views) -> Matrix:
        return self._votes[: len(views.texts)]

    def held_back(self, rows: Indices, targets: Matrix, folds: Indices) -> Matrix:
        return self._votes[rows]


def measured(found: Panel, gold: np.ndarray, corrections: int = 40) -> Lineup:
    rows = np.random.default_rng(5).permutation(ROWS)[:corrections]
    labels = gold[rows].copy()
    labels[::5] = (labels[::5] + 1) % len(LABELS)  # what the founders cannot know
    for at in range(0, corrections, 5):
        gold[rows[at]] = labels[at]
    found.learn(rows, labels, len(LABELS))
    found.take(found.hold_back(rows, labels, len(LABELS)))
    return found.lineup


def child(seed: int = 1) -> HeadGenome:
    return mutate(founders()[0], random.Random(seed))


def test_a_child_on_trial_has_no_vote_and_is_judged() -> None:
    found, _, _, gold = panel()
    found.lineup.try_child(Scripted(child(), gold, 0.9))
    line = measured(found, gold)
    assert len(found.heads) == len(found.weights) - 1 == len(founders())
    assert line.child is not None
    assert line.trial is not None
    assert line.fits[line.child.id].corrections == 40


def test_a_proposed_child_that_helps_votes_and_one_that_misleads_does_not() -> None:
    for share, votes in ((0.95, True), (0.02, False)):
        found, texts, vectors, gold = panel()
        rows = np.random.default_rng(5).permutation(ROWS)[:40]
        gold[rows[::5]] = (gold[rows[::5]] + 1) % len(LABELS)
        one = Scripted(child(), gold, share)
        found.lineup.propose([one])
        found.learn(rows, gold[rows], len(LABELS))
        found.take(found.hold_back(rows, gold[rows], len(LABELS)))
        assert (one in found.heads) == votes
        assert len(found.weights) == len(found.names) == len(founders()) + votes + 1
        assert found.judge(texts[:7], vectors[:7]).shares.shape == (7, len(LABELS))
        found.lineup.propose([])
        found.take(found.hold_back(rows, gold[rows], len(LABELS)))
        assert len(found.heads) == len(founders())


def test_two_machines_build_the_same_heads_from_genomes() -> None:
    genomes = (*founders(), child(1), child(2), mutate(founders()[2], random.Random(3)), mutate(founders()[3], random.Random(8)))
    judged = []
    for _ in range(2):
        found, texts, vectors, gold = panel(genomes)
        rows = np.arange(0, 60, 2)
        found.learn(rows, gold[rows], len(LABELS))
        found.take(found.hold_back(rows, gold[rows], len(LABELS)))
        for genome in genomes[4:]:
            head = found.lineup.built(genome)
            assert head is not None
            head.fit(rows, np.eye(len(LABELS), dtype=np.float32)[gold[rows]])
            views = found.viewer.see(texts[:9], vectors[:9])
            for votes in (head.pile(), head.new(views)):
                assert np.allclose(votes.sum(1), 1, atol=1e-4)
            judged.append(head.new(views))
        judged.append(found.judge(texts, vectors).shares)
    half = len(judged) // 2
    assert all(np.array_equal(one, other) for one, other in zip(judged[:half], judged[half:], strict=True))


def test_children_of_other_seeds_see_the_pile_differently() -> None:
    found, texts, vectors, _ = panel()
    views = found.viewer.see(texts[:20], vectors[:20])
    looks = [found.lineup.build(child(seed)).look(views) for seed in (11, 12, 13)]
    assert not any(one.shape == other.shape and np.allclose(one, other) for at, one in enumerate(looks) for other in looks[:at])
