"""What people read: answers and runs as rich renderables. The demo uses these too.

Agreement (how many said the same) and confidence (how often such answers were right) are printed apart, because they are not the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import structs
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.tables import facts, short, show_date, show_duration, show_value, state_style, table
from protocol.api.agents import AgentInfo
from protocol.api.council import ConsensusAnswer, Missing, VoteInfo
from protocol.api.nodes import NodeInfo, PeerInfo, Peers
from protocol.api.runs import RunInfo


def render_answer(answer: ConsensusAnswer, names: Mapping[str, str] | None = None) -> RenderableType:
    """A table of votes, then the answer, agreement, confidence with its basis, dissent, who is missing, the receipt.

    A labelling project's answer says so: its heads vote, and there is no receipt. `names`: node id -> what people call the node.
    """
    lines: list[RenderableType] = []
    if answer.votes:
        chosen = show_value(answer.answer) if answer.status == "answered" else None
        votes = _votes(answer.votes, chosen, names or {}) if answer.project is None else _heads(answer.votes, chosen)
        lines += [votes, Text()]
    lines.append(facts(_answer_rows(answer)))
    return Group(*lines)


def render_run(run: RunInfo) -> RenderableType:
    """One line about the run, then a grid of scores for the last iteration and one row an iteration."""
    head = Text.assemble(
        ("run ", "dim"), run.run_id, ("  task ", "dim"), run.task, ("  state ", "dim"), (run.state, state_style(run.state))
    )
    lines: list[RenderableType] = [head]
    if run.detail:
        lines.append(Text(run.detail, "dim"))
    if run.state in ("pending", "running", "paused"):
        lines += [Text(how_far(run)), ProgressBar(total=1.0, completed=run.progress, width=60)]
    elif run.best is not None:
        lines.append(Text(f"best {run.best:.12g}", "green"))
    if run.iterations:
        lines += [_iterations(run), grid_of(run)]
    return Group(*lines)


def how_far(run: RunInfo) -> str:
    """Iterations, the best score, and how long it will take: `8 iterations, 40%, best 0.129331793710, about 12 s left`."""
    newest = run.iterations[-1].iteration if run.iterations else 0
    parts = [f"{newest} iteration{'s' * (newest != 1)}", f"{100.0 * run.progress:.0f}%"]
    if run.best is not None:
        parts.append(f"best {run.best:.12g}")
    if run.eta_s is not None:
        parts.append(f"about {show_duration(run.eta_s)} left")
    return ", ".join(parts)


def render_status(node: NodeInfo) -> RenderableType:
    """Who this node is and how it does."""
    capacity = f"  of {node.capacity}: {node.capacity_reason}" if node.capacity_reason else ""
    rows: list[tuple[str, RenderableType]] = [
        ("node", Text.assemble(node.name, (f"  {node.node_id}", "dim"))),
        ("swarm", Text(node.swarm_id)),
        ("address", Text(node.address)),
        ("state", Text.assemble(("ready", "green") if node.ready else ("starting", "yellow"), (f"  {_company(node)}", "dim"))),
        ("up", Text(show_duration(node.uptime_s))),
        ("roles", Text(", ".join(node.roles) or "member")),
        ("agents", Text.assemble(str(node.agents), (capacity, "dim"))),
    ]
    rows += [
        ("brain", Text.assemble(brain.name, (f"  {brain.state}", state_style(brain.state)), (f"  {brain.detail}", "dim")))
        for brain in node.brains
    ]
    if node.embedder:
        rows.append(("memory", Text.assemble(f"found by {node.embedder}", ("  not here", "yellow") if node.embedder_problem else "")))
    if node.measured < node.agents:
        answered = f"{node.measured} of {node.agents} agents have answered them; until most have, confidence is unknown"
        rows.append(("canaries", Text(answered)))
    rows += [("note", Text(notice, "yellow")) for notice in node.notices]
    rows.append(("version", Text(node.version)))
    return facts(rows)


def _company(node: NodeInfo) -> str:
    """Whom it is with: a node that is alone answers too, but only with its own agents."""
    if not node.neighbours:
        return "alone: no other node answers it"
    return f"{node.neighbours} neighbour{'s' * (node.neighbours != 1)}, {node.members} live nodes"


def render_peers(peers: Peers) -> RenderableType:
    """Every member known; neighbours are marked."""
    near = {peer.node_id for peer in peers.neighbours}
    return table(
        ["name", "node", "address", "state", "rtt ms", "agents", "neighbour"],
        [
            [
                peer.name,
                peer.node_id,
                peer.address,
                Text(peer.state, state_style(peer.state)),
                _ms(peer),
                str(peer.agents),
                "this node" if peer.node_id == peers.node_id else "yes" * (peer.node_id in near),
            ]
            for peer in sorted(peers.members, key=lambda peer: (peer.state, peer.name))
        ],
        right={4, 5},
        empty="No other member is known: `moot token create` prints how another machine joins.",
    )


def render_agents(agents: Sequence[AgentInfo]) -> RenderableType:
    """One row an agent."""
    return table(
        ["agent", "node", "brain", "generation", "parent", "family", "fitness", "interactions"],
        [
            [
                agent.agent_id,
                short(agent.node_id),
                agent.brain,
                str(agent.generation),
                short(agent.parent_id or ""),
                f"{agent.family_share:.0%} of the swarm" if agent.family_share is not None else "",
                f"{agent.fitness:.2f}",
                str(agent.interactions),
            ]
            for agent in agents
        ],
        right={3, 6, 7},
        empty="No agents: start a node with a brain, for example `moot up --brain tiny`.",
    )


def render_family(agents: Sequence[AgentInfo]) -> RenderableType:
    """Agents below their parents; a parent that no longer lives leaves its children at the top."""
    from rich.tree import Tree

    drawn = Tree("agents")
    known = {agent.agent_id for agent in agents}
    waiting = [(drawn, agent) for agent in sorted(agents, key=lambda one: one.born_at, reverse=True) if agent.parent_id not in known]
    seen: set[str] = set()
    while waiting:
        above, agent = waiting.pop()
        if agent.agent_id in seen:
            continue  # a node may announce anything, also a circle
        seen.add(agent.agent_id)
        label = f"{agent.agent_id[:8]} {agent.brain} on {short(agent.node_id)}, generation {agent.generation}, fitness {agent.fitness:.2f}"
        branch = above.add(Text(label))
        waiting += [(branch, child) for child in agents if child.parent_id == agent.agent_id]
    return drawn


def render_agent(agent: AgentInfo) -> RenderableType:
    """Everything the API says about one agent."""
    said = structs.asdict(agent) | {"born_at": show_date(agent.born_at)}
    return facts([(name.replace("_", " "), Text(str(value))) for name, value in said.items() if value is not None])


def _answer_rows(answer: ConsensusAnswer) -> list[tuple[str, RenderableType]]:
    if answer.status == "answered":
        full = answer.answer if isinstance(answer.answer, str) else show_value(answer.answer)
        rows: list[tuple[str, RenderableType]] = [("answer", Text(full, "bold green"))]
    else:
        rows = [("abstained", Text(answer.reason or "", "bold yellow"))]
    if answer.detail:
        rows.append(("note", Text(answer.detail, "yellow")))
    if answer.memory_problem:
        rows.append(("memory", Text(f"not asked: {answer.memory_problem}", "yellow")))
    if answer.agreement is not None:
        votes = f"{len(answer.votes)} votes of a panel of {answer.panel}, quorum {answer.quorum}"
        cast = votes if answer.project is None else f"the project's {len(answer.votes)} heads voted"
        rows.append(("agreement", Text(f"{answer.agreement:.0%} of the weight; {cast}")))
    confidence = "unknown" if answer.confidence is None else f"{answer.confidence:.0%}"
    rows.append(("confidence", Text.assemble((confidence, "bold"), (f"  {answer.basis.text}", "dim"))))
    if answer.dissent:
        named = [(show_value(v.answer), short(v.agent_id) if answer.project is None else v.agent_id) for v in answer.dissent]
        rows.append(("dissent", Text("; ".join(f"{said} ({who})" for said, who in named))))
    if answer.missing:
        rows.append(("missing", Text(_missing(answer.missing))))
    if answer.project is not None:
        rows.append(("time", Text(f"{answer.elapsed_ms:.0f} ms")))
        rows.append(("project", Text.assemble(answer.project, ("  its own answer: no panel was asked, so there is no receipt", "dim"))))
        return rows
    rows.append(("time", Text(f"{answer.elapsed_ms:.0f} ms, of which the slowest brain {answer.brain_ms:.0f} ms")))
    rows.append(("receipt", Text(answer.id)))
    return rows


def _missing(missing: Sequence[Missing]) -> str:
    """Who did not vote, by reason."""
    by_reason: dict[str, list[str]] = {}
    for one in missing:
        by_reason.setdefault(one.reason, []).append(f"{short(one.agent_id)} on {short(one.node_id)}")
    return "; ".join(f"{', '.join(agents)}: {reason}" for reason, agents in by_reason.items())


def _votes(votes: Sequence[VoteInfo], chosen: str | None, names: Mapping[str, str]) -> RenderableType:
    rows: list[list[str | Text]] = []
    for vote in sorted(votes, key=lambda vote: (names.get(vote.node_id, vote.node_id), vote.brain)):
        said = show_value(vote.answer)
        style = "dim" if vote.answer is None else "green" if said == chosen else "red" if chosen is not None else ""
        probability = "" if vote.probability is None else f"{vote.probability:.2f}"
        node = names.get(vote.node_id) or short(vote.node_id)
        rows.append([short(vote.agent_id), node, vote.brain, Text(said, style), probability, f"{vote.ms:.0f}"])
    return table(["agent", "node", "brain", "answer", "p", "ms"], rows, right={4, 5})


def _heads(votes: Sequence[VoteInfo], chosen: str | None) -> RenderableType:
    """A labelling project's heads by name: they live on no node and give no probability."""
    said = [(vote.agent_id, show_value(vote.answer)) for vote in votes]
    return table(
        ["head", "answer"], [[name, Text(label, "" if chosen is None else "green" if label == chosen else "red")] for name, label in said]
    )


def _iterations(run: RunInfo) -> RenderableType:
    rows = [[str(one.iteration), f"{one.worst:.4g}", f"{one.mean:.4g}", f"{one.best:.4g}"] for one in run.iterations]
    return table(["iteration", "worst", "mean", "best"], rows, right={0, 1, 2, 3})


def grid_of(run: RunInfo) -> RenderableType:
    """Scores of the last iteration where the cells are; the best in green."""
    last = run.iterations[-1]
    drawn = Table(box=None, show_header=False, padding=(0, 2))
    rows = max((cell.row for cell in last.cells), default=-1) + 1
    columns = max((cell.column for cell in last.cells), default=-1) + 1
    scores = {(cell.row, cell.column): cell.score for cell in last.cells}
    for row in range(rows):
        cells = [scores.get((row, column)) for column in range(columns)]
        drawn.add_row(*(Text("-" if score is None else f"{score:.4g}", "green" if score == last.best else "") for score in cells))
    return drawn


def _ms(peer: PeerInfo) -> str:
    return "" if peer.rtt_ms is None else f"{peer.rtt_ms:.1f}"
