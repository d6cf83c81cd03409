"""Membership proofs that were checked already: one chain verification a certificate, not one a message."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from node.runtime import Runtime
from protocol.errors import BadSignature
from protocol.identity import Member, NodeId, verify_chain

MAX_PROOFS = 1_024
KEEP_S = 3_600.0
"""A proof is checked again after this long: a keeper's certificate may have expired meanwhile."""


class Proofs:
    """Verifies chains against one root and remembers the outcome, least recently used first out."""

    def __init__(self, runtime: Runtime, root: bytes) -> None:
        self._runtime = runtime
        self._root = root
        self._known: OrderedDict[tuple[bytes, ...], tuple[Member, float]] = OrderedDict()

    def member(self, chain: Sequence[bytes], expect: NodeId) -> Member:
        """Who the chain says it is, if that is `expect`. Raises `BadSignature`."""
        now, key = self._runtime.now(), tuple(chain)
        known = self._known.get(key)
        if known is not None and now < min(known[0].expires_at, known[1] + KEEP_S):
            member = known[0]
            self._known.move_to_end(key)
        else:
            self._known.pop(key, None)
            member = verify_chain(chain, self._root, now)
            self._known[key] = (member, now)
            if len(self._known) > MAX_PROOFS:
                self._known.popitem(last=False)
        if member.node_id != expect:
            raise BadSignature("signed by another node than the one that sent it")
        return member
