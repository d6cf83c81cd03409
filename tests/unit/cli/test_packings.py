"""The gap to the best known, told by the command line only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from cli.packings import gap_text, known_radii

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("task", "params", "best", "said"),
    [
        ("circle_packing", {"n": 4, "radius": 0.0}, 0.25, "reached"),
        ("circle_packing", {"n": 4}, 0.2, "gap 5.0e-02 (20%)"),
        ("circle_packing_sum", {"n": 26}, 2.6, "best-known sum of radii of 26 circles: 2.635983084919"),
    ],
)
def test_the_gap_is_told_where_a_best_is_known(task: str, params: dict[str, int | float | str], best: float, said: str) -> None:
    assert said in gap_text(task, params, best)


@pytest.mark.parametrize(
    ("task", "params"),
    [
        ("circle_packing", {"n": 199}),
        ("circle_packing", {"n": 4, "radius": 0.1}),
        ("circle_packing_sum", {"n": 7}),
        ("minimise", {"n": 4}),
        ("mine.py", {}),
    ],
)
def test_elsewhere_nothing_is_said(task: str, params: dict[str, int | float | str]) -> None:
    assert gap_text(task, params, 0.1) == ""


def test_the_table_is_whole_and_no_node_reads_it() -> None:
    assert set(known_radii()) >= set(range(1, 51))
    for path in (ROOT / "node").rglob("*.py"):
        text = path.read_text("utf-8")
        assert "packing_radii" not in text
        imported = [node.module or "" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
        assert "cli.packings" not in imported
