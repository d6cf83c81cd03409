"""The shipped questions whose answers are known: what confidence is fitted on.

Everybody can read them, so they calibrate honest models and expose no cheat; hidden canaries come with the living agents.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from protocol.errors import LocalError

SHIPPED = Path(__file__).with_name("canaries.jsonl")


class Canary(Struct, frozen=True, forbid_unknown_fields=True):
    """One question with its right answer."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    topic: Annotated[str, Meta(min_length=1, max_length=64)]
    question: Annotated[str, Meta(min_length=1, max_length=4096)]
    choices: Annotated[list[str], Meta(min_length=2, max_length=64)]
    answer: str

    @property
    def right(self) -> int:
        """Index of the right choice."""
        return self.choices.index(self.answer)


_decoder = msgspec.json.Decoder(Canary)


class CanarySet:
    """All canaries, in order, and the digest by which two nodes know that they mean the same ones."""

    def __init__(self, canaries: Sequence[Canary]) -> None:
        """Raises `LocalError` for a set that contradicts itself."""
        self.canaries = tuple(canaries)
        self.topics = Counter(canary.topic for canary in self.canaries)
        """How many canaries each topic has."""
        self.digest = hashlib.sha256(b"moot canaries 1" + msgspec.msgpack.encode(self.canaries)).digest()
        if len({canary.id for canary in self.canaries}) != len(self.canaries):
            raise LocalError("two canaries have the same id")
        for canary in self.canaries:
            if canary.answer not in canary.choices or len(set(canary.choices)) != len(canary.choices):
                raise LocalError(f"canary {canary.id}: its answer is not one of its choices, or two choices are the same")

    @classmethod
    def load(cls, path: Path = SHIPPED) -> CanarySet:
        """Read a JSON Lines file. Blocking. Raises `LocalError`: the file is part of the package."""
        try:
            return cls(_decoder.decode_lines(path.read_bytes()))
        except (OSError, msgspec.MsgspecError) as error:
            raise LocalError(f"the canary file is missing or damaged: {error}") from error
