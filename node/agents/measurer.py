"""The loop that measures agents in the background, and the files that make it happen once per genome.

A measurement depends on brain, genome and everything asked; its name is the hash of all three, so a daemon that starts again, or
another one on this machine with the same genome, finds it on disk. Brains that learn change their genomes and are cheap to measure:
theirs are not kept.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from node.agents.agent import Agent
from node.agents.canaries import Measurement, batches, measurement_name, topics_to_correct
from node.agents.worker import BrainWorker
from node.brains.base import Ask, Choice, Example
from node.runtime import Runtime
from protocol.errors import UserError

MAX_FILES = 2_048
"""Measurements kept on disk; the oldest go first."""
RETRY_S = 60.0

_Logprobs = Annotated[list[float], Meta(max_length=64)]
_file = msgspec.msgpack.Decoder(list[tuple[_Logprobs, _Logprobs]])
log = structlog.get_logger("agents")


class Measurer:
    """Measures the agents of one brain. `wake` it when an agent came or learnt."""

    def __init__(
        self,
        runtime: Runtime,
        worker: BrainWorker,
        canaries: Sequence[Example],
        agents: Callable[[], list[Agent]],
        ask: Callable[[Agent, Example], Ask],
        files: MeasurementFiles | None,
    ) -> None:
        self._runtime = runtime
        self._worker = worker
        self._canaries = canaries
        self._agents = agents
        self._ask = ask
        self._files = files if not worker.brain.capabilities.learns else None
        self._news = asyncio.Event()

    def wake(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """Measure until cancelled."""
        if not self._canaries or "choice" not in self._worker.brain.capabilities.kinds:
            return
        while True:
            self._news.clear()
            for agent in self._agents():
                if agent.measured is None and not await self._measure(agent):
                    break
            else:
                await self._news.wait()
                continue
            await asyncio.sleep(RETRY_S)

    async def _measure(self, agent: Agent) -> bool:
        """False when the brain could not answer now."""
        genome_hash, lessons = agent.genome_hash, agent.lessons
        asks = [self._ask(agent, canary) for canary in self._canaries]
        try:
            choices = await self._recall(asks, genome_hash) or await self._work(asks, genome_hash)
        except UserError as error:
            log.warning("an agent cannot be measured now", brain=self._worker.brain.name, reason=str(error))
            return False
        if agent.lessons == lessons:
            agent.measured = Measurement(choices, topics_to_correct(self._canaries, choices))
        return True

    async def _work(self, asks: Sequence[Ask], genome_hash: bytes) -> tuple[Choice, ...]:
        choices: dict[int, Choice] = {}
        for indices in batches(self._canaries):
            batch = [asks[index] for index in indices]
            found = await self._worker.submit("measure", self._worker.brain.choose, batch, background=True)
            choices.update(zip(indices, found, strict=True))
        measured = tuple(choices[index] for index in range(len(asks)))
        if self._files is not None:
            name = measurement_name(self._worker.brain.fingerprint, asks, genome_hash)
            try:
                await self._runtime.run_blocking(self._files.write, name, measured, self._runtime.token_bytes(4).hex())
            except OSError as error:
                log.warning("a measurement cannot be kept on disk", reason=str(error))
        return measured

    async def _recall(self, asks: Sequence[Ask], genome_hash: bytes) -> tuple[Choice, ...] | None:
        if self._files is None:
            return None
        name = measurement_name(self._worker.brain.fingerprint, asks, genome_hash)
        return await self._runtime.run_blocking(self._files.read, name, asks)


class MeasurementFiles:
    """Measurements on disk, shared by the daemons of one machine. Blocking; losing a file costs time, never an answer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, asks: Sequence[Ask]) -> tuple[Choice, ...] | None:
        """None when there is none that fits these asks."""
        try:
            rows = _file.decode((self._folder / name).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None
        fits = len(rows) == len(asks) and all(
            len(row[0]) in (0, len(ask.choices)) and len(row[1]) == len(row[0]) and all(map(math.isfinite, row[0] + row[1]))
            for row, ask in zip(rows, asks, strict=True)
        )
        return tuple(Choice(tuple(logprobs), tuple(prior)) for logprobs, prior in rows) if fits else None

    def write(self, name: str, measured: Sequence[Choice], unique: str) -> None:
        """Keep a measurement; `unique` names the temporary file, so that two daemons never write one."""
        data = msgspec.msgpack.encode([(choice.logprobs, choice.prior) for choice in measured])
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f"{name}.{unique}"
        temporary.write_bytes(data)
        temporary.replace(self._folder / name)
        self._prune()

    def _prune(self) -> None:
        files = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[:-MAX_FILES]:
            path.unlink(missing_ok=True)
