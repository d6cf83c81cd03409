"""This node, the others, and who lives on them."""

from __future__ import annotations

from msgspec import Struct

from node.http.routes import Call
from node.http.services import AgentScope
from protocol.api.agents import AgentFile, AgentInfo, DescentInfo
from protocol.api.nodes import NodeInfo, Peers


class AgentsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`?scope=swarm` lists the agents of every node known."""

    scope: AgentScope = "node"


async def node(call: Call[None]) -> NodeInfo:
    return call.services.node.node_info()


async def peers(call: Call[None]) -> Peers:
    return call.services.node.peers()


async def agents(call: Call[AgentsQuery]) -> list[AgentInfo]:
    return call.services.node.agents(call.body.scope)


async def lineage(call: Call[None]) -> list[DescentInfo]:
    return call.services.node.lineage(call.path("id"))


async def export_agent(call: Call[None]) -> AgentFile:
    return call.services.node.export_agent(call.path("id"))


async def import_agent(call: Call[AgentFile]) -> AgentInfo:
    return await call.services.node.import_agent(call.body)
