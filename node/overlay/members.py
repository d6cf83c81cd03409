"""The membership table: the newest announcement of every node, and whether it still lives.

Each node says who it is and which agents it hosts every `ANNOUNCE_S` seconds and whenever that changes. A node that is silent for
three periods is suspect, after six dead; a link lost without a goodbye, or a probe without an answer, makes it suspect at once.
First form: each node judges by what it sees itself; SWIM's indirect probes and refutations come later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from node.runtime import Runtime
from protocol.codec import decode_announcement
from protocol.identity import Member, NodeId
from protocol.messages import AgentSummary, Announcement, Gossip

ANNOUNCE_S = 10.0
SUSPECT_AFTER_S = 3 * ANNOUNCE_S
DEAD_AFTER_S = 6 * ANNOUNCE_S
FORGET_AFTER_S = 86_400.0
MAX_MEMBERS = 4_096
TOPIC = "member"

State = Literal["alive", "suspect", "dead", "left"]
Shown = Literal["alive", "suspect", "dead", "stopped", "left"]


@dataclass(slots=True)
class MemberView:
    """What this node knows about one node of the swarm."""

    member: Member
    announcement: Announcement
    gossip: Gossip
    heard_at: float
    """Monotonic seconds of the newest sign of life."""
    state: State = "alive"
    rtt_ms: float | None = None
    stopped: bool = False
    """The newest that it said is that it stops, and it has not been met since."""

    @property
    def node_id(self) -> NodeId:
        return self.member.node_id

    @property
    def shown(self) -> Shown:
        """The state as people read it: a node that said it would be back is no failure."""
        return "stopped" if self.state == "dead" and self.stopped else self.state

    @property
    def agents(self) -> list[AgentSummary]:
        return self.announcement.agents


class Members:
    """The table and its rules; it does no IO."""

    def __init__(self, runtime: Runtime, me: NodeId) -> None:
        self._runtime = runtime
        self._me = me
        self._views: dict[NodeId, MemberView] = {}
        self._watchers: list[Callable[[MemberView, State | None], None]] = []

    def watch(self, watcher: Callable[[MemberView, State | None], None]) -> None:
        """`watcher(view, old_state)` on every change of state; `old_state` None for a node seen for the first time."""
        self._watchers.append(watcher)

    async def deliver(self, origin: Member, gossip: Gossip) -> None:
        """A `member` statement came in (already verified)."""
        announcement = decode_announcement(gossip.body)
        old = self._views.get(origin.node_id)
        if old is not None and old.gossip.sequence >= gossip.sequence:
            return
        if old is None and len(self._views) >= MAX_MEMBERS:
            self._forget_one()
        view = MemberView(origin, announcement, gossip, self._runtime.monotonic(), rtt_ms=old.rtt_ms if old else None)
        view.state = "left" if announcement.leaving else "dead" if announcement.stopping else "alive"
        view.stopped = announcement.stopping
        self._views[origin.node_id] = view
        if old is None or old.state != view.state:
            self._tell(view, old.state if old else None)

    def get(self, node_id: NodeId) -> MemberView | None:
        return self._views.get(node_id)

    def all(self) -> list[MemberView]:
        """Every node known, this one included, in the order of ids."""
        self.age()
        return [self._views[node_id] for node_id in sorted(self._views)]

    def living(self) -> list[MemberView]:
        """Nodes worth asking: alive, this one included."""
        return [view for view in self.all() if view.state == "alive"]

    def others(self) -> list[MemberView]:
        return [view for view in self.living() if view.node_id != self._me]

    def silent_s(self, view: MemberView) -> float:
        """Seconds since its newest sign of life."""
        return self._runtime.monotonic() - view.heard_at

    def address_of(self, node_id: NodeId) -> str | None:
        view = self._views.get(node_id)
        return view.announcement.address or None if view is not None else None

    def seen(self, node_id: NodeId, rtt_ms: float | None = None) -> None:
        """A sign of life that is not an announcement: a link that came up, a probe answered."""
        view = self._views.get(node_id)
        if view is None:
            return
        view.heard_at = self._runtime.monotonic()
        if rtt_ms is not None:
            view.rtt_ms = rtt_ms
        if view.state != "left":
            self._change(view, "alive")

    def met(self, node_id: NodeId) -> None:
        """A link came up: whatever it said when it stopped is past."""
        view = self._views.get(node_id)
        if view is not None:
            view.stopped = False
            self.seen(node_id)

    def doubt(self, node_id: NodeId, verdict: Literal["suspect", "dead"]) -> None:
        """A failure was seen: a lost link, an unanswered probe or call."""
        view = self._views.get(node_id)
        if view is not None and node_id != self._me and view.state in ("alive", "suspect"):
            self._change(view, verdict)

    def age(self) -> None:
        """Silence turns into suspicion, suspicion into death, and death is forgotten in the end."""
        now = self._runtime.monotonic()
        for view in list(self._views.values()):
            silent = now - view.heard_at
            if view.node_id == self._me:
                continue
            if silent > FORGET_AFTER_S:
                del self._views[view.node_id]
            elif silent > DEAD_AFTER_S and view.state in ("alive", "suspect"):
                self._change(view, "dead")
            elif silent > SUSPECT_AFTER_S and view.state == "alive":
                self._change(view, "suspect")

    def _change(self, view: MemberView, state: State) -> None:
        old, view.state = view.state, state
        if old != state:
            self._tell(view, old)

    def _tell(self, view: MemberView, old: State | None) -> None:
        for watcher in self._watchers:
            watcher(view, old)

    def _forget_one(self) -> None:
        """Room for a newcomer: the node that has been silent longest goes, this one never."""
        candidates = [view for view in self._views.values() if view.node_id != self._me]
        if candidates:
            oldest = min(candidates, key=lambda view: view.heard_at)
            del self._views[oldest.node_id]
