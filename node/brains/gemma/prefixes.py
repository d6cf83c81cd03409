"""Prefixes computed once: an agent's solved examples are read by the model at its first question, not at every one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from node.brains.gemma.decoder import Decoder, Past

Tokens = tuple[int, ...]


class Prefixes:
    """Computed prefixes, the least recently used dropped when their keys and values exceed `limit` bytes."""

    def __init__(self, decoder: Decoder, limit: int) -> None:
        self._decoder = decoder
        self._limit = limit
        self._held: OrderedDict[Tokens, Past] = OrderedDict()
        self._bytes = 0

    def get(self, prefixes: Iterable[Tokens]) -> dict[Tokens, Past]:
        """The pasts of all `prefixes`, missing ones computed together."""
        wanted = dict.fromkeys(prefixes)
        missing = [prefix for prefix in wanted if prefix not in self._held]
        found = dict(zip(missing, self._decoder.extend([None] * len(missing), missing), strict=True))
        for prefix in wanted:
            if prefix not in found:
                found[prefix] = self._held[prefix]
                self._held.move_to_end(prefix)
        for prefix in missing:
            self._held[prefix] = found[prefix]
            self._bytes += found[prefix].nbytes
        while self._bytes > self._limit:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return found

    def clear(self) -> None:
        self._held.clear()
        self._bytes = 0
