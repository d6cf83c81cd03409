"""Token buckets: how often a source may make us work."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class TokenBuckets:
    """One bucket a source: `burst` at once, `rate` a second after that. Remembers the `capacity` sources heard last."""

    def __init__(self, rate: float, burst: float, capacity: int = 4_096) -> None:
        self._rate, self._burst, self._capacity = rate, burst, capacity
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """source -> (tokens, when)."""

    def allow(self, source: Hashable, now: float) -> bool:
        """Take a token where there is one. A clock that went back fills nothing."""
        tokens, when = self._buckets.pop(source, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - when) * self._rate)
        allowed = tokens >= 1
        self._buckets[source] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return allowed
