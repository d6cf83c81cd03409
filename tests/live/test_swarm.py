"""Three daemons as separate processes: joining, asking, dividing, dying, coming back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node.cells.grid import neighbours
from protocol.api.agents import AgentInfo
from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.api.memory import DhtPut, DhtPutReply, DhtValues
from protocol.api.nodes import NodeInfo, Peers
from protocol.api.runs import RunInfo, RunRequest
from protocol.errors import InvalidRequest, NotAuthorised, UserError
from tests.live.conftest import LiveSwarm

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]
TINY = ("--brain", "tiny=2")
QUESTION = ConsensusRequest(question="Is this review good or bad? 'Fine.'", choices=["good", "bad"])
VECTOR = ConsensusRequest(embedding=[0.1] * 16)


def moot(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cli", *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_a_swarm_answers_divides_survives_a_kill_and_comes_back(live: LiveSwarm, tmp_path: Path) -> None:
    live.found(*TINY)
    live.join(2, *TINY)
    first, second, third = live.nodes

    # Any node answers with everybody's agents, and the receipt verifies offline.
    def everybody_answers() -> bool:
        answer = second.client.post("/v1/consensus", ConsensusAnswer, VECTOR)
        answers.append(answer)
        return answer.status == "answered" and len({vote.node_id for vote in answer.votes}) == 3

    answers: list[ConsensusAnswer] = []
    live.wait(everybody_answers, "an answer of all three nodes")
    answer = answers[-1]
    receipt = tmp_path / "receipt.json"
    receipt.write_text(json.dumps(second.client.get(f"/v1/receipts/{answer.id}", dict[str, Any])))
    assert moot("verify", str(receipt)).returncode == 0
    receipt.write_text(receipt.read_text().replace('"receipt":"', '"receipt":"A', 1).replace('"receipt": "', '"receipt": "A', 1))
    assert moot("verify", str(receipt)).returncode == 1

    # After five interactions agents divide, and children live on other machines.
    for _ in range(5):
        first.client.post("/v1/consensus", ConsensusAnswer, QUESTION)

    def born_elsewhere() -> bool:
        agents = {agent.agent_id: agent for agent in first.client.get("/v1/agents?scope=swarm", list[AgentInfo])}
        parents = [(child, agents.get(child.parent_id or "")) for child in agents.values()]
        return any(parent is not None and parent.node_id != child.node_id and parent.genome != child.genome for child, parent in parents)

    live.wait(born_elsewhere, "a child on another node")

    # A value written at one node is read at another.
    live.wait(lambda: put(second.client.api, "colour", DhtPut("green")).replicas == 3, "three copies of a value")
    assert [value.value for value in third.client.get("/v1/dht/colour", DhtValues).values] == ["green"]

    # The grid's cells hear their neighbours and nobody else.
    def heard() -> dict[int, list[int]]:
        run = first.client.post("/v1/runs", RunInfo, RunRequest("colouring", {"size": 3, "iterations": 1}))
        live.wait(lambda: first.client.get(f"/v1/runs/{run.run_id}", RunInfo).state == "done", "the grid")
        (iteration,) = first.client.get(f"/v1/runs/{run.run_id}", RunInfo).iterations
        found = {cell.cell: sorted(cell.heard) for cell in iteration.cells}
        assert all(set(cells) <= set(neighbours(3, cell)) for cell, cells in found.items())
        return found

    live.wait(lambda: heard().get(4) == [1, 3, 5, 7], "a grid on which nobody was late")

    # One is killed: the others answer, and say that somebody is missing or notice the death.
    third.kill()
    third_id = third.ready.node_id if third.ready else ""

    def answered_without_it() -> bool:
        """Until its death is known its children may be so many that the others are no quorum."""
        after = first.client.post("/v1/consensus", ConsensusAnswer, VECTOR)
        assert third_id not in {vote.node_id for vote in after.votes}
        return after.status == "answered"

    live.wait(answered_without_it, "an answer of the others")

    def noticed() -> bool:
        states = {member.node_id: member.state for member in first.client.get("/v1/peers", Peers).members}
        return states.get(third_id) == "dead"

    live.wait(noticed, "the death to be noticed")

    # It comes back without a token, with its identity, address and agents.
    before = third.ready
    again = live.launch("n2", "--bootstrap", first.address, *TINY)
    ready = again.wait_ready()
    assert before is not None
    assert (ready.node_id, ready.address) == (before.node_id, before.address)
    live.wait(lambda: again.client.get("/v1/node", NodeInfo).agents >= 2, "its agents")
    live.nodes[2] = again
    live.wait(live.all_meet, "the swarm to be whole again")

    # SIGTERM ends every daemon cleanly.
    assert [node.stop() for node in live.nodes] == [0, 0, 0]


def test_who_is_refused_exits_5_with_the_reason(live: LiveSwarm, tmp_path: Path) -> None:
    first = live.found("--brain", "tiny=1")
    token = live.token()
    flags = ("--host", "127.0.0.1", "--port", "0", "--api-port", "0", "--brain", "tiny=1")

    def join(name: str, *more: str) -> subprocess.CompletedProcess[str]:
        return moot("up", "--data-dir", str(tmp_path / name), "--bootstrap", first.address, *flags, *more)

    without = join("a")
    assert without.returncode == 5
    assert "token" in without.stderr
    wrong = join("b", "--token", token[:-4] + ("aaaa" if not token.endswith("aaaa") else "bbbb"))
    assert wrong.returncode == 5
    assert "wrong" in wrong.stderr
    swarm = token.split("-")[1]
    foreign = join("c", "--token", token.replace(swarm, "a" * len(swarm)))
    assert foreign.returncode == 5
    assert "the secret was not sent" in foreign.stderr
    live.join(1, "--brain", "tiny=1")
    member = live.launch("d", "--bootstrap", first.address, "--token", token, "--brain", "tiny=1")
    member.wait_ready()
    used = join("e", "--token", token)
    assert used.returncode == 5
    assert "used up" in used.stderr


def test_a_directory_and_a_port_belong_to_one_daemon(live: LiveSwarm, tmp_path: Path) -> None:
    first = live.found("--brain", "tiny=1")
    again = moot("up", "--data-dir", str(first.data_dir), "--port", "0", "--api-port", "0")
    assert again.returncode == 1
    assert "in use by another daemon" in again.stderr
    port = first.address.rsplit(":", 1)[1]
    taken = moot("up", "--data-dir", str(tmp_path / "x"), "--host", "127.0.0.1", "--port", port, "--api-port", "0")
    assert taken.returncode == 1
    assert port in taken.stderr
    assert first.client.get("/v1/node", NodeInfo).ready


def test_a_damaged_database_is_one_sentence_and_the_identity_survives(live: LiveSwarm) -> None:
    first = live.found("--brain", "tiny=1")
    identity = first.ready.node_id if first.ready else ""
    first.stop()
    (first.data_dir / "moot.sqlite3").write_bytes(b"garbage " * 2000)
    for leftover in first.data_dir.glob("moot.sqlite3-*"):
        leftover.unlink()
    broken = moot("up", "--data-dir", str(first.data_dir), "--port", "0", "--api-port", "0", "--brain", "tiny=1")
    assert broken.returncode == 1
    assert "move that file aside" in broken.stderr
    (first.data_dir / "moot.sqlite3").rename(first.data_dir / "aside")
    assert live.launch("n0", "--brain", "tiny=1").wait_ready().node_id == identity


def test_an_unknown_brain_is_refused_with_those_there_are(tmp_path: Path) -> None:
    outcome = moot("up", "--data-dir", str(tmp_path / "n"), "--brain", "gpt", "--port", "0", "--api-port", "0")
    assert outcome.returncode == 2
    assert "tiny" in outcome.stderr


def test_bad_questions_get_their_sentence(live: LiveSwarm) -> None:
    client = live.found("--brain", "tiny=1").client
    for bad in (
        ConsensusRequest(question="   "),
        ConsensusRequest(question="One?", choices=["only"]),
        ConsensusRequest(question="When?", choices=["a", "b"], deadline_s=0.0),
        ConsensusRequest(embedding=[0.5] * 3),
    ):
        with pytest.raises(InvalidRequest):
            client.post("/v1/consensus", ConsensusAnswer, bad)


def test_the_admin_secret_is_needed_to_admit_or_stop(live: LiveSwarm) -> None:
    from cli.client import Client

    stranger = Client(live.found("--brain", "tiny=1").client.api)
    for path in ("/v1/tokens", "/v1/stop", "/v1/leave"):
        with pytest.raises(NotAuthorised):
            stranger.post(path, dict[str, Any], {})


def put(api: str, key: str, body: DhtPut) -> DhtPutReply:
    """PUT by hand: the command line has no need of it."""
    import urllib.request

    import msgspec

    request = urllib.request.Request(f"{api}/v1/dht/{key}", msgspec.json.encode(body), {"Content-Type": "application/json"}, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return msgspec.json.decode(reply.read(), type=DhtPutReply)
    except OSError as error:
        raise UserError(str(error)) from error
