"""Writing text with a random model: what comes out is what the reference would choose, whatever the batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from node.brains.gemma.config import read_config
from node.brains.gemma.decoder import Decoder
from node.brains.gemma.gguf import GGUF
from node.brains.gemma.prefixes import Prefixes
from node.brains.gemma.sampling import Ending, Writing, write
from node.brains.gemma.tokenizer import Tokenizer
from protocol.errors import InvalidRequest
from tests.unit.brains.gemma_files import TinyGemma, reference_logits

SHAPE = TinyGemma()
PREFIX = (2, 70, 71, 72, 90, 6)
NEVER = Ending(frozenset(), (), 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Decoder, Prefixes, Tokenizer]]:
    path: Path = SHAPE.write(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
    with GGUF(path) as gguf:
        decoder = Decoder(read_config(gguf), gguf)
        yield decoder, Prefixes(decoder, 1 << 20), Tokenizer(gguf.metadata)


def greedy(prompt: tuple[int, ...], count: int) -> tuple[list[int], float]:
    """The likeliest continuation, recomputed from nothing at every token."""
    tokens, total = list(prompt), 0.0
    for _ in range(count):
        logits = reference_logits(SHAPE, tokens)[-1]
        tokens.append(int(logits.argmax()))
        total += float(logits.max() - np.logaddexp.reduce(logits))
    return tokens[len(prompt) :], total


def test_at_temperature_zero_every_text_is_the_likeliest(model: tuple[Decoder, Prefixes, Tokenizer]) -> None:
    texts = [Writing(PREFIX, question, 0.0) for question in ((80,), (75, 90, 81, 7), (60, 61))]
    write(*model, texts, NEVER, seed=1)
    for text in texts:
        tokens, logprob = greedy(PREFIX + text.question, 8)
        assert text.tokens == tokens
        assert text.logprob == pytest.approx(logprob, abs=1e-2)


def test_a_text_ends_at_an_end_token_and_before_a_stop_string(model: tuple[Decoder, Prefixes, Tokenizer]) -> None:
    tokens, _ = greedy((*PREFIX, 80), 8)
    ended = Writing(PREFIX, (80,), 0.0)
    write(*model, [ended], Ending({tokens[3]}, (), 8), seed=1)
    assert ended.tokens == tokens[: tokens.index(tokens[3]) + 1]
    whole = Writing(PREFIX, (80,), 0.0)
    write(*model, [whole], NEVER, seed=1)
    stopped = Writing(PREFIX, (80,), 0.0)
    stop = whole.text[2:4]
    write(*model, [stopped], Ending(frozenset(), (stop,), 8), seed=1)
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert len(stopped.tokens) <= len(whole.tokens)


def test_sampling_follows_the_seed_and_the_temperature(model: tuple[Decoder, Prefixes, Tokenizer]) -> None:
    def sample(seed: int, temperature: float) -> list[list[int]]:
        texts = [Writing(PREFIX, (80,), temperature) for _ in range(3)]
        write(*model, texts, NEVER, seed)
        return [text.tokens for text in texts]

    assert sample(1, 1.5) == sample(1, 1.5)
    assert sample(1, 1.5) != sample(2, 1.5)
    hot = sample(1, 1.5)
    assert len({tuple(tokens) for tokens in hot}) > 1
    cold = sample(1, 1e-4)
    assert cold == [greedy((*PREFIX, 80), 8)[0]] * 3


def test_a_prompt_without_room_for_the_text_is_refused(model: tuple[Decoder, Prefixes, Tokenizer]) -> None:
    with pytest.raises(InvalidRequest, match="there is room for 96"):
        write(*model, [Writing(PREFIX, (80,) * 100, 0.0)], Ending(frozenset(), (), 4000), seed=1)
