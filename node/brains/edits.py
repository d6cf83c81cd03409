"""The grammar of edits by which agents on one language model differ from their parents, and how two parents' genomes are mixed.

    edit      := add | drop | swap | move | trait | temper
    add       a solved example of the shipped bank that it does not hold joins its memory
    drop      one leaves, down to what is shown with a question
    swap      one is exchanged for one that it does not hold
    move      one goes to another place: models lean on the order of examples
    trait     another persona, or its own in the model's words (`Brain.reword`, where the model can write)
    temper    the sampling temperature, a step up or down

A child has one to three edits. Of two parents it first takes each trait from one or the other, and half of each one's examples. What
the genome of a peer holds is not trusted to have these forms: whatever has another is left as it is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from node.brains.base import Ask, Genome
from node.brains.examples import SHOTS, bank_by_id
from protocol.errors import UserError

if TYPE_CHECKING:
    from node.brains.base import Brain

PERSONAS: Final = (
    "You are careful and check every word before you answer.",
    "You are quick and trust your first impression.",
    "You are a sceptic: you look for what speaks against the obvious answer.",
    "You are practical and think of what people usually mean.",
    "You are an expert who explains things to beginners.",
    "You are literal: you answer what is asked and nothing else.",
)
MAX_PERSONA: Final = 500
"""Characters of a persona that are used: genomes come from other nodes."""
MAX_REWORDED: Final = 200
MIN_REWORDED: Final = 10
REWORDING: Final = 0.5
"""How often an edit of the persona asks the model, where it can write."""
MOST_EDITS: Final = 3
TEMPERATURES: Final = (0.1, 2.0)
STEP: Final = 0.15
"""Of the logarithm of the temperature, standard deviation."""

Reword = Callable[[str], str | None]
"""`reword(persona)`: the same in the model's own words; None where it cannot."""
Settings = dict[str, Any]


def persona_of(genome: Genome) -> str:
    """Empty where it has none."""
    persona = genome.settings.get("persona")
    return persona[:MAX_PERSONA] if isinstance(persona, str) else ""


def edited(genome: Genome, rng: random.Random, reword: Reword) -> Genome:
    """A child's genome: one to three different edits."""
    settings = dict(genome.settings)
    edits: list[Callable[[Settings, random.Random], Settings]] = [_add, _drop, _swap, _move, _temper]
    for edit in rng.sample([*edits, None], rng.randint(1, MOST_EDITS)):
        settings = edit(settings, rng) if edit is not None else _trait(settings, rng, reword)
    return Genome(genome.brain, genome.tensors, settings)


def mixed(one: Genome, other: Genome, rng: random.Random) -> Genome:
    """Each setting from one parent or the other; of the examples half of each, in their orders, as many as the first holds."""
    names = sorted((one.settings.keys() | other.settings.keys()) - {"examples"})
    settings: Settings = {}
    for name in names:
        giver = rng.choice([parent for parent in (one, other) if name in parent.settings])
        settings[name] = giver.settings[name]
    mine, theirs = _held(dict(one.settings)), _held(dict(other.settings))
    if mine or theirs:
        size = len(mine or theirs)
        kept = set(rng.sample(mine, (len(mine) + 1) // 2)) | set(rng.sample(theirs, len(theirs) // 2))
        settings["examples"] = _merged(mine, theirs, kept, rng)[:size]
    return Genome(one.brain, one.tensors, settings)


def reworded(brain: Brain, persona: str) -> str | None:
    """Ask a model for the persona in other words. None when what it writes is no single sentence of a sane length, or it fails."""
    question = f"Say this instruction to an assistant in other words, in one sentence, and write nothing else: {persona}"
    try:
        (proposal,) = brain.propose([Ask(Genome(brain.name), question)], max_tokens=64, temperature=0.9)
    except UserError:
        return None
    text = proposal.text.strip().strip("\"'").strip()
    return text if MIN_REWORDED <= len(text) <= MAX_REWORDED and text.isprintable() and text != persona else None


def _merged(mine: Sequence[str], theirs: Sequence[str], kept: set[str], rng: random.Random) -> list[str]:
    """Both lists shuffled together, each in its own order, without doubles."""
    queues = [[name for name in mine if name in kept][::-1], [name for name in theirs if name in kept][::-1]]
    merged: list[str] = []
    while any(queues):
        name = rng.choice([queue for queue in queues if queue]).pop()
        if name not in merged:
            merged.append(name)
    return merged


def _held(settings: Settings) -> list[str]:
    ids = settings.get("examples")
    return [name for name in ids if isinstance(name, str)] if isinstance(ids, list) else []


def _others(held: Sequence[str]) -> list[str]:
    return [name for name in bank_by_id() if name not in held]


def _add(settings: Settings, rng: random.Random) -> Settings:
    held = _held(settings)
    if others := _others(held):
        held.insert(rng.randint(0, len(held)), rng.choice(others))
    return {**settings, "examples": held}


def _drop(settings: Settings, rng: random.Random) -> Settings:
    held = _held(settings)
    if len(held) <= SHOTS:
        return settings
    held.pop(rng.randrange(len(held)))
    return {**settings, "examples": held}


def _swap(settings: Settings, rng: random.Random) -> Settings:
    held = _held(settings)
    if held and (others := _others(held)):
        held[rng.randrange(len(held))] = rng.choice(others)
        return {**settings, "examples": held}
    return settings


def _move(settings: Settings, rng: random.Random) -> Settings:
    held = _held(settings)
    if len(held) < 2:
        return settings
    name = held.pop(start := rng.randrange(len(held)))
    held.insert(rng.choice([place for place in range(len(held) + 1) if place != start]), name)
    return {**settings, "examples": held}


def _temper(settings: Settings, rng: random.Random) -> Settings:
    value = settings.get("temperature", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = 1.0
    low, high = TEMPERATURES
    stepped = min(high, max(low, float(value))) * math.exp(rng.gauss(0.0, STEP))
    return {**settings, "temperature": round(min(high, max(low, stepped)), 3)}


def _trait(settings: Settings, rng: random.Random, reword: Reword) -> Settings:
    now = settings.get("persona")
    if isinstance(now, str) and rng.random() < REWORDING and (said := reword(now[:MAX_PERSONA])) is not None:
        return {**settings, "persona": said}
    return {**settings, "persona": rng.choice([persona for persona in PERSONAS if persona != now])}
