"""What the cells of one run have reported, kept at its home."""

from __future__ import annotations

import asyncio
import math

import msgspec

from node.cells.grid import OVERLAY, neighbours, overlay_graph
from node.runs.run import Progress as RunProgress
from node.tasks.base import MAX_SOLUTION
from node.tasks.workshop import Workshop
from protocol.api.runs import CellInfo, IterationInfo
from protocol.checkpoints import MAX_CELLS, MAX_ROWS, CellRow, CellState, GridState, IterationRow
from protocol.identity import NodeId, parse_id, show_id
from protocol.messages import CellReport, CellStart

DETAILED = 4_096
"""Reports kept cell by cell; of older iterations only mean, best and worst remain."""
MAX_ITERATIONS = 1_000_000
"""Where seconds count, a run may have many."""
BEST_KEPT = 9
"""Different solutions kept for pictures."""


class _Iteration:
    """The reports of one iteration."""

    def __init__(self) -> None:
        self.cells: dict[int, CellInfo] = {}
        self.scores: dict[int, float] = {}
        self.before: IterationRow | None = None
        """What another home had gathered, beyond what `cells` still shows."""

    def __bool__(self) -> bool:
        return bool(self.scores) or self.before is not None

    def row(self, number: int) -> IterationRow:
        scores, before = list(self.scores.values()), self.before
        if before is None:
            return IterationRow(number, len(scores), math.fsum(scores), max(scores), min(scores))
        total, best, worst = math.fsum([before.total, *scores]), max([before.best, *scores]), min([before.worst, *scores])
        return IterationRow(number, before.count + len(scores), total, best, worst)

    def info(self, number: int) -> IterationInfo:
        row, cells = self.row(number), [self.cells[cell] for cell in sorted(self.cells)]
        return IterationInfo(number, row.total / row.count, row.best, row.worst, cells)


class Progress:
    """The reports of one run. A report counts when it comes from its cell's host, is sound, and is the first of its kind."""

    def __init__(self, plan: CellStart, workshop: Workshop, run: RunProgress | None = None, saved: GridState | None = None) -> None:
        """`saved`: where another home left off."""
        self.plan = plan
        self._workshop = workshop
        self._run = run or RunProgress()
        self._iterations: dict[int, _Iteration] = {}
        self.waiting = set(range(len(plan.placement)))
        """Cells that have not reported their end."""
        self.lost: set[int] = set()
        """Cells whose node did not take them."""
        self.newest: dict[int, CellState] = {}
        """Each cell's newest iteration and solution: from here it goes on elsewhere when its node is lost."""
        self.best: dict[float, bytes] = {}
        """The best solutions so far, one of each score: what differs by a symmetry only counts once."""
        self.failure = ""
        """Why a cell gave up, in the words of the first that did."""
        self.failed: set[int] = set()
        self._longest = MAX_ITERATIONS if plan.settings.get("seconds") else plan.iterations
        self.news = asyncio.Event()
        self.links: dict[NodeId, tuple[NodeId, ...]] = {}
        """Neighbours in the overlay, as the hosts say."""
        self.successor: NodeId | None = None
        """The node that has taken the run over from us."""
        self._graph: dict[int, tuple[int, ...]] = {}
        if saved is not None:
            self._restore(saved)
        self.move(plan)

    def take(self, sender: NodeId, report: CellReport) -> None:
        plan, cell = self.plan, report.cell
        if cell >= len(plan.placement) or plan.placement[cell] != sender or not 1 <= report.iteration <= self._longest:
            return
        if report.last or (report.iteration == plan.iterations and not plan.settings.get("seconds")):
            self.waiting.discard(cell)
            self.news.set()
        if report.last and report.note.startswith("failed: ") and not report.solution:
            self.failure = self.failure or report.note.removeprefix("failed: ")
            self.failed.add(cell)
            return
        if not (
            self._workshop.valid(report.solution) and len(report.solution) <= MAX_SOLUTION and 0.0 <= report.score <= self._workshop.highest
        ):
            return
        iteration = self._iterations.setdefault(report.iteration, _Iteration())
        if cell in iteration.scores or cell in iteration.cells:
            return
        around = self._around(cell)
        heard = sorted({number for number in report.heard if number in around})
        row, column = divmod(cell, plan.size)
        label = self._workshop.label(report.solution)
        iteration.scores[cell] = report.score
        iteration.cells[cell] = CellInfo(cell, row, column, show_id(sender), report.score, label, heard, report.tried, report.note)
        self._count(report)
        self._forget()
        self.news.set()

    def move(self, plan: CellStart) -> None:
        """A new placement."""
        self.plan = plan
        self.lost -= set(plan.resumed)
        self._graph = overlay_graph(plan.placement, plan.links) if plan.settings.get("topology") == OVERLAY else {}

    def give_up(self, node_id: NodeId) -> None:
        """Nothing is to be expected of this node's cells."""
        self.lost |= {cell for cell, host in enumerate(self.plan.placement) if host == node_id}
        self.news.set()

    def infos(self) -> list[IterationInfo]:
        return [self._iterations[number].info(number) for number in sorted(self._iterations) if self._iterations[number]]

    @property
    def iteration(self) -> int:
        """The newest that any cell has reported."""
        return max((state.iteration for state in self.newest.values()), default=0)

    def snapshot(self) -> GridState:
        """All that another node needs to go on."""
        numbers = sorted(number for number, iteration in self._iterations.items() if iteration)
        shown: list[CellRow] = []
        for number in reversed(numbers):
            for info in self._iterations[number].cells.values():
                shown.append(CellRow(number, info.cell, parse_id(info.node_id), info.score, info.solution[:4_096], info.heard, info.tried))
            if len(shown) >= MAX_CELLS:
                break
        plan = msgspec.structs.replace(self.plan, resumed={}, reached={})
        rows = [self._iterations[number].row(number) for number in numbers[-MAX_ROWS:]]
        return GridState(
            plan,
            [self.newest[cell] for cell in sorted(self.newest)],
            sorted(self.waiting),
            sorted(self.best.items()),
            rows,
            shown[:MAX_CELLS],
        )

    def _restore(self, saved: GridState) -> None:
        self.waiting = set(saved.waiting)
        self.newest = {one.cell: one for one in saved.newest}
        self.best = dict(saved.best[-BEST_KEPT:])
        for row in saved.rows:
            self._iterations[row.iteration] = _Iteration()
            self._iterations[row.iteration].before = row
        for shown in saved.cells:
            where = divmod(shown.cell, saved.plan.size)
            info = CellInfo(
                shown.cell, *where, show_id(NodeId(shown.node_id)), shown.score, shown.label, list(shown.heard), shown.tried
            )  # fmt: skip
            self._iterations.setdefault(shown.iteration, _Iteration()).cells[shown.cell] = info

    def _around(self, cell: int) -> tuple[int, ...]:
        topology = str(self.plan.settings.get("topology", "neumann"))
        return self._graph.get(cell, ()) if topology == OVERLAY else neighbours(self.plan.size, cell, topology, self.plan.seed)

    def silent(self) -> str:
        """One sentence about the cells that did not finish; empty when all did."""
        if not self.waiting:
            return f"{len(self.failed)} of {len(self.plan.placement)} cells gave up: {self.failure}" if self.failed else ""
        nodes = sorted({show_id(NodeId(self.plan.placement[cell])) for cell in self.waiting})
        cells = ", ".join(map(str, sorted(self.waiting)[:20])) + (", ..." if len(self.waiting) > 20 else "")
        return f"{len(self.waiting)} of {len(self.plan.placement)} cells did not finish ({cells}); their nodes: {', '.join(nodes[:8])}"

    def _count(self, report: CellReport) -> None:
        self._run.tried += report.tried
        self.newest[report.cell] = CellState(report.cell, report.iteration, report.solution)
        if self._run.best is None or report.score > self._run.best:
            self._run.best = report.score
        self.best.setdefault(float(f"{report.score:.10g}"), report.solution)
        if len(self.best) > BEST_KEPT:
            del self.best[min(self.best)]

    def _forget(self) -> None:
        kept = sum(len(iteration.cells) for iteration in self._iterations.values())
        for number in sorted(self._iterations)[:-1]:
            if kept <= DETAILED:
                return
            kept -= len(self._iterations[number].cells)
            self._iterations[number].cells.clear()
