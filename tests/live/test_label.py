"""Three real daemons label a pile together; one of them is killed in the middle; a learnt project answers from another node."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cli.main import run
from node.brains.embedder import minilm_installed
from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.labelling import ProjectInfo, ProjectRequest, RowsRequest
from tests.live.conftest import LiveSwarm, wait_until

DATA = Path(__file__).parents[1] / "data" / "labelling" / "banking12_train.csv"
ROWS = 600
LOADED_S = 100.0

pytestmark = [pytest.mark.live, pytest.mark.timeout(300), pytest.mark.skipif(not minilm_installed(), reason="needs moot[embed]")]


def rows(tmp_path: Path) -> tuple[Path, list[dict[str, str]]]:
    with DATA.open(encoding="utf-8") as stream:
        taken = list(csv.DictReader(stream))[:: max(1, 1552 // ROWS)][:ROWS]
    path = tmp_path / "pile.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["text", "label"])
        writer.writeheader()
        writer.writerows(taken)
    return path, taken


@pytest.mark.slow
def test_a_pile_is_labelled_though_a_third_of_the_nodes_is_killed(live: LiveSwarm, tmp_path: Path) -> None:
    path, gold = rows(tmp_path)
    live.found("--brain", "tiny=1")
    live.join(2, "--brain", "tiny=1")
    home, doomed, other = live.nodes
    client = home.client
    info = client.post("/v1/labelling", ProjectInfo, ProjectRequest("warm up"), LOADED_S)
    for start in range(0, 128, 16):
        client.post(f"/v1/labelling/{info.id}/rows", ProjectInfo, RowsRequest(start, [row["text"] for row in gold[start : start + 16]]))
    client.post(f"/v1/labelling/{info.id}/complete", ProjectInfo)
    wait_until(lambda: client.get(f"/v1/labelling/{info.id}", ProjectInfo).read >= 16, "the first batch", LOADED_S)
    doomed.kill()
    wait_until(lambda: client.get(f"/v1/labelling/{info.id}", ProjectInfo).read == 128, "every row", LOADED_S)

    out = tmp_path / "out.csv"
    target = ["--data-dir", str(home.data_dir)]
    assert run(["label", str(path), "--text-column", "text", "--oracle", "label", "--budget", "48", "--out", str(out), *target]) == 0
    with out.open(encoding="utf-8") as stream:
        written = list(csv.DictReader(stream))
    assert [row["text"] for row in written] == [row["text"] for row in gold]
    assert sum(row["label_moot"] == row["label"] for row in written) / len(written) >= 0.85
    project = next(one.id for one in client.get("/v1/labelling", list[ProjectInfo]) if one.name)
    sure = max((row for row in written if not row["abstained"]), key=lambda row: float(row["confidence"]) * (row["votes"] != ""))
    asked = ConsensusRequest(question=sure["text"], project=project)
    answer = other.client.post("/v1/consensus", ConsensusAnswer, asked, LOADED_S)
    assert answer.answer == sure["label_moot"]
