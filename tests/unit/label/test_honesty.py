"""The panel says how good it is without flattering, and a guest that does not help is not asked for more."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from node.brains.base import Ask, Choice
from node.label.book import Batch
from node.label.calibration import calibrate, usual
from node.label.crew import pack
from node.label.fewshot import AGENTS, SHOTS, round_of
from node.label.guests import FEWEST, READ, Guests, Wish
from node.label.heads import softmax
from node.label.invitation import invite
from node.label.panel import HeldBack
from tests.unit.label.test_teaching import EMBEDDER, WORDS, opened, teach

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
    assert calibrate(scores[one_each], alone, LABELS).temperature == usual(4, LABELS).temperature


def heard(votes_right: bool) -> tuple[Guests, int]:
    """A guest that always or never says what the user said, and how many texts it was given in three rounds."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, LABELS, FEWEST * 2)
    held = HeldBack(np.arange(len(labels)), labels, np.zeros((len(labels), LABELS), np.float32))
    texts, shares = [f"text {row}" for row in range(ROWS)], np.full((ROWS, LABELS), 1 / LABELS, np.float32)
    guests, calibration, read = Guests(), usual(len(labels), LABELS), 0
    for _ in range(3):
        wish = guests.wish("gemma", texts, shares, held, calibration)
        if wish is None:
            break
        read += len(wish.texts)
        said = np.array([labels[int(text.split()[1])] if text.split()[1] in map(str, held.rows) else 0 for text in wish.texts])
        votes = np.eye(LABELS, dtype=np.float32)[said if votes_right else (said + 1) % LABELS]
        guests.hear("gemma", wish, votes, held, calibration)
    return guests, read


def test_a_guest_that_helps_reads_the_least_sure_rows_and_changes_them() -> None:
    guests, read = heard(votes_right=True)
    assert guests.known["gemma"].weight > 0
    assert FEWEST * 2 < read <= FEWEST * 2 + READ
    changed = guests.change(np.full((ROWS, LABELS), 1 / LABELS, np.float32))
    assert (changed.max(1) > 0.5).sum() == len(guests.known["gemma"].read) > 0


def test_a_guest_that_does_not_help_has_no_weight_and_reads_no_row_of_the_pile() -> None:
    guests, read = heard(votes_right=False)
    assert guests.known["gemma"].weight == 0
    assert read <= FEWEST * 2
    assert guests.known["gemma"].read == {}


def test_each_agent_is_shown_examples_of_its_own_and_never_votes_on_one_of_them() -> None:
    known = tuple((f"text {row}", row % LABELS) for row in range(40))
    wish = Wish(tuple(text for text, _ in known), np.arange(40), np.empty(0, np.int64), known, LABELS)
    asked = round_of(wish, ["top_up", "fee", "card", "pin"], "gemma:270m", seed=1)
    shown = {frozenset(example.question for example in ask.examples) for ask in asked.asks}
    assert len(shown) == AGENTS
    assert all(len(ask.examples) == SHOTS and ask.question not in {example.question for example in ask.examples} for ask in asked.asks)
    assert asked.asks[0].choices[0] == "top up"


def test_what_a_model_says_to_no_text_is_taken_off() -> None:
    known = tuple((f"text {row}", row % 2) for row in range(8))
    wish = Wish(("new",), np.empty(0, np.int64), np.array([9]), known, 2)
    asked = round_of(wish, ["a", "b"], "gemma:270m", seed=1)
    leaning = Choice((-0.1, -2.3), (-0.01, -4.6))
    assert asked.votes([leaning] * len(asked.asks), 1).argmax() == 1


async def test_an_invited_brain_is_measured_and_then_reads_rows_that_the_heads_are_unsure_of() -> None:
    rng = random.Random(1)
    words = [word for found in WORDS.values() for word in found]
    texts = [" ".join(rng.sample(words, 5)) for _ in range(150)]
    gold = {text: rng.choice(list(WORDS)) for text in texts}
    bench = opened(texts)
    teach(bench, [gold[text] for text in texts], 40)
    bench.measure(list(WORDS))
    asked: list[Ask] = []

    async def choose(asks: Sequence[Ask]) -> list[Choice]:
        asked.extend(asks)
        truth = [gold[ask.question.split('"')[1]] for ask in asks]
        return [Choice(tuple(-0.01 if choice == label else -5.0 for choice in WORDS), (-1.1, -1.1, -1.1)) for label in truth]

    async def work(function: Callable[[], object]) -> object:
        return function()

    assert await invite(bench, "gemma:270m", list(WORDS), choose, work, seed=1)
    assert bench.heads()["gemma:270m"] > 0
    judged = bench.judge_batch(Batch(0, texts, pack(EMBEDDER.embed(texts))), list(WORDS))
    read = [row for row in range(150) if f'"{texts[row]}"' in {ask.question[len("What is this message about? ") :] for ask in asked}]
    assert sum(judged[row].confidence > 0.9 for row in read) >= 0.9 * len(read)
    asked.clear()
    assert not await invite(bench, "gemma:270m", list(WORDS), choose, work, seed=1)
    assert asked == []
