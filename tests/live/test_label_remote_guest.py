"""A node started with `--brain remote:URL#MODEL`: the server is tried on the corrections of a project, and its end stops nobody."""

from __future__ import annotations

import csv
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.main import run
from cli.target import EXIT_ABSTAINED
from protocol.labelling import ProjectInfo
from tests.live.conftest import LiveSwarm, wait_until

DATA = Path(__file__).parents[1] / "data" / "labelling" / "dev_banking12_train.csv"
ROWS, ANSWERS = 100, 40
PATIENCE_S = 100.0

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]


class Knowing(ThreadingHTTPServer):
    """An OpenAI-compatible server that knows the label of every row; to what is no row it says the first choice."""

    daemon_threads = True

    def __init__(self, gold: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.gold = gold


class Handler(BaseHTTPRequestHandler):
    server: Knowing

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": "toy"}]})

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        text, choices = re.search(r'about\? "(.*)"', question), re.findall(r"^- (.*)$", question, re.MULTILINE)
        said = self.server.gold.get(text[1], "") if text else ""
        said = said if said in choices else (choices or ["yes"])[0]
        top = [{"token": said, "logprob": -0.1}, *({"token": other, "logprob": -4.0} for other in choices if other != said)]
        places = [{"token": said, "logprob": -0.1, "top_logprobs": top[:20]}]
        self._answer({"choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "logprobs": {"content": places}}]})

    def _answer(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - the library's name


@contextmanager
def serving(gold: dict[str, str]) -> Iterator[str]:
    with Knowing(gold) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_knows_gains_in_its_trial_and_its_end_stops_nobody(
    live: LiveSwarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with DATA.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))[::9][:ROWS]
    pile = tmp_path / "pile.csv"
    with pile.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    gold = {" ".join(row["text"][:160].replace('"', "'").split()): row["label"].replace("_", " ").strip() for row in rows}
    with serving(gold) as url:
        home = live.found("--brain", f"remote:{url}#toy=1")
        monkeypatch.setenv("MOOT_DATA_DIR", str(home.data_dir))
        asked = ["label", str(pile), "--text-column", "text", "--oracle", "label", "--budget", str(ANSWERS)]
        assert run(asked) == 0
        (project,) = home.client.get("/v1/labelling", list[ProjectInfo])

        def tried() -> bool:
            return any("nats a row" in guest.reason for guest in home.client.get(f"/v1/labelling/{project.id}", ProjectInfo).guests)

        wait_until(tried, "the guest to be tried", PATIENCE_S)
        capsys.readouterr()
        assert run(["label", "show", project.id]) == 0
        shown = capsys.readouterr().out
        assert re.search(r"guest +remote:toy +weight [01]\.\d+, .*gain \+0\.\d+ nats a row on \d+ corrections", " ".join(shown.split()))
    assert run(["ask", "--project", project.id, "what is this about"]) in (0, EXIT_ABSTAINED)
    assert run(["label", "export", project.id, "--out", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open(encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == ROWS
