"""Which figures of a node `/metrics` shows, and what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.metrics import Metrics

if TYPE_CHECKING:
    from node.parts import Parts


def figures(parts: Parts) -> Metrics:
    """Gauges and counters of one node."""
    return Metrics({
        "questions": ("Questions being convened here.", lambda: parts.council.asking),
        **parts.council.queues(),
        "canaries_hidden": ("Hidden canary questions of this node.", lambda: len(parts.council.examiner)),
        "agents": ("Agents living here.", lambda: len(parts.host.summaries())),
        "members": ("Live nodes known, this one included.", lambda: len(parts.members.living())),
        "neighbours": ("Neighbours in the active view.", lambda: len(parts.neighbours.view)),
        "links": ("Live links.", lambda: len(parts.exchange.linked)),
        "runs_held": ("Runs of other nodes whose checkpoints are watched here.", lambda: len(parts.succession)),
        "dht_contacts": ("Contacts in the routing table.", lambda: parts.dht.stats.contacts),
        "dht_records": ("Records held.", lambda: parts.dht.stats.records),
        "blobs": ("Content-addressed blobs held.", lambda: len(parts.blobs)),
        "blob_bytes": ("Their bytes.", lambda: parts.blobs.total),
    }, {
        "messages_refused": ("Messages from peers that broke a rule.", lambda: parts.exchange.dropped),
        "events_missed": ("Events that slow listeners of /v1/events did not get.", lambda: parts.events.missed),
        "cell_messages": ("Messages of cells sent to other nodes.", lambda: parts.post.sent),
        "cell_bytes": ("Their bytes.", lambda: parts.post.sent_bytes),
        "cell_frames": ("The frames that carried them.", lambda: parts.post.frames),
        "cell_tokens": ("Tokens read by the brains that cells use.", lambda: parts.minds.tokens_read),
    })  # fmt: skip
