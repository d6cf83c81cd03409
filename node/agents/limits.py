"""A rate that may not be exceeded."""

from __future__ import annotations

from collections import deque


class PerMinute:
    """At most `limit` events in any 60 seconds. Pure: the caller brings the clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: deque[float] = deque()

    def take(self, now: float) -> bool:
        """Count one event at `now` (seconds), or say no."""
        while self._times and now - self._times[0] >= 60.0:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return False
        self._times.append(now)
        return True
