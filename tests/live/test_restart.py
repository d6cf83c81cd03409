"""A node that stops says that it will be back; one that comes back, killed or stopped, is among its neighbours when it says ready."""

from __future__ import annotations

from protocol.api.nodes import Peers
from tests.live.conftest import LiveSwarm


def test_a_node_is_stopped_not_dead_and_is_back_with_its_neighbours_when_it_says_ready(live: LiveSwarm) -> None:
    none = ("--brain", "none")
    founder = live.found(*none)
    assert founder.ready is not None
    assert (founder.ready.neighbours, founder.ready.known) == (0, 0)
    other = live.launch("other", *none, "--bootstrap", founder.address, "--token", live.token())
    assert other.wait_ready().neighbours == 1

    def state() -> str:
        members = founder.client.get("/v1/peers", Peers).members
        return next(member.state for member in members if member.name == "other")

    other.stop()
    live.wait(lambda: state() == "stopped", "the goodbye")
    again = live.launch("other", *none)  # no address to dial but those it knew
    assert again.wait_ready().neighbours == 1
    assert state() == "alive"
    again.kill()
    live.wait(lambda: state() == "dead", "the loss to be seen")
    assert live.launch("other", *none).wait_ready().neighbours == 1


def test_a_node_stopped_while_its_brain_loads_ends_without_a_trace(live: LiveSwarm) -> None:
    daemon = live.launch("early", "--brain", "tiny")
    live.wait((daemon.data_dir / "api.json").exists, "the API")
    daemon.stop()
    assert daemon.process.stdout is not None
    daemon.process.stdout.close()  # nobody waits for it to be ready
    assert "Traceback" not in daemon.log_tail()
