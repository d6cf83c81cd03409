"""The node where a labelling project was started is killed; the others answer new rows by every way in, and go on learning."""

from __future__ import annotations

import csv

import openai
import pytest

from cli.client import Client
from cli.main import run
from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.errors import UserError
from protocol.labelling import RowLabel, TextsRequest
from tests.live.conftest import LiveSwarm, wait_until
from tests.live.piles import DATA, LOADED_S, info_at, pile, sent, taught

TEST = DATA.with_name("banking12_test.csv")
ROWS = 128
ANSWERS = 36

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def corrections_at(client: Client, project: str) -> int:
    try:
        return info_at(client, project).corrections
    except UserError:
        return -1


@pytest.mark.slow
def test_the_home_of_a_project_is_killed_and_the_others_answer(live: LiveSwarm, capsys: pytest.CaptureFixture[str]) -> None:
    gold = pile(ROWS)
    new = [row["text"] for row in list(csv.DictReader(TEST.read_text(encoding="utf-8").splitlines()))[:20]]
    live.found("--brain", "tiny=1")
    live.join(2, "--brain", "tiny=1")
    home, *others = live.nodes
    client = home.client
    project = sent(client, gold)
    taught(client, project, gold, ANSWERS)
    wait_until(lambda: info_at(client, project).holders == 3, "every node to hold it", LOADED_S)
    wait_until(lambda: all(corrections_at(node.client, project) == ANSWERS for node in others), "the corrections", LOADED_S)
    judged = client.post(f"/v1/labelling/{project}/judge", list[RowLabel], TextsRequest(new), LOADED_S)
    text, expected = max(zip(new, judged, strict=True), key=lambda pair: pair[1].confidence * (not pair[1].abstained))
    home.kill()

    for node in others:
        answer = node.client.post("/v1/consensus", ConsensusAnswer, ConsensusRequest(question=text, project=project), LOADED_S)
        assert answer.answer == expected.label
        official = openai.OpenAI(base_url=f"{node.client.api}/v1", api_key="unused", timeout=LOADED_S)
        assert f"moot:{project}" in [model.id for model in official.models.list()]
        chat = official.chat.completions.create(model=f"moot:{project}", messages=[{"role": "user", "content": text}])
        assert chat.choices[0].message.content == expected.label
        official.close()
    assert run(["ask", "--project", project, "--data-dir", str(others[0].data_dir), text]) == 0
    assert expected.label in capsys.readouterr().out

    taught(others[0].client, project, gold, 1)
    wait_until(lambda: corrections_at(others[1].client, project) == ANSWERS + 1, "the new correction", LOADED_S)
