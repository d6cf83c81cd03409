"""What the council and the API see of a node's agents."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from typing import ClassVar

import msgspec
import pytest

from node.agents.agent import Agent
from node.agents.feedback import REMEMBERED
from node.brains.base import Ask, Capabilities, Choice, Proposal
from node.brains.tiny import DIM, TinyBrain
from node.runtime import Runtime, SystemRuntime
from node.testing.book import MemoryBook
from node.testing.brain import ScriptedBrain
from protocol.ballots import Question, vote_fault
from protocol.errors import InvalidRequest
from tests.unit.agents.house import host, living, question, simulated


def ids(agents: Sequence[Agent]) -> list[bytes]:
    return [agent.agent_id for agent in agents]


class Stubborn(ScriptedBrain):
    """Raises, answers too few, or gives numbers that are no answer."""

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        if asks[0].question == "crash":
            raise ZeroDivisionError("a bug in the model")
        return [] if asks[0].question == "few" else [Choice((math.nan, 0.0), (-0.7, -0.7)) for _ in asks]


@pytest.mark.parametrize(("kind", "temperature"), [("text", 0.3), ("text", None), ("number", None)])
def test_a_brain_is_told_the_temperature_of_a_text_question(kind: str, temperature: float | None) -> None:
    class Noting(ScriptedBrain):
        told: ClassVar[list[float | None]] = []

        def propose(self, asks: Sequence[Ask], *, max_tokens: int, temperature: float, stop: Sequence[str] = ()) -> list[Proposal]:
            self.told.extend(ask.temperature for ask in asks)
            return super().propose(asks, max_tokens=max_tokens, temperature=temperature, stop=stop)

    async def main(runtime: Runtime) -> None:
        house = host(runtime, Noting("scripted"))
        async with living(house) as agents:
            await house.vote(msgspec.structs.replace(question(kind), temperature=temperature), ids(agents), 1.0)

    simulated(main)
    assert set(Noting.told) == {temperature}


# ---- what goes wrong ----------------------------------------------------------------------------------------------------


def test_a_brain_that_fails_to_load_does_not_take_the_others_with_it() -> None:
    async def main(runtime: Runtime) -> None:
        house = host(runtime, ScriptedBrain("broken", failure="There are no weights: use --model."), ScriptedBrain("sound"))
        async with living(house) as agents:
            broken, sound = house.brain_infos()
            assert (broken.state, broken.detail) == ("failed", "There are no weights: use --model.")
            assert sound.state == "ready"
            assert {agent.brain for agent in agents} == {"sound"}
            votes, _ = await house.vote(question(), ids(agents), 1.0)
            assert len(votes) == 3

    simulated(main)


@pytest.mark.parametrize("text", ["crash", "few", "nan"])
def test_a_brain_that_misbehaves_costs_its_own_votes_only(text: str) -> None:
    async def main(runtime: Runtime) -> None:
        house = host(runtime, Stubborn("stubborn"), ScriptedBrain("sound"), canaries=())
        async with living(house) as agents:
            votes, missing = await house.vote(question(text=text), ids(agents), 1.0)
            assert {vote.brain for vote in votes} == {"sound"}
            assert len(missing) == 3
            assert all("stubborn" in reason for reason in missing.values())
            assert all(agent.interactions == (agent.brain == "sound") for agent in agents)

    simulated(main)


def test_who_cannot_answer_is_named_with_the_reason() -> None:
    async def main(runtime: Runtime) -> None:
        base = ScriptedBrain("base", capabilities=Capabilities(frozenset({"text", "choice"})))
        vectors = ScriptedBrain("vectors", capabilities=Capabilities(frozenset({"embedding"}), embedding_dim=7))
        house = host(runtime, base, vectors, agents=1)
        async with living(house) as (one, other):
            _, missing = await house.vote(question("text"), [one.agent_id, b"x" * 20], 1.0)
            assert "instruction-tuned" in missing[one.agent_id]
            assert "no such agent" in missing[b"x" * 20]
            _, missing = await house.vote(question("embedding"), [one.agent_id, other.agent_id], 1.0)
            assert "does not answer embedding" in missing[one.agent_id]
            assert "dimension 7, not 4" in missing[other.agent_id]
            assert "text" not in house.summaries()[0].kinds

    simulated(main)


async def test_votes_end_at_the_deadline_while_the_brain_still_works() -> None:
    """A real thread that is late: the caller has its answer in time, and the next question is answered."""
    released = threading.Event()

    class Slow(ScriptedBrain):
        def choose(self, asks: Sequence[Ask]) -> list[Choice]:
            if asks[0].question == "slow":
                released.wait(20)
            return super().choose(asks)

    house = host(SystemRuntime(), Slow(), canaries=())
    async with living(house) as agents:
        votes, missing = await house.vote(question(text="slow"), ids(agents), 0.05)
        assert votes == []
        assert all("longer than" in reason for reason in missing.values())
        released.set()
        votes, _ = await house.vote(question(number=2), ids(agents), 20.0)
        assert len(votes) == 3


def test_a_broken_disk_is_survived_and_caught_up_with() -> None:
    async def main(runtime: Runtime) -> None:
        book = MemoryBook()
        house = host(runtime, book=book)
        async with living(house) as agents:
            book.broken = True
            await house.vote(question(), ids(agents), 1.0)
            await asyncio.sleep(5)
            book.broken = False
            await house.vote(question(number=2), ids(agents), 1.0)
        again = host(runtime, book=book)
        async with living(again) as agents:
            assert [agent.interactions for agent in agents] == [2, 2, 2]

    simulated(main)


# ---- answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["choice", "boolean", "number", "text", "embedding"])
def test_every_kind_gives_votes_that_the_protocol_takes(kind: str) -> None:
    async def main(runtime: Runtime) -> None:
        house = host(runtime)
        async with living(house) as agents:
            asked = question(kind)
            votes, missing = await house.vote(asked, ids(agents), 1.0)
            assert not missing
            for vote in votes:
                assert vote_fault(asked, vote) is None
                assert vote.logprobs or vote.number is not None or vote.text or vote.embedding

    simulated(main)


def test_boolean_votes_stand_in_the_order_no_yes() -> None:
    async def main(runtime: Runtime) -> None:
        house = host(runtime, ScriptedBrain(script=lambda ask: ask.choices.index("yes")))
        async with living(house) as agents:
            votes, _ = await house.vote(question("boolean"), ids(agents), 1.0)
            assert all(vote.logprobs[1] > vote.logprobs[0] for vote in votes)

    simulated(main)


@pytest.mark.parametrize(
    ("said", "number"),
    [("The answer is 1,234.5 km.", 1234.5), ("-3", -3.0), ("6.02e23 things", 6.02e23), ("no idea", None), ("9e999", None)],
)
def test_the_first_number_of_a_text_is_the_vote(said: str, number: float | None) -> None:
    async def main(runtime: Runtime) -> None:
        house = host(runtime, ScriptedBrain(script=lambda ask: said), agents=1)
        async with living(house) as agents:
            ((vote,), _) = await house.vote(question("number"), ids(agents), 1.0)
            assert vote.number == number

    simulated(main)


def test_everything_asked_in_one_tick_is_one_call_of_the_brain() -> None:
    async def main(runtime: Runtime) -> None:
        brain = ScriptedBrain()
        house = host(runtime, brain, canaries=())
        async with living(house) as agents:
            await asyncio.gather(*(house.vote(question(number=number), ids(agents), 1.0) for number in range(1, 5)))
            assert brain.batches == [12]

    simulated(main)


def test_a_question_that_cannot_be_asked_does_not_spoil_those_that_shared_its_call() -> None:
    def script(ask: Ask) -> int:
        if ask.question == "endless":
            raise InvalidRequest("The question is too long: shorten it.")
        return 0

    async def main(runtime: Runtime) -> None:
        house = host(runtime, ScriptedBrain(script=script), agents=1, canaries=())
        async with living(house) as agents:
            (agent,) = ids(agents)
            asked = (question(text="short"), question(text="endless", number=2))
            (votes, _), (none, reasons) = await asyncio.gather(*(house.vote(one, [agent], 1.0) for one in asked))
            assert (len(votes), none) == (1, [])
            assert "too long" in reasons[agent]

    simulated(main)


async def test_questions_overtake_measuring() -> None:
    """While a long measurement is under way a question waits for one small background call at most."""
    entered, released = threading.Event(), threading.Event()
    order: list[str] = []

    class Gate(ScriptedBrain):
        def choose(self, asks: Sequence[Ask]) -> list[Choice]:
            order.append(asks[0].question.split(" ")[0])
            if len(order) == 1:
                entered.set()
                released.wait(20)
            return super().choose(asks)

    house = host(SystemRuntime(), Gate(), agents=4)
    async with living(house) as agents:
        await asyncio.to_thread(entered.wait, 20)
        vote = asyncio.create_task(house.vote(question(text="urgent"), ids(agents), 20.0))
        await asyncio.sleep(0)
        released.set()
        await vote
        assert order.index("urgent") == 1


# ---- what lasts ---------------------------------------------------------------------------------------------------------


def test_a_restart_brings_the_agents_back_as_they_were() -> None:
    async def main(runtime: Runtime) -> None:
        book = MemoryBook()
        house = host(runtime, TinyBrain(), book=book)
        async with living(house) as agents:
            asked = Question(b"q" * 20, "embedding", "", [], [0.5] * DIM, "", 0.0)
            await house.vote(asked, ids(agents), 1.0)
            await house.rate(ids(agents)[:1], 1.0, None, asked.id)
            before = sorted(house.summaries(), key=lambda summary: summary.agent_id)
        again = host(runtime, TinyBrain(), book=book)
        async with living(again):
            after = sorted(again.summaries(), key=lambda summary: summary.agent_id)
            assert after == before
            assert {summary.interactions for summary in after} == {1}
            assert max(summary.fitness for summary in after) == pytest.approx(2 / 3)

    simulated(main)


def test_agents_of_a_brain_that_is_not_loaded_wait_in_the_book() -> None:
    async def main(runtime: Runtime) -> None:
        book = MemoryBook()
        async with living(host(runtime, ScriptedBrain("one"), ScriptedBrain("two"), book=book)):
            pass
        async with living(host(runtime, ScriptedBrain("one"), book=book)) as agents:
            assert {agent.brain for agent in agents} == {"one"}
        async with living(host(runtime, ScriptedBrain("one"), ScriptedBrain("two"), book=book)) as agents:
            assert len(agents) == 6
        assert len(book.rows) == 6

    simulated(main)


def test_a_damaged_row_is_left_alone() -> None:
    async def main(runtime: Runtime) -> None:
        book = MemoryBook()
        book.rows[b"d" * 20] = b"damage"
        async with living(host(runtime, book=book)) as agents:
            assert len(agents) == 3
        assert book.rows[b"d" * 20] == b"damage"

    simulated(main)


def test_equal_genesis_gives_equal_genomes_and_different_ids() -> None:
    async def main(runtime: Runtime) -> None:
        async with living(host(runtime, TinyBrain())) as one, living(host(runtime, TinyBrain())) as other:
            assert [agent.genome_hash for agent in one] == [agent.genome_hash for agent in other]
            assert len(set(ids([*one, *other]))) == 6
            assert len({agent.genome_hash for agent in one}) == 3

    simulated(main)


def test_no_more_agents_than_the_node_has_room_for() -> None:
    async def main(runtime: Runtime) -> None:
        house = host(runtime, agents=10, capacity=4)
        async with living(house) as agents:
            assert len(agents) == 4
            assert house.room() == 0

    simulated(main)


# ---- feedback -----------------------------------------------------------------------------------------------------------


def test_rating_moves_the_fitness_of_those_who_live_here() -> None:
    async def main(runtime: Runtime) -> None:
        house = host(runtime)
        async with living(house) as agents:
            assert await house.rate([agents[0].agent_id, b"x" * 20], 1.0, None, b"q" * 20) == 1
            assert [agent.fitness.mean for agent in agents] == [pytest.approx(2 / 3), 0.5, 0.5]

    simulated(main)


def test_with_the_right_answer_agents_that_can_learn_do() -> None:
    async def main(runtime: Runtime) -> None:
        slow = ScriptedBrain("slow", capabilities=Capabilities(frozenset({"choice"})))
        house = host(runtime, ScriptedBrain("quick"), slow, agents=1)
        async with living(house) as agents:
            asked = question()
            await house.vote(asked, ids(agents), 1.0)
            assert await house.rate(ids(agents), 1.0, "a", asked.id) == 2
            assert {agent.brain: "lessons" in agent.genome.settings for agent in agents} == {"quick": True, "slow": False}

    simulated(main)


def test_a_question_that_is_forgotten_teaches_nothing() -> None:
    async def main(runtime: Runtime) -> None:
        house = host(runtime)
        async with living(house) as agents:
            await house.vote(question(number=1), ids(agents), 1.0)
            for number in range(2, REMEMBERED + 2):
                await house.vote(question(number=number), ids(agents), 1.0)
            await house.rate(ids(agents), 1.0, "a", question(number=1).id)
            assert all("lessons" not in agent.genome.settings for agent in agents)

    simulated(main)


@pytest.mark.parametrize("correct", ["c", 7.0, True, [0.5], None])
def test_a_right_answer_that_does_not_fit_the_question_teaches_nothing(correct: object) -> None:
    async def main(runtime: Runtime) -> None:
        house = host(runtime)
        async with living(house) as agents:
            asked = question()
            await house.vote(asked, ids(agents), 1.0)
            assert await house.rate(ids(agents), 1.0, correct, asked.id) == 3  # type: ignore[arg-type]
            assert all("lessons" not in agent.genome.settings for agent in agents)

    simulated(main)


def test_a_tiny_agent_learns_from_feedback() -> None:
    async def main(runtime: Runtime) -> None:
        house = host(runtime, TinyBrain())
        async with living(house) as agents:
            for number in range(1, 6):
                asked = question(text="Is snow white or black?", choices=("white", "black"), number=number)
                votes, _ = await house.vote(asked, ids(agents), 1.0)
                await house.rate(ids(agents), 1.0, "white", asked.id)
            assert all(math.exp(vote.logprobs[0]) > 0.75 for vote in votes)

    simulated(main)
