"""The seed experiment, replayed in one process: the rule that everything here grew from, without nodes, feedback or selection.

Agents are `tiny:mlp` networks with a running memory. A question is 16 numbers; one random agent answers it. After `threshold` answers
an agent divides: the child has its weights and memory plus Gaussian noise, and both count from nought again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from node.brains.base import Ask, Genome
from node.brains.tiny import DIM, TinyBrain
from protocol.api.agents import SeedBirth, SeedEnd, SeedStep


def replay(agents: int, questions: int, threshold: int, mutation: float, rng: random.Random) -> Iterator[SeedBirth | SeedStep | SeedEnd]:
    """Births as they happen, the population every five questions, and the end."""
    import numpy as np

    brain = TinyBrain()
    genomes = [Genome(brain.name, brain.seed(rng).tensors, {"sigma": mutation}) for _ in range(agents)]
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
    norms = [round(float(np.linalg.norm(genome.tensors["memory"])), 6) for genome in genomes]
    yield SeedEnd(len(genomes), parents, norms)
