"""Measuring on the canaries: once per genome, and the prior goes out only where that helps."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from node.agents.canaries import Measurement, batches, corrected, logprobs_of, topics_to_correct
from node.agents.host import Surroundings
from node.brains.base import Ask, Capabilities, Choice, Example
from node.runtime import Runtime
from node.testing.brain import ScriptedBrain
from tests.unit.agents.house import CANARIES, host, living, question, simulated

CHOOSES = Capabilities(frozenset({"choice"}))
LEANING = Choice((math.log(0.6), math.log(0.4)), (math.log(0.8), math.log(0.2)))
"""Says the first; says it even more when asked nothing."""


def test_the_prior_goes_out_where_the_canaries_say_so() -> None:
    canaries = [Example("helps", "?", ("a", "b"), "b"), Example("harms", "?", ("a", "b"), "a")]
    decisions = topics_to_correct(canaries, [LEANING, LEANING])
    assert decisions["helps"]
    assert not decisions["harms"]
    measurement = Measurement((LEANING, LEANING), decisions)
    assert logprobs_of(LEANING, "harms", measurement) == LEANING.logprobs
    assert logprobs_of(LEANING, "helps", measurement)[1] > logprobs_of(LEANING, "helps", measurement)[0]
    assert logprobs_of(LEANING, "helps", None) == LEANING.logprobs


def test_corrected_log_probabilities_are_normalised() -> None:
    assert math.fsum(map(math.exp, corrected(LEANING))) == pytest.approx(1.0)
    assert math.exp(corrected(LEANING)[0]) == pytest.approx((0.6 / 0.8) / (0.6 / 0.8 + 0.4 / 0.2))


def test_an_agent_without_opinions_is_measured_all_the_same() -> None:
    silent = Choice((), ())
    decisions = topics_to_correct([Example("t", "?", ("a", "b"), "b")], [silent])
    assert logprobs_of(silent, "t", Measurement((silent,), decisions)) == ()


def test_batches_hold_neighbours_of_one_topic_and_nothing_is_left_out() -> None:
    found = batches(CANARIES)
    assert sorted(index for batch in found for index in batch) == list(range(len(CANARIES)))
    assert all(len({CANARIES[index].topic for index in batch}) == 1 for batch in found)


def test_agents_are_measured_in_the_background_and_votes_follow_the_decision() -> None:
    """A brain that always leans to `a`: on `mood` its lean hides what it knows, so there the prior goes out."""

    def script(ask: Ask) -> int:
        return 0

    async def main(runtime: Runtime) -> None:
        brain = ScriptedBrain(script=script, probability=0.6, prior=lambda ask: (0.9, 0.1), capabilities=CHOOSES)
        canaries = [Example("mood", "mood 1", ("a", "b"), "b"), Example("sums", "sums 1", ("a", "b"), "a")]
        house = host(runtime, brain, canaries=canaries, agents=1)
        async with living(house) as (agent,):
            await asyncio.sleep(1)
            votes = (await house.canary_votes([agent.agent_id, b"x" * 20]))[agent.agent_id]
            assert votes[0][1] > votes[0][0]
            assert votes[1][0] > votes[1][1]
            ((mood,), _) = await house.vote(question(text="mood 2"), [agent.agent_id], 1.0)
            ((sums,), _) = await house.vote(question(text="sums 2", number=2), [agent.agent_id], 1.0)
            assert mood.logprobs[1] > mood.logprobs[0]
            assert sums.logprobs[0] > sums.logprobs[1]

    simulated(main)


def test_a_genome_is_measured_once_and_found_again(tmp_path: Path) -> None:
    async def main(runtime: Runtime) -> tuple[int, dict[bytes, list[list[float]]]]:
        brain = ScriptedBrain(capabilities=CHOOSES)
        house = host(runtime, brain, surroundings=Surroundings(cache_dir=tmp_path))
        async with living(house) as agents:
            await asyncio.sleep(1)
            votes = await house.canary_votes([agent.agent_id for agent in agents])
            assert len(votes) == 3
            return sum(brain.batches), votes

    asked, votes = simulated(main)
    assert asked == 3 * len(CANARIES)
    again, same = simulated(main)
    assert again == 0
    assert list(same.values()) == list(votes.values())
    for path in (tmp_path / "canaries").iterdir():
        path.write_bytes(b"damage")
    assert simulated(main)[0] == asked


def test_an_agent_that_learnt_is_measured_anew() -> None:
    async def main(runtime: Runtime) -> None:
        brain = ScriptedBrain()
        house = host(runtime, brain, agents=1)
        async with living(house) as (agent,):
            await asyncio.sleep(1)
            measured = sum(brain.batches)
            asked = question()
            await house.vote(asked, [agent.agent_id], 1.0)
            await house.rate([agent.agent_id], 1.0, "a", asked.id)
            assert await house.canary_votes([agent.agent_id]) == {}
            await asyncio.sleep(1)
            assert len(await house.canary_votes([agent.agent_id])) == 1
            assert sum(brain.batches) == 2 * measured + 1

    simulated(main)
