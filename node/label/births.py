"""Heads that divide: when, onto which machine, and what becomes of the children.

After every measurement a node that has a project's learners looks at them. Of those nodes one is the next birthplace
(`protocol.heads.birthplace`): if a head is clearly fitter than the others and there is room, it bears a child of that head, with a
mutated genome, and says so. The child is on trial there. Once corrections held back show that it helps, its bearer says that it votes,
and every node with the learners builds it; a child that does not help within `PATIENCE` measurements dies, and so does the least fit
beyond `MAX_HEADS`. Founders do not die: they are what a child must add to.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from node.label.around import Around
from node.label.book import LabelBook
from node.label.room import why_no_child
from node.label.sharing import Sharing
from node.runtime import Worker
from protocol.heads import (
    MAX_HEADS,
    MAX_TOLD,
    PATIENCE,
    HeadGenome,
    HeadStatement,
    birthplace,
    head_id,
    mutate,
    show_head,
    who_dies,
    who_divides,
)
from protocol.identity import NodeId, node_id_of

if TYPE_CHECKING:
    from node.label.bench import Bench
    from node.label.heads import Head


class Births:
    """Of all projects with learners here. `learners` is the thread that a bench works on; building a head goes beside it."""

    def __init__(
        self,
        me: NodeId,
        rng: random.Random,
        book: LabelBook,
        sharing: Sharing,
        around: Around,
        learners: Worker,
        beside: Worker,
    ) -> None:
        self._me = me
        self._rng = rng
        self._book = book
        self._sharing = sharing
        self._around = around
        self._learners = learners
        self._beside = beside
        self._trials: dict[bytes, set[int]] = {}
        """At how many corrections each child on trial here was measured."""
        self._born_at: dict[str, int] = {}
        """At how many corrections a project's last child was born here: one birth for one look at them."""

    async def genomes(self, project: str, founders: Callable[[], tuple[HeadGenome, ...]], *, home: bool) -> list[HeadGenome]:
        """Of the heads that vote, if corrections let them, founders before children, and no more of either than may vote. Where the project
        has no founders yet, its home names them; anybody may have spoken of children before."""
        found = await self._voting(project)
        if home and not any(genome.generation == 0 for genome in found):
            for genome in founders():
                await self._sharing.say_head(project, genome, "votes")
            found = await self._voting(project)
        elders = [genome for genome in found if genome.generation == 0]
        children = [genome for genome in found if genome.generation > 0]
        return [*(elders[:MAX_HEADS] or founders()), *children[:MAX_HEADS]]

    async def update(self, project: str, bench: Bench) -> None:
        """Build the children that others proposed and drop those that died; the next measurement says who of them votes."""
        children = [genome for genome in await self._voting(project) if genome.generation > 0]
        here = bench.lineup.built
        wanted = sorted(children, key=lambda genome: here(genome) is None)[:MAX_HEADS]  # more than may live: the least fit of them die
        if [head_id(genome) for genome in wanted] == bench.lineup.proposed:
            return
        built: list[Head] = []
        for genome in wanted:
            known = here(genome)
            built.append(known if known is not None else await self._beside.run(bench.lineup.build, genome))
        await self._learners.run(bench.lineup.propose, built)

    async def after_measuring(self, project: str, bench: Bench, home: NodeId) -> None:
        """Judge the child on trial here, bury what is beyond capacity, and bear the next child where it is this node's turn."""
        tried = bench.lineup.child
        on_trial = await self._judge(project, bench)
        genomes = {head_id(genome): genome for genome in bench.lineup.genomes}  # others may be proposed while this is said
        for head in who_dies(bench.lineup.fits, bench.lineup.proposed, MAX_HEADS - len(bench.lineup.founders)):
            await self._sharing.say_head(project, genomes[head], "dead")
        await self.update(project, bench)
        if not on_trial and bench.lineup.child is tried:
            await self._learners.run(bench.lineup.try_child, None)
        if bench.lineup.child is None:
            await self._bear(project, bench, home)

    async def _judge(self, project: str, bench: Bench) -> bool:
        """Whether the child is still on trial."""
        child, trial = bench.lineup.child, bench.lineup.trial
        if child is None or trial is None:
            return True
        measured = self._trials.setdefault(child.id, set())
        measured.add(bench.lineup.fits[child.id].corrections)
        if trial.low > 0:
            await self._sharing.say_head(project, child.genome, "votes")
        elif len(measured) >= PATIENCE:
            await self._sharing.say_head(project, child.genome, "dead")
        else:
            return True
        del self._trials[child.id]
        return False

    async def _bear(self, project: str, bench: Bench, home: NodeId) -> None:
        said = await self._book.heads(project)
        born = sum(one.genome.generation > 0 for one in said)
        learners = self._sharing.learners(project) or [self._me]
        if len(said) >= MAX_TOLD or birthplace(learners, home, f"{project} {born}".encode()) != self._me:
            return
        voting = {head.id: head.genome for head in bench.panel.heads}
        parent = who_divides(bench.lineup.fits, list(voting))
        measured = max((fit.corrections for fit in bench.lineup.fits.values()), default=0)
        if parent is None or measured <= self._born_at.get(project, 0) or why_no_child(len(bench.lineup.genomes), self._around.capacity):
            return
        self._born_at[project] = measured
        left = [one.genome for one in said if one.standing == "tried" and node_id_of(one.bearer) == self._me]  # a stop left it behind
        genome = left[0] if left else mutate(voting[parent], self._rng)
        child = await self._beside.run(bench.lineup.build, genome)
        await self._learners.run(bench.lineup.try_child, child)
        if not left:
            await self._sharing.say_head(project, genome, "tried")

    async def _voting(self, project: str) -> list[HeadGenome]:
        return [said.genome for said in await self._book.heads(project) if said.standing == "votes"]


def told(said: HeadStatement, name_of: Callable[[NodeId], str]) -> str:
    """A statement on a head, for people; empty for a founder."""
    if said.genome.generation == 0:
        return ""
    parent, child, where = show_head(said.genome.parent), show_head(head_id(said.genome)), name_of(node_id_of(said.bearer))
    now = {"tried": "", "votes": ", which votes: corrections held back show that it helps", "dead": ", which died"}[said.standing]
    return f"head {parent} divided: child {child} on {where}{now}"
