"""Every message two nodes exchange, one struct each: a file for each conversation, this table for all.

Structs are MessagePack arrays whose first item is the tag, so a field may be appended with a default and never removed or
reordered. **Tags are append-only**: a number once used is never used for anything else (`tests/unit/protocol/test_messages.py`
pins the table).

Links carry `Frame`s (mutually authenticated TLS, so a frame needs no signature of its own); datagrams carry the DHT's messages
inside session frames. What is shown to third parties (announcements, records, votes) is signed in itself.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from protocol.messages.blobs import MAX_BLOB, MAX_CHUNK, BlobChunk, BlobOffer, BlobRequest
from protocol.messages.cells import CellBundle, CellControl, CellMessage, CellReport, CellStart, HostLinks
from protocol.messages.council import (
    CanaryCall,
    CanaryVotes,
    Commitments,
    CouncilCall,
    Done,
    FeedbackNotice,
    ReceiptReply,
    ReceiptRequest,
    RevealCall,
    Reveals,
)
from protocol.messages.dht import Contact, Contacts, FindNode, FindValue, Ping, Pong, Store, Stored, Values
from protocol.messages.fields import Address, Count, Hash, Id, Name, PublicKey, Reason, Signature
from protocol.messages.labelling import JudgeRows, LabelNews, LabelSync, ProjectMark, ReadRows, RowJudgements, RowVectors
from protocol.messages.life import AnswerRated, Birth, BirthOffer, BirthReply, GenomeChunk, GenomeRequest
from protocol.messages.links import Goodbye, Hello, Refusal
from protocol.messages.overlay import (
    EMBEDDED_CHOICE,
    AgentSummary,
    Announcement,
    Gossip,
    Members,
    MembersRequest,
    NeighbourDrop,
    NeighbourReply,
    NeighbourRequest,
    Probe,
)
from protocol.messages.runs import RunClaim, RunHome

PROTOCOL_VERSION = 1

LinkMessage: TypeAlias = (
    Hello | Goodbye | Refusal | Gossip | MembersRequest | Members | NeighbourRequest | NeighbourReply | NeighbourDrop | Probe
    | CouncilCall | Commitments | RevealCall | Reveals | CanaryCall | CanaryVotes | FeedbackNotice | Done
    | BirthOffer | BirthReply | GenomeRequest | GenomeChunk | Birth | AnswerRated
    | CellStart | CellMessage | CellReport | CellControl
    | ReceiptRequest | ReceiptReply
    | ReadRows | RowVectors | JudgeRows | RowJudgements | LabelSync | LabelNews
    | BlobOffer | BlobRequest | BlobChunk
    | CellBundle | HostLinks | RunClaim | RunHome
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


__all__ = [
    "EMBEDDED_CHOICE",
    "MAX_BLOB",
    "MAX_CHUNK",
    "PROTOCOL_VERSION",
    "Address",
    "AgentSummary",
    "Announcement",
    "AnswerRated",
    "Birth",
    "BirthOffer",
    "BirthReply",
    "BlobChunk",
    "BlobOffer",
    "BlobRequest",
    "CanaryCall",
    "CanaryVotes",
    "CellBundle",
    "CellControl",
    "CellMessage",
    "CellReport",
    "CellStart",
    "Commitments",
    "Contact",
    "Contacts",
    "CouncilCall",
    "Count",
    "Datagram",
    "DatagramMessage",
    "Done",
    "FeedbackNotice",
    "FindNode",
    "FindValue",
    "Frame",
    "GenomeChunk",
    "GenomeRequest",
    "Goodbye",
    "Gossip",
    "Hash",
    "Hello",
    "HostLinks",
    "Id",
    "JudgeRows",
    "LabelNews",
    "LabelSync",
    "LinkMessage",
    "Members",
    "MembersRequest",
    "Name",
    "NeighbourDrop",
    "NeighbourReply",
    "NeighbourRequest",
    "Ping",
    "Pong",
    "Probe",
    "ProjectMark",
    "PublicKey",
    "ReadRows",
    "Reason",
    "ReceiptReply",
    "ReceiptRequest",
    "Refusal",
    "RevealCall",
    "Reveals",
    "RowJudgements",
    "RowVectors",
    "RunClaim",
    "RunHome",
    "Signature",
    "Store",
    "Stored",
    "Values",
]
