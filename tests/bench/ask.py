"""What an answer costs: nine Gemma agents on one node, and the council's own overhead on three nodes.

Each Gemma question is a sentence never seen before (two choices, six examples, each agent its own), asked over HTTP. The overhead is
the answer's own account, elapsed less the slowest node's brain, and beside it stands what the client saw.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from threading import Event

import psutil

from cli.child import ChildDaemon
from node.runtime import SystemRuntime
from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.api.nodes import NodeInfo, Peers, TokenReply, TokenRequest
from tests.bench.report import Bar, Report

RUNTIME = SystemRuntime()
LOOPBACK = ("--host", "127.0.0.1", "--port", "0", "--api-port", "0")
GEMMA_AGENTS = 9
TINY_NODES, TINY_EACH = 3, 4
SENTENCES = 12
QUESTIONS = 200

GEMMA_S = 4.0
"""Issue: 9 Gemma agents on one node label a sentence (two choices, 6-shot) in at most 4 s p50 on two cores after warm-up."""
GEMMA_GB = 2.5
"""Issue: and hold under 2.5 GB."""
OVERHEAD_MS = 25.0
"""Issue: all but brain time at most 25 ms p50 with 12 tiny agents on 3 nodes."""

OPENINGS = ("The first act", "Her performance", "This sequel", "The camera work", "Every joke", "The ending")
VERDICTS = ("bored me to tears", "stayed with me for days")


def measure(seeds: int, tell: Callable[[str], None]) -> Report:
    """`seeds` multiplies the number of questions."""
    with tempfile.TemporaryDirectory(prefix="moot-bench-") as scratch:
        gemma = _gemma(Path(scratch), tell, SENTENCES * seeds)
        overhead = _overhead(Path(scratch), tell, QUESTIONS * seeds)
    return Report(
        results=gemma | overhead,
        bars=[
            Bar("9 Gemma agents label a sentence, p50 s", gemma["gemma_p50_s"], "<=", GEMMA_S),
            Bar("9 Gemma agents, peak resident GB", gemma["gemma_peak_gb"], "<=", GEMMA_GB),
            Bar("consensus overhead, 12 tiny agents on 3 nodes, p50 ms", overhead["overhead_p50_ms"], "<=", OVERHEAD_MS),
        ],
    )


def _gemma(root: Path, tell: Callable[[str], None], count: int) -> dict[str, float]:
    with ExitStack() as stack:
        tell("loading Gemma")
        started = RUNTIME.monotonic()
        daemon = ChildDaemon(root / "gemma", [*LOOPBACK, "--brain", f"gemma={GEMMA_AGENTS}"])
        stack.callback(daemon.stop)
        daemon.wait_ready()
        ready = RUNTIME.monotonic() - started
        _until(lambda: daemon.client.get("/v1/node", NodeInfo).measured >= GEMMA_AGENTS, tell, "agents answer the canaries")
        measured = RUNTIME.monotonic() - started
        tell("labelling sentences")
        times = []
        for number in range(count):
            opening, verdict = OPENINGS[number % len(OPENINGS)], VERDICTS[number // len(OPENINGS) % 2]
            question = f'Is this movie review positive or negative? "{opening} {verdict}, take {number}."'
            asked = RUNTIME.monotonic()
            request = ConsensusRequest(question=question, choices=["positive", "negative"], deadline_s=60.0)
            answer = daemon.client.post("/v1/consensus", ConsensusAnswer, request, timeout_s=70.0)
            times.append(RUNTIME.monotonic() - asked)
            assert len(answer.votes) == GEMMA_AGENTS, answer.detail
        peak = _peak_bytes(daemon.process.pid)
    return {
        "gemma_ready_s": round(ready, 1),
        "gemma_measured_s": round(measured, 1),
        "gemma_p50_s": round(median(times), 3),
        "gemma_max_s": round(max(times), 3),
        "gemma_peak_gb": round(peak / 1e9, 2),
    }


def _overhead(root: Path, tell: Callable[[str], None], count: int) -> dict[str, float]:
    with ExitStack() as stack:
        tell("starting three nodes")
        nodes: list[ChildDaemon] = []
        settled = root / "settled.toml"
        settled.write_text("division_threshold = 1000000\n")  # births would change the panel between questions
        invitation: list[str] = []
        for number in range(TINY_NODES):
            flags = [*LOOPBACK, "--brain", f"tiny={TINY_EACH}", "--config", str(settled), *invitation]
            daemon = ChildDaemon(root / f"tiny{number}", flags)
            stack.callback(daemon.stop)
            daemon.wait_ready()
            nodes.append(daemon)
            if not invitation:
                token = daemon.client.post("/v1/tokens", TokenReply, TokenRequest(uses=TINY_NODES)).token
                invitation = ["--bootstrap", daemon.address, "--token", token]
        client = nodes[0].client
        everybody = TINY_NODES * TINY_EACH
        _until(lambda: sum(member.agents for member in client.get("/v1/peers", Peers).members) == everybody, tell, "the nodes to meet")
        request = ConsensusRequest(question="Is this ticket about a card or a transfer? 'It did not arrive.'", choices=["card", "transfer"])
        tell("asking tiny agents")
        overheads, seen = [], []
        for _ in range(count):
            asked = RUNTIME.monotonic()
            answer = client.post("/v1/consensus", ConsensusAnswer, request)
            seen.append((RUNTIME.monotonic() - asked) * 1000)
            assert len(answer.votes) == everybody, answer.detail
            overheads.append(answer.elapsed_ms - answer.brain_ms)
    return {
        "overhead_p50_ms": round(median(overheads), 2),
        "overhead_p95_ms": round(quantiles(overheads, n=20)[18], 2),
        "client_p50_ms": round(median(seen), 2),
    }


def _until(condition: Callable[[], bool], tell: Callable[[str], None], what: str, seconds: float = 300.0) -> None:
    tell(what)
    pause = Event()
    deadline = RUNTIME.monotonic() + seconds
    while not condition():
        assert RUNTIME.monotonic() < deadline, f"waited for {what} in vain"
        pause.wait(0.2)


def _peak_bytes(pid: int) -> int:
    """The high-water mark where the system keeps one, else what is resident now."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    return int(psutil.Process(pid).memory_info().rss)
