"""What a question is about: the topic of the solved questions it is most like, or none.

Every question and its choices become one sparse vector of words, of four-letter pieces of words (so that "capitals" is near
"capital") and of whole choices. A feature weighs more the fewer topics it occurs in: "capital" tells topics apart, "which" does
not. A question's score for a topic is the mean cosine with its three nearest solved questions of that topic. Below `NEAR` it has
no topic: what is known about other topics is then not applied to it.

`NEAR` comes from data, with the 60 canaries as solved questions. Leaving one of them out, it scores 0.31 or more for its own
topic; 140 other questions on these topics score 0.28 or more, 20 in words chosen to be unlike 0.23 or more; 48 questions about
other things score at most 0.22 for any topic.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import log, sqrt
from typing import Final

NEAR: Final = 0.26
"""Least score of a question that is of a topic."""

_NEIGHBOURS: Final = 3
_PIECE: Final = 4
_PIECE_COUNT: Final = 0.3
"""How many words a piece counts as."""
_NOVEL: Final = 0.5
"""Weight of a feature that no solved question has, as a share of the highest weight: a passage always brings new words."""
_LONGEST: Final = 1_000
"""Characters looked at from the beginning of a text, and again from its end."""
_CHOICES: Final = 16
_WORD: Final = re.compile(r"\w+")

_Vector = dict[str, float]


class TopicModel:
    """Solved questions, indexed by feature. Pure and deterministic; a query takes a fraction of a millisecond."""

    def __init__(self, solved: Iterable[tuple[str, str, Sequence[str]]]) -> None:
        """`solved`: (topic, question, choices) of each solved question."""
        rows = [(topic, _features(question, choices)) for topic, question, choices in solved]
        self._topics = [topic for topic, _ in rows]
        topics_of: dict[str, set[str]] = {}
        for topic, features in rows:
            for feature in features:
                topics_of.setdefault(feature, set()).add(topic)
        count = len(set(self._topics))
        self._weights = {feature: _weight(count, len(topics)) for feature, topics in topics_of.items()}
        self._novel = _NOVEL * _weight(count, 1)
        self._index: dict[str, list[tuple[int, float]]] = {}
        for row, (_, features) in enumerate(rows):
            for feature, value in self._vector(features).items():
                self._index.setdefault(feature, []).append((row, value))

    def infer(self, question: str, choices: Sequence[str]) -> str | None:
        """The topic of a question, or None when it is like none of the solved ones."""
        scores = self.scores(question, choices)
        best = max(sorted(scores), key=scores.__getitem__, default=None)
        return best if best is not None and scores[best] >= NEAR else None

    def scores(self, question: str, choices: Sequence[str]) -> dict[str, float]:
        """How near a question is to each topic, in [0, 1]."""
        cosines = [0.0] * len(self._topics)
        for feature, value in self._vector(_features(question, choices)).items():
            for row, other in self._index.get(feature, ()):
                cosines[row] += value * other
        by_topic: dict[str, list[float]] = {}
        for topic, cosine in zip(self._topics, cosines, strict=True):
            by_topic.setdefault(topic, []).append(cosine)
        return {topic: sum(sorted(found)[-_NEIGHBOURS:]) / _NEIGHBOURS for topic, found in by_topic.items()}

    def _vector(self, features: _Vector) -> _Vector:
        """Weighted and of length 1."""
        vector = {feature: sqrt(count) * self._weights.get(feature, self._novel) for feature, count in features.items()}
        length = sqrt(sum(value * value for value in vector.values()))
        return {feature: value / length for feature, value in vector.items()} if length else {}


def _weight(topics: int, having: int) -> float:
    """Of a feature that `having` of the topics have; small and above zero for one that all have."""
    return log(1 + topics / having) - log(2) + 0.05


def _features(question: str, choices: Sequence[str]) -> _Vector:
    """Counts of a question's features, told apart by their first character: words, pieces, words of choices, choices."""
    found: defaultdict[str, float] = defaultdict(float)
    for word in _WORD.findall(_ends(question).lower()):
        found["w" + word] += 1
        edged = f"<{word}>"
        for start in range(len(edged) - _PIECE + 1):
            found["p" + edged[start : start + _PIECE]] += _PIECE_COUNT
    for choice in choices[:_CHOICES]:
        text = _ends(choice).lower()
        found["c" + text] += 1
        for word in _WORD.findall(text):
            found["v" + word] += 1
    return found


def _ends(text: str) -> str:
    """The whole text, or the beginning and the end of a long one: the task may stand before or behind a long passage."""
    return text if len(text) <= 2 * _LONGEST else f"{text[:_LONGEST]} {text[-_LONGEST:]}"
