"""Every message two nodes exchange, one struct each.

Structs are MessagePack arrays whose first item is the tag, so a field may be appended with a default and never removed or
reordered. **Tags are append-only**: a number once used is never used for anything else (`tests/unit/protocol/test_messages.py`
pins the table).

Links carry `Frame`s (mutually authenticated TLS, so a frame needs no signature of its own); datagrams carry the DHT's messages
inside session frames. What is shown to third parties (announcements, records, votes) is signed in itself.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from protocol.ballots import Commitment, CommitSet, Question, Reveal
from protocol.lineage import Descent
from protocol.records import Record

PROTOCOL_VERSION = 1

Id = Annotated[bytes, Meta(min_length=20, max_length=20)]
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Name = Annotated[str, Meta(max_length=64)]
Address = Annotated[str, Meta(max_length=255)]
Reason = Annotated[str, Meta(max_length=512)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]

EMBEDDED_CHOICE = "embedded choice"
"""Among an agent's `kinds`: it answers choice questions about an embedding of any dimension."""


# ---- links: meeting -------------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, array_like=True, tag=1):
    """First message in both directions; a link is up only once it has come."""

    version: Count
    name: Name
    address: Address
    """Where this node can be dialled, HOST:PORT; empty when it cannot."""


class Goodbye(Struct, frozen=True, array_like=True, tag=2):
    """The sender leaves on purpose: not a failure."""

    reason: Reason


class Refusal(Struct, frozen=True, array_like=True, tag=3):
    """Answer to a request that is refused."""

    code: Name
    message: Reason


# ---- overlay: who is there ------------------------------------------------------------------------------------------


class AgentSummary(Struct, frozen=True, array_like=True, tag=10):
    """One agent as its node describes it."""

    agent_id: Id
    brain: Name
    family: Name
    generation: Count
    parent_id: Annotated[bytes, Meta(max_length=20)]
    """Empty for an agent of the first generation."""
    interactions: Count
    fitness: Annotated[float, Meta(ge=0, le=1)]
    born_at: float
    genome: Hash
    kinds: Annotated[list[Name], Meta(max_length=8)]
    embedding_dim: Count = 0


class Announcement(Struct, frozen=True, array_like=True, tag=11):
    """What a node says about itself; flooded as the body of a `Gossip` with topic `member`."""

    name: Name
    address: Address
    keeper: bool
    room: Count
    """How many more agents it would host."""
    agents: Annotated[list[AgentSummary], Meta(max_length=256)]
    leaving: bool = False


class Gossip(Struct, frozen=True, array_like=True, tag=12):
    """A signed statement that goes to every node; duplicates are dropped by (origin, sequence)."""

    chain: Annotated[list[bytes], Meta(min_length=2, max_length=2)]
    """The origin's membership proof: (leaf, keeper) certificates."""
    sequence: Count
    """Strictly increasing per origin: its wall clock in milliseconds, at least one more than the last."""
    expires_at: float
    topic: Name
    body: Annotated[bytes, Meta(max_length=65_536)]
    signature: Signature


class MembersRequest(Struct, frozen=True, array_like=True, tag=13):
    """Ask a neighbour for the member announcements it holds."""


class Members(Struct, frozen=True, array_like=True, tag=14):
    """The newest `member` gossip of each node known."""

    members: Annotated[list[Gossip], Meta(max_length=256)]


class NeighbourRequest(Struct, frozen=True, array_like=True, tag=15):
    """Shall we be neighbours? `urgent` when the sender has none: then the receiver makes room."""

    urgent: bool


class NeighbourReply(Struct, frozen=True, array_like=True, tag=16):
    """Yes, or no because the receiver's view is full."""

    accepted: bool


class NeighbourDrop(Struct, frozen=True, array_like=True, tag=17):
    """The sender no longer counts the receiver among its neighbours."""


class Probe(Struct, frozen=True, array_like=True, tag=18):
    """Are you there? Answered with `Done`."""


# ---- council --------------------------------------------------------------------------------------------------------


class CouncilCall(Struct, frozen=True, array_like=True, tag=20):
    """Convener to a panel node: let these agents answer, and commit."""

    question: Question
    agents: Annotated[list[Id], Meta(min_length=1, max_length=64)]
    deadline_ms: Annotated[int, Meta(ge=1, le=600_000)]


class Commitments(Struct, frozen=True, array_like=True, tag=21):
    """Panel node's answer to a call: one commitment per agent that answered, signed as one."""

    commitment: Commitment


class RevealCall(Struct, frozen=True, array_like=True, tag=22):
    """Convener to a panel node: here is the signed set of all commitments; now show yours."""

    commit_set: CommitSet


class Reveals(Struct, frozen=True, array_like=True, tag=23):
    """The votes behind a node's commitment, signed over the commit set."""

    reveal: Reveal


class CanaryCall(Struct, frozen=True, array_like=True, tag=24):
    """Ask a node how these agents answered the shipped canary questions."""

    canaries: Hash
    """Digest of the canary set; a node with another set refuses."""
    agents: Annotated[list[Id], Meta(min_length=1, max_length=64)]


class CanaryVotes(Struct, frozen=True, array_like=True, tag=25):
    """Per agent, per canary: log-probabilities over its choices. An agent that is not measured yet is left out."""

    votes: Annotated[dict[bytes, list[list[float]]], Meta(max_length=64)]


class FeedbackNotice(Struct, frozen=True, array_like=True, tag=26):
    """A person's rating, passed to the nodes whose agents voted."""

    question_id: Id
    score: Annotated[float, Meta(ge=0, le=1)]
    agents: Annotated[list[Id], Meta(min_length=1, max_length=64)]
    correct: Annotated[bytes, Meta(max_length=16_384)] = b""
    """JSON of the right answer, when the rater gave one."""


class Done(Struct, frozen=True, array_like=True, tag=27):
    """Received and done."""

    count: Count = 0
    """Of how many things, where the request was about several (agents rated)."""


# ---- replication ----------------------------------------------------------------------------------------------------


class BirthOffer(Struct, frozen=True, array_like=True, tag=30):
    """A node offers a child to a peer that announced room."""

    child_id: Id
    parent_id: Id
    brain: Name
    generation: Count
    genome: Hash
    size: Annotated[int, Meta(ge=1, le=16_777_216)]
    lineage: Annotated[list[Descent], Meta(max_length=32)] = []
    """Newest first, the child itself included."""


class BirthReply(Struct, frozen=True, array_like=True, tag=31):
    """Accepted (a place is reserved until `reserved_until`) or refused with the reason."""

    accepted: bool
    reason: Reason = ""
    reserved_until: float = 0.0


class GenomeRequest(Struct, frozen=True, array_like=True, tag=32):
    """Fetch part of a genome by content hash."""

    genome: Hash
    offset: Count


class GenomeChunk(Struct, frozen=True, array_like=True, tag=33):
    """Bytes from `offset` on; `total` is the whole length."""

    total: Count
    data: Annotated[bytes, Meta(max_length=262_144)]


class Birth(Struct, frozen=True, array_like=True, tag=34):
    """Host to parent's node: the child lives here now."""

    child_id: Id


class AnswerRated(Struct, frozen=True, array_like=True, tag=35):
    """To every node that sat on the panel: how right the council's answer was said to be. Its agents can learn from that alone."""

    question_id: Id
    answer: Annotated[bytes, Meta(max_length=65_536)]
    """JSON of the answer that was rated."""
    score: Annotated[float, Meta(ge=0, le=1)]


# ---- cells ----------------------------------------------------------------------------------------------------------


class CellStart(Struct, frozen=True, array_like=True, tag=40):
    """Home of a run to every node that hosts a cell of it: the plan of the grid."""

    run_id: Id
    task: Name
    seed: Count
    size: Annotated[int, Meta(ge=1, le=64)]
    iterations: Annotated[int, Meta(ge=1, le=10_000)]
    placement: Annotated[list[Id], Meta(max_length=4096)]
    """Row-major: the node that hosts each cell."""
    settings: dict[Name, int | float | Annotated[str, Meta(max_length=1024)]] = {}
    """Parameters of the task and of the grid."""
    epoch: Count = 0
    """Grows with every new placement of the run; of two plans the one with the higher epoch holds."""
    iteration: Count = 0
    """Cells in `resumed` go on after this iteration."""
    resumed: dict[int, Annotated[bytes, Meta(max_length=4096)]] = {}
    """Cells whose node was lost, with the newest solution known."""


class CellMessage(Struct, frozen=True, array_like=True, tag=41):
    """What one cell says to a neighbouring cell after an iteration."""

    run_id: Id
    iteration: Count
    sender: Annotated[int, Meta(ge=0, le=4095)]
    receiver: Annotated[int, Meta(ge=0, le=4095)]
    body: Annotated[bytes, Meta(max_length=4096)]
    persona: Annotated[bytes, Meta(max_length=8)] = b""
    """The sender's traits, so that those of a winner can spread."""


class CellReport(Struct, frozen=True, array_like=True, tag=42):
    """A cell's state after an iteration, told to the run's home."""

    run_id: Id
    iteration: Count
    cell: Annotated[int, Meta(ge=0, le=4095)]
    score: float
    solution: Annotated[bytes, Meta(max_length=4096)]
    heard: Annotated[list[Count], Meta(max_length=64)]
    """The cells whose messages it had read when it proposed."""
    last: bool = False
    """The cell has ended."""
    tried: Count = 0
    """Proposals evaluated in this iteration."""
    note: Annotated[str, Meta(max_length=2048)] = ""
    """The prompt and the reply, where a model chose; why a cell failed."""


class CellControl(Struct, frozen=True, array_like=True, tag=80):
    """Home of a run to its hosts: from now on the run is in this state, with these live settings."""

    run_id: Id
    state: Name
    """`running`, `paused` or `stopped`."""
    settings: dict[Name, int | float | Annotated[str, Meta(max_length=1024)]] = {}


# ---- receipts -------------------------------------------------------------------------------------------------------


class ReceiptRequest(Struct, frozen=True, array_like=True, tag=50):
    """Ask the node that convened a question for its receipt."""

    receipt: Id


class ReceiptReply(Struct, frozen=True, array_like=True, tag=51):
    """The canonical bytes; empty when this node does not hold it, or it is too large for one message."""

    data: Annotated[bytes, Meta(max_length=1_048_576)]


# ---- labelling ------------------------------------------------------------------------------------------------------


class ReadRows(Struct, frozen=True, array_like=True, tag=70):
    """Please embed these rows with this embedder."""

    embedder: Name
    texts: Annotated[list[Annotated[str, Meta(max_length=4_096)]], Meta(min_length=1, max_length=256)]


class RowVectors(Struct, frozen=True, array_like=True, tag=71):
    """The rows' embeddings: float16, little-endian, row after row."""

    data: Annotated[bytes, Meta(max_length=1_048_576)]


class JudgeRows(Struct, frozen=True, array_like=True, tag=72):
    """Please label these new texts with a project that was started at your node."""

    project: Name
    texts: Annotated[list[Annotated[str, Meta(max_length=4_096)]], Meta(min_length=1, max_length=256)]


class RowJudgements(Struct, frozen=True, array_like=True, tag=73):
    """MessagePack of a list of `protocol.labelling.RowLabel`, one for each text."""

    data: Annotated[bytes, Meta(max_length=1_048_576)]


# ---- DHT (datagrams) ------------------------------------------------------------------------------------------------


class Contact(Struct, frozen=True, array_like=True, tag=60):
    """A node as the DHT's routing table knows it."""

    node_id: Id
    host: Annotated[str, Meta(max_length=64)]
    port: Annotated[int, Meta(ge=1, le=65_535)]


class Ping(Struct, frozen=True, array_like=True, tag=61):
    """Are you there?"""


class Pong(Struct, frozen=True, array_like=True, tag=62):
    """Yes."""


class FindNode(Struct, frozen=True, array_like=True, tag=63):
    """Which contacts nearest to `target` do you know?"""

    target: Id


class Contacts(Struct, frozen=True, array_like=True, tag=64):
    """The nearest contacts, nearest first."""

    contacts: Annotated[list[Contact], Meta(max_length=20)]


class FindValue(Struct, frozen=True, array_like=True, tag=65):
    """Which records of `key` do you hold? `after` pages through writers (authors and subkeys in order)."""

    key: Id
    after: Annotated[bytes, Meta(max_length=256)] = b""


class Values(Struct, frozen=True, array_like=True, tag=66):
    """Records held, as many as fit, and the nearest contacts when there is room; `more` when another page follows."""

    records: Annotated[list[Record], Meta(max_length=16)]
    contacts: Annotated[list[Contact], Meta(max_length=20)]
    more: bool = False


class Store(Struct, frozen=True, array_like=True, tag=67):
    """Keep this record."""

    record: Record


class Stored(Struct, frozen=True, array_like=True, tag=68):
    """Kept, or why not."""

    kept: bool
    reason: Name = ""


LinkMessage: TypeAlias = (
    Hello | Goodbye | Refusal | Gossip | MembersRequest | Members | NeighbourRequest | NeighbourReply | NeighbourDrop | Probe
    | CouncilCall | Commitments | RevealCall | Reveals | CanaryCall | CanaryVotes | FeedbackNotice | Done
    | BirthOffer | BirthReply | GenomeRequest | GenomeChunk | Birth | AnswerRated
    | CellStart | CellMessage | CellReport | CellControl
    | ReceiptRequest | ReceiptReply
    | ReadRows | RowVectors | JudgeRows | RowJudgements
)  # fmt: skip

DatagramMessage: TypeAlias = Ping | Pong | FindNode | Contacts | FindValue | Values | Store | Stored | Refusal


class Frame(Struct, frozen=True, array_like=True):
    """One message on a link. `call` numbers a request; its answer carries the same number in `answer`; both 0: one way."""

    call: Count
    answer: Count
    body: LinkMessage


class Datagram(Struct, frozen=True, array_like=True):
    """One DHT message inside a session frame; `call` and `answer` as in `Frame`."""

    call: Count
    answer: Count
    body: DatagramMessage
