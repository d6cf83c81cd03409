"""What a node learnt that lies in no genome, written behind: lessons that its brains learn again, and who is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import structlog

from node.agents.behind import WriteBehind
from node.agents.book import AgentBook
from node.agents.raters import Raters
from node.agents.worker import BrainWorker
from node.brains.base import MAX_NOTES
from protocol.errors import UserError

log = structlog.get_logger("agents")


class Notebook:
    """Carries brains' notes and raters' records to the book and back. Wake `behind` when something was rated or learnt."""

    def __init__(self, book: AgentBook, raters: Raters, workers: Callable[[], Iterable[BrainWorker]]) -> None:
        self._book = book
        self._raters = raters
        self._workers = workers
        self._unsaved: dict[str, list[bytes]] = {}
        """Notes that the disk refused, per brain; at most `MAX_NOTES` each."""
        self.behind = WriteBehind(self._save, "lessons")

    async def open(self) -> None:
        """Read who is believed. Raises `NotAvailable`."""
        self._raters.load(await self._book.load_raters())

    async def recall(self, worker: BrainWorker) -> None:
        """Give a brain that is loaded its notes back. Raises `NotAvailable`."""
        notes = await self._book.load_notes(worker.brain.name)
        if notes:
            await worker.call(partial(worker.brain.recall, notes))

    async def _save(self) -> None:
        rows, forgotten = self._raters.changed()
        for worker in self._workers():
            if notes := worker.brain.notes():
                name = worker.brain.name
                self._unsaved[name] = [*self._unsaved.get(name, []), *notes][-MAX_NOTES:]
        try:
            if rows or forgotten:
                await self._book.save_raters(rows, forgotten)
            for name in sorted(self._unsaved):
                await self._append(name, self._unsaved.pop(name))
        except UserError as error:
            self._raters.missed([*rows, *forgotten])
            log.error("lessons cannot be written down", reason=str(error))

    async def _append(self, brain: str, notes: list[bytes]) -> None:
        """Only what the disk refused is written again: a change whose writer was cancelled lands all the same. Raises `UserError`."""
        try:
            await self._book.save_notes(brain, notes)
        except UserError:
            self._unsaved[brain] = [*notes, *self._unsaved.get(brain, [])][-MAX_NOTES:]
            raise
