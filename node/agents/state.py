"""A grown agent as bytes: what moves to another node, and what is kept of it in case its node dies.

The state is the agent's row with its epoch one on. It comes from a peer, so everything in it is checked: hash, id, epoch, genome, descent
(every link hashes and is signed), and that its numbers are numbers. How fit it was is its node's word, as in announcements.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec.structs import replace

from node.agents.agent import Agent, from_row, read_row, to_row
from node.agents.fitness import MAX_TOPICS, Fitness
from node.agents.genome import content_hash, unpack
from node.agents.host import AgentHost
from node.runtime import Runtime
from protocol.errors import Malformed, NotAvailable
from protocol.lineage import check_lineage

MOST_STATE: Final = 32_768
"""Bytes of a state besides its genome."""
MOST_PENDING: Final = 400
"""Answers since its last division that count: an agent that was held back for long, or a liar's, does not divide without end."""
MOST_EVIDENCE: Final = 1_000.0
"""Ratings that a state may claim: more would never fade."""


def state_of(agent: Agent) -> bytes:
    """The agent as it goes on elsewhere."""
    return to_row(_passed_on(agent))


def _passed_on(agent: Agent) -> Agent:
    """A copy one epoch on, entrusted to nobody yet."""
    copy = from_row(read_row(to_row(agent)), agent.genome)
    copy.epoch, copy.entrusted, copy.confirmed = agent.epoch + 1, (), True
    return copy


async def open_state(runtime: Runtime, host: AgentHost, data: bytes, name: bytes, agent_id: bytes, epoch: int) -> Agent:
    """The agent whose state hashes to `name`. Raises `Malformed`, `BadSignature`, or `NotAvailable` without its brain."""
    if content_hash(data) != name:
        raise Malformed("an agent's state does not have the hash that was promised")
    row = read_row(data)
    if (row.agent_id, row.epoch, row.unborn) != (agent_id, epoch, False):
        raise Malformed("the state is of another agent")
    worker = host.worker(row.brain)
    if worker is None:
        raise NotAvailable(f"The brain {row.brain} is not ready here.")
    genome = await runtime.run_blocking(unpack, row.genome, row.brain, worker.brain.schema())
    if row.lineage:
        check_lineage(row.lineage, row.agent_id, row.parent_id, row.generation, row.lineage[0].genome)
    elif host.key is not None:
        raise Malformed("an agent without a descent")
    numbers = (row.born_at, row.novelty, float(row.interactions), float(row.since_division))
    if not all(math.isfinite(number) and number >= 0.0 for number in numbers) or row.generation < 0 or row.novelty > 1.0:
        raise Malformed("an agent's state holds impossible numbers")
    fitness, pending = _believable(row.fitness, runtime.now()), min(row.since_division, MOST_PENDING)
    return from_row(replace(row, fitness=fitness, since_division=pending, entrusted=[], promised=b""), genome)


def _believable(fitness: Fitness, now: float) -> Fitness:
    """Evidence within bounds. Raises `Malformed`."""
    figures = [fitness.good, fitness.bad, fitness.at, *(figure for pair in fitness.topics.values() for figure in pair)]
    if len(fitness.topics) > MAX_TOPICS or not all(math.isfinite(figure) and figure >= 0.0 for figure in figures):
        raise Malformed("an agent's state holds impossible ratings")
    if max(fitness.good, fitness.bad, *(figure for pair in fitness.topics.values() for figure in pair)) > MOST_EVIDENCE:
        raise Malformed("an agent's state claims more ratings than could be")
    return replace(fitness, at=min(fitness.at, now))
