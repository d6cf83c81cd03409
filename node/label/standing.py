"""How a project stands, for people: gathered from the book, the learners in memory and what other nodes say."""

from __future__ import annotations

from node.label.around import Around
from node.label.benches import Benches
from node.label.births import told
from node.label.book import LabelBook, ProjectRecord
from node.label.intake import Intake
from node.label.sharing import Sharing
from protocol.heads import HeadStatement, head_id, show_head
from protocol.identity import NodeId, node_id_of, show_id
from protocol.labelling import ChangedAnswer, CorrectorInfo, HeadInfo, HelperInfo, ProjectInfo, left_words, spent_words

SHOWN_DEAD = 3
SHOWN_DIVISIONS = 5
SHOWN_ID = 8


class Standing:
    """`of` a project."""

    def __init__(self, me: NodeId, book: LabelBook, benches: Benches, intake: Intake, sharing: Sharing, around: Around) -> None:
        self._me = me
        self._book = book
        self._benches = benches
        self._intake = intake
        self._sharing = sharing
        self._around = around

    async def of(self, project: str, record: ProjectRecord) -> ProjectInfo:
        rows, read, examples = await self._book.sizes(project)
        if record.home:
            rows = read = self._sharing.charters[project].rows
        answers = await self._book.answers(project)
        bench = self._benches.known(project)
        corrections = sum(label is not None and row >= 0 for row, label in answers.items())
        phase, hint = self._phase(project, record, rows, read, corrections)
        changed, latest = await self._book.changed(project)
        said = await self._book.heads(project)
        return ProjectInfo(
            id=project,
            name=record.name,
            phase=phase,
            labels=record.labels,
            rows=rows,
            read=read,
            examples=examples,
            corrections=corrections,
            skipped=sum(label is None for label in answers.values()),
            changed=changed,
            budget=record.budget,
            local=record.local,
            helpers=await self._helpers(project),
            heads=bench.heads() if bench else {},
            expected=bench.expected() if bench else None,
            held_back=bench.held_back() if bench else None,
            hint=hint,
            home=record.home or show_id(self._me),
            home_name=self._home_name(project, record),
            holders=self._sharing.holders(project) if project in self._sharing.charters else 1,
            latest_changes=[ChangedAnswer(row, former, label, self._name(author)) for row, former, label, author in latest],
            guests=bench.guest_infos() if bench else [],
            learners=self._told_apart(self._learners(project)),
            agents=self._heads(project, said),
            divisions=self._divisions(said),
            correctors=await self._correctors(project),
        )

    def _phase(self, project: str, record: ProjectRecord, rows: int, read: int, corrections: int) -> tuple[str, str]:
        if not record.complete:
            return "filling", "Rows are still being sent."
        if read < rows:
            return "reading", f"{read} of {rows} rows are read."
        bench = self._benches.known(project)
        if bench is not None:
            enough, hint = bench.advice(corrections, record.budget)
            return "enough" if enough else "asking", hint
        if corrections >= record.budget:
            return "enough", spent_words(record.budget)
        return "asking", left_words(record.budget - corrections)

    async def _helpers(self, project: str) -> list[HelperInfo]:
        helpers = [HelperInfo(show_id(node), count) for node, count in await self._book.helpers(project)]
        return helpers + [HelperInfo(show_id(node), 0, barred=True) for node in sorted(self._intake.barred.get(project, ()))]

    def _learners(self, project: str) -> list[NodeId]:
        if project in self._sharing.charters:
            return self._sharing.learners(project)
        return [self._me] if self._benches.known(project) is not None else []

    def _divisions(self, said: list[HeadStatement]) -> list[str]:
        told_of = (told(one, self._around.name_of) for one in sorted(said, key=lambda one: one.at))
        return [line for line in told_of if line][-SHOWN_DIVISIONS:]

    def _heads(self, project: str, said: list[HeadStatement]) -> list[HeadInfo]:
        bench = self._benches.known(project)
        fits = bench.lineup.fits if bench else {}
        weights = dict(zip([head.id for head in bench.panel.heads], bench.panel.weights, strict=False)) if bench else {}
        dead = sorted((one for one in said if one.standing == "dead"), key=lambda one: one.at)[:-SHOWN_DEAD]
        found = []
        for one in said:
            if one in dead:
                continue
            genome, head = one.genome, head_id(one.genome)
            fit, weight = fits.get(head), weights.get(head)
            found.append(HeadInfo(
                id=show_head(head),
                name=f"{genome.kind} {genome.view}",
                generation=genome.generation,
                parent=show_head(genome.parent),
                bearer=self._name(one.bearer),
                standing="waits" if one.standing == "votes" and bench is not None and weight is None else one.standing,
                weight=round(float(weight), 3) if weight is not None else 0.0,
                loss=round(fit.loss, 4) if fit else None,
                accuracy=round(fit.accuracy, 4) if fit else None,
                corrections=fit.corrections if fit else 0,
            ))  # fmt: skip
        return found

    async def _correctors(self, project: str) -> list[CorrectorInfo]:
        distrusted = await self._sharing.distrusted(project)
        found = [
            CorrectorInfo(show_id(node_id_of(key)), self._name(key), count, node_id_of(key) in distrusted)
            for key, count in await self._book.authors(project)
        ]
        gone = distrusted - {node_id_of(key) for key, _ in await self._book.authors(project)}
        return found + [CorrectorInfo(show_id(node), self._around.name_of(node), 0, distrusted=True) for node in sorted(gone)]

    def _told_apart(self, nodes: list[NodeId]) -> list[str]:
        """Names of machines; those that share a name with the beginning of their id."""
        names = [self._around.name_of(node) for node in nodes]
        return [name if names.count(name) == 1 else f"{name} {show_id(node)[:SHOWN_ID]}" for node, name in zip(nodes, names, strict=True)]

    def _home_name(self, project: str, record: ProjectRecord) -> str:
        return self._name(self._sharing.charters[project].author) if record.home else self._around.name_of(self._me)

    def _name(self, key: bytes) -> str:
        """Of the machine with this key; empty for none."""
        return self._around.name_of(node_id_of(key)) if key else ""
