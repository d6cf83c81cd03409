"""The node that was asked dies in the middle of a question: its client is told, and never left hanging."""

from __future__ import annotations

import signal
import threading

import pytest

from cli.client import Client
from cli.main import run
from cli.target import EXIT_ABSTAINED
from node.runtime import SystemRuntime
from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.errors import UserError
from tests.live.conftest import LiveSwarm

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]
DEADLINE_S = 6.0
QUESTION = ConsensusRequest(question="Is this good or bad? 'Fine.'", choices=["good", "bad"], deadline_s=DEADLINE_S)


def test_the_client_of_a_killed_node_gets_an_error_and_that_of_a_live_one_a_marked_answer(
    live: LiveSwarm, capsys: pytest.CaptureFixture[str]
) -> None:
    live.found("--brain", "tiny=2")
    live.join(2, "--brain", "tiny=2")
    asked, panel, other = live.nodes
    panel.process.send_signal(signal.SIGSTOP)  # its votes will not come, so the question is under way when the asked node dies
    clock = SystemRuntime()
    outcome: list[ConsensusAnswer | UserError] = []

    def ask(client: Client) -> None:
        try:
            outcome.append(client.post("/v1/consensus", ConsensusAnswer, QUESTION))
        except UserError as error:
            outcome.append(error)

    try:
        asking = threading.Thread(target=ask, args=(asked.client,))
        asking.start()
        asking.join(0.5)
        assert asking.is_alive()
        asked.kill()
        asking.join(DEADLINE_S)
        assert not asking.is_alive()
        assert isinstance(outcome[0], UserError)
        started = clock.monotonic()
        asking = threading.Thread(target=ask, args=(other.client,))  # before anybody has given the stopped node up
        asking.start()
        asking.join(0.5)
        panel.kill()
        asking.join(DEADLINE_S + 2.0)
        assert clock.monotonic() - started < DEADLINE_S + 2.0
        marked = outcome[1]
        assert isinstance(marked, ConsensusAnswer)
        assert marked.degraded
        assert marked.missing
        assert run(["ask", "Good?", "-c", "good", "-c", "bad", "--agents", "64", "--data-dir", str(other.data_dir)]) in (0, EXIT_ABSTAINED)
        assert "Degraded" in " ".join(capsys.readouterr().out.split())
    finally:
        panel.process.send_signal(signal.SIGCONT)
