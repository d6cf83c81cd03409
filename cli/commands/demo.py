"""`moot demo`: three real daemons on this machine, from nothing to a verified answer that survives a crash."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protocol.errors import NotAvailable

if TYPE_CHECKING:
    from rich.console import Console

    from cli.child import ChildDaemon
    from cli.demo_label import Lesson

app = typer.Typer(add_completion=False)

NAMES = ("alder", "birch", "cedar")
PICTURE_WIDTH, PICTURED = 118, 2
TICK_S = 0.2
BIRTH_S = 90.0
ANNOUNCED_S = 90.0
GRID_S = 60.0
CALIBRATED_S = 180.0

REVIEW = ("positive", "negative")
TEAMS = ("billing", "shipping", "technical", "account")
QUESTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("birch", 'Is this movie review positive or negative? "A warm, funny film with a lead performance I will remember."', REVIEW),
    ("cedar", 'Is this movie review positive or negative? "The plot drags, the jokes fall flat and I checked my watch twice."', REVIEW),
    ("alder", 'Which team should handle this support ticket? "The courier says delivered, but nothing arrived at my door."', TEAMS),
    ("birch", 'Which team should handle this support ticket? "I see two identical payments on my bank statement."', TEAMS),
    ("cedar", "What is the capital of Japan?", ("Tokyo", "Kyoto", "Osaka", "Nagoya")),
    ("alder", "What is the capital of Canada?", ("Ottawa", "Toronto", "Vancouver", "Montreal")),
)
AFTER_THE_CRASH = ("birch", 'Is this movie review positive or negative? "I laughed, I cried, and I bought a second ticket."', REVIEW)


@app.command()
def demo(
    brain: Annotated[str, typer.Option(help="gemma, or tiny for machines without memory or weights.")] = "gemma",
    agents: Annotated[int, typer.Option(min=1, max=16, help="Gemma agents on each daemon.")] = 3,
    picture: Annotated[Path | None, typer.Option(help="Save the first answers as an SVG picture.")] = None,
) -> int:
    """Start three daemons here, ask them, watch a birth, verify a receipt, kill one, ask again."""
    from rich.console import Console

    from cli.target import console

    out = console() if picture is None else Console(highlight=False, record=True, width=PICTURE_WIDTH)
    with tempfile.TemporaryDirectory(prefix="moot-demo-") as scratch, ExitStack() as stack:
        show = Demo(out, Path(scratch), stack, agents)
        show.start(brain)
        show.ask_everywhere(QUESTIONS[:PICTURED])
        if picture is not None:
            out.save_svg(str(picture), title="make demo", clear=False)
        show.ask_everywhere(QUESTIONS[PICTURED:])
        show.text_question()
        show.birth()
        show.grid()
        show.verify()
        show.label()
        show.crash()
        show.end()
    return 0


class Demo:
    """The demo's steps in order; each prints what happened, or fails loudly."""

    def __init__(self, out: Console, scratch: Path, stack: ExitStack, agents: int) -> None:
        self._out = out
        self._scratch = scratch
        self._stack = stack
        self._agents = agents
        self._daemons: dict[str, ChildDaemon] = {}
        self._last = ("", "")
        """(node, receipt id) of the last answer, or of an abstention where nothing was answered: it has a receipt too."""
        self._lesson: Lesson | None = None
        self._step = 0

    def start(self, brain: str) -> None:
        """The first daemon founds the swarm, the others join with a token through its address."""
        from protocol.api.nodes import Peers, TokenReply, TokenRequest

        self._head("Three daemons, one swarm")
        brains = self._brains(brain)
        first = self._launch(NAMES[0], brains[0], [])
        self._wait({NAMES[0]: first})
        token = first.client.post("/v1/tokens", TokenReply, TokenRequest(ttl_s=600, uses=2))
        self._out.print(f"[dim]{NAMES[0]} made a join token for two nodes; the others dial {first.address}[/]")
        others = {
            name: self._launch(name, flags, ["--bootstrap", first.address, "--token", token.token])
            for name, flags in zip(NAMES[1:], brains[1:], strict=True)
        }
        self._wait(others)
        for _ in self._patience(ANNOUNCED_S, "nodes meet"):
            views = [daemon.client.get("/v1/peers", Peers) for daemon in self._daemons.values()]
            if all(len([member for member in view.members if member.state == "alive" and member.agents]) == len(NAMES) for view in views):
                break
        self._members()
        if brain == "gemma":
            self._calibrate()

    def ask_everywhere(self, questions: Sequence[tuple[str, str, tuple[str, ...]]]) -> None:
        """Each question goes to another node; all nodes' agents answer."""
        for node, question, choices in questions:
            self._ask(node, question, choices)

    def text_question(self) -> None:
        """A base model is not fit to write for people, and says so."""
        self._ask("cedar", "Write one sentence about autumn.", ())

    def birth(self) -> None:
        """Every tiny agent has now answered often enough to divide."""
        from protocol.api.agents import AgentInfo

        self._head("An agent divides: the child is born on another machine")
        client = self._daemons[NAMES[0]].client
        for _ in self._patience(BIRTH_S, "a birth"):
            agents = {agent.agent_id: agent for agent in client.get("/v1/agents?scope=swarm", list[AgentInfo])}
            for child in agents.values():
                parent = agents.get(child.parent_id or "")
                if parent is not None and parent.node_id != child.node_id:
                    self._out.print(
                        f"[green]birth[/]  {parent.brain} agent {parent.agent_id[:8]} on {self._name(parent.node_id)} "
                        f"(interactions: {parent.interactions}) -> child {child.agent_id[:8]} of generation {child.generation} "
                        f"on [bold]{self._name(child.node_id)}[/]"
                    )
                    self._out.print(
                        f"[dim]genome {parent.genome[:12]} mutated to {child.genome[:12]}, fetched by hash and checked by its host[/]"
                    )
                    return

    def grid(self) -> None:
        """Nine cells on three machines; each hears its neighbours and nobody else."""
        from cli.render import render_run
        from protocol.api.runs import RunInfo, RunRequest

        self._head("A 3 x 3 grid: cells hear only their neighbours")
        client = self._daemons[NAMES[1]].client
        run = client.post("/v1/runs", RunInfo, RunRequest("colouring", {"size": 3, "iterations": 1}))
        for _ in self._patience(GRID_S, "the run"):
            run = client.get(f"/v1/runs/{run.run_id}", RunInfo)
            if run.state in ("done", "failed"):
                break
        if run.state != "done":
            raise NotAvailable(f"The grid did not finish: {run.detail}")
        self._out.print(render_run(run))
        for cell in run.iterations[-1].cells:
            self._out.print(f"[dim]cell {cell.row},{cell.column} on {self._name(cell.node_id)} heard {cell.heard}[/]")

    def verify(self) -> None:
        """The receipt of the last answer, recomputed without any daemon."""
        import subprocess
        import sys

        import msgspec

        self._head("Verify a receipt offline")
        node, receipt_id = self._last
        receipt = self._daemons[node].client.get(f"/v1/receipts/{receipt_id}", dict[str, Any])
        path = self._scratch / "receipt.json"
        path.write_bytes(msgspec.json.encode(receipt))
        outcome = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, "-m", "cli", "verify", str(path)], capture_output=True, text=True, timeout=30, check=False
        )
        self._out.print(outcome.stdout.strip() or outcome.stderr.strip(), markup=False)
        if outcome.returncode != 0:
            raise NotAvailable("The receipt did not verify.")

    def label(self) -> None:
        """The job: a pile of text, a few answers, three machines."""
        from importlib.util import find_spec

        from cli.demo_label import Lesson

        self._head(f"Label a pile of text at {NAMES[2]}: answer what it asks, watch it learn")
        if find_spec("scipy") is None:
            self._out.print("[yellow]Left out: labelling needs more than is installed, `pip install '.[embed]'`.[/]")
            return
        self._lesson = Lesson(self._out, self._daemons[NAMES[2]].client)
        self._lesson.teach(len(self._daemons))

    def crash(self) -> None:
        """SIGKILL one daemon, the home of the pile, and ask the rest."""
        victim, asked = NAMES[2], NAMES[1]
        self._head(f"Kill {victim} (SIGKILL) and ask again")
        self._daemons.pop(victim).kill()
        self._ask(*AFTER_THE_CRASH)
        if self._lesson is not None:
            self._head(f"What {victim} was taught, {asked} knows too")
            self._lesson.ask_elsewhere(self._daemons[asked].client, asked)

    def end(self) -> None:
        """Stop what is left, cleanly."""
        codes = {name: daemon.stop() for name, daemon in self._daemons.items()}
        if any(codes.values()):
            raise NotAvailable(f"A daemon did not stop cleanly: {codes}")
        self._out.print("\n[bold]All daemons stopped.[/] Next: `moot up` on this machine, `moot join` on another (see README.md).")

    def _brains(self, brain: str) -> list[list[str]]:
        """Flags for each daemon: Gemma wherever it fits, one tiny agent everywhere; says what it does without."""
        from importlib.util import find_spec

        from cli.checks import GEMMA_BYTES, GEMMA_PACKAGES, available_memory

        fits = min(len(NAMES), available_memory() // GEMMA_BYTES) if brain == "gemma" else 0
        if brain == "gemma" and any(find_spec(package) is None for package in GEMMA_PACKAGES):
            self._out.print("[yellow]No Gemma weights are installed: this runs on tiny agents, which know nothing yet and will say so.[/]")
            fits = 0
        elif brain == "gemma" and fits < len(NAMES):
            self._out.print(f"[yellow]Memory for Gemma on {fits} of {len(NAMES)} daemons; the others run tiny agents alone.[/]")
        return [["--brain", f"gemma={self._agents}", "--brain", "tiny=1"] if i < fits else ["--brain", "tiny=1"] for i in range(len(NAMES))]

    def _launch(self, name: str, brains: list[str], flags: list[str]) -> ChildDaemon:
        from cli.child import ChildDaemon

        common = ["--name", name, "--host", "127.0.0.1", "--port", "0", "--api-port", "0"]
        daemon = ChildDaemon(self._scratch / name, [*common, *brains, *flags])
        self._stack.callback(daemon.stop)
        self._daemons[name] = daemon
        return daemon

    def _wait(self, daemons: dict[str, ChildDaemon]) -> None:
        """One progress bar a daemon: weights joined, loaded, compiled."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        from cli.daemons import START_S

        shown: set[str] = set()
        columns = (TextColumn("{task.fields[node]:>6}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self._out) as progress:
            bars = {name: progress.add_task("starting", total=1.0, node=name) for name in daemons}
            waiting = dict(daemons)
            for _ in range(int(START_S / TICK_S)):
                for name, daemon in list(waiting.items()):
                    ready = daemon.poll_ready(TICK_S / len(daemons))
                    node = daemon.look()
                    shown.update(node.notices if node is not None else ())
                    if ready is not None:
                        progress.update(bars[name], completed=1.0, description=f"ready at {ready.address}, API {ready.api}")
                        progress.stop_task(bars[name])
                        del waiting[name]
                    elif node is not None and node.brains:
                        brain = min(node.brains, key=lambda brain: brain.progress)
                        progress.update(bars[name], completed=brain.progress, description=f"{brain.name}: {brain.detail or brain.state}")
                if not waiting:
                    break
        for name, daemon in waiting.items():
            raise NotAvailable(f"{name} was not ready after {START_S:.0f} s: {daemon.log_tail()}")
        for notice in sorted(shown):
            self._out.print(f"[yellow]note[/]  {notice}")

    def _calibrate(self) -> None:
        """Wait until every agent has answered the canaries, so that the first confidence stands on all of them."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        from protocol.api.nodes import NodeInfo

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._out) as progress:
            task = progress.add_task("agents answer the 60 canary questions (kept for next time)", total=None)
            for _ in self._looks(CALIBRATED_S):
                nodes = [daemon.client.get("/v1/node", NodeInfo) for daemon in self._daemons.values()]
                total, measured = sum(node.agents for node in nodes), sum(node.measured for node in nodes)
                progress.update(task, total=total, completed=measured)
                if measured >= total:
                    return
        self._out.print("[yellow]note[/]  a slow machine: the agents answer the rest while you ask; confidence says how many it stands on")

    def _members(self) -> None:
        from cli.render import render_peers
        from protocol.api.nodes import Peers

        self._out.print(render_peers(self._daemons[NAMES[1]].client.get("/v1/peers", Peers)))

    def _ask(self, node: str, question: str, choices: tuple[str, ...]) -> None:
        from cli.render import render_answer
        from protocol.api.council import ConsensusAnswer, ConsensusRequest

        self._head(f"Ask {node}: {question}")
        request = ConsensusRequest(question=question, choices=list(choices) or None, deadline_s=60.0)
        with self._out.status("the council votes"):
            answer = self._daemons[node].client.post("/v1/consensus", ConsensusAnswer, request, timeout_s=70.0)
        self._out.print(render_answer(answer, self._names()))
        if answer.status == "answered" or not self._last[1]:
            self._last = (node, answer.id)

    def _names(self) -> dict[str, str]:
        return {daemon.ready.node_id: name for name, daemon in self._daemons.items() if daemon.ready is not None}

    def _name(self, node_id: str) -> str:
        return self._names().get(node_id, node_id[:8])

    def _head(self, text: str) -> None:
        self._step += 1
        self._out.print(f"\n[bold cyan]{self._step}. [/][bold]{text}[/]")

    def _patience(self, seconds: float, what: str) -> Iterator[int]:
        """Look again and again; gives up with a sentence."""
        yield from self._looks(seconds)
        raise NotAvailable(f"Waited {seconds:.0f} s for {what}, in vain.")

    def _looks(self, seconds: float) -> Iterator[int]:
        """One look every quarter of a second."""
        import threading

        pause = threading.Event()
        for attempt in range(int(seconds * 4)):
            yield attempt
            pause.wait(0.25)
