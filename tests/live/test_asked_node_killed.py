"""The node that was asked dies in the middle of a question: its client is told, and never left hanging."""

from __future__ import annotations

import signal
import threading

import pytest

from cli.client import Client
from cli.main import run
from cli.target import EXIT_ABSTAINED
from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.errors import UserError
from tests.live.conftest import LiveSwarm

pytestmark = pytest.mark.live
DEADLINE_S = 6.0
PATIENCE_S = 60.0
QUESTION = ConsensusRequest(question="Is this good or bad? 'Fine.'", choices=["good", "bad"], deadline_s=DEADLINE_S)


class Asker(threading.Thread):
    """A client that waits for its answer."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self.outcome: ConsensusAnswer | UserError | None = None

    def run(self) -> None:
        try:
            self.outcome = self._client.post("/v1/consensus", ConsensusAnswer, QUESTION)
        except UserError as error:
            self.outcome = error


def test_the_client_of_a_killed_node_gets_an_error_and_that_of_a_live_one_a_marked_answer(
    live: LiveSwarm, capsys: pytest.CaptureFixture[str]
) -> None:
    live.found("--brain", "tiny=2")
    live.join(2, "--brain", "tiny=2")
    asked, panel, other = live.nodes
    askers = [Asker(node.client) for node in (asked, other)]
    panel.process.send_signal(signal.SIGSTOP)  # its votes will not come, so both questions are under way when the asked node dies
    try:
        for asker in askers:
            asker.start()
        askers[0].join(0.5)
        assert askers[0].is_alive()
        asked.kill()
        panel.kill()
        for asker in askers:
            asker.join(PATIENCE_S)
            assert not asker.is_alive()
        failed, marked = (asker.outcome for asker in askers)
        assert isinstance(failed, UserError)
        assert isinstance(marked, ConsensusAnswer)
        assert marked.degraded
        assert marked.missing
        assert run(["ask", "Good?", "-c", "good", "-c", "bad", "--agents", "64", "--data-dir", str(other.data_dir)]) in (0, EXIT_ABSTAINED)
        assert "Degraded" in " ".join(capsys.readouterr().out.split())
    finally:
        panel.process.send_signal(signal.SIGCONT)
