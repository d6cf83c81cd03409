"""Genomes of `tiny:head`: how they begin, change and mix, and which figures of them are believed."""

from __future__ import annotations

import math
import random
from typing import Any, Final

from node.brains.base import Genome

WIDTH: Final = 192
"""Length of an answer vector, and of a choice's signature."""
INIT: Final = 0.3
"""Standard deviation of an untrained agent's logits: it guesses, hardly surer than chance, so that there is something to rate."""
SIGMA: Final = 0.01
MAX_SIGMA: Final = 0.5
MAX_WEIGHT: Final = 1e4
RATE: Final = 40.0
"""Step length. Features have length 1 and the mean loss curves little along most of them; chosen on the handwritten digits, seed 1."""
RATE_RANGE: Final = (0.1, 100.0)


def seeded(brain: str, hidden: int, rng: random.Random) -> Genome:
    """Of an untrained agent; `w` has shape (hidden, `WIDTH`)."""
    import numpy as np

    generator = np.random.default_rng(rng.getrandbits(64))
    weights = (INIT * generator.standard_normal((hidden, WIDTH))).astype(np.float32)
    return Genome(brain, {"w": weights}, {"sigma": SIGMA, "rate": RATE, "view": rng.getrandbits(62)})


def mutated(genome: Genome, rng: random.Random) -> Genome:
    """Noise on the weights; the step length and the noise itself drift too, by a tenth or so."""
    import numpy as np

    generator = np.random.default_rng(rng.getrandbits(64))
    sigma = _number(genome, "sigma", SIGMA, (0.0, MAX_SIGMA))
    noise = sigma * generator.standard_normal(genome.tensors["w"].shape)
    weights = np.clip(genome.tensors["w"] + noise, -MAX_WEIGHT, MAX_WEIGHT).astype(np.float32)
    rate = rate_of(genome) * math.exp(rng.gauss(0.0, 0.1))
    settings = {**genome.settings, "sigma": min(MAX_SIGMA, sigma * math.exp(rng.gauss(0.0, 0.1))), "rate": rate}
    return Genome(genome.brain, {"w": weights}, settings)


def crossed(genome: Genome, other: Genome, rng: random.Random) -> Genome | None:
    """A blend of the parents' weights, which averages their logits, for a head is linear in its features; settings from either.
    Only where both see the same features (kin do): weights for different ones cannot be mixed."""
    import numpy as np

    if genome.settings.get("view") != other.settings.get("view"):
        return None
    share = np.float32(rng.uniform(0.25, 0.75))
    with np.errstate(over="ignore"):
        weights = np.clip(share * genome.tensors["w"] + (1 - share) * other.tensors["w"], -MAX_WEIGHT, MAX_WEIGHT)
    settings = dict(genome.settings)
    for name in sorted(settings.keys() & other.settings.keys()):
        settings[name] = rng.choice([settings[name], other.settings[name]])
    return Genome(genome.brain, {"w": weights.astype(np.float32)}, settings)


def view_number(genome: Genome) -> int:
    """Which features an agent sees."""
    number = genome.settings.get("view")
    return number if isinstance(number, int) and 0 <= number < 2**63 else 0


def rate_of(genome: Genome) -> float:
    """An agent's step length."""
    return _number(genome, "rate", RATE, RATE_RANGE)


def _number(genome: Genome, name: str, usual: float, bounds: tuple[float, float]) -> float:
    """A genome's own figure where it is sane: settings come from peers."""
    value: Any = genome.settings.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return usual
    return min(bounds[1], max(bounds[0], float(value)))
