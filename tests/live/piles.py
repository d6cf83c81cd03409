"""A pile of bank customers' questions, sent to a daemon as `moot label` sends one."""

from __future__ import annotations

import csv
from pathlib import Path

from cli.client import Client
from protocol.labelling import AnswerRequest, ProjectInfo, ProjectRequest, Questions, RowsRequest
from tests.live.conftest import wait_until

DATA = Path(__file__).parents[1] / "data" / "labelling" / "banking12_train.csv"
AT_ONCE = 32
LOADED_S = 100.0
"""Patience on a machine where everything else runs too."""


def pile(count: int) -> list[dict[str, str]]:
    """Rows with `text` and gold `label`, from all over the file."""
    with DATA.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return rows[:: len(rows) // count][:count]


def info_at(client: Client, project: str) -> ProjectInfo:
    return client.get(f"/v1/labelling/{project}", ProjectInfo, LOADED_S)


def sent(client: Client, rows: list[dict[str, str]]) -> str:
    """The id of a new project of these rows; every one has been read."""
    project = client.post("/v1/labelling", ProjectInfo, ProjectRequest("pile", "pile"), LOADED_S).id
    for start in range(0, len(rows), AT_ONCE):
        texts = [row["text"] for row in rows[start : start + AT_ONCE]]
        client.post(f"/v1/labelling/{project}/rows", ProjectInfo, RowsRequest(start, texts))
    client.post(f"/v1/labelling/{project}/complete", ProjectInfo)
    wait_until(lambda: info_at(client, project).phase == "asking", "every row", LOADED_S)
    return project


def taught(client: Client, project: str, rows: list[dict[str, str]], answers: int) -> None:
    """So many questions are answered with what is right."""
    for _ in range(answers):
        (question,) = client.get(f"/v1/labelling/{project}/next", Questions, LOADED_S).questions
        body = AnswerRequest(question.row, rows[question.row]["label"])
        client.post(f"/v1/labelling/{project}/answer", ProjectInfo, body, LOADED_S)
