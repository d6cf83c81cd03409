"""Runs that outlive their home: checkpoints on other nodes, a record in the DHT, and who goes on when the home is gone.

    home      `guard`: every few seconds (a large state more seldom), and when something was ordered, the run's state becomes a blob on
              `COPIES` other nodes (nearest to the run by rendezvous hashing); these are told (`RunClaim`), at least every `BEAT_S`,
              and a signed record in the DHT says the same to everybody else
    holder    `run`: when the home is dead, or silent for `SILENT_S`, the first living holder in rendezvous order takes the run over with
              the next term; the next one waits `GRACE_S` more, and so on; whoever hears of a claim that outranks what it knows follows it
    fence     `claims`: of two homes the one with the higher term stays (in equal terms the nearer one); the other is told by a holder, by a
              host, or by the record, which it reads every `READ_S`, and steps down

After a partition both sides may have gone on; the outranked side's work since then is lost, as behind any fence. First form: a
checkpoint is not renewed when its holders die before its home does (the next one is, seconds later); runs end with their home when no
other node has a checkpoint yet, and when they need a file of the home's machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from node.blobs import Blobs
from node.links.courier import Courier
from node.runs.claims import Claims
from node.runs.manager import RunManager
from node.runs.run import OVER, Run
from node.runtime import Runtime
from protocol.checkpoints import STOPPING, RunRecord, RunState, pack, unpack
from protocol.errors import InvalidRequest, Malformed, PeerError, UserError
from protocol.identity import Member, NodeId, node_id_of, show_id
from protocol.messages import RunClaim, RunHome
from protocol.placement import ranked
from protocol.records import Record, key_of

COPIES = 3
PERIOD_S = 3.0
BEAT_S = 10.0
"""A home whose state is large and saved seldom says as often that it is still there."""
BYTES_PER_S = 100_000.0
"""A large state is saved so seldom that no holder gets more than this, on average."""
COPY_S = 10.0
CLAIM_S = 5.0
MAX_ASKED = 4 * COPIES
"""Nodes asked to keep one checkpoint."""
READ_S = 10.0
LOOK_S = 1.0
SILENT_S = 45.0
"""A home that has said nothing for so long has lost its run, even if its node lives: it was started anew, or it hangs."""
GRACE_S = 6.0
TTL_S = 3_600
"""Of the record."""
MAX_TRIES = 8
MAX_HELD = 256
MAX_EACH = 16
"""Runs of others whose checkpoints are watched here, in all and of one home (`manager.MAX_RUNS`); the ones heard of longest ago are
forgotten first."""

log = structlog.get_logger("runs")


class Shelf(Protocol):
    """The part of the DHT that is needed here (`node.dht.service.Dht`)."""

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object: ...

    async def get(self, key: bytes) -> list[Record]: ...


@dataclass(slots=True)
class _Held:
    """A checkpoint of somebody else's run."""

    claim: RunClaim
    home: NodeId
    heard_at: float
    missed_at: float | None = None
    """When the home was found to be gone; later after a failure."""
    tries: int = 0


class Succession:
    """Guards the runs of this node and stands by for those of others. `run` it in the daemon's TaskGroup."""

    def __init__(
        self,
        runtime: Runtime,
        me: NodeId,
        courier: Courier,
        blobs: Blobs,
        manager: RunManager,
        claims: Claims,
        nodes: Callable[[], Mapping[NodeId, float]],
        shelf: Shelf | None = None,
    ) -> None:
        """`nodes`: those not known to be dead, and what each can do (0: a suspect). Without a `shelf` there is no record."""
        self._runtime = runtime
        self._me = me
        self._courier = courier
        self._blobs = blobs
        self._manager = manager
        self._claims = claims
        self._nodes = nodes
        self._shelf = shelf
        self._held: dict[bytes, _Held] = {}
        manager.guard = self.guard
        manager.whereabouts = self._whereabouts
        courier.on(RunClaim, self._claimed)

    def __len__(self) -> int:
        return len(self._held)

    # ---- home --------------------------------------------------------------------------------------------------------

    async def guard(self, run: Run) -> None:
        """Checkpoints of one run of this node, until it is over or another node's."""
        digest, holders = b"", list[NodeId]()
        claim: RunClaim | None = None
        pause, read_at = PERIOD_S, self._runtime.monotonic() + READ_S
        while run.state not in OVER and self._is_home(run):
            await self._until_due(run, pause, claim)
            run.unsaved.clear()
            state = self._state(run)
            if state is None or run.state in OVER:
                continue
            pause = max(PERIOD_S, len(state[1]) / BYTES_PER_S)
            fresh = await self._save(state[1])
            if fresh is None:
                continue
            kept = [NodeId(node) for node in await self._blobs.spread(fresh, self._others(run.run_id), COPIES, COPY_S)]
            if digest and digest != fresh:
                self._blobs.discard(digest)
            claim = RunClaim(run.run_id, run.term, fresh, state[0], [self._me, *kept], STOPPING if run.stopping else run.state)
            await self._tell(claim, dict.fromkeys([*kept, *holders]))
            digest, holders = fresh, kept
            if self._runtime.monotonic() >= read_at:
                read_at = self._runtime.monotonic() + READ_S
                await self._read(run.run_id)
        self._blobs.discard(digest)
        if digest and self._is_home(run):
            await self._tell(RunClaim(run.run_id, run.term, digest, 0, [self._me, *holders], run.state), holders)

    async def _until_due(self, run: Run, pause: float, claim: RunClaim | None) -> None:
        """Wait until the next checkpoint; meanwhile those that hold the last one hear that this home still lives."""
        due = self._runtime.monotonic() + pause
        while not run.unsaved.is_set() and (left := due - self._runtime.monotonic()) > 0.0 and self._is_home(run):
            try:
                async with asyncio.timeout(min(left, BEAT_S)):
                    await run.unsaved.wait()
            except TimeoutError:
                if claim is not None and left > BEAT_S:
                    await self._tell_holders(claim, claim.holders)

    def _is_home(self, run: Run) -> bool:
        known = self._claims.of(run.run_id)
        return known is None or known[1] == self._me

    def _state(self, run: Run) -> tuple[int, bytes] | None:
        """(iteration, checkpoint)."""
        snapshot = run.snapshot()
        if snapshot is None:
            return None
        elapsed = max(0.0, self._runtime.monotonic() - run.started_at)
        state = STOPPING if run.stopping else run.state
        whole = RunState(
            run.run_id, run.task, dict(run.params), state, elapsed, run.progress.tried, run.progress.best, snapshot.body
        )  # fmt: skip
        return snapshot.iteration, pack(whole)

    async def _save(self, data: bytes) -> bytes | None:
        """A run goes on without a checkpoint where the disk is full."""
        try:
            return await self._blobs.put(data)
        except UserError as error:
            log.warning("a run is not saved", reason=str(error))
            return None

    def _others(self, run_id: bytes) -> list[NodeId]:
        return ranked(run_id, b"home", [node for node, capacity in self._nodes().items() if node != self._me and capacity])[:MAX_ASKED]

    async def _tell(self, claim: RunClaim, holders: Collection[NodeId]) -> None:
        """The holders, and everybody else by the record."""
        async with asyncio.TaskGroup() as telling:
            telling.create_task(self._tell_holders(claim, holders))
            telling.create_task(self._write(claim))

    async def _tell_holders(self, claim: RunClaim, holders: Iterable[bytes]) -> None:
        async with asyncio.TaskGroup() as telling:
            for holder in holders:
                if holder != self._me:
                    telling.create_task(self._claim(NodeId(holder), claim))

    async def _claim(self, holder: NodeId, claim: RunClaim) -> None:
        try:
            answer = await self._courier.request(holder, claim, CLAIM_S)
        except PeerError as error:
            log.info("a holder was not told", node=show_id(holder), reason=str(error))
            return
        if isinstance(answer, RunHome) and answer.run_id == claim.run_id:
            self._claims.admit(claim.run_id, answer.term, NodeId(answer.home))

    # ---- the record --------------------------------------------------------------------------------------------------

    async def _write(self, claim: RunClaim) -> None:
        if self._shelf is None:
            return
        record = RunRecord(claim.term, claim.digest, claim.iteration, list(claim.holders), claim.state)
        try:
            await self._shelf.put(_key(claim.run_id), "run", pack(record), TTL_S)
        except (PeerError, UserError) as error:
            log.info("the record of a run was not written", reason=str(error))

    async def _read(self, run_id: bytes) -> None:
        """Follow the highest claim that any node has written down."""
        if self._shelf is None:
            return
        try:
            records = await self._shelf.get(_key(run_id))
        except (PeerError, UserError) as error:
            log.info("the record of a run was not read", reason=str(error))
            return
        for record in records:
            try:
                term = unpack(record.value, RunRecord).term
            except Malformed as error:
                log.info("not a record of a run", reason=str(error))
                continue
            self._claims.admit(run_id, term, node_id_of(record.author))

    # ---- holder ------------------------------------------------------------------------------------------------------

    async def _claimed(self, peer: Member, claim: RunClaim) -> RunHome:
        """A home says where the newest checkpoint is; the answer tells it when it is the home no more."""
        if self._claims.admit(claim.run_id, claim.term, peer.node_id):
            before = self._held.pop(claim.run_id, None)
            over = claim.state in OVER
            if before is not None and (over or before.claim.digest != claim.digest):
                self._blobs.discard(before.claim.digest, before.home)
            if over:  # it may have ended while this checkpoint was on its way
                self._blobs.discard(claim.digest, peer.node_id)
            if not over and self._me in claim.holders:
                self._held[claim.run_id] = _Held(claim, peer.node_id, self._runtime.monotonic())
            theirs = [run_id for run_id, held in self._held.items() if held.home == peer.node_id]
            for run_id in theirs[:-MAX_EACH]:
                del self._held[run_id]
            while len(self._held) > MAX_HELD:
                self._held.pop(next(iter(self._held)))
        term, home = self._claims.of(claim.run_id) or (claim.term, peer.node_id)
        return RunHome(claim.run_id, term, home)

    async def run(self) -> None:
        """Watch the homes of the runs whose checkpoints are here, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            living = set(self._nodes())
            for run_id, held in list(self._held.items()):
                if self._due(run_id, held, living):
                    await self._take_over(run_id, held)

    def _due(self, run_id: bytes, held: _Held, living: Collection[NodeId]) -> bool:
        """Whether the home is gone and it is our turn."""
        now = self._runtime.monotonic()
        known = self._claims.of(run_id)
        if known is not None and known[1] != held.home:  # somebody else took it; if that one wants a holder, it will say so
            self._held.pop(run_id, None)
            return False
        if held.home in living and now - held.heard_at < SILENT_S:
            held.missed_at = None
            return False
        if held.missed_at is None:
            held.missed_at = now
        order = [node for node in ranked(run_id, b"home", held.claim.holders) if node != held.home and (node in living or node == self._me)]
        return self._me in order and now - held.missed_at >= order.index(self._me) * GRACE_S

    async def _take_over(self, run_id: bytes, held: _Held) -> None:
        await self._read(run_id)
        known = self._claims.of(run_id)
        if known is not None and known[1] != held.home:
            return
        term = held.claim.term + 1
        try:
            state = unpack(await self._blobs.fetch(held.claim.digest, held.claim.holders), RunState)
            if state.run_id != run_id:
                raise Malformed("a checkpoint of another run")
            self._manager.adopt(state, term)
        except (PeerError, UserError) as error:
            log.warning("a run was not taken over", run=show_id(run_id), reason=str(error))
            held.tries += 1
            held.missed_at = self._runtime.monotonic() + held.tries * GRACE_S
            if isinstance(error, Malformed | InvalidRequest) or held.tries >= MAX_TRIES:
                self._held.pop(run_id, None)
            return
        self._claims.admit(run_id, term, self._me)
        self._held.pop(run_id, None)
        log.info("took a run over", run=show_id(run_id), term=term)

    def _whereabouts(self, run_id: bytes) -> NodeId | None:
        known = self._claims.of(run_id)
        return known[1] if known is not None and known[1] != self._me else None


def _key(run_id: bytes) -> bytes:
    return key_of(f"run {run_id.hex()}")
