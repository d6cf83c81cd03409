"""The panel says how good it is without flattering, and a guest that does not help is not asked for more."""

from __future__ import annotations

import numpy as np
import pytest

from node.brains.base import Choice
from node.label.calibration import calibrate, usual
from node.label.fewshot import AGENTS, SHOTS, round_of
from node.label.guests import FEWEST, READ, Guests, Wish, stands_for
from node.label.heads import softmax
from node.label.panel import HeldBack

LABELS = 4
ROWS = 400


def world(sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of a pool whose best temperature is `sharpness`, and the labels drawn from what it should have said."""
    rng = np.random.default_rng(seed)
    scores = (2 * rng.standard_normal((ROWS, LABELS))).astype(np.float32)
    shares = softmax(np.asarray(scores / sharpness, np.float32))
    return scores, np.array([rng.choice(LABELS, p=share / share.sum()) for share in shares.astype(np.float64)])


def test_a_pool_that_is_too_sure_is_cooled_and_one_too_modest_is_sharpened() -> None:
    corrections = np.arange(150)
    found = {}
    for sharpness in (0.4, 1.5):
        scores, labels = world(sharpness)
        found[sharpness] = calibrate(scores[corrections], labels[corrections], LABELS).temperature
    assert found[0.4] < usual(150, LABELS).temperature < found[1.5]


def test_the_estimate_holds_although_only_the_hardest_rows_were_asked() -> None:
    scores, labels = world(0.5)
    hardest = np.sort(scores, axis=1)[:, -1] - np.sort(scores, axis=1)[:, -2]
    asked = np.argsort(hardest)[:100]
    right = scores.argmax(1) == labels
    found = calibrate(scores[asked], labels[asked], LABELS).estimate(scores)
    assert right[asked].mean() < right.mean() - 0.1
    assert found.low <= right.mean() <= found.high
    assert abs(found.accuracy - right.mean()) < 0.08


def test_the_only_correction_of_a_label_says_nothing_about_the_pool() -> None:
    scores, labels = world(0.5)
    alone = np.array([0, 1, 2, 3])
    one_each = np.array([np.flatnonzero(labels == label)[0] for label in alone])
    assert calibrate(scores[one_each], alone, LABELS).temperature == pytest.approx(usual(4, LABELS).temperature)


def heard(skill: float) -> tuple[Guests, int]:
    """A guest that says what the user said with this probability, else one label at random, and how many texts it was given in four
    rounds."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, LABELS, FEWEST * 2)
    held = HeldBack(np.arange(len(labels)), labels, np.zeros((len(labels), LABELS), np.float32))
    texts, shares = [f"text {row}" for row in range(ROWS)], np.full((ROWS, LABELS), 1 / LABELS, np.float32)
    guests, calibration, read = Guests(), usual(len(labels), LABELS), 0
    for _ in range(4):
        wish = guests.wish("gemma", texts, shares, held, calibration)
        if wish is None:
            break
        read += len(wish.texts)
        truth = np.array([labels[int(text.split()[1])] if int(text.split()[1]) < len(labels) else 0 for text in wish.texts])
        said = np.where(rng.random(len(truth)) < skill, truth, rng.integers(0, LABELS, len(truth)))
        guests.hear("gemma", wish, 0.9 * np.eye(LABELS, dtype=np.float32)[said] + np.float32(0.1 / LABELS))
    return guests, read


def test_a_guest_that_helps_reads_the_least_sure_rows_and_changes_them() -> None:
    guests, read = heard(skill=0.95)
    assert guests.known["gemma"].weight > 0
    assert FEWEST * 2 < read <= FEWEST * 2 + READ
    changed = guests.change(np.full((ROWS, LABELS), 1 / LABELS, np.float32))
    assert (changed.max(1) > 0.5).sum() == len(guests.known["gemma"].read) > 0
    assert guests.known["gemma"].reason.startswith(f"asked about {read - FEWEST * 2} rows")


def test_a_guest_that_guesses_reads_no_row_of_the_pile_after_its_trial() -> None:
    guests, read = heard(skill=0.0)
    assert guests.known["gemma"].weight == 0
    assert read <= FEWEST * 2
    assert guests.known["gemma"].read == {}
    assert guests.known["gemma"].reason.startswith("not asked: gain")


def test_corrections_that_are_harder_than_the_rows_do_not_flatter_a_guest() -> None:
    """The heads are lost on 40 corrections, where the guest is better than they are, and know 20 that are as sure as the rows."""
    rng = np.random.default_rng(3)
    hard, fair = 40, 20
    labels = rng.integers(0, LABELS, hard + fair)
    scores = np.zeros((hard + fair, LABELS), np.float32)
    scores[np.arange(hard, hard + fair), labels[hard:]] = 4.0
    calibration = usual(len(labels), LABELS)
    held = HeldBack(np.arange(len(labels)), labels, scores * np.float32(calibration.held_temperature))
    shares = np.asarray(softmax(4.0 * np.eye(LABELS, dtype=np.float32)[rng.integers(0, LABELS, ROWS)]), np.float32)
    guests = Guests()
    wish = guests.wish("gemma", [f"text {row}" for row in range(ROWS)], shares, held, calibration)
    assert wish is not None
    assert set(wish.held) <= set(range(hard, hard + fair))
    half_right = np.where(rng.random(len(wish.held)) < 0.5, wish.answers, (wish.answers + 1) % LABELS)
    guests.hear("gemma", wish, 0.9 * np.eye(LABELS, dtype=np.float32)[half_right] + np.float32(0.1 / LABELS))
    assert guests.known["gemma"].weight == 0


def test_errors_that_only_held_back_heads_make_count_as_often_as_the_certainty_of_the_rows_lets_expect() -> None:
    pool = np.full((40, 2), 0.2, np.float32)
    pool[:, 0] = 0.8
    labels = np.repeat([0, 1], 20)
    counts = stands_for(pool, labels, np.full(10, 0.8, np.float32))
    assert counts[:20].sum() / counts.sum() == pytest.approx(0.8)


def test_the_only_correction_of_a_label_says_nothing_about_a_guest() -> None:
    labels = np.array([0, 0, 0, 1])
    counts = stands_for(np.full((4, 2), 0.5, np.float32), labels, np.full(10, 0.5, np.float32))
    assert counts[3] == 0 < counts[0]


def test_no_correction_as_sure_as_the_rows_means_no_trial() -> None:
    labels = np.arange(FEWEST) % LABELS
    held = HeldBack(np.arange(FEWEST), labels, np.zeros((FEWEST, LABELS), np.float32))
    sure = np.asarray(softmax(9.0 * np.eye(LABELS, dtype=np.float32)[np.zeros(ROWS, np.int64)]), np.float32)
    guests = Guests()
    assert guests.wish("gemma", [""] * ROWS, sure, held, usual(FEWEST, LABELS)) is None
    assert "too few corrections" in guests.known["gemma"].reason


def reading(texts: tuple[str, ...], known: tuple[tuple[str, int], ...], labels: int) -> Wish:
    """A wish to read rows of the pile."""
    none, nobody = np.empty(0, np.int64), np.empty(0, np.float32)
    return Wish(texts, none, np.arange(len(texts)), known, nobody, none, nobody, labels)


def test_each_agent_is_shown_examples_of_its_own_and_never_votes_on_one_of_them() -> None:
    known = tuple((f"text {row}", row % LABELS) for row in range(40))
    wish = reading(tuple(text for text, _ in known), known, LABELS)
    asked = round_of(wish, ["top_up", "fee", "card", "pin"], "gemma:270m", seed=1)
    shown = {frozenset(example.question for example in ask.examples) for ask in asked.asks}
    assert len(shown) == AGENTS
    assert all(len(ask.examples) == SHOTS and ask.question not in {example.question for example in ask.examples} for ask in asked.asks)
    assert asked.asks[0].choices[0] == "top up"


def test_what_a_model_says_to_no_text_is_taken_off() -> None:
    known = tuple((f"text {row}", row % 2) for row in range(8))
    wish = reading(("new",), known, 2)
    asked = round_of(wish, ["a", "b"], "gemma:270m", seed=1)
    leaning = Choice((-0.1, -2.3), (-0.01, -4.6))
    assert asked.votes([leaning] * len(asked.asks), 1).argmax() == 1
