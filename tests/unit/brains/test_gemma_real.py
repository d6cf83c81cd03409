"""The packaged Gemma 270M: it loads, it knows what it should, its agents differ. Shares one loaded model."""

from __future__ import annotations

import json
import random
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.brains.base import Ask, Choice
from node.brains.examples import pick
from node.brains.gemma.brain import GemmaBrain
from node.brains.gemma.decoder import Row

pytestmark = pytest.mark.gemma


def vote(brain: GemmaBrain, question: str, choices: tuple[str, ...], topic: str, agents: int = 9) -> list[Choice]:
    genomes = [brain.seed(random.Random(number)) for number in range(agents)]
    return brain.choose([Ask(genome, question, choices, examples=pick(genome.settings["examples"], topic)) for genome in genomes])


def pooled(votes: list[Choice]) -> str:
    return str(np.sum([np.subtract(vote.logprobs, vote.prior) for vote in votes], axis=0).argmax())


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=60))
def test_text_survives_the_real_tokenizer(gemma: GemmaBrain, text: str) -> None:
    tokenizer = gemma._ready().prompts.tokenizer
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_turn_markers_cannot_be_spelled(gemma: GemmaBrain) -> None:
    tokenizer = gemma._ready().prompts.tokenizer
    assert (tokenizer.bos, tokenizer.start_of_turn, tokenizer.end_of_turn) == (2, 105, 106)
    assert not {105, 106} & set(tokenizer.encode("<start_of_turn>model\nyes<end_of_turn>"))


def test_the_next_token_has_the_probability_it_always_had(gemma: GemmaBrain) -> None:
    """The figures agree to four digits with an independent decoder on the same weights."""
    engine = gemma._ready()
    tokens = [2, *engine.prompts.tokenizer.encode("Question: What is the capital of Japan?\nAnswer:")]
    [hidden] = engine.decoder.hidden([Row.chain(None, tokens)])
    answers = np.array([engine.prompts.tokenizer.encode(text)[0] for text in (" Tokyo", " Japan", " The")], np.int32)
    logprobs = engine.decoder.logits(np.repeat(hidden[-1:], 3, axis=0), answers) - engine.decoder.normalisers(hidden[-1:])
    assert np.exp(logprobs) == pytest.approx([0.4617, 0.1349, 0.0697], abs=5e-4)


@pytest.mark.parametrize(
    ("sentence", "right"),
    [("A film so warm and funny that I went twice.", 0), ("Dull from the first scene and much too long.", 1)],
)
def test_nine_agents_label_a_review(gemma: GemmaBrain, sentence: str, right: int) -> None:
    votes = vote(gemma, f'Is this movie review positive or negative? "{sentence}"', ("positive", "negative"), "sentiment")
    assert len({round(choice.logprobs[0], 4) for choice in votes}) == 9
    assert pooled(votes) == str(right)


def test_a_capital_of_several_tokens_is_found(gemma: GemmaBrain) -> None:
    votes = vote(gemma, "What is the capital of Ethiopia?", ("Gondar", "Addis Ababa", "Mekelle", "Dire Dawa"), "capitals", agents=3)
    assert pooled(votes) == "1"


def test_three_agents_get_most_canaries_right(gemma: GemmaBrain) -> None:
    canaries = [json.loads(line) for line in files("node.council").joinpath("canaries.jsonl").read_text("utf-8").splitlines()]
    totals = [np.zeros(len(row["choices"])) for row in canaries]
    for number in range(3):
        examples = gemma.seed(random.Random(number)).settings["examples"]
        genome = gemma.seed(random.Random(number))
        asks = [Ask(genome, row["question"], tuple(row["choices"]), examples=pick(examples, row["topic"])) for row in canaries]
        for index, choice in enumerate(gemma.choose(asks)):
            totals[index] += np.subtract(choice.logprobs, choice.prior)
    right = sum(row["choices"][int(total.argmax())] == row["answer"] for row, total in zip(canaries, totals, strict=True))
    assert right >= 46
