"""How wrong a head is about what it was told, as slopes by its logits.

A right answer pulls with cross-entropy; a wrong one pushes with -log(1 - p), the loss of complementary labels (Ishida et al. 2017), and
lifts the other choices partly alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from node.brains.replay import Remembered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

EXPLORE: Final = 0.5
"""Share of what a wrong answer loses that all other choices get alike: one never said to be right would otherwise never be tried."""

SHARES: Final = (0.0, 1.0, 1.0, 2.0)

Believed = Callable[[bytes], float]
"""How far a rater is believed, 0 to 1."""


def shares(agents: Sequence[int], batch: Sequence[Remembered]) -> Floats:
    """How often each agent, named by a number of its own, takes each lesson: 0, 1, 1 or 2 times, drawn from the two alone: (agents, batch).

    On-line bagging (Oza and Russell 2001), so that agents that hear the same feedback do not err alike."""
    import numpy as np

    marks = np.array([one.mark for one in batch], np.uint64)[None, :]
    mixed = (np.array(agents, np.uint64)[:, None] ^ marks) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(SHARES, np.float32)[(mixed >> np.uint64(62)).astype(np.int64)]


def slopes(logits: Floats, batch: Sequence[Remembered], believed: Believed) -> Floats:
    """Gradient of the mean loss by the logits, (agents, batch, choices)."""
    import numpy as np

    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    chances = shifted / shifted.sum(-1, keepdims=True)
    rows = np.arange(len(batch))
    answers = np.array([one.answer for one in batch])
    scores = np.array([one.score for one in batch], np.float32)[None, :, None]
    weights = np.array([believed(one.rater) for one in batch], np.float32)
    own = chances[:, rows, answers][..., None]
    right = chances.copy()
    right[:, rows, answers] -= 1.0
    others = (1.0 - EXPLORE) * chances / np.maximum(1.0 - own, 1e-3) + EXPLORE / max(1, chances.shape[-1] - 1)
    wrong = -own * others
    wrong[:, rows, answers] = own[..., 0]
    mixed = scores * right + (1.0 - scores) * wrong
    total: Floats = np.asarray(mixed * (weights / max(float(weights.sum()), 1.0))[None, :, None], np.float32)
    return total
