"""Living agents over real daemons: a division that a kill interrupts, agents that move when their node leaves, and those of a dead node."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cli.child import ChildDaemon
from protocol.api.agents import AgentInfo
from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.api.nodes import LeaveReply, Peers
from tests.live.conftest import MEET_S, LiveSwarm, wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

THRESHOLD = 5
PHASES = {"before the offer": 0.0, "during the handover": 0.012, "after the birth": 0.25}
"""Seconds from the answer that makes an agent ripe to the kill."""
SETTLED_S = 200.0
"""A parent asks a host that fell silent for its word for two minutes."""


@pytest.fixture
def three(live: LiveSwarm, tmp_path: Path) -> LiveSwarm:
    """One founder on the first of three daemons; the others have room."""
    settings = tmp_path / "life.toml"
    settings.write_text(f"division_threshold = {THRESHOLD}\n", encoding="utf-8")
    live.nodes.append(live.launch("n0", "--brain", "tiny:mlp=1", "--config", str(settings)))
    live.nodes[0].wait_ready()
    invitation = ("--bootstrap", live.nodes[0].address, "--token", live.token(2))
    for number in range(1, 3):
        live.nodes.append(live.launch(f"n{number}", "--brain", "tiny:mlp=0", "--config", str(settings), *invitation))
    for node in live.nodes[1:]:
        node.wait_ready()
    live.wait(lambda: live.all_meet(agents=0), "the nodes to meet")  # who knows of no room keeps its child at home
    live.wait(lambda: len(everybody(live.nodes[:1], "swarm")) == 1, "the founder to be announced")
    return live


def everybody(nodes: list[ChildDaemon], scope: str = "node") -> list[AgentInfo]:
    return [agent for node in nodes for agent in node.client.get(f"/v1/agents?scope={scope}", list[AgentInfo])]


def alive(node: ChildDaemon) -> list[str]:
    return [member.node_id for member in node.client.get("/v1/peers", Peers).members if member.state == "alive"]


def ask(node: ChildDaemon, times: int) -> None:
    """Questions that one agent answers."""
    for number in range(times):
        request = ConsensusRequest(embedding=[0.1 * number] * 16, agents=1, quorum=1, brain="tiny:mlp", deadline_s=30.0)
        node.client.post("/v1/consensus", ConsensusAnswer, request)


def due(agents: list[AgentInfo]) -> int:
    return 1 + sum(agent.interactions // THRESHOLD for agent in agents)


@pytest.mark.parametrize("victim", ["parent", "hosts"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_division_that_a_kill_interrupts_gives_one_child(three: LiveSwarm, phase: str, victim: str, tmp_path: Path) -> None:
    """SIGKILL to the parent's daemon, or to one that has room, at three phases; started again, as many agents live as are due."""
    ask(three.nodes[0], THRESHOLD)
    threading.Event().wait(PHASES[phase])
    number = 0 if victim == "parent" else 1
    three.nodes[number].kill()
    settings = tmp_path / "life.toml"
    brain = "tiny:mlp=1" if number == 0 else "tiny:mlp=0"
    again = three.launch(f"n{number}", "--brain", brain, "--config", str(settings))
    again.wait_ready()
    three.nodes[number] = again
    wait_until(lambda: len(everybody(three.nodes)) == due(everybody(three.nodes)), "every child that is due", SETTLED_S)
    agents = everybody(three.nodes)
    assert len({agent.agent_id for agent in agents}) == len(agents) == due(agents)
    assert len([agent for agent in agents if agent.parent_id is None]) == 1


def test_a_node_that_leaves_takes_no_agent_with_it(three: LiveSwarm) -> None:
    ask(three.nodes[0], THRESHOLD)
    wait_until(lambda: len(everybody(three.nodes)) == 2, "the child")
    before = {agent.agent_id: agent for agent in everybody(three.nodes)}
    here = len(everybody(three.nodes[:1]))
    reply = three.nodes[0].client.post("/v1/leave", LeaveReply)
    assert reply == LeaveReply(True, here, 0)
    assert three.nodes[0].process.wait(MEET_S) == 0
    after = everybody(three.nodes[1:])
    assert sorted(agent.agent_id for agent in after) == sorted(before)
    assert {agent.agent_id: agent.interactions for agent in after} == {name: agent.interactions for name, agent in before.items()}


def test_sigterm_moves_the_agents_away_where_it_means_to_leave(three: LiveSwarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOT_LEAVE_ON_STOP", "true")
    fourth = three.launch("n3", "--brain", "tiny:mlp=2", "--bootstrap", three.nodes[0].address, "--token", three.token())
    fourth.wait_ready()
    wait_until(lambda: len(everybody(three.nodes[:1], "swarm")) == 3, "its agents to be known")
    wait_until(lambda: len(alive(fourth)) == 4, "room to be known to it")
    assert fourth.stop() == 0
    assert len(everybody(three.nodes)) == 3


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_agents_of_a_daemon_that_stays_dead_live_on_elsewhere_and_its_return_doubles_none(three: LiveSwarm, tmp_path: Path) -> None:
    ask(three.nodes[0], THRESHOLD)
    wait_until(lambda: len(everybody(three.nodes)) == 2, "the child")
    before = sorted(agent.agent_id for agent in everybody(three.nodes))
    threading.Event().wait(40.0)  # the first checkpoint is made within a round of the others having joined
    three.nodes[0].kill()
    wait_until(lambda: sorted(agent.agent_id for agent in everybody(three.nodes[1:])) == before, "the founder to be revived", 300.0)
    again = three.launch("n0", "--brain", "tiny:mlp=0", "--config", str(tmp_path / "life.toml"))
    again.wait_ready()
    everyone = [again, *three.nodes[1:]]
    wait_until(lambda: sorted(agent.agent_id for agent in everybody(everyone)) == before, "the old copy to give way")


def test_the_seed_experiment_over_four_daemons_ends_as_its_rule_predicts_and_spreads_the_children() -> None:
    command = [sys.executable, "-m", "cli", "lab", "life", "--daemons", "4", "--json"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert told.returncode == 0, told.stderr
    events = [json.loads(line) for line in told.stdout.splitlines()]
    end, births = events[-1], [event for event in events if event["type"] == "birth"]
    assert end["population"] == end["predicted"] == 2 + len(births)
    assert [event["population"] for event in events if event["type"] == "step"][-1] == end["population"]
    assert end["machines_with_children"] == min(3, len(births))
    assert len(end["memory_norms"]) == end["population"]
    assert max(end["memory_norms"]) > 0
