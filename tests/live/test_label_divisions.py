"""A head of a project divides onto another machine; its home is killed; the others answer with the same genomes, a newcomer too."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cli.client import Client
from cli.main import run
from node.brains.embedder import minilm_installed
from protocol.labelling import AnswerRequest, ProjectInfo, ProjectRequest, Questions, RowLabel, RowsRequest, TextsRequest
from tests.live.conftest import LiveSwarm, wait_until

DATA = Path(__file__).parents[1] / "data" / "labelling" / "banking12_train.csv"
ROWS = 128
FIRST, MOST = 24, 64
LOADED_S = 100.0

pytestmark = [pytest.mark.live, pytest.mark.timeout(400), pytest.mark.skipif(not minilm_installed(), reason="needs moot[embed]")]


def info_at(client: Client, project: str) -> ProjectInfo:
    return client.get(f"/v1/labelling/{project}", ProjectInfo, LOADED_S)


def founders(info: ProjectInfo) -> set[str]:
    return {one.id for one in info.agents if one.generation == 0}


def children(info: ProjectInfo) -> dict[str, str]:
    """Id and birthplace of every head that was born of another."""
    return {one.id: one.bearer for one in info.agents if one.generation}


@pytest.mark.slow
def test_a_head_divides_onto_another_machine_and_outlives_the_home(live: LiveSwarm, capsys: pytest.CaptureFixture[str]) -> None:
    with DATA.open(encoding="utf-8") as stream:
        gold = list(csv.DictReader(stream))[:: 1552 // ROWS][:ROWS]
    live.found("--brain", "tiny=1")
    live.join(2, "--brain", "tiny=1")
    home, *others = live.nodes
    client = home.client
    project = client.post("/v1/labelling", ProjectInfo, ProjectRequest("pile", "pile"), LOADED_S).id
    for start in range(0, ROWS, 32):
        client.post(f"/v1/labelling/{project}/rows", ProjectInfo, RowsRequest(start, [row["text"] for row in gold[start : start + 32]]))
    client.post(f"/v1/labelling/{project}/complete", ProjectInfo)
    wait_until(lambda: info_at(client, project).phase == "asking", "every row", LOADED_S)

    def answer(count: int) -> None:
        for _ in range(count):
            (question,) = client.get(f"/v1/labelling/{project}/next", Questions, LOADED_S).questions
            body = AnswerRequest(question.row, gold[question.row]["label"])
            client.post(f"/v1/labelling/{project}/answer", ProjectInfo, body, LOADED_S)

    answer(8)
    wait_until(lambda: len(info_at(client, project).learners) == 3, "learners on every machine", LOADED_S)
    answer(FIRST - 8)
    while not children(info_at(client, project)) and (given := info_at(client, project).corrections) < MOST:
        wait_until(lambda given=given: all(info_at(one.client, project).corrections == given for one in others), "news", LOADED_S)  # type: ignore[misc]
        answer(4)
    wait_until(lambda: bool(children(info_at(client, project))), "a head to divide", LOADED_S)
    told = info_at(client, project)
    assert set(children(told).values()) <= {"n1", "n2"}  # born on the machines that took room, not at home
    assert any("divided: child" in line and (" on n1" in line or " on n2" in line) for line in told.divisions)
    wait_until(lambda: all(set(children(told)) <= set(children(info_at(one.client, project))) for one in others), "the news", LOADED_S)
    assert run(["label", "stats", project, "--data-dir", str(home.data_dir)]) == 0
    shown = capsys.readouterr().out
    assert "log-loss" in shown
    assert "divided: child" in shown
    home.kill()

    for node in others:
        assert founders(info_at(node.client, project)) == founders(told)
        judged = node.client.post(f"/v1/labelling/{project}/judge", list[RowLabel], TextsRequest([gold[0]["text"]]), LOADED_S)
        assert len(judged) == 1
        assert len(judged[0].votes.split("; ")) >= len(founders(told))
