"""`moot lab life`: the seed experiment, in this process or over real daemons."""

from __future__ import annotations

import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protocol.errors import NotAvailable

if TYPE_CHECKING:
    from cli.child import ChildDaemon
    from protocol.api.agents import AgentInfo

app = typer.Typer(add_completion=False, help="Experiments.")

DIM = 16
SETTLE_S = 30.0


@app.callback()
def lab() -> None:
    """Experiments that the swarm grew from."""


@app.command("life")
def life(
    agents: Annotated[int, typer.Option(min=1, max=64, help="Agents at the start.")] = 2,
    questions: Annotated[int, typer.Option(min=1, max=100_000, help="Questions, each to one random agent.")] = 20,
    threshold: Annotated[int, typer.Option(min=1, max=1_000, help="Answers after which an agent divides.")] = 5,
    mutation: Annotated[float, typer.Option(min=0.0, max=0.5, help="Standard deviation of a child's noise.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Equal seeds replay equal lives (in one process).")] = 1,
    daemons: Annotated[int, typer.Option(min=0, max=8, help="0: in this process; otherwise over so many daemons on this machine.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line an event.")] = False,
) -> int:
    """Agents answer questions and divide: each birth, the population every 5 questions, the memories at the end."""
    if daemons:
        with tempfile.TemporaryDirectory(prefix="moot-life-") as scratch, ExitStack() as stack:
            return Life(Path(scratch), stack, daemons, agents, threshold, mutation, as_json).run(questions, random.Random(seed))
    from node.agents.seed import replay
    from protocol.api.agents import SeedBirth, SeedStep

    for event in replay(agents, questions, threshold, mutation, random.Random(seed)):
        if as_json:
            import msgspec

            sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
        elif isinstance(event, SeedBirth):
            sys.stdout.write(f"question {event.question:>4}: agent {event.parent} divides, agent {event.child} is born\n")
        elif isinstance(event, SeedStep):
            sys.stdout.write(f"question {event.question:>4}: population {event.population}\n")
        else:
            norms = ", ".join(f"{norm:.3f}" for norm in event.memory_norms)
            sys.stdout.write(f"final population {event.population}; memory norms {norms}\n")
    return 0


class Life:
    """The same over daemons: agents start on the first of them and their children live wherever there is room."""

    def __init__(self, scratch: Path, stack: ExitStack, count: int, agents: int, threshold: int, mutation: float, as_json: bool) -> None:
        self._as_json = as_json
        self._threshold = threshold
        self._mutation = mutation
        self._founders = agents
        self._daemons = self._start(scratch, stack, count)
        self._known: set[str] = set()

    def run(self, questions: int, rng: random.Random) -> int:
        from protocol.api.council import ConsensusAnswer, ConsensusRequest

        client = self._daemons[0].client
        self._births()
        for number in range(1, questions + 1):
            embedding = [rng.gauss(0.0, 1.0) for _ in range(DIM)]
            client.post("/v1/consensus", ConsensusAnswer, ConsensusRequest(embedding=embedding, agents=1, quorum=1, brain="tiny:mlp"))
            agents = self._settle(number)
            if number % 5 == 0:
                self._say("step", question=number, population=len(self._known))
        expected = self._founders + self._due(agents)
        machines = len({agent.node_id for agent in agents if agent.parent_id})
        self._say("end", population=len(agents), predicted=expected, machines_with_children=machines, memory_norms=self._norms())
        return 0 if len(agents) == expected else 1

    def _start(self, scratch: Path, stack: ExitStack, count: int) -> list[ChildDaemon]:
        from cli.child import ChildDaemon
        from protocol.api.nodes import TokenReply, TokenRequest

        daemons: list[ChildDaemon] = []
        settings = scratch / "life.toml"
        settings.write_text(f"division_threshold = {self._threshold}\ntiny_mutation = {self._mutation!r}\n", encoding="utf-8")
        common = ["--host", "127.0.0.1", "--port", "0", "--api-port", "0", "--config", str(settings)]
        join: list[str] = []
        for number in range(count):
            brain = ["--brain", f"tiny:mlp={self._founders if number == 0 else 0}"]
            daemon = ChildDaemon(scratch / f"n{number}", ["--name", f"life{number}", *common, *brain, *join])
            stack.callback(daemon.stop)
            daemon.wait_ready()
            daemons.append(daemon)
            if number == 0 and count > 1:
                token = daemon.client.post("/v1/tokens", TokenReply, TokenRequest(ttl_s=600, uses=count))
                join = ["--bootstrap", daemon.address, "--token", token.token]
        return daemons

    def _agents(self) -> list[AgentInfo]:
        """Everybody, each as its own node tells it."""
        from protocol.api.agents import AgentInfo

        return [agent for daemon in self._daemons for agent in daemon.client.get("/v1/agents", list[AgentInfo])]

    def _due(self, agents: list[AgentInfo]) -> int:
        return sum(agent.interactions // self._threshold for agent in agents)

    def _births(self, question: int = 0) -> list[AgentInfo]:
        agents = self._agents()
        for agent in agents:
            if agent.agent_id not in self._known and agent.parent_id:
                self._say("birth", question=question, parent=agent.parent_id[:8], child=agent.agent_id[:8], node=agent.node_id[:8])
            self._known.add(agent.agent_id)
        return agents

    def _settle(self, question: int) -> list[AgentInfo]:
        """Wait until every child that is due lives, and every daemon has heard of it: the next one goes where there is most room then."""
        import threading

        pause = threading.Event()
        for _ in range(int(SETTLE_S * 20)):
            agents = self._births(question)
            if len(agents) == self._founders + self._due(agents) and all(heard == len(agents) for heard in self._heard()):
                return agents
            pause.wait(0.05)
        due, heard = self._founders + self._due(agents), self._heard()
        raise NotAvailable(f"After {SETTLE_S:.0f} s there are {len(agents)} agents, {due} were due, and the daemons know of {heard}.")

    def _heard(self) -> list[int]:
        """Of how many agents each daemon knows."""
        from protocol.api.nodes import Peers

        return [sum(member.agents for member in daemon.client.get("/v1/peers", Peers).members) for daemon in self._daemons]

    def _norms(self) -> list[float]:
        """Length of every agent's memory, daemon by daemon."""
        from node.agents.seed import memory_norm
        from protocol.api.agents import AgentFile, AgentInfo

        found = []
        for daemon in self._daemons:
            for agent in daemon.client.get("/v1/agents", list[AgentInfo]):
                found.append(memory_norm(daemon.client.get(f"/v1/agents/{agent.agent_id}/export", AgentFile)))
        return found

    def _say(self, what: str, **figures: int | str | list[float]) -> None:
        if self._as_json:
            import json

            sys.stdout.write(json.dumps({"type": what, **figures}) + "\n")
        else:
            words = {name: " ".join(map(str, value)) if isinstance(value, list) else value for name, value in figures.items()}
            sys.stdout.write(f"{what}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in words.items()) + "\n")
        sys.stdout.flush()
