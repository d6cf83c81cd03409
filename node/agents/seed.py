"""The seed experiment, replayed in one process: the rule that everything here grew from, without nodes, feedback or selection.

Agents are `tiny:mlp` networks with a running memory. A question is 16 numbers; one random agent answers it. After `threshold` answers
an agent divides: the child has its weights and memory plus Gaussian noise, and both count from nought again.
"""

from __future__ import annotations

import random
from base64 import b64decode
from collections.abc import Iterator

from node.agents.genome import unpack
from node.brains.base import Ask, Genome
from node.brains.tiny import DIM, TinyBrain
from protocol.api.agents import AgentFile, SeedBirth, SeedEnd, SeedStep


def replay(agents: int, questions: int, threshold: int, mutation: float, rng: random.Random) -> Iterator[SeedBirth | SeedStep | SeedEnd]:
    """Births as they happen, the population every five questions, and the end."""
    brain = TinyBrain(mutation)
    genomes = [brain.seed(rng) for _ in range(agents)]
    since = [0] * agents
    parents: list[int | None] = [None] * agents
    for number in range(1, questions + 1):
        asked = rng.randrange(len(genomes))
        question = tuple(rng.gauss(0.0, 1.0) for _ in range(DIM))
        (answer,) = brain.transform([Ask(genomes[asked], embedding=question)])
        genomes[asked] = brain.remember(genomes[asked], answer)
        since[asked] += 1
        if since[asked] >= threshold:
            since[asked] = 0
            genomes.append(brain.mutate(genomes[asked], rng))
            since.append(0)
            parents.append(asked)
            yield SeedBirth(number, len(genomes) - 1, asked)
        if number % 5 == 0:
            yield SeedStep(number, len(genomes))
    yield SeedEnd(len(genomes), parents, [_norm(genome) for genome in genomes])


def memory_norm(file: AgentFile) -> float:
    """Of an agent that a daemon exported. Raises `PeerError` where the file is not that of a `tiny:mlp` agent."""
    return _norm(unpack(b64decode(file.genome), file.brain, TinyBrain().schema()))


def _norm(genome: Genome) -> float:
    import numpy as np

    return round(float(np.linalg.norm(genome.tensors["memory"])), 6)
