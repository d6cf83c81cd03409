"""A head of a project divides onto another machine; its home is killed; the others answer with the same genomes, a newcomer too."""

from __future__ import annotations

import pytest

from cli.main import run
from node.brains.embedder import minilm_installed
from protocol.labelling import ProjectInfo, RowLabel, TextsRequest
from tests.live.conftest import LiveSwarm, wait_until
from tests.live.piles import LOADED_S, info_at, pile, sent, taught

ROWS = 128
FIRST, MOST = 24, 64

pytestmark = [pytest.mark.live, pytest.mark.timeout(400), pytest.mark.skipif(not minilm_installed(), reason="needs moot[embed]")]


def founders(info: ProjectInfo) -> set[str]:
    return {one.id for one in info.agents if one.generation == 0}


def children(info: ProjectInfo) -> dict[str, str]:
    """Id and birthplace of every head that was born of another."""
    return {one.id: one.bearer for one in info.agents if one.generation}


@pytest.mark.slow
def test_a_head_divides_onto_another_machine_and_outlives_the_home(live: LiveSwarm, capsys: pytest.CaptureFixture[str]) -> None:
    gold = pile(ROWS)
    live.found("--brain", "tiny=1")
    live.join(2, "--brain", "tiny=1")
    home, *others = live.nodes
    client = home.client
    project = sent(client, gold)
    taught(client, project, gold, 8)
    wait_until(lambda: len(info_at(client, project).learners) == 3, "learners on every machine", LOADED_S)
    taught(client, project, gold, FIRST - 8)
    while not children(info_at(client, project)) and (given := info_at(client, project).corrections) < MOST:
        wait_until(lambda given=given: all(info_at(one.client, project).corrections == given for one in others), "news", LOADED_S)  # type: ignore[misc]
        taught(client, project, gold, 4)
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
