"""The shipped bank of solved questions that few-shot agents are born with, and how an agent picks from its own share of it.

`examples.jsonl` holds twelve examples for each of a few topics, written for this project. An agent's genome names the examples it
holds and their order (`settings["examples"]`, ids of the bank): that is what makes agents on one model differ.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from node.brains.base import Example

SHOTS: Final = 6
"""Examples that an agent shows its model with a question."""


@cache
def bank_by_id() -> Mapping[str, Example]:
    """The bank by example id, in file order."""
    lines = files("node.brains").joinpath("examples.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return MappingProxyType({row["id"]: Example(row["topic"], row["question"], tuple(row["choices"]), row["answer"]) for row in rows})


def load_bank() -> tuple[Example, ...]:
    """All shipped examples, in file order."""
    return tuple(bank_by_id().values())


def pick(ids: Sequence[str], topic: str | None, k: int = SHOTS) -> tuple[Example, ...]:
    """Up to `k` of an agent's examples, in the agent's order, for a question of `topic`.

    Of a known topic: only its examples, the answers as evenly represented as they can be. Of no known topic (`None`): a mixture,
    the topics as evenly represented as they can be. Ids that this node's bank lacks are skipped (the genome may come from a
    newer node); a topic of which the agent holds no example counts as unknown.
    """
    held = [bank_by_id()[name] for name in ids if name in bank_by_id()]
    same = [example for example in held if example.topic == topic]
    if same:
        return _even(same, [example.answer for example in same], k)
    return _even(held, [example.topic for example in held], k)


def _even(examples: Sequence[Example], kinds: Sequence[Hashable], k: int) -> tuple[Example, ...]:
    """The first `k` when each kind takes its turn, returned in the given order."""
    seen: dict[Hashable, int] = {}
    rounds = []
    for index, kind in enumerate(kinds):
        rounds.append((seen.get(kind, 0), index))
        seen[kind] = seen.get(kind, 0) + 1
    chosen = sorted(index for _, index in sorted(rounds)[:k])
    return tuple(examples[index] for index in chosen)
