"""Task files that misbehave: each is stopped and named, and the node goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from node.tasks import workshop
from node.tasks.base import WRITTEN
from node.tasks.workshop import Children, TaskFailed

FILE = """
import random
from node.tasks.base import Param, Task

class Mine(Task):
    name = "mine"
    description = "a test"
    params = {{"n": Param(3, 1, 9)}}
    def valid(self, solution): return len(solution) == 1
    def moves(self): return ("UP",)
    def start(self, rng): return b"\\x01"
    def propose(self, own, heard, rng, move=""):
        {propose}
    def evaluate(self, solution):
        {evaluate}
    def render(self, solution): return str(solution[0])
"""
GOOD = "return bytes([min(255, own[0] + 1)])"


def write(folder: Path, propose: str = GOOD, evaluate: str = "return float(solution[0])") -> str:
    path = folder / "my_task.py"
    path.write_text(FILE.format(propose=propose, evaluate=evaluate))
    return str(path)


@pytest.mark.parametrize(
    ("propose", "evaluate", "said"),
    [
        ("raise RuntimeError('broken')", "return 1.0", "broken"),
        (GOOD, "return float('nan') if solution[0] > 1 else 1.0", "no score"),
        ("return b'x' * 10_000_000_000", "return 1.0", "MemoryError"),
        ("return b'x' * 5_000", "return float(len(solution))", "over the limit"),
        ("import os; os._exit(3)", "return 1.0", "broke off"),
        ("open('/dev/stdout', 'w').write('noise'); return own", "return 1.0", ""),
    ],
)
async def test_a_task_file_that_misbehaves_is_named(tmp_path: Path, propose: str, evaluate: str, said: str) -> None:
    children = Children(write(tmp_path, propose, evaluate), {}, 1)
    try:
        await children.open()
        if not said:
            assert (await children.step(b"\x01", {}, ["UP"], 1, 1.0)).solution == b"\x01"
            return
        with pytest.raises(TaskFailed, match=said):
            await children.step(b"\x01", {}, ["UP"], 1, 1.0)
        assert (await children.start(1)).solution == b"\x01"
    finally:
        await children.close()


async def test_a_task_that_never_returns_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "CALL_S", 0.3)
    children = Children(write(tmp_path, "while True: pass"), {}, 1)
    try:
        with pytest.raises(TaskFailed, match="did not answer"):
            await children.step(b"\x01", {}, ["UP"], 1, 0.1)
    finally:
        await children.close()


@pytest.mark.parametrize("text", ["x = 1", "raise ValueError('at import')", "def ("])
async def test_a_file_that_is_no_task_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "my_task.py"
    path.write_text(text)
    children = Children(str(path), {}, 1)
    with pytest.raises(TaskFailed, match=r"exactly one|at import|SyntaxError"):
        await children.open()
    await children.close()


async def test_a_good_file_works_on_several_cores_at_once(tmp_path: Path) -> None:
    children = Children(write(tmp_path), {"n": 4}, 2)
    try:
        await children.open()
        assert (children.name, children.moves) == ("mine", ("UP",))
        outcomes = await asyncio.gather(*(children.step(bytes([start]), {}, ["UP"] * 3, 1, 9.0) for start in (1, 10, 20)))
        assert [outcome.score for outcome in outcomes] == [4.0, 13.0, 23.0]
        assert outcomes[0].gains == (1.0, 1.0, 1.0)
        assert await children.render(b"\x07") == "7"
        assert await children.check(b"\x07\x08") == 0.0
    finally:
        await children.close()


async def test_what_a_model_wrote_is_read_repaired_and_scored_and_nonsense_gains_nothing() -> None:
    children = Children("circle_packing", {"n": 3}, 1)
    try:
        begun = await children.start(1)
        texts = ["0.1,0.1 0.9,0.1 0.5,0.9", "no numbers at all", "0.5 0.5", "0.1 0.1 0.1 0.1 0.1 0.1 0.2 0.2"]
        outcome = await children.step(begun.solution, {7: begun.solution}, [WRITTEN + text for text in texts], 1, 30.0)
        assert len(outcome.gains) == 4
        assert outcome.gains[1] == 0.0
        assert outcome.sound == 1
        assert outcome.score >= begun.score
        assert outcome.heard == {7: begun.score}
        assert outcome.seconds > 0.0
        question, shown = await children.invite(begun.solution, {7: begun.solution})
        assert question.startswith("3 points")
        assert len(shown) == 2
    finally:
        await children.close()
