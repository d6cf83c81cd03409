"""What a person does with the council by the command line, against real daemons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import run
from cli.target import EXIT_ABSTAINED
from tests.live.conftest import LiveSwarm, wait_until

pytestmark = pytest.mark.live

CANARIES = [
    {"id": f"c{n}", "topic": "parity", "question": f"Is {n} even or odd?", "choices": ["even", "odd"], "answer": ["even", "odd"][n % 2]}
    for n in range(12)
]


def test_canary_ask_verify_feedback_and_purge(live: LiveSwarm, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live.found("--brain", "tiny=2")
    live.join(1, "--brain", "tiny=2")

    def moot(*arguments: str, code: int = 0) -> Any:
        found = run([*arguments, "--data-dir", str(live.root / "n0"), "--json"])
        out, err = capsys.readouterr()
        assert found == code, err
        return json.loads(out)

    canaries = tmp_path / "canaries.jsonl"
    canaries.write_text("\n".join(json.dumps(canary) for canary in CANARIES))
    assert moot("canary", "add", str(canaries))["hidden"] == 12

    def ask(number: int) -> Any:
        found = run(["ask", f"Is {number} even or odd?", "-c", "even", "-c", "odd", "--data-dir", str(live.root / "n0"), "--json"])
        out, _ = capsys.readouterr()
        assert found in (0, EXIT_ABSTAINED)
        return json.loads(out)

    wait_until(lambda: ask(18)["panel"] >= 4, "all agents to sit on the panel")
    answers = [ask(number) for number in range(20, 24)]
    assert all(len(answer["votes"]) + len(answer["missing"]) == answer["panel"] for answer in answers)
    receipt = next(answer["id"] for answer in answers if answer["votes"])
    assert moot("verify", receipt)["ok"]
    assert moot("feedback", receipt, "1.0", "--correct", "even")["agents"] > 0
    again = run(["feedback", receipt, "1.0", "--data-dir", str(live.root / "n0")])
    assert again != 0
    assert "already" in capsys.readouterr().err

    kept = moot("memory", "add", "When does the ferry leave?", "At nine.")

    def found() -> list[str]:
        return [memory["id"] for memory in moot("memory", "search", "When does the ferry leave?")]

    wait_until(lambda: kept["id"] in found(), "the memory to be found")
    assert moot("memory", "purge", "--node", live.nodes[0].client.get("/v1/node", dict)["node_id"])["deleted"] == 1
    wait_until(lambda: found() == [], "the memory to be gone")
