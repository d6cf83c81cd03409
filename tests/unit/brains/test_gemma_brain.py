"""The Gemma brain through the brain contract: on a random model of a few kilobytes, whole and base or instruction-tuned."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.agents.genome import content_hash, pack, unpack
from node.brains.base import Ask, Example, Genome
from node.brains.edits import PERSONAS
from node.brains.examples import load_bank, pick
from node.brains.gemma import brain as module
from node.brains.gemma.brain import GemmaBrain
from node.runtime import SystemRuntime
from protocol.errors import InvalidRequest, LocalError, NotAvailable, UserError
from tests.unit.brains.gemma_files import TinyGemma

RUNTIME = SystemRuntime()
REVIEW = 'Positive or negative? "{}"'
EXAMPLES = (Example("mood", "good?", ("yes", "no"), "yes"), Example("mood", "bad?", ("yes", "no"), "no"))


def silent(what: str, fraction: float) -> None:
    """No progress shown."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gemma")


@pytest.fixture(scope="module")
def base(folder: Path) -> Iterator[GemmaBrain]:
    brain = GemmaBrain(RUNTIME, TinyGemma().write(folder / "tiny.gguf"), cache_dir=folder)
    brain.load(silent)
    yield brain
    brain.close()


@pytest.fixture(scope="module")
def tuned(folder: Path) -> Iterator[GemmaBrain]:
    changes = {"tokenizer__chat_template": "{{ messages }}", "general__size_label": "1B"}
    brain = GemmaBrain(RUNTIME, TinyGemma().write(folder / "tiny-it.gguf", **changes), cache_dir=folder)
    brain.load(silent)
    yield brain
    brain.close()


def ask(question: str, *choices: str, examples: tuple[Example, ...] = EXAMPLES) -> Ask:
    return Ask(Genome("gemma:tiny"), question, choices, examples=examples)


def test_what_it_can_do_is_known_before_it_is_loaded(folder: Path, base: GemmaBrain, tuned: GemmaBrain) -> None:
    packaged = GemmaBrain(RUNTIME)
    assert [brain.name for brain in (packaged, base, tuned)] == ["gemma:270m", "gemma:tiny", "gemma:1b-it"]
    assert packaged.capabilities.kinds == base.capabilities.kinds == {"choice", "boolean"}
    assert tuned.capabilities.kinds == {"choice", "boolean", "text", "number"}
    assert (packaged.capabilities.instruct, base.capabilities.instruct, tuned.capabilities.instruct) == (False, False, True)
    assert all(brain.capabilities.divides and not brain.capabilities.learns for brain in (packaged, base, tuned))


@pytest.mark.parametrize("which", ["base", "tuned"])
def test_choices_get_probabilities_and_a_prior(which: str, request: pytest.FixtureRequest) -> None:
    brain: GemmaBrain = request.getfixturevalue(which)
    found = brain.choose([ask(REVIEW.format("it is good"), "good", "bad", "not good"), ask("Is it good?", "yes", "no")])
    for choice in found:
        assert np.exp(choice.logprobs).sum() == pytest.approx(1)
        assert np.exp(choice.prior).sum() == pytest.approx(1)
    assert found[0].prior != found[0].logprobs
    assert np.exp(found[1].prior) == pytest.approx([0.5, 0.5])


def test_an_answer_does_not_depend_on_who_else_is_asked(base: GemmaBrain) -> None:
    asks = [ask(REVIEW.format(text), "good", "bad") for text in ("so good", "so bad", "no")]
    asks += [replace(one, examples=EXAMPLES[::-1]) for one in asks]
    together = base.choose(asks)
    for one, expected in zip(asks, together, strict=True):
        [alone] = base.choose([one])
        assert alone.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
        assert alone.prior == pytest.approx(expected.prior, abs=1e-4)
    assert together[0].logprobs != pytest.approx(together[3].logprobs, abs=1e-4)


def test_a_prior_is_the_mean_probability_of_the_blanked_questions(base: GemmaBrain) -> None:
    [choice] = base.choose([ask(REVIEW.format("so good"), "good", "bad")])
    blanks = base.choose([ask(REVIEW.format(blank), "good", "bad") for blank in ("N/A", "", "[MASK]")])
    assert np.exp(choice.prior) == pytest.approx(np.mean([np.exp(blank.logprobs) for blank in blanks], axis=0), abs=1e-4)


def test_choosing_needs_choices(base: GemmaBrain) -> None:
    with pytest.raises(LocalError, match="two choices"):
        base.choose([ask("Is it good?", "yes")])
    assert base.choose([]) == []


def test_a_question_beyond_the_context_is_refused_with_its_length(base: GemmaBrain) -> None:
    with pytest.raises(InvalidRequest, match=r"tokens long.*shorten"):
        base.choose([ask("x" * 20_000, "yes", "no")])


def test_texts_are_written_in_order_and_counted(tuned: GemmaBrain) -> None:
    asks = [ask("good?"), ask("bad?")]
    texts = tuned.propose(asks, max_tokens=6, temperature=0.0)
    backwards = tuned.propose(asks[::-1], max_tokens=6, temperature=0.0)
    assert [proposal.text for proposal in backwards[::-1]] == [proposal.text for proposal in texts]
    assert all(1 <= proposal.completion_tokens <= 6 and proposal.prompt_tokens > 20 and proposal.logprob < 0 for proposal in texts)


def test_a_temperature_that_the_question_names_stands(tuned: GemmaBrain) -> None:
    bold = [replace(ask("good?"), genome=Genome(tuned.name, settings={"temperature": 9.0}), temperature=0.0) for _ in range(4)]
    likeliest = tuned.propose([ask("good?")], max_tokens=6, temperature=0.0)
    assert {proposal.text for proposal in tuned.propose(bold, max_tokens=6, temperature=2.0)} == {likeliest[0].text}


def test_agents_are_born_different_and_equal_seeds_equal(base: GemmaBrain) -> None:
    genomes = [base.seed(random.Random(number)) for number in range(9)]
    assert len({tuple(genome.settings["examples"]) for genome in genomes}) == 9
    assert genomes[0] == base.seed(random.Random(0))
    for genome in genomes:
        shown = {topic: pick(genome.settings["examples"], topic) for topic in {example.topic for example in load_bank()}}
        assert all(len(examples) == 6 for examples in shown.values())
        packed = pack(genome)
        assert unpack(packed, base.name, base.schema(), content_hash(packed)) == genome


def test_equal_weights_have_equal_fingerprints(base: GemmaBrain, tuned: GemmaBrain, folder: Path) -> None:
    copy = folder / "copy.gguf"
    copy.write_bytes((folder / "tiny.gguf").read_bytes())
    again = GemmaBrain(RUNTIME, copy, cache_dir=folder)
    again.load(silent)
    assert again.fingerprint == base.fingerprint != tuned.fingerprint
    assert len(base.fingerprint) == 64
    again.close()


def test_progress_names_each_stage_and_ends(folder: Path) -> None:
    seen: list[tuple[str, float]] = []
    brain = GemmaBrain(RUNTIME, folder / "tiny.gguf", cache_dir=folder)
    brain.load(lambda what, fraction: seen.append((what, fraction)))
    brain.close()
    assert [what for what in dict.fromkeys(what for what, _ in seen) if what != "hashing the weights"] == [
        "starting jax",
        "loading the weights",
        "compiling",
        "ready",
    ]
    assert all(0 <= fraction <= 1 for _, fraction in seen)
    assert seen[-1] == ("ready", 1.0)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"something else entirely"])
def test_a_damaged_model_file_is_one_sentence_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    brain = GemmaBrain(RUNTIME, path, cache_dir=tmp_path)
    assert brain.name == "gemma:bad"
    with pytest.raises(UserError, match="--model"):
        brain.load(silent)


def test_a_model_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"nothing\.gguf.*--model"):
        GemmaBrain(RUNTIME, tmp_path / "nothing.gguf", cache_dir=tmp_path).load(silent)


def test_too_little_memory_is_said_before_anything_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: 100_000_000)
    with pytest.raises(NotAvailable, match=r"needs 0\.9 GB of memory and 0\.1 GB are free.*--brain tiny"):
        GemmaBrain(RUNTIME, folder / "tiny.gguf", cache_dir=folder).load(silent)


def test_a_brain_asked_before_it_is_loaded_is_our_bug() -> None:
    with pytest.raises(LocalError, match="before it is loaded"):
        GemmaBrain(RUNTIME).choose([ask("Is it good?", "yes", "no")])


def test_a_base_model_has_children_and_does_not_reword_their_personas(base: GemmaBrain) -> None:
    one, other = (base.seed(random.Random(number)) for number in (1, 2))
    children = [base.mutate(one, random.Random(number)) for number in range(20)]
    assert sum(child.settings != one.settings for child in children) >= 19
    assert base.reword(PERSONAS[0]) is None
    both = base.cross(one, other, random.Random(1))
    assert both is not None
    assert set(both.settings["examples"]) & (set(other.settings["examples"]) - set(one.settings["examples"]))
