"""The JSON shapes of `/v1/labelling`, shared by server and command line, and the receipt over all rows of a project.

The receipt is a Merkle tree hash as in RFC 9162, section 2.1.1: a leaf is one row's number, the hash of its text, its label and how
sure it was. Whoever holds the output can recompute the root; it proves that nothing was changed since, not that a label is right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

MAX_ROWS_AT_ONCE = 256
MAX_TEXT = 4_096
"""Characters of a row that are looked at; the command sends no more."""
MAX_LABELS = 1_000
MAX_LABEL = 200
BUDGET = 100
"""Questions of a project when nobody says how many."""

Label = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Texts = Annotated[list[Text], Meta(min_length=1, max_length=MAX_ROWS_AT_ONCE)]


class ProjectRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Begin a project; the same `source` again is the same project, which goes on."""

    source: Annotated[str, Meta(min_length=1, max_length=128)]
    """What tells this pile from others: the command sends a hash of file, column and labels."""
    name: Annotated[str, Meta(max_length=200)] = ""
    labels: Annotated[list[Label], Meta(max_length=MAX_LABELS)] = []
    budget: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    """At most so many questions. Null: what the project has, and `BUDGET` for a new one. A running project's is never lowered."""
    local: bool = False
    """Keep the text on this machine."""


class RowsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of the pile from number `start` on; rows that are here already are passed over."""

    start: Annotated[int, Meta(ge=0)]
    texts: Texts


class ExamplesRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Texts whose labels are known beforehand."""

    texts: Texts
    labels: Annotated[list[Label], Meta(min_length=1, max_length=MAX_ROWS_AT_ONCE)]


class GuestInfo(Struct, frozen=True):
    """A brain that may vote on the least sure rows, and why it is asked or not."""

    name: str
    weight: float
    reason: str


class GuestsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether brains may read rows of this project, on this node and until it stops: false pauses them."""

    asked: bool


class HelperInfo(Struct, frozen=True):
    node_id: str
    rows: int
    barred: bool = False
    """What it sent did not hold when it was checked."""


class HeldBack(Struct, frozen=True):
    """Accuracy over the pile as corrections that the learners had not seen let expect it (`node/label/calibration.py`); 95% interval."""

    accuracy: float
    low: float
    high: float
    corrections: int


class ChangedAnswer(Struct, frozen=True):
    """Two answers to one row that contradict each other; the later one counts."""

    row: int
    former: str
    label: str
    by: str = ""
    """The machine that said the later one."""


class HeadInfo(Struct, frozen=True):
    """One learner of a project: its genome in short, and how fit it is."""

    id: str
    name: str
    generation: int
    parent: str
    bearer: str
    """The machine that bore it."""
    standing: str
    """`votes`; `waits`: proposed, but corrections held back here do not show that it helps; `tried` at its bearer; `dead`."""
    weight: float = 0.0
    loss: float | None = None
    """Log-loss in nats on corrections held back, each counting for the rows of the pile it stands for; None where it was not measured."""
    accuracy: float | None = None
    corrections: int = 0


class CorrectorInfo(Struct, frozen=True):
    """How many of the answers that stand a machine gave."""

    node_id: str
    name: str
    corrections: int
    distrusted: bool = False


class DistrustRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Take the corrections of a node out of the project; `trusted` takes what it says from now on again."""

    node: Annotated[str, Meta(min_length=4, max_length=64)]
    """Its id, or the beginning of it."""
    trusted: bool = False


class ProjectInfo(Struct, frozen=True):
    id: str
    name: str
    phase: str
    """`filling` until all rows are sent, `reading`, then `asking`, and `enough` when more answers would change little."""
    labels: list[str]
    rows: int
    read: int
    examples: int
    corrections: int
    skipped: int
    changed: int
    """Answers that replaced an earlier, different one."""
    budget: int
    local: bool
    helpers: list[HelperInfo]
    heads: dict[str, float]
    """Weight of each learner, their sum 1; a guest's (a brain that reads only unsure rows) is what its vote counts beside them."""
    expected: float | None
    """Mean calibrated confidence over the pile."""
    held_back: HeldBack | None
    hint: str
    """One sentence for people."""
    home: str = ""
    """The node where it was started."""
    home_name: str = ""
    holders: int = 1
    """Live nodes that hold its corrections and learners."""
    latest_changes: list[ChangedAnswer] = []
    guests: list[GuestInfo] = []
    """Brains of this node that were tried on this project."""
    learners: list[str] = []
    """Names of the live machines that have room for the project's learners and made them, this one included if it did."""
    agents: list[HeadInfo] = []
    """The learners, also those on trial and the dead (the latest few)."""
    divisions: list[str] = []
    """What became of heads, the latest sentences."""
    correctors: list[CorrectorInfo] = []
    """Who answered: any member may."""


class QuestionRow(Struct, frozen=True):
    """A row that would teach."""

    row: int
    text: str
    guess: str | None
    confidence: float | None


class Questions(Struct, frozen=True):
    questions: list[QuestionRow]
    info: ProjectInfo


class AnswerRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A label (a new one is added), or null to skip the row; `undo` takes the row's answer back."""

    row: int
    label: Label | None = None
    undo: bool = False


class RowLabel(Struct, frozen=True):
    """What the project says of one row."""

    label: str
    """Empty when it abstains."""
    confidence: float
    agreement: float
    """Weight of the learners that vote for the label."""
    abstained: str
    """Empty, `unsure` or `none of these`."""
    votes: str
    """Each learner's choice, `name=label` separated by `; `."""
    best: str = ""
    """The likeliest label, also when it abstains."""
    calibrated: bool = True
    """Whether the confidence rests on corrections held back; false while there are too few of them."""
    late: list[str] = []
    """Guests (brains that vote where the learners are unsure) that were asked about a new text and had no vote in time."""


class RowLabels(Struct, frozen=True):
    """Rows from `start` on; `end` is where to ask next."""

    start: int
    end: int
    rows: list[RowLabel]


class TextsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """New texts for a project that has learnt."""

    texts: Texts


class ReceiptInfo(Struct, frozen=True):
    """The Merkle root over all rows as they are labelled now."""

    project: str
    rows: int
    root: str


def spent_words(budget: int) -> str:
    return f"The budget of {budget} answer{'s' * (budget != 1)} is spent."


def left_words(answers: int) -> str:
    return f"{answers} answers are left in the budget." if answers != 1 else "1 answer is left in the budget."


def row_leaf(row: int, text: str, label: RowLabel) -> bytes:
    """One row's leaf hash."""
    body = msgspec.msgpack.encode((row, hashlib.sha256(text.encode()).digest(), label.label, round(label.confidence, 4), label.abstained))
    return hashlib.sha256(b"\x00" + body).digest()


class MerkleTree:
    """RFC 9162: the tree splits at the largest power of two below its size. Leaves come one by one; memory grows with their logarithm."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []
        """Whole subtrees from the left: (leaves, hash), each larger than the next."""

    def add(self, leaf: bytes) -> None:
        self.size += 1
        leaves, node = 1, leaf
        while self._peaks and self._peaks[-1][0] == leaves:
            node = _joined(self._peaks.pop()[1], node)
            leaves *= 2
        self._peaks.append((leaves, node))

    def root(self) -> bytes:
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        *left, (_, node) = self._peaks
        for _, peak in reversed(left):
            node = _joined(peak, node)
        return node


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """The root over all leaves at once."""
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def _joined(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
