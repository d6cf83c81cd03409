"""The decoder on a random model of a few kilobytes, against a reference that caches and batches nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from node.brains.gemma import scoring
from node.brains.gemma.config import read_config
from node.brains.gemma.decoder import Decoder, Row
from node.brains.gemma.gguf import GGUF
from node.brains.gemma.prefixes import Prefixes
from node.brains.gemma.scoring import Problem, score
from protocol.errors import InvalidRequest
from tests.unit.brains.gemma_files import TinyGemma, reference_logits, vocabulary

SHAPE = TinyGemma()
RANDOM = np.random.default_rng(3)
SIZE = len(vocabulary()[0])


def text(length: int) -> tuple[int, ...]:
    return tuple(RANDOM.integers(6, SIZE, length).tolist())


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decoder]:
    with GGUF(SHAPE.write(tmp_path_factory.mktemp("tiny") / "tiny.gguf")) as gguf:
        yield Decoder(read_config(gguf), gguf)


def logits(decoder: Decoder, hidden: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(hidden @ np.asarray(decoder.output_matrix).T, np.float64)


def brute_force(problem: Problem, endings: tuple[tuple[int, ...], ...] | None = None) -> NDArray[np.float64]:
    """Each answer run alone, every token normalised over the whole vocabulary."""
    totals: list[float] = []
    for ending in endings or problem.answers:
        tokens = (*problem.prefix, *problem.question, *ending)
        found = reference_logits(SHAPE, tokens)
        logprobs = found - np.logaddexp.reduce(found, axis=1, keepdims=True)
        start = len(tokens) - len(ending)
        totals.append(sum(logprobs[start - 1 + index, token] for index, token in enumerate(ending)))
    return np.asarray(np.array(totals) - np.logaddexp.reduce(totals), np.float64)


def test_logits_equal_the_reference_beyond_the_window(decoder: Decoder) -> None:
    tokens = text(30)
    [hidden] = decoder.hidden([Row.chain(None, tokens)])
    np.testing.assert_allclose(logits(decoder, hidden), reference_logits(SHAPE, tokens), atol=2e-4)


def test_a_cached_prefix_changes_nothing(decoder: Decoder) -> None:
    tokens = text(60)
    [whole] = decoder.hidden([Row.chain(None, tokens)])
    [past] = decoder.extend([None], [tokens[:40]])
    [rest] = decoder.hidden([Row.chain(past, tokens[40:])])
    np.testing.assert_allclose(rest, whole[40:], atol=1e-4)
    [grown] = decoder.extend([past], [tokens[40:50]])
    [end] = decoder.hidden([Row.chain(grown, tokens[50:])])
    np.testing.assert_allclose(end, whole[50:], atol=1e-4)


def test_a_prefix_longer_than_one_pass_is_read_in_pieces(decoder: Decoder) -> None:
    tokens = text(540)
    [past] = decoder.extend([None], [tokens[:-1]])
    [end] = decoder.hidden([Row.chain(past, tokens[-1:])])
    assert past.length == 539
    np.testing.assert_allclose(logits(decoder, end)[0], reference_logits(SHAPE, tokens)[-1], atol=5e-4)


def test_a_batch_equals_its_rows_alone(decoder: Decoder) -> None:
    texts = [text(length) for length in (3, 20, 31, 7, 9)]
    pasts = decoder.extend([None] * 5, [text(length) for length in (11, 5, 30, 2, 17)])
    rows = [Row.chain(past, tokens) for past, tokens in zip(pasts, texts, strict=True)]
    together = decoder.hidden(rows)
    for row, found in zip(rows, together, strict=True):
        np.testing.assert_allclose(decoder.hidden([row])[0], found, atol=1e-4)


def test_normalisers_sum_over_the_whole_vocabulary(decoder: Decoder) -> None:
    hidden = RANDOM.standard_normal((5, SHAPE.width)).astype(np.float32) * 3
    expected = np.logaddexp.reduce(logits(decoder, hidden), axis=1)
    np.testing.assert_allclose(decoder.normalisers(hidden), expected, rtol=1e-5)


ANSWERS = {
    "one token each": ((70,), (71,), (90,)),
    "several tokens": ((70, 80, 81), (71,), (90, 91)),
    "a shared first token": ((70, 80), (70, 81), (70, 82, 83)),
}


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_scores_equal_brute_force(decoder: Decoder, answers: tuple[tuple[int, ...], ...]) -> None:
    problem = Problem(text(15), text(6), answers, end=6)
    [found] = score(decoder, Prefixes(decoder, 1 << 20), [problem])
    np.testing.assert_allclose(found, brute_force(problem), atol=2e-4)
    assert np.exp(found).sum() == pytest.approx(1)


def test_an_answer_that_begins_another_does_not_win_by_being_short(decoder: Decoder) -> None:
    problem = Problem(text(15), text(6), ((70,), (70, 80), (71,)), end=6)
    [found] = score(decoder, Prefixes(decoder, 1 << 20), [problem])
    closed = tuple((*answer, 6) for answer in problem.answers)
    np.testing.assert_allclose(found, brute_force(problem, closed), atol=2e-4)


def test_many_agents_and_questions_in_one_call_equal_each_alone(decoder: Decoder) -> None:
    prefixes = [text(length) for length in (9, 14, 30)]
    problems = [
        Problem(prefix, text(5 + index), ANSWERS[kind], end=6)
        for index, prefix in enumerate([*prefixes, *prefixes])
        for kind in ("several tokens", "a shared first token")
    ]
    together = score(decoder, Prefixes(decoder, 1 << 20), problems)
    for problem, found in zip(problems, together, strict=True):
        np.testing.assert_allclose(found, brute_force(problem), atol=3e-4)


def test_a_question_longer_than_a_row_is_scored_alike(decoder: Decoder) -> None:
    problem = Problem(text(9), text(520), ANSWERS["several tokens"], end=6)
    [found] = score(decoder, Prefixes(decoder, 1 << 20), [problem])
    np.testing.assert_allclose(found, brute_force(problem), atol=5e-4)


def test_more_choices_than_fit_one_row_are_scored_alike(decoder: Decoder) -> None:
    answers = tuple((70 + index, *text(9)) for index in range(60))
    problem = Problem(text(9), text(8), answers, end=6)
    [found] = score(decoder, Prefixes(decoder, 1 << 20), [problem])
    np.testing.assert_allclose(found[:3] - found[0], brute_force(problem)[:3] - brute_force(problem)[0], atol=5e-4)


def test_a_question_beyond_the_context_is_refused(decoder: Decoder) -> None:
    with pytest.raises(InvalidRequest, match=r"5003 tokens long.*shorten"):
        score(decoder, Prefixes(decoder, 1 << 20), [Problem(text(3), text(5000), ANSWERS["one token each"], end=6)])


def test_prefixes_are_kept_within_their_bytes_and_the_stalest_goes(decoder: Decoder) -> None:
    first, second, third = text(9), text(9), text(9)
    size = decoder.extend([None], [first])[0].nbytes
    prefixes = Prefixes(decoder, 2 * size)
    kept = prefixes.get([first, second])
    assert prefixes.get([first])[first] is kept[first]
    prefixes.get([third])
    assert prefixes.get([first])[first] is kept[first]
    assert prefixes.get([second])[second] is not kept[second]


def test_a_call_too_large_for_memory_is_answered_in_parts(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [Problem(text(9), text(6), ANSWERS["several tokens"], end=6) for _ in range(5)]
    whole = score(decoder, Prefixes(decoder, 0), problems)
    monkeypatch.setattr(scoring, "_PAST_BYTES", 2 * decoder.past_bytes(9))
    for found, expected in zip(score(decoder, Prefixes(decoder, 0), problems), whole, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_questions_that_begin_alike_share_tokens_and_not_answers(decoder: Decoder) -> None:
    prefix, task = text(9), text(7)
    questions = [(*task, *text(3)), (*task, *text(5)), task, (*task[:4], *text(4))]
    problems = [Problem(prefix, question, ANSWERS["several tokens"], end=6) for question in questions]
    for problem, found in zip(problems, score(decoder, Prefixes(decoder, 1 << 20), problems), strict=True):
        np.testing.assert_allclose(found, brute_force(problem), atol=3e-4)
