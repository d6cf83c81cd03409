"""The swarm as other parts of this node ask about it: who could sit on a panel, who has room for a child, who lives, who died.

A view of `overlay.members`; it owns nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from node.agents.seams import Departed
from node.council.seams import Candidate
from node.overlay.members import Members, MemberView
from protocol.address import split_address
from protocol.api.agents import AgentInfo
from protocol.api.nodes import PeerInfo, Peers
from protocol.births import Census, Household
from protocol.homes import Standing
from protocol.identity import NodeId, show_id
from protocol.messages import EMBEDDED_CHOICE, AgentSummary, Contact


class SwarmDirectory:
    """Answers from the newest announcements."""

    def __init__(self, members: Members, me: NodeId) -> None:
        self._members = members
        self._me = me

    def candidates(self, kind: str, embedding_dim: int) -> list[Candidate]:
        """Agents of live nodes that answer this kind; `embedding_dim` 0 means of any dimension."""
        return [_candidate(view, agent) for view in self._members.living() for agent in view.agents if _answers(agent, kind, embedding_dim)]

    def alive(self, node_id: NodeId) -> bool:
        view = self._members.get(node_id)
        return view is not None and view.state in ("alive", "suspect")

    def living(self) -> list[NodeId]:
        """Live nodes, this one included, in the order of ids."""
        return [view.node_id for view in self._members.living()]

    def hosts(self) -> dict[NodeId, float]:
        """Nodes not known to be dead, this one included, and the cores that each lends to cells; a suspect gets no more than it has."""
        views = [view for view in self._members.all() if view.state in ("alive", "suspect")]
        return {view.node_id: float(view.announcement.capacity) if view.state == "alive" else 0.0 for view in views}

    def rooms(self) -> list[tuple[NodeId, int]]:
        """Other live nodes that announced room for agents."""
        return [(view.node_id, view.announcement.room) for view in self._members.others() if view.announcement.room > 0]

    def census(self) -> Census:
        """Agents, room and families of every live node, this one included."""
        return Census(_household(view) for view in self._members.living())

    def lives_on(self, node_id: NodeId, agent_id: bytes) -> bool:
        """Whether that node announced that agent."""
        view = self._members.get(node_id)
        return view is not None and any(agent.agent_id == agent_id for agent in view.agents)

    def claims(self) -> Mapping[bytes, Sequence[Standing]]:
        """For every agent of another live node, all who say that it lives with them."""
        found: dict[bytes, list[Standing]] = {}
        for view in self._members.others():
            for agent in view.agents:
                found.setdefault(agent.agent_id, []).append((agent.epoch, view.node_id))
        return found

    def departed(self) -> list[Departed]:
        """Nodes taken for dead; those that said goodbye are not among them."""
        return [
            Departed(view.node_id, self._members.silent_s(view), {agent.agent_id: agent.epoch for agent in view.agents})
            for view in self._members.all()
            if view.state == "dead"
        ]

    def keepers(self) -> list[str]:
        """Addresses of live nodes that redeem join tokens."""
        return [view.announcement.address for view in self._members.others() if view.announcement.keeper and view.announcement.address]

    def agents(self) -> list[AgentInfo]:
        """Every agent of every live node, as announced."""
        return [_agent_info(view, agent) for view in self._members.living() for agent in view.agents]

    def peers(self, neighbours: list[NodeId]) -> Peers:
        views = {view.node_id: view for view in self._members.all()}
        near = [_peer_info(views[node_id]) for node_id in neighbours if node_id in views]
        return Peers(near, [_peer_info(view) for view in views.values()], show_id(self._me))


def _household(view: MemberView) -> Household:
    families = Counter(agent.founder or agent.agent_id for agent in view.agents)
    return Household(view.node_id, len(view.agents), view.announcement.room, families)


def contact_of(view: MemberView) -> Contact:
    """A member as the DHT knows nodes: the same host and number, over UDP. Raises `InvalidRequest` for an address of no form."""
    host, port = split_address(view.announcement.address)
    return Contact(view.node_id, host, port)


def _answers(agent: AgentSummary, kind: str, embedding_dim: int) -> bool:
    if kind == "choice" and embedding_dim:
        return EMBEDDED_CHOICE in agent.kinds
    return kind in agent.kinds and (not embedding_dim or agent.embedding_dim == embedding_dim)


def _candidate(view: MemberView, agent: AgentSummary) -> Candidate:
    return Candidate(
        agent.agent_id,
        view.node_id,
        agent.brain,
        agent.family,
        agent.fitness,
        agent.interactions,
        agent.genome,
        agent.embedding_dim,
    )


def _agent_info(view: MemberView, agent: AgentSummary) -> AgentInfo:
    return AgentInfo(
        show_id(agent.agent_id),
        show_id(view.node_id),
        agent.brain,
        agent.generation,
        show_id(agent.parent_id) if agent.parent_id else None,
        agent.fitness,
        agent.interactions,
        agent.born_at,
        agent.genome.hex(),
        family=show_id(agent.founder or agent.agent_id),
        epoch=agent.epoch,
    )


def _peer_info(view: MemberView) -> PeerInfo:
    rtt = round(view.rtt_ms, 3) if view.rtt_ms is not None else None
    return PeerInfo(show_id(view.node_id), view.announcement.name, view.announcement.address, view.shown, rtt, len(view.agents))
