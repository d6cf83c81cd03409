"""Who a cell is: traits drawn from a grammar, spread by success.

A persona is a byte a row of `TRAITS`. It opens the cell's prompt, decides which of the run's successes the cell is shown, and how boldly it
samples. The words alone hardly move a base model (0.012 in probability at most, measured on the 270M), examples and boldness do. Rows are
about ways of working, not about any task.
"""

from __future__ import annotations

import random

TRAITS = (
    ("bold", "careful", "patient", "curious"),
    ("You look for what is missing.", "You trust straight order.", "You love symmetry.", "You shake things."),
    ("You follow your neighbours.", "You go your own way."),
)
"""The grammar: one word or sentence of each row."""
_BOLDNESS = (1.5, 0.7, 1.0, 1.2)
"""Temperature of each temper: how evenly the cell samples its moves."""
MUTATION = 0.1


def persona_text(traits: bytes) -> str:
    temper, method, company = (row[trait % len(row)] for row, trait in zip(TRAITS, traits, strict=True))
    return f"You are one of many minds at work on one problem, a {temper} one. {method} {company}"


def boldness(traits: bytes) -> float:
    return _BOLDNESS[traits[0] % len(_BOLDNESS)]


def born(rng: random.Random) -> bytes:
    return bytes(rng.randrange(len(row)) for row in TRAITS)


def adapted(own: bytes, winner: bytes, rng: random.Random) -> bytes:
    """One trait of a neighbour that does better, and now and then a trait of nobody. What is no persona is ignored."""
    traits = bytearray(own)
    if len(winner) == len(TRAITS):
        index = rng.randrange(len(TRAITS))
        traits[index] = winner[index] % len(TRAITS[index])
    if rng.random() < MUTATION:
        index = rng.randrange(len(TRAITS))
        traits[index] = rng.randrange(len(TRAITS[index]))
    return bytes(traits)
