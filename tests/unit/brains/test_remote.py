"""A remote brain against a small server that behaves, misbehaves, or is not there."""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from node.brains import remote
from node.brains.base import Ask, Example, Genome
from node.brains.remote import MAX_REPLY, SAMPLES, RemoteBrain
from node.runtime import SystemRuntime
from protocol.ballots import logprobs_fault
from protocol.errors import InvalidRequest, NotAvailable

MONOTONIC = SystemRuntime().monotonic
GENOME = Genome("remote:toy", settings={"temperature": 0.7})
ASK = Ask(GENOME, "Is snow white?", ("yes", "no"))


class Server(ThreadingHTTPServer):
    """Says `replies` in turn, and over again; `raw` replaces a whole answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = ["yes"]
        self.status = 200
        self.raw: bytes | None = None
        self.models = ["toy", "other"]
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.turn = threading.Lock()
        self.hang = threading.Event()
        self.drip = False
        self.places: list[dict[str, Any]] = []
        self.refuses_logprobs = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def brain(self, model: str = "toy", key: str = "") -> RemoteBrain:
        return RemoteBrain(self.url, model, MONOTONIC, key)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        self._answer({"object": "list", "data": [{"id": name} for name in self.server.models]} if self.path == "/v1/models" else None)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.turn:
            text = self.server.replies[len(self.server.requests) % len(self.server.replies)]
            self.server.requests.append(request)
        if self.server.refuses_logprobs and "logprobs" in request:
            self.send_error(400)
            return
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": {"content": self.server.places}}
        self._answer({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})

    def _answer(self, body: object) -> None:
        data = self.server.raw if self.server.raw is not None else json.dumps(body).encode()
        self.send_response(404 if body is None else self.server.status)
        self.send_header("Content-Length", str(len(data) + 1_000_000 * self.server.drip))
        self.end_headers()
        try:
            self.wfile.write(data)
            while self.server.drip and not self.server.hang.wait(0.01):
                self.wfile.write(b" ")
        except OSError:
            return

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - the library's name


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.hang.set()
        running.shutdown()
        thread.join()


def quiet(what: str, fraction: float) -> None: ...


# ---- what goes wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["ftp://host", "host:11434", "http://", "http://host:x", "http://u:p@host", "file:///etc/passwd", ""])
def test_what_is_no_server_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="server's address"):
        RemoteBrain(url, "toy", MONOTONIC)


def test_a_missing_model_name_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="#MODEL"):
        RemoteBrain("http://127.0.0.1:1", "", MONOTONIC)


def test_a_server_that_is_not_there_is_named(server: Server) -> None:
    brain = RemoteBrain("http://127.0.0.1:1", "toy", MONOTONIC)
    with pytest.raises(NotAvailable, match=r"http://127\.0\.0\.1:1/v1 cannot be reached"):
        brain.load(quiet)


def test_an_unknown_model_is_answered_with_those_there_are(server: Server) -> None:
    with pytest.raises(NotAvailable, match="no model 'gpt-9': it has toy, other"):
        server.brain("gpt-9").load(quiet)


def test_a_refused_key_is_told_with_the_remedy(server: Server) -> None:
    server.status = 401
    with pytest.raises(NotAvailable, match="MOOT_REMOTE_API_KEY"):
        server.brain().load(quiet)


@pytest.mark.parametrize("raw", [b"<html>", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": 7}}]}', b"\xff"])
def test_a_server_of_another_kind_is_found_out(server: Server, raw: bytes) -> None:
    server.raw = raw
    with pytest.raises(NotAvailable, match="does not speak the OpenAI API"):
        server.brain().choose([ASK])


def test_an_error_of_the_server_is_passed_on(server: Server) -> None:
    server.status, server.raw = 500, b"out of memory"
    with pytest.raises(NotAvailable, match=r"answered 500 .* out of memory"):
        server.brain().propose([ASK], max_tokens=8, temperature=0.5)


def test_a_reply_without_end_is_cut_off(server: Server) -> None:
    server.raw = b"x" * (MAX_REPLY + 1)
    with pytest.raises(NotAvailable, match=f"more than {MAX_REPLY} bytes"):
        server.brain().propose([ASK], max_tokens=8, temperature=0.5)


def test_a_reply_that_drips_ends_at_the_deadline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "REPLY_S", 0.2)
    server.drip = True
    before = MONOTONIC()
    with pytest.raises(NotAvailable, match="did not answer within"):
        server.brain().propose([ASK], max_tokens=8, temperature=0.5)
    assert MONOTONIC() - before < 30  # the drip has no end


def test_replies_that_are_no_choice_are_no_opinion(server: Server) -> None:
    server.replies = ["I would say yes, probably", "maybe", ""]
    (choice,) = server.brain().choose([ASK])
    assert choice.logprobs == ()


# ---- what should happen -------------------------------------------------------------------------------------------------


def test_choices_are_counted_over_samples(server: Server) -> None:
    server.replies = ["yes", "No.", '"yes"', "- YES", "perhaps"]
    (choice,) = server.brain().choose([ASK])
    assert logprobs_fault(choice.logprobs, 2) is None
    assert math.exp(choice.logprobs[0]) == pytest.approx(3.5 / 5)
    assert choice.prior == pytest.approx((math.log(0.5), math.log(0.5)))
    assert len(server.requests) == SAMPLES


def test_the_choices_stand_in_the_question_word_for_word(server: Server) -> None:
    example = Example("facts", "Is grass green?", ("yes", "no"), "yes")
    server.brain().choose([Ask(GENOME, "Is snow white?", ("yes", "no"), system="Be brief.", examples=(example,))])
    system, shown, shown_answer, asked = server.requests[0]["messages"]
    assert (system["role"], system["content"]) == ("system", "Be brief.")
    assert "grass" in shown["content"]
    assert shown_answer == {"role": "assistant", "content": "yes"}
    assert "- yes\n- no" in asked["content"]
    assert server.requests[0]["temperature"] == 0.7


def test_texts_come_back_in_order(server: Server) -> None:
    asks = [Ask(GENOME, f"question {number}") for number in range(6)]
    brain = server.brain()
    proposals = brain.propose(asks, max_tokens=8, temperature=0.0, stop=["\n"])
    assert [proposal.text for proposal in proposals] == ["yes"] * 6
    assert proposals[0].prompt_tokens == 7
    assert server.requests[0]["stop"] == ["\n"]


def test_a_temperature_that_the_question_names_stands(server: Server) -> None:
    asks = [Ask(GENOME, "question", temperature=1.5), Ask(GENOME, "question", temperature=0.0), Ask(GENOME, "question")]
    server.brain().propose(asks, max_tokens=8, temperature=0.5)
    assert sorted(request["temperature"] for request in server.requests) == [0.0, 0.5, 1.5]


def test_loading_finds_the_model_and_sends_the_key(server: Server) -> None:
    server.brain(key="secret").load(quiet)
    assert server.keys == ["Bearer secret"]


def test_agents_differ_in_temperature(server: Server) -> None:
    brain = server.brain()
    assert len({brain.seed(random.Random(number)).settings["temperature"] for number in range(10)}) > 3


# ---- log-probabilities --------------------------------------------------------------------------------------------------


def place(token: str, share: float, **others: float) -> dict[str, Any]:
    shown = {token: share, **others}
    return {"token": token, "logprob": math.log(share), "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in shown.items()]}


REFUNDS = ("refund fee", "refund status", "lost card")


def test_a_server_with_log_probabilities_is_asked_once(server: Server) -> None:
    server.places = [place("ref", 0.8, lost=0.2), place("und", 1.0), place(" fee", 0.75, **{" status": 0.25})]
    (choice,) = server.brain().choose([Ask(GENOME, "Where is my money?", REFUNDS)])
    assert [math.exp(found) for found in choice.logprobs] == pytest.approx([0.6, 0.2, 0.2], abs=1e-3)
    assert logprobs_fault(choice.logprobs, 3) is None
    assert len(server.requests) == 1
    assert server.requests[0]["logprobs"] is True


def test_what_several_choices_begin_with_is_shared_among_them(server: Server) -> None:
    server.places = [place("lost card", 0.4, refund=0.6)]
    (choice,) = server.brain().choose([Ask(GENOME, "Where is my money?", REFUNDS)])
    assert [math.exp(found) for found in choice.logprobs] == pytest.approx([0.3, 0.3, 0.4], abs=1e-3)


def test_a_reply_that_is_no_choice_is_no_opinion_also_with_log_probabilities(server: Server) -> None:
    server.places = [place("I", 0.9, we=0.1), place(" think", 1.0)]
    (choice,) = server.brain().choose([ASK])
    assert choice.logprobs == ()


def test_a_server_that_refuses_log_probabilities_is_asked_without_and_not_for_them_again(server: Server) -> None:
    server.refuses_logprobs = True
    brain = server.brain()
    (choice,) = brain.choose([ASK])
    assert math.exp(choice.logprobs[0]) == pytest.approx(5.5 / 6)
    brain.choose([ASK])
    assert sum("logprobs" in request for request in server.requests) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"])
def test_a_server_on_this_machine_is_not_outside(url: str) -> None:
    assert not RemoteBrain(url, "toy", MONOTONIC).outside


@pytest.mark.parametrize("url", ["http://10.0.0.7:1", "https://example.org", "http://127.0.0.1.example.org"])
def test_a_server_elsewhere_is_outside(url: str) -> None:
    assert RemoteBrain(url, "toy", MONOTONIC).outside


@pytest.mark.parametrize(
    "place", [{"token": "yes", "logprob": None}, {"token": "yes", "logprob": -0.1, "top_logprobs": None}, {"token": 7}, 3]
)
def test_a_server_whose_log_probabilities_cannot_be_read_is_asked_without_them(server: Server, place: Any) -> None:
    server.places = [place]
    brain = server.brain()
    (choice,) = brain.choose([ASK])
    assert math.exp(choice.logprobs[0]) == pytest.approx(5.5 / 6)
    brain.choose([ASK])
    assert sum("logprobs" in request for request in server.requests) == 1
