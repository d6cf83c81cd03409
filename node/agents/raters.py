"""Who is believed: a rater's word counts as far as its ratings agree with what the agents themselves expected.

Before a rating is used, the agents that answered give the probability q that the rated answer was right. An honest "right" is q
likely, a liar's is 1 - q, so each rating moves a rater's log-odds of being honest by log(q / (1 - q)), in its favour or against
(naive Bayes over "always honest" and "always lying"), each by at most `STEP`. Untrained agents expect to be wrong, and that is what
honest raters then say: liars show themselves before anybody has learnt anything. First form: a rater that lies rarely is believed; an
honest one is doubted where agents are confidently wrong more often than right. The node's book keeps the record (`changed`, `load`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

MAX_RATERS = 4_096
"""The one not heard of for longest is forgotten first."""
PRIOR = math.log(0.7 / 0.3)
STEP = 1.0
MOST = 6.0
"""Bounds of the log-odds: a rater that changed its ways can change our mind."""
DAILY = 500.0
"""Ratings of one rater in a day that count in full; beyond, they share that weight."""
DAY_S = 86_400.0


class _Rater(Struct, array_like=True):
    """A rater's record, in memory and on disk. Append fields with a default; never reorder them."""

    odds: float = PRIOR
    recent: float = 0.0
    """Ratings lately, halved every day."""
    at: float = 0.0


_row = msgspec.msgpack.Decoder(_Rater)


class Raters:
    """Trust in raters. `me` and the empty id are this node's own word, always believed."""

    def __init__(self, me: bytes) -> None:
        self._own = (me, b"")
        self._raters: OrderedDict[bytes, _Rater] = OrderedDict()
        self._changed: set[bytes] = set()

    def believed(self, rater: bytes) -> float:
        """0 (as likely a liar as not, or worse) to 1."""
        if rater in self._own:
            return 1.0
        known = self._raters.get(rater)
        return max(0.0, math.tanh((known.odds if known is not None else PRIOR) / 2.0))

    def weight(self, rater: bytes, now: float) -> float:
        """What one more rating counts now: trust, and for a rater that says very much only its share."""
        if rater in self._own:
            return 1.0
        known = self._known(rater)
        known.recent = known.recent * 0.5 ** (max(0.0, now - known.at) / DAY_S) + 1.0
        known.at = now
        return self.believed(rater) * min(1.0, DAILY / known.recent)

    def heard(self, rater: bytes, score: float, expected: float) -> None:
        """A rating of an answer that was expected to be right with this probability."""
        if rater not in self._own:
            known = self._known(rater)
            likely = min(0.999, max(0.001, expected))
            surprise = max(-STEP, min(STEP, math.log(likely / (1.0 - likely))))
            known.odds = max(-MOST, min(MOST, known.odds + (2.0 * score - 1.0) * surprise))

    def changed(self) -> tuple[dict[bytes, bytes], list[bytes]]:
        """Records that changed since the last call, as rows for the book, and raters forgotten since then."""
        changed, self._changed = self._changed, set()
        rows = {rater: msgspec.msgpack.encode(self._raters[rater]) for rater in sorted(changed & self._raters.keys())}
        return rows, sorted(changed - rows.keys())

    def missed(self, raters: Iterable[bytes]) -> None:
        """These were not written: `changed` names them again."""
        self._changed.update(raters)

    def load(self, rows: Mapping[bytes, bytes]) -> None:
        """Take up the records of an earlier life; a damaged one is left out."""
        found: dict[bytes, _Rater] = {}
        for rater, data in rows.items():
            try:
                known = _row.decode(data)
            except msgspec.MsgspecError:
                continue
            if all(map(math.isfinite, (known.odds, known.recent, known.at))):
                known.odds = max(-MOST, min(MOST, known.odds))
                found[rater] = known
        for rater in sorted(found, key=lambda one: found[one].at)[-MAX_RATERS:]:
            self._raters.setdefault(rater, found[rater])

    def _known(self, rater: bytes) -> _Rater:
        known = self._raters.setdefault(rater, _Rater())
        self._raters.move_to_end(rater)
        self._changed.add(rater)
        if len(self._raters) > MAX_RATERS:
            self._changed.add(self._raters.popitem(last=False)[0])
        return known
