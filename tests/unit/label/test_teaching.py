"""What the learners do with a pile: few answers label it, doubt is honest, strangers are noticed, and the user's word stands."""

from __future__ import annotations

import random

import numpy as np
import pytest

from node.brains.embedder import HashedEmbedder
from node.label.bench import Bench
from node.label.book import Batch
from node.label.crew import pack
from node.label.vectors import unpack
from protocol.errors import Malformed

WORDS = {
    "billing": ["invoice", "charged", "refund", "money", "card", "bill", "paid", "twice"],
    "shipping": ["parcel", "late", "delivery", "box", "arrived", "courier", "tracking", "address"],
    "technical": ["crash", "screen", "login", "error", "button", "update", "password", "app"],
}
LABELS = list(WORDS)
EMBEDDER = HashedEmbedder()


def pile(rows: int, seed: int = 1) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    gold = [LABELS[row % len(LABELS)] for row in range(rows)]
    return [" ".join(rng.sample(WORDS[label], 5)) for label in gold], gold


def opened(texts: list[str]) -> Bench:
    bench = Bench(seed=3)
    bench.take(Batch(0, texts, pack(EMBEDDER.embed(texts))), step=1)
    bench.open(LABELS)
    return bench


def teach(bench: Bench, gold: list[str], answers: int) -> None:
    while len(bench.answers) < answers:
        question = bench.questions(1, LABELS)[0]
        bench.answers[question.row] = gold[question.row]
        bench.learn(LABELS)


def test_a_dozen_answers_label_a_clear_pile() -> None:
    texts, gold = pile(150)
    bench = opened(texts)
    teach(bench, gold, 12)
    judged = bench.judge_batch(Batch(0, texts, pack(EMBEDDER.embed(texts))), LABELS)
    assert sum(row.label == label for row, label in zip(judged, gold, strict=True)) >= 140


def test_no_row_is_asked_twice_and_the_questions_end_with_the_pile() -> None:
    texts, gold = pile(30)
    bench = opened(texts)
    teach(bench, gold, 30)
    assert len(set(bench.answers)) == 30
    assert bench.questions(1, LABELS) == []


def test_the_users_word_stands_whatever_the_learners_say() -> None:
    texts, gold = pile(60)
    bench = opened(texts)
    teach(bench, gold, 12)
    row = next(iter(bench.answers))
    wrong = next(label for label in LABELS if label != gold[row])
    bench.answers[row] = wrong
    bench.learn(LABELS)
    judged = bench.judge_batch(Batch(0, texts, pack(EMBEDDER.embed(texts))), LABELS)
    assert (judged[row].label, judged[row].confidence) == (wrong, 1.0)


def test_a_text_like_nothing_in_the_pile_is_none_of_these() -> None:
    texts, gold = pile(150)
    bench = opened(texts)
    teach(bench, gold, 15)
    strange = ["quantum zebra xylophone mmmm volcano", "12345 67890 99999"]
    assert {row.abstained for row in bench.judge(strange, EMBEDDER.embed(strange), LABELS)} == {"none of these"}


def test_before_two_labels_are_known_every_row_is_unsure() -> None:
    texts, _ = pile(30)
    judged = opened(texts).judge_batch(Batch(0, texts, pack(EMBEDDER.embed(texts))), LABELS)
    assert {(row.label, row.abstained) for row in judged} == {("", "unsure")}


def test_a_pile_of_one_row_or_of_equal_rows_does_not_fail() -> None:
    for texts in (["only one"], ["the same"] * 20, ["", "", "  "]):
        bench = opened(texts)
        question = bench.questions(1, LABELS)[0]
        bench.answers[question.row] = LABELS[0]
        bench.learn(LABELS)
        assert len(bench.judge_batch(Batch(0, texts, pack(EMBEDDER.embed(texts))), LABELS)) == len(texts)


def test_more_rows_than_the_sample_are_still_all_labelled() -> None:
    texts, gold = pile(120)
    bench = Bench(seed=3)
    batch = Batch(0, texts, pack(EMBEDDER.embed(texts)))
    bench.take(batch, step=2)
    bench.open(LABELS)
    teach(bench, gold, 12)
    assert len(bench.rows) == 60
    assert sum(row.label == label for row, label in zip(bench.judge_batch(batch, LABELS), gold, strict=True)) >= 110


@pytest.mark.parametrize("data", [b"", b"\0" * 767, np.full(384, np.nan, "<f2").tobytes(), np.full(384, 9, "<f2").tobytes()])
def test_vectors_that_are_no_embedding_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        unpack(data, 1)
