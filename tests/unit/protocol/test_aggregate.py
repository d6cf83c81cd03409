from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.aggregate import DIGITS, LOGIT_CAP, Answer, Tally, aggregate, canonical, log_odds, normalised, pool
from tests.unit.protocol.assembly import logprobs, question, vote


def choose(*rows: tuple[float, ...], choices: int = 2, weights: list[float] | None = None) -> Tally:
    asked = question("choice", choices=["a", "b", "c", "d", "e"][:choices])
    votes = [vote(number, logprobs=logprobs(*row) if row else []) for number, row in enumerate(rows)]
    return aggregate(asked, votes, weights or [1.0] * len(votes))


# ---- choice and boolean ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "leading", "agreement", "tied"),
    [
        ([(0.9, 0.1)], "a", 1.0, False),
        ([(0.9, 0.1), (0.8, 0.2), (0.3, 0.7)], "a", 2 / 3, False),
        ([(0.6, 0.4), (0.6, 0.4), (0.02, 0.98)], "b", 1 / 3, False),  # certainty counts, not heads alone
        ([(0.6, 0.4), (0.4, 0.6)], "a", 0.5, True),
        ([(0.501, 0.499), (0.6, 0.4)], "a", 1.0, False),  # the first has no opinion
    ],
)
def test_choice(rows: list[tuple[float, ...]], leading: str, agreement: float, tied: bool) -> None:
    tally = choose(*rows)
    assert (tally.leading, tally.rival is not None) == (leading, tied)
    assert tally.agreement == pytest.approx(agreement)


def test_boolean_says_true_or_false() -> None:
    asked = question("boolean")
    assert aggregate(asked, [vote(0, logprobs=logprobs(0.2, 0.8))], [1.0]).leading is True
    assert aggregate(asked, [vote(0, logprobs=logprobs(0.8, 0.2))], [1.0]).leading is False
    assert aggregate(asked, [vote(0, logprobs=logprobs(0.8, 0.2)), vote(1, logprobs=logprobs(0.2, 0.8))], [1.0, 1.0]).rival is True


def test_a_vote_near_uniform_has_no_opinion() -> None:
    assert log_odds(logprobs(0.51, 0.49)) is None
    assert log_odds(logprobs(0.52, 0.48)) is not None
    assert log_odds(logprobs(0.26, 0.25, 0.25, 0.24)) is None
    assert log_odds(logprobs(0.30, 0.25, 0.25, 0.20)) is not None
    assert log_odds([]) is None
    tally = choose((0.5, 0.5), (0.9, 0.1), ())
    assert [opinion.answer for opinion in tally.opinions] == [None, "a", None]
    assert (tally.counted, tally.agreement) == (1, 1.0)


def test_nobody_has_an_opinion() -> None:
    tally = choose((0.5, 0.5), ())
    assert (tally.leading, tally.top, tally.agreement, tally.counted, len(tally.opinions)) == (None, None, None, 0, 2)


def test_one_overconfident_agent_does_not_outvote_several_that_are_fairly_sure() -> None:
    tiny = 1e-300
    assert choose((tiny, 1.0 - tiny), (0.9, 0.1), (0.9, 0.1)).leading == "a"
    assert log_odds([math.log(tiny), math.log1p(-tiny)]) == (-LOGIT_CAP, LOGIT_CAP)


def test_repeating_a_vote_does_not_make_it_surer() -> None:
    assert choose((0.8, 0.2)).top == choose(*[(0.8, 0.2)] * 15).top == 0.8


def test_one_binary_vote_keeps_its_own_probability() -> None:
    assert choose((0.7, 0.3)).top == 0.7


def test_votes_that_are_not_quite_normalised_are_normalised() -> None:
    assert pool([log_odds([x + 5e-4 for x in logprobs(0.7, 0.3)]) or ()], [1.0]) == (0.7, 0.3)


def test_a_known_liar_rules_its_answer_out() -> None:
    votes = [(0.7, 0.2, 0.1), (0.1, 0.2, 0.7), (0.02, 0.03, 0.95)]
    assert choose(*votes, choices=3, weights=[1.0, 1.2, 0.02]).leading == "c"
    assert choose(*votes, choices=3, weights=[1.0, 1.2, -2.0]).leading == "a"


def test_distrust_is_bounded_however_many_share_it() -> None:
    certain, liars = (0.99, 0.005, 0.005), [(0.95, 0.03, 0.02)] * 40
    assert choose(certain, *liars, choices=3, weights=[3.0, *[-4.0] * 40]).leading == "a"
    assert choose(certain, choices=3, weights=[3.0]).top != choose(certain, *liars, choices=3, weights=[3.0, *[-4.0] * 40]).top


def test_distrust_alone_proposes_nothing() -> None:
    liars = [(0.9, 0.1), (0.8, 0.2)]
    assert choose(*liars, weights=[-3.0, -2.0]) == choose(*liars, weights=[0.02, 0.02])


def test_weight_moves_the_answer() -> None:
    rows = [(0.7, 0.3), (0.3, 0.7)]
    assert choose(*rows, weights=[3.0, 1.0]).leading == "a"
    assert choose(*rows, weights=[1.0, 3.0]).leading == "b"
    assert choose(*rows, weights=[3.0, 1.0]).agreement == 0.75


chances = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3).map(lambda row: tuple(x / sum(row) for x in row))


@given(st.lists(chances, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_votes_does_not_matter_to_the_bit(rows: list[tuple[float, ...]], rng: random.Random) -> None:
    shuffled = rng.sample(rows, len(rows))
    one, other = choose(*rows, choices=3), choose(*shuffled, choices=3)
    assert (one.leading, one.top, one.agreement, one.rival) == (other.leading, other.top, other.agreement, other.rival)


@given(st.lists(chances, min_size=1, max_size=8))
def test_pooled_probabilities_are_probabilities(rows: list[tuple[float, ...]]) -> None:
    heard = [odds for row in rows if (odds := log_odds(logprobs(*row))) is not None]
    if heard:
        pooled = pool(heard, [1.0] * len(heard))
        assert sum(pooled) == pytest.approx(1.0, abs=1e-5)
        assert all(0.0 < p < 1.0 and p == round(p, DIGITS) for p in pooled)


# ---- number ----------------------------------------------------------------------------------------------------------


def count(*numbers: float | None, weights: list[float] | None = None) -> Tally:
    votes = [vote(index, number=number) for index, number in enumerate(numbers)]
    return aggregate(question("number"), votes, weights or [1.0] * len(votes))


@pytest.mark.parametrize(
    ("numbers", "leading", "agreement"),
    [
        ([7.0], 7.0, 1.0),
        ([7.0, 7.0, 8.0], 7.0, 2 / 3),
        ([0.1 + 0.2, 0.3, 99.0], 0.3, 2 / 3),  # canonical values are equal
        ([0.0, -0.0, 5.0], 0.0, 2 / 3),
        ([1.0, 2.0, 3.0], 2.0, 1 / 3),  # no majority: the trimmed mean, here also somebody's answer
        ([1.0, 2.0, 3.0, 4.0, 1e9], 3.0, 1 / 5),  # an outlier is trimmed
        ([10.0, 12.0, 11.0, 14.0, None], 11.5833333, 0.0),
    ],
)
def test_number(numbers: list[float | None], leading: float, agreement: float) -> None:
    tally = count(*numbers)
    assert (tally.leading, tally.rival) == (leading, None)
    assert tally.agreement == pytest.approx(agreement)


def test_a_mean_is_announced() -> None:
    assert "trimmed mean" in count(1.0, 2.0, 3.0, 5.0).note
    assert count(1.0, 1.0, 3.0).note == ""


@pytest.mark.parametrize(("numbers", "pair"), [([3.0, 5.0], {3.0, 5.0}), ([3.0, 3.0, 7.0, 7.0], {3.0, 7.0}), ([3, 3, 7, 7, 9], {3.0, 7.0})])
def test_two_camps_of_numbers_are_a_split_and_never_averaged(numbers: list[float], pair: set[float]) -> None:
    tally = count(*numbers)
    assert {tally.leading, tally.rival} == pair


def test_weights_trim_by_weight() -> None:
    assert count(1.0, 2.0, 3.0, weights=[10.0, 1.0, 1.0]).leading == 1.0
    assert count(1.0, 2.0, 3.0, 4.0, weights=[1.0, 1.5, 1.5, 1.0]).leading == 2.5


@given(st.floats(-1e100, 1e100))
def test_canonical_is_stable(number: float) -> None:
    assert canonical(canonical(number)) == canonical(number) == pytest.approx(number, rel=1e-8)
    assert math.copysign(1.0, canonical(0.0 * number)) == 1.0


@given(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=9))
def test_a_number_answer_lies_between_the_votes(numbers: list[float]) -> None:
    leading = count(*numbers).leading
    assert isinstance(leading, float)
    slack = 1e-8 * max(map(abs, numbers))
    assert min(numbers) - slack <= leading <= max(numbers) + slack


# ---- text ------------------------------------------------------------------------------------------------------------


def say(*texts: str, weights: list[float] | None = None) -> Tally:
    votes = [vote(index, text=text) for index, text in enumerate(texts)]
    return aggregate(question("text"), votes, weights or [1.0] * len(votes))


@pytest.mark.parametrize(
    ("texts", "leading", "agreement"),
    [
        (["Paris."], "Paris.", 1.0),
        (["Paris.", " paris ", "Lyon"], " paris ", 2 / 3),
        (["The capital is Paris.", "The capital is surely Paris", "Berlin"], "The capital is Paris.", 2 / 3),
        (["Paris", "Paris", "Lyon", "Lyon", "Lyon"], "Lyon", 3 / 5),
        (["Straße", "STRASSE", "Gasse"], "Straße", 2 / 3),
        (["", "  ", "yes"], "yes", 1.0),
    ],
)
def test_text(texts: list[str], leading: str, agreement: float) -> None:
    tally = say(*texts)
    assert tally.leading in texts
    assert (normalised(str(tally.leading)), tally.rival) == (normalised(leading), None)
    assert tally.agreement == pytest.approx(agreement)


def test_the_answer_is_verbatim() -> None:
    texts = ["  Yes, it   IS!\n", "yes it is", "Yes, it is."]
    assert say(*texts).leading in texts


def test_texts_that_share_nothing_are_a_split() -> None:
    assert say("Paris", "Lyon").rival is not None
    assert say("Paris", "Lyon", "Nice").rival is not None


def test_of_many_wordings_the_most_central_is_taken() -> None:
    texts = [
        "Rain falls when moist air rises and cools down",
        "When moist air rises, it cools and rain falls from it",
        "Clouds carry water; moist air cools, then rain falls",
        "Because the gods are angry today",
    ]
    tally = say(*texts)
    assert tally.rival is None
    assert tally.leading != texts[3]


def test_punctuation_alone_is_compared_as_it_is() -> None:
    assert say("?!", "?!", "...").leading == "?!"


@given(st.lists(st.text(max_size=12), min_size=1, max_size=7), st.randoms(use_true_random=False))
def test_text_answers_are_votes_in_any_order(texts: list[str], rng: random.Random) -> None:
    one, other = say(*texts), say(*rng.sample(texts, len(texts)))
    assert one.leading is None or one.leading in texts
    assert (one.leading, one.agreement) == (other.leading, other.agreement)


# ---- embedding -------------------------------------------------------------------------------------------------------


def point(*vectors: list[float]) -> Tally:
    size = max(map(len, vectors))
    votes = [vote(index, embedding=vector) for index, vector in enumerate(vectors)]
    return aggregate(question("embedding", embedding=[0.0] * size), votes, [1.0] * len(votes))


@pytest.mark.parametrize(
    ("vectors", "leading", "agreement"),
    [
        ([[1.0, 0.0]], [1.0, 0.0], 1.0),
        ([[1.0, 0.0], [1.0, 0.05], [1.0, 0.1], [-50.0, 3.0]], [1.0, 0.05], 3 / 4),  # a mean would sit at -11
        ([[1.0, 0.0], [1.0, 0.0], []], [1.0, 0.0], 1.0),
        ([[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0], 1.0),
        ([[1e9, 0.0], [1e9, 1.0], [1e9, 2.0]], [1e9, 1.0], 1.0),
    ],
)
def test_embedding(vectors: list[list[float]], leading: list[float], agreement: float) -> None:
    tally = point(*vectors)
    assert (tally.leading, tally.rival) == (leading, None)
    assert tally.agreement == pytest.approx(agreement)


def test_two_opposite_vectors_are_a_split() -> None:
    assert point([1.0, 0.0], [-1.0, 0.0]).rival is not None
    assert point([1.0, 0.0], [1.0, 0.01]).rival is None


def test_the_median_is_the_geometric_one() -> None:
    """Brute force over the real answers, where the nearest to the median is unambiguous."""
    rng = random.Random(5)
    centre = [3.0, -2.0, 1.0]
    near = [[c + rng.gauss(0, 0.1) for c in centre] for _ in range(8)]
    far = [[rng.uniform(-100, 100) for _ in centre] for _ in range(4)]
    answer: Answer = point(*near, *far).leading
    assert answer in near


@given(st.lists(st.lists(st.floats(-1e9, 1e9), min_size=3, max_size=3), min_size=1, max_size=6))
def test_an_embedding_answer_is_a_vote(vectors: list[list[float]]) -> None:
    tally = point(*vectors)
    assert tally.leading in vectors
    assert tally.agreement is not None
    assert 0.0 < tally.agreement <= 1.0
