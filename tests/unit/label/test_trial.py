"""A guest is asked when its bets on the answers have won, and only then; it is shown what was answered before."""

from __future__ import annotations

import numpy as np
import pytest

from node.brains.base import Choice
from node.label.fewshot import AGENTS, SHOTS, round_of
from node.label.guests import ADMIT, AT_A_TIME, FEWEST, LIMIT, PATIENCE, READ, Guest, Guests, Tried, Wish, joined
from node.label.heads import logs, softmax

LABELS = 4
ROWS = 400
SEEDS = 200
EVEN = np.full(LABELS, 1 / LABELS, np.float32)


def said(label: int, sure: float = 0.9) -> np.ndarray:
    vote = np.full(LABELS, (1 - sure) / (LABELS - 1), np.float32)
    vote[label] = sure
    return vote


def trial(skill: float, seed: int, corrections: int = PATIENCE) -> tuple[bool, Guest]:
    """Whether a guest that knows so many answers, and guesses the others, is ever asked. The heads are right as often as they say."""
    rng, guest, ever = np.random.default_rng(seed), Guest(), False
    for at in range(corrections):
        shares = np.asarray(rng.dirichlet(np.ones(LABELS)), np.float32)
        answer = int(rng.choice(LABELS, p=shares / shares.sum(dtype=np.float64)))
        guest.bet(Tried(at, shares, at), said(answer if rng.random() < skill else int(rng.integers(LABELS))), answer)
        ever = ever or guest.admitted
    return ever, guest


def test_a_guest_that_guesses_is_let_in_at_most_once_in_twenty_projects() -> None:
    assert sum(trial(0.0, seed)[0] for seed in range(SEEDS)) <= SEEDS / ADMIT


def test_a_guest_that_knows_is_let_in_nearly_always() -> None:
    assert sum(trial(0.8, seed)[0] for seed in range(SEEDS)) >= 0.9 * SEEDS


def test_a_guest_that_stops_helping_is_soon_not_asked() -> None:
    _, guest = trial(0.9, 1)
    assert guest.admitted
    for at in range(12):
        guest.bet(Tried(at, EVEN, at), said(1), 0)
    assert guest.weight == 0
    assert guest.ended
    assert guest.reason.startswith("not asked, and not tried any more: gain")


def test_no_vote_gains_or_costs_more_than_the_limit() -> None:
    shares = softmax(np.array([9.0, 0.0, 0.0, -9.0], np.float32))
    for label in range(LABELS):
        change = logs(joined(shares, said(label, 0.99999), 1.0)) - logs(shares)
        assert np.abs(change).max() <= LIMIT + 1e-3


def heard(skill: float, taken_back: int = 0) -> tuple[Guests, list[str]]:
    """Answers come eight at a time to a pile that the heads know nothing of; the guest reads what it should. The texts that it read."""
    rng, texts, read = np.random.default_rng(1), [f"text {row}" for row in range(ROWS)], list[str]()
    gold, shares, guests = rng.integers(0, LABELS, ROWS), np.tile(EVEN, (ROWS, 1)), Guests()
    for count in range(8, FEWEST + PATIENCE + 32, 8):
        rows = np.arange(taken_back, count)
        guests.note(rows, gold[rows], shares)
        while (wish := guests.wish("gemma", texts, shares)) is not None:
            assert len(wish.texts) <= AT_A_TIME
            assert not {text for text, _ in wish.known} & set(wish.texts)
            read += wish.texts
            truth = [int(gold[int(text.split()[1])]) for text in wish.texts]
            guests.hear("gemma", wish, np.array([said(label if rng.random() < skill else int(rng.integers(LABELS))) for label in truth]))
    return guests, read


def test_a_guest_that_helps_reads_rows_of_the_pile_and_changes_them() -> None:
    guests, read = heard(0.95)
    assert guests.known["gemma"].weight > 0
    assert len(read) == len(set(read)) + PATIENCE  # corrections that it had read as rows of the pile, and was then tried on
    changed = guests.change(np.tile(EVEN, (ROWS, 1)))
    assert (changed.max(1) > 0.5).sum() == READ
    assert guests.known["gemma"].reason.startswith("asked about")


def test_rows_that_the_heads_are_sure_of_are_neither_read_nor_changed() -> None:
    guests, _ = heard(0.95)
    sure = np.tile(said(2, 0.97), (ROWS, 1))
    assert guests.wish("gemma", [""] * ROWS, sure) is None
    assert guests.wish_new("gemma", [""] * ROWS, ["new"], sure[:1]) is None
    assert (guests.change(sure) == sure).all()


def test_new_texts_that_the_heads_are_unsure_of_are_for_guests_that_help() -> None:
    shares, pile = np.array([said(2, 0.97), EVEN]), [f"text {row}" for row in range(ROWS)]
    for skill in (0.95, 0.0):
        guests, _ = heard(skill)
        found = guests.wish_new("gemma", pile, ["sure", "unsure"], shares)
        assert (found is not None) == bool(guests.known["gemma"].weight) == (skill > 0)
        if found is not None:
            assert (found[0].texts, found[1]) == (("unsure",), [1])
            assert guests.add(shares, {"gemma": {1: said(3)}})[1].argmax() == 3


def test_a_guest_that_guesses_reads_no_row_of_the_pile_and_then_nothing_at_all() -> None:
    guests, read = heard(0.0)
    assert guests.known["gemma"].weight == 0
    assert len(read) <= PATIENCE + AT_A_TIME
    assert guests.known["gemma"].read == {}
    assert guests.known["gemma"].reason.startswith("not asked, and not tried any more")


def test_an_answer_taken_back_before_it_was_read_is_no_correction() -> None:
    rows = np.arange(FEWEST + 4)
    shares = np.tile(EVEN, (ROWS, 1))
    guests = Guests()
    guests.note(rows[:FEWEST], rows[:FEWEST] % LABELS, shares)
    guests.note(rows, rows % LABELS, shares)
    guests.note(rows[:-1], rows[:-1] % LABELS, shares)
    wish = guests.wish("gemma", [f"text {row}" for row in range(ROWS)], shares)
    assert wish is not None
    assert wish.texts == tuple(f"text {row}" for row in rows[FEWEST:-1])
    assert len(wish.known) == FEWEST


def test_a_row_whose_label_was_new_is_no_correction_and_votes_are_read_with_the_labels_of_their_time() -> None:
    guests, shares = Guests(), np.tile(EVEN, (ROWS, 1))
    guests.note(np.arange(FEWEST), np.arange(FEWEST) % LABELS, shares)
    guests.note(np.arange(FEWEST + 2), np.append(np.arange(FEWEST) % LABELS, [LABELS, 1]), shares)
    wider = np.full((ROWS, LABELS + 1), 1 / (LABELS + 1), np.float32)
    guests.note(np.arange(FEWEST + 3), np.append(np.arange(FEWEST) % LABELS, [LABELS, 1, LABELS]), wider)
    texts = [f"text {row}" for row in range(ROWS)]
    found = []
    while (wish := guests.wish("gemma", texts, wider)) is not None:
        found.append((wish.texts, wish.labels))
        guests.hear("gemma", wish, np.full((len(wish.texts), wish.labels), 1 / wish.labels, np.float32))
    assert found == [((f"text {FEWEST + 1}",), LABELS), ((f"text {FEWEST + 2}",), LABELS + 1)]


def test_before_enough_corrections_nothing_is_tried() -> None:
    guests, shares = Guests(), np.tile(EVEN, (ROWS, 1))
    guests.note(np.arange(FEWEST), np.arange(FEWEST) % LABELS, shares)
    assert guests.wish("gemma", [""] * ROWS, shares) is None
    assert guests.known["gemma"].reason == f"not asked: it is tried on corrections from the {FEWEST + 1}th on"
    assert guests.known["gemma"].odds == pytest.approx(1)


def reading(texts: tuple[str, ...], known: tuple[tuple[str, int], ...], labels: int) -> Wish:
    """A wish to read rows of the pile."""
    return Wish(texts, tuple(range(len(texts))), known, labels)


def test_each_agent_is_shown_examples_of_its_own_and_never_votes_on_one_of_them() -> None:
    known = tuple((f"text {row}", row % LABELS) for row in range(40))
    wish = reading(tuple(text for text, _ in known), known, LABELS)
    asked = round_of(wish, ["top_up", "fee", "card", "pin"], "gemma:270m", seed=1)
    shown = {frozenset(example.question for example in ask.examples) for ask in asked.asks}
    assert len(shown) == AGENTS
    assert all(len(ask.examples) == SHOTS and ask.question not in {example.question for example in ask.examples} for ask in asked.asks)
    assert asked.asks[0].choices[0] == "top up"


def test_agents_are_shown_examples_of_their_own_while_there_are_few() -> None:
    known = tuple((f"text {row}", row % LABELS) for row in range(FEWEST))
    asked = round_of(reading(("new",), known, LABELS), ["a", "b", "c", "d"], "gemma:270m", seed=1)
    assert len({frozenset(example.question for example in ask.examples) for ask in asked.asks}) == AGENTS
    assert all({example.answer for example in ask.examples} == {"a", "b", "c", "d"} for ask in asked.asks)


def test_what_a_model_says_to_no_text_is_taken_off() -> None:
    known = tuple((f"text {row}", row % 2) for row in range(8))
    wish = reading(("new",), known, 2)
    asked = round_of(wish, ["a", "b"], "gemma:270m", seed=1)
    leaning = Choice((-0.1, -2.3), (-0.01, -4.6))
    assert asked.votes([leaning] * len(asked.asks), 1).argmax() == 1
