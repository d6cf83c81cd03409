"""A swarm's root and keeper in memory: credentials for tests, in virtual and in real time."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from node.runtime import Runtime
from protocol.identity import LEAF_TTL, Credentials, NodeKey, issue_keeper, issue_leaf, issue_root


class Swarm:
    """One root, one keeper; keys come from the runtime's randomness, dates from its clock."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.root_key, self.keeper_key = self.new_key(), self.new_key()
        self.root = issue_root(self.root_key, serial=1, now=runtime.now())
        self.keeper = issue_keeper(self.root_key, self.root, self.keeper_key.public, serial=2, now=runtime.now())

    def new_key(self) -> NodeKey:
        return NodeKey.from_seed(self._runtime.token_bytes(32))

    def credentials(
        self, key: NodeKey | None = None, *, keeper: bool = False, age_s: float = 0.0, ttl: timedelta = LEAF_TTL
    ) -> Credentials:
        """Membership for a key (a new one by default); `keeper` marks a node that redeems tokens. Issued `age_s` seconds ago."""
        key = key or self.new_key()
        serial = int.from_bytes(hashlib.sha256(key.public).digest()[:8], "big") >> 1
        leaf = issue_leaf(
            self.keeper_key, self.keeper, key.public, is_keeper=keeper, serial=serial, now=self._runtime.now() - age_s, ttl=ttl
        )
        return Credentials(key, leaf, self.keeper, self.root)
