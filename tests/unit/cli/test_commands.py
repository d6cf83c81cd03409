"""Commands against a daemon: results on stdout, messages on stderr, the exit codes of the design."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from protocol.api.council import ConsensusAnswer, Missing
from protocol.api.nodes import NodeInfo
from protocol.identity import show_id
from protocol.labelling import RowLabel
from tests.unit.cli.conftest import Moot, serving
from tests.unit.http.fakes import ABSTAINED, ADMIN, AGENT, ANSWER, NODE, PROJECT, RECEIPT, FakeDaemon, FakeLabelling

QUESTION = ("ask", "Is it good?", "--choice", "good", "--choice", "bad")


def test_status_tells_who_the_node_is(moot: Moot, api: str) -> None:
    shown = moot("status", "--api", api)
    assert (shown.code, shown.err) == (0, "")
    assert all(text in shown.out for text in (NODE, "here", "ready", "tiny", "127.0.0.1:7337"))


def test_json_is_the_answer_of_the_api(moot: Moot, api: str) -> None:
    shown = moot("status", "--api", api, "--json")
    assert msgspec.json.decode(shown.out, type=NodeInfo).node_id == NODE


def test_the_data_directory_names_the_daemon_and_the_admin_token(moot: Moot, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert moot("token", "ls", "--data-dir", str(home)).code == 0
    monkeypatch.setenv("MOOT_DATA_DIR", str(home))
    assert moot("token", "ls").code == 0


def test_flags_go_before_the_environment(moot: Moot, api: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOT_API", "http://127.0.0.1:1")
    assert moot("status").code == 3
    assert moot("status", "--data-dir", str(home)).code == 0
    assert moot("status", "--api", api).code == 0


def test_an_answer_is_a_table_with_agreement_and_confidence_apart(moot: Moot, api: str) -> None:
    shown = moot(*QUESTION, "--api", api)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0].split() == ["agent", "node", "brain", "answer", "p", "ms"]
    assert lines[1].split() == [AGENT.agent_id[:8], NODE[:8], "tiny", "good", "0.90", "12"]
    facts = {line.split()[0]: line for line in lines[2:] if line.strip()}
    assert "100%" in facts["agreement"]
    assert "80%" in facts["confidence"]
    assert "15 of this topic" in facts["confidence"]
    assert RECEIPT in facts["receipt"]


def test_a_projects_answer_says_what_it_is(moot: Moot, api: str, daemon: FakeDaemon) -> None:
    daemon.labelling = FakeLabelling()
    with serving(daemon) as url:
        shown = moot("ask", "Where is my refund?", "--project", PROJECT, "--api", url)
    assert (shown.code, shown.err) == (0, "")
    lines = [line.split() for line in shown.out.splitlines() if line.strip()]
    assert lines[:4] == [["head", "answer"], ["words", "billing"], ["near", "billing"], ["meaning", "delivery"]]
    facts = {line[0]: " ".join(line[1:]) for line in lines[4:]}
    assert "receipt" not in facts
    assert facts["project"].startswith(PROJECT)
    assert "no panel was asked" in facts["project"]
    assert (facts["answer"], facts["dissent"]) == ("billing", "delivery (meaning)")
    assert "3 heads voted" in facts["agreement"]


def test_a_project_with_few_answers_does_not_call_its_confidence_measured(moot: Moot, daemon: FakeDaemon) -> None:
    daemon.labelling = FakeLabelling(RowLabel("billing", 0.99, 1.0, "", "words=billing", calibrated=False))
    with serving(daemon) as url:
        shown = moot("ask", "Where is my refund?", "--project", PROJECT, "--api", url)
    assert "not measured yet: too few answers" in " ".join(shown.out.split())
    assert "held back" not in shown.out


def test_a_project_that_is_unsure_abstains(moot: Moot, daemon: FakeDaemon) -> None:
    daemon.labelling = FakeLabelling(RowLabel("", 0.4, 0.5, "unsure", "words=billing; near=delivery", "billing"))
    with serving(daemon) as url:
        shown = moot("ask", "Where?", "--project", PROJECT, "--api", url)
        assert (shown.code, "abstained" in shown.out, PROJECT in shown.out) == (4, True, True)
        assert "The project is unsure; the nearest is billing." in " ".join(shown.out.split())
        assert moot("ask", "Where?", "--project", PROJECT, "--agents", "3", "--api", url).code == 2
        assert moot("ask", "Where?", "--project", "other", "--api", url).code == 1


def test_a_degraded_answer_is_marked(moot: Moot, api: str, daemon: FakeDaemon) -> None:
    missing = [Missing(show_id(b"m" * 20), show_id(b"x" * 20), "no answer within 2.0 s")]
    said = "Degraded: 1 of 2 votes are missing (no answer within 2.0 s)."
    daemon.council.answer = structs.replace(ANSWER, degraded=True, detail=said, missing=missing, panel=2)
    shown = moot(*QUESTION, "--api", api)
    assert shown.code == 0
    assert said in " ".join(shown.out.split())
    assert show_id(b"m" * 20)[:8] in shown.out
    assert msgspec.json.decode(moot(*QUESTION, "--api", api, "--json").out, type=ConsensusAnswer).degraded


def test_ask_sends_what_was_typed(moot: Moot, api: str, daemon: FakeDaemon) -> None:
    moot(*QUESTION, "--agents", "3", "--quorum", "2", "--deadline", "4.5", "--system", "Be strict.", "--brain", "tiny", "--api", api)
    asked = daemon.council.asked[0]
    assert (asked.choices, asked.agents, asked.quorum, asked.deadline_s) == (["good", "bad"], 3, 2, 4.5)
    assert (asked.system, asked.brain) == ("Be strict.", "tiny")
    moot("ask", "Write a line.", "--temperature", "0.5", "--api", api)
    assert daemon.council.asked[1].temperature == 0.5


def test_a_question_may_come_from_standard_input(moot: Moot, api: str, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("From a pipe?\n"))
    assert moot("ask", "-", "--api", api).code == 0
    assert daemon.council.asked[0].question == "From a pipe?"


def test_a_question_of_a_megabyte_is_refused_with_the_limit(moot: Moot, api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1_000_000, 2_000_000):
        monkeypatch.setattr(sys, "stdin", io.StringIO("x" * size))
        shown = moot("ask", "-", "--api", api)
        assert (shown.code, shown.out) == (2, "")
        assert len(shown.err) < 300
        assert "shorten" in shown.err or "limit" in shown.err or "larger" in shown.err


@pytest.mark.parametrize(
    "arguments", [("ask", "what \udcff"), ("memory", "search", "\udcff"), ("verify", "\udcff" * 32), ("runs", "show", "\udcff")]
)
def test_what_is_not_utf_8_is_named_as_such(moot: Moot, api: str, arguments: tuple[str, ...]) -> None:
    shown = moot(*arguments, "--api", api)
    assert (shown.code, shown.out, shown.err.count("\n")) == (2, "", 1)
    assert "UTF-8" in shown.err or "neither a file nor" in shown.err


def test_an_embedding_is_typed_as_a_list_of_numbers(moot: Moot, api: str, daemon: FakeDaemon) -> None:
    assert moot("ask", "[0.5, -1]", "--kind", "embedding", "--api", api).code == 0
    assert (daemon.council.asked[0].question, daemon.council.asked[0].embedding) == (None, [0.5, -1.0])
    shown = moot("ask", "some words", "--kind", "embedding", "--api", api)
    assert (shown.code, "list of numbers" in shown.err) == (2, True)


def test_an_abstention_is_shown_and_exits_4(moot: Moot, api: str, daemon: FakeDaemon) -> None:
    daemon.council.answer = ABSTAINED
    shown = moot(*QUESTION, "--api", api)
    assert shown.code == 4
    assert "SPLIT" in shown.out
    assert "split 2 to 2" in shown.out
    shown = moot(*QUESTION, "--api", api, "--json")
    assert (shown.code, msgspec.json.decode(shown.out, type=ConsensusAnswer).status) == (4, "abstained")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ask", ""), "empty"),
        (("ask", "a", "--choice", "one"), "choices"),
        (("ask", "a", "--deadline", "0"), "deadline"),
        (("ask", "a", "--agents", "2", "--quorum", "3"), "quorum"),
        (("feedback", "nonsense", "1"), "not an id"),
    ],
)
def test_what_the_daemon_refuses_as_wrong_exits_2_with_its_sentence(moot: Moot, api: str, arguments: tuple[str, ...], said: str) -> None:
    shown = moot(*arguments, "--api", api)
    assert (shown.code, shown.out) == (2, "")
    assert said in shown.err
    assert shown.err.count("\n") == 1


def test_answers_with_markup_in_them_are_shown_as_they_are(moot: Moot, api: str, daemon: FakeDaemon) -> None:
    daemon.council.answer = msgspec.structs.replace(daemon.council.answer, answer="[red]good[/red]", detail="[bold]")
    shown = moot(*QUESTION, "--api", api)
    assert "[red]good[/red]" in shown.out
    assert "[bold]" in shown.out


def test_peers_agents_and_runs_are_listed(moot: Moot, api: str) -> None:
    assert show_id(b"p" * 20) in moot("peers", "--api", api).out
    assert AGENT.agent_id in moot("agents", "ls", "--api", api).out
    assert "gemma:270m" in moot("agents", "ls", "--swarm", "--api", api).out
    assert "run1" in moot("runs", "ls", "--api", api).out
    assert "3" in moot("runs", "show", "run1", "--api", api).out
    assert moot("runs", "show", "none", "--api", api).code == 1


def test_an_agent_is_found_by_the_beginning_of_its_id_unless_two_begin_so(moot: Moot, api: str) -> None:
    assert moot("agents", "show", "zzz", "--api", api).code == 1
    shown = moot("agents", "show", "m", "--api", api)
    assert (shown.code, "2 agents begin with" in shown.err) == (2, True)
    shown = moot("agents", "show", AGENT.agent_id[:5], "--api", api)
    assert AGENT.genome in shown.out
    assert "UTC" in next(line for line in shown.out.splitlines() if line.startswith("born at"))


def test_export_finds_an_agent_of_this_node_by_the_beginning_of_its_id(moot: Moot, api: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.json"
    missing = moot("agents", "export", "zzz", str(file), "--api", api)
    assert (missing.code, "There is no agent 'zzz' on this node" in missing.err) == (1, True)
    shown = moot("agents", "export", AGENT.agent_id[:5], str(file), "--api", api)
    assert (shown.code, json.loads(file.read_bytes())["agent_id"]) == (0, AGENT.agent_id)


def test_feedback_says_how_many_heard_it(moot: Moot, api: str, daemon: FakeDaemon) -> None:
    shown = moot("feedback", RECEIPT, "0.5", "--correct", "bad", "--api", api)
    assert (shown.code, shown.out) == (0, "Told 1 agents.\n")
    assert (daemon.council.rated[0].score, daemon.council.rated[0].correct) == (0.5, "bad")
    assert moot("feedback", RECEIPT, "1.5", "--api", api).code == 2


def test_a_token_alone_is_on_stdout(moot: Moot, home: Path) -> None:
    made = moot("token", "create", "--ttl", "2d", "--uses", "3", "--data-dir", str(home))
    assert (made.code, made.out) == (0, "moot1-a-b-c\n")
    assert "moot join 127.0.0.1:7337 --token moot1-a-b-c" in made.err
    made = moot("token", "create", "--data-dir", str(home), "--json")
    assert (json.loads(made.out)["token"], made.err) == ("moot1-a-b-c", "")


@pytest.mark.parametrize("ttl", ["0s", "soon", "400d", "1w"])
def test_an_impossible_ttl_is_a_usage_error(moot: Moot, home: Path, ttl: str) -> None:
    assert moot("token", "create", "--ttl", ttl, "--data-dir", str(home)).code == 2


def test_a_token_is_revoked_once(moot: Moot, home: Path) -> None:
    assert moot("token", "revoke", "abc", "--data-dir", str(home)).code == 0
    again = moot("token", "revoke", "abc", "--data-dir", str(home))
    assert (again.code, "no token 'abc'" in again.err) == (1, True)


def test_solve_waits_for_the_run_and_draws_the_grid(moot: Moot, api: str) -> None:
    shown = moot("solve", "steps", "--grid", "2", "--api", api)
    assert shown.code == 0
    assert "done" in shown.out
    assert shown.out.splitlines()[-2].split() == ["0", "1"]


def test_stop_and_leave_want_the_admin_token(moot: Moot, api: str, home: Path, daemon: FakeDaemon) -> None:
    refused = moot("stop", "--api", api)
    assert (refused.code, daemon.control.stopped) == (5, False)
    assert "admin token" in refused.err
    assert moot("stop", "--data-dir", str(home)).out == "stopped\n"
    assert moot("leave", "--api", api, "--api-token", ADMIN).out == "left\n"
    assert (daemon.control.stopped, daemon.control.left) == (True, True)


def test_a_token_may_come_from_flag_environment_or_file(moot: Moot, guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = moot("status", "--api", guarded, "--json")
    assert refused.code == 5
    assert json.loads(refused.out)["error"]["code"] == "missing_api_key"
    assert moot("status", "--api", guarded, "--api-token", "wrong").code == 5
    assert moot("status", "--api", guarded, "--api-token", "one").code == 0
    (tmp_path / "secret").write_text("one\n")
    monkeypatch.setenv("MOOT_API_TOKEN_FILE", str(tmp_path / "secret"))
    assert moot("status", "--api", guarded).code == 0
    monkeypatch.setenv("MOOT_API_TOKEN", "wrong")
    assert moot("status", "--api", guarded).code == 5


def test_status_says_by_what_the_swarms_memory_is_found_and_whether_it_is_here(moot: Moot, api: str, daemon: FakeDaemon) -> None:
    assert "found by minilm" in moot("status", "--api", api).out
    assert "not here" not in moot("status", "--api", api).out
    daemon.node.embedder_problem = "It is not installed."
    assert "found by minilm  not here" in moot("status", "--api", api).out


def test_a_node_without_the_embedder_tells_who_searches_what_to_do(moot: Moot, api: str, daemon: FakeDaemon) -> None:
    daemon.memory.problem = "The embedder 'minilm' is not installed on this node: run `pip install 'moot[embed]'`."
    shown = moot("memory", "search", "ferry", "--api", api)
    assert (shown.code, shown.out) == (1, "")
    assert "pip install 'moot[embed]'" in shown.err
