"""`moot label` against a real node with what people really have: wrong files, wrong names, odd encodings, two at once."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.main import run
from protocol.labelling import AnswerRequest, ProjectInfo, Questions
from tests.live.conftest import LiveSwarm

DATA = Path(__file__).parents[1] / "data" / "labelling" / "dev_banking12_train.csv"
PATIENCE_S = 100.0
CONTENTS: dict[str, bytes] = {
    "few.csv": b"text\nlost card\nmy card is lost\nwhere is my refund\n",
    "empty.csv": b"",
    "head.csv": b"text,label\n",
    "ragged.csv": b"id,text\n1,a\n2,b,c\n",
    "latin.csv": "text\ncafé crème\n".encode("latin-1"),
    "late.csv": b"text\n" + b"fine\n" * 2_000 + "café\n".encode("latin-1"),
    "picture.csv": b"\x89PNG\x00\x00\x01\xff",
    "broken.jsonl": b'{"text": "a"}\n{"text":\n',
    "strange.csv": b"text,label\nhello,strange\n",
    "unnamed.csv": b"text,mark\nhello,a\n",
    "nameless.csv": b"text,label\nhello,\n",
    "huge.csv": b"text\n" + b"".join(b"%d " % row * 350_000 + b"\n" for row in range(3)),
    "wide.csv": "text\ncafé one\ncafé two\ncafé three\n".encode("utf-16"),
}
REFUSED: tuple[tuple[str, str, str], ...] = (
    ("nothing.csv", "--labels a,b", "{}/nothing.csv is not there: check the path."),
    (".", "--labels a,b", "is a folder, not a file: give the file in it."),
    ("few.csv", "--text-column body", "{}/few.csv has no column 'body': it has text."),
    ("few.csv", "--oracle gold", "has no column 'gold': it has text."),
    ("empty.csv", "--labels a,b", "has no rows: give a file with text in it."),
    ("head.csv", "--labels a,b", "has no rows: give a file with text in it."),
    (
        "ragged.csv",
        "--labels a,b",
        "Line 3 of {}/ragged.csv has 3 fields, the first line 2: put quotes round fields that hold the separator.",
    ),
    ("broken.jsonl", "--labels a,b", "Line 2 of {}/broken.jsonl is not JSON: correct or remove it."),
    ("picture.csv", "--labels a,b", "is not text: it holds zero bytes."),
    (
        "latin.csv",
        "--labels a,b",
        "is not text in UTF-8; in Windows-1252 the place reads 'text café crème': if that is right give --encoding cp1252",
    ),
    ("late.csv", "--labels a,b", "reads 'e fine fine fine café': if that is right give --encoding cp1252"),
    ("few.csv", "--labels a,b --encoding klingon", "There is no encoding 'klingon'"),
    ("few.csv", "--labels a,a", "The label 'a' stands twice: give each once."),
    ("few.csv", "--labels a,,b", "--labels has an empty label: write them as billing,shipping,technical."),
    ("few.csv", "--labels a", "There is one label only: give two or more, or none and name them while you answer."),
    ("few.csv", "--labels a,b --budget -1", "--budget"),
    ("few.csv", "--labels a,b --examples {}/missing.csv", "{}/missing.csv is not there: check the path."),
    ("few.csv", "--labels a,b --examples {}/strange.csv", "Example 1 of {}/strange.csv has the label 'strange', which is not among a, b"),
    ("few.csv", "--labels a,b --examples {}/unnamed.csv", "has no column 'label': it has text, mark."),
    ("few.csv", "--labels a,b --examples {}/nameless.csv", "Example 1 of {}/nameless.csv has no label: name it or leave the row out."),
    ("few.csv", "--labels a,b --out {}/few.csv", "--out names the input itself"),
    ("few.csv", "--labels a,b --out {}", "--out names a directory"),
    ("few.csv", "--labels a,b --out {}/none/out.csv", "There is no directory {}/none for the output: make it"),
    ("show", "nonsense", "There is no labelling project nonsense on this node: `moot label ls` lists them."),
    ("export", "", "needs the id of a project: `moot label ls` lists them."),
)

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSwarm]:
    with ExitStack() as stack:
        made = LiveSwarm(tmp_path_factory.mktemp("node"), stack)
        made.found("--brain", "tiny=1")
        yield made


@pytest.fixture
def place(node: LiveSwarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all the files; commands in this process go to the node."""
    monkeypatch.setenv("MOOT_DATA_DIR", str(node.nodes[0].data_dir))
    monkeypatch.setenv("COLUMNS", "1000")
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def projects(node: LiveSwarm) -> list[ProjectInfo]:
    return node.nodes[0].client.get("/v1/labelling", list[ProjectInfo])


def label(place: Path, what: str, flags: str) -> int:
    file = what if what in ("show", "export") else str(place / what)
    return run(["label", file, *flags.replace("{}", str(place)).split()])


def written(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_is_wrong_is_said_in_a_sentence_with_its_remedy_and_nothing_is_touched(
    node: LiveSwarm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for what, flags, said in REFUSED:
        code = label(place, what, flags)
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert code in (1, 2), (what, flags)
        assert last.startswith("moot: "), (what, flags, last)
        assert said.replace("{}", str(place)) in last, (what, flags, last)
    assert sorted(path.name for path in place.iterdir()) == sorted(CONTENTS)
    assert all((place / name).read_bytes() == content for name, content in CONTENTS.items())
    assert projects(node) == [], "a file is looked at before anything of it is sent"


def test_odd_but_right_input_is_labelled(node: LiveSwarm, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = ",".join(f"label{number}" for number in range(500))
    assert label(place, "wide.csv", "--labels a,b --budget 0") == 0
    assert "No row has a label yet, for moot knows too few answers" in capsys.readouterr().err
    assert [row["text"] for row in written(place / "wide_labelled.csv")] == ["café one", "café two", "café three"]
    assert label(place, "latin.csv", "--labels a,b --budget 0 --encoding latin-1 --out {}/out.csv") == 0
    assert written(place / "out.csv")[0]["text"] == "café crème"
    assert label(place, "huge.csv", f"--labels {many} --budget 0") == 0
    assert [len(row["text"]) for row in written(place / "huge_labelled.csv")] == [700_000] * 3
    assert len(projects(node)[-1].labels) == 500


def test_parquet_is_labelled_into_csv(place: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"id": [1, 2, 3], "text": ["a card", "a refund", "a loan"]}), place / "in.parquet")
    assert label(place, "in.parquet", "--labels a,b --budget 0") == 0
    assert [row["id"] for row in written(place / "in_labelled.csv")] == ["1", "2", "3"]


def test_the_same_file_started_twice_at_once_is_one_project_and_a_later_answer_wins(
    node: LiveSwarm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with DATA.open(encoding="utf-8") as stream:
        lines = stream.readlines()[:121]
    pile = place / "pile.csv"
    pile.write_text("".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "cli", "label", str(pile), "--text-column", "text", "--oracle", "label", "--budget", "12"]
    environment = os.environ | {"MOOT_DATA_DIR": str(node.nodes[0].data_dir)}
    both = [
        subprocess.Popen(
            [*command, "--out", str(place / f"out{number}.csv")], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        for number in range(2)
    ]
    for one in both:
        said = one.communicate(timeout=PATIENCE_S)[1].decode()
        assert one.returncode == 0, said
    (project,) = [one for one in projects(node) if one.name.endswith("pile.csv")]
    assert (project.rows, project.read) == (120, 120)
    assert 12 <= project.corrections <= 12 + 2 * 8
    gold = written(pile)
    for number in range(2):
        assert [row["text"] for row in written(place / f"out{number}.csv")] == [row["text"] for row in gold]

    client, path = node.nodes[0].client, f"/v1/labelling/{project.id}"
    client.post(f"{path}/answer", ProjectInfo, AnswerRequest(7, "first"), PATIENCE_S)
    client.post(f"{path}/answer", ProjectInfo, AnswerRequest(7, "second"), PATIENCE_S)
    capsys.readouterr()
    assert run(["label", "show", project.id]) == 0
    assert "row 8: second (was first)" in capsys.readouterr().out
    assert client.get(f"{path}/next?count=1", Questions, PATIENCE_S).questions == []


def test_where_the_file_is_not_answers_are_taken_and_it_is_written_from_where_it_is(
    node: LiveSwarm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(place, "wide.csv", "--labels c,d --budget 0") == 0
    assert "3 rows written" in capsys.readouterr().err
    project = next(info.id for info in projects(node) if info.labels == ["c", "d"])
    (place / "wide.csv").rename(place / "elsewhere.csv")
    (place / "wide_labelled.csv").unlink()
    assert run(["label", "resume", project]) == 0
    assert "is not on this machine, so nothing is written" in " ".join(capsys.readouterr().err.split())
    assert run(["label", "export", project]) == 2
    assert "name it with --file" in " ".join(capsys.readouterr().err.split())
    assert run(["label", "export", project, "--file", str(place / "elsewhere.csv")]) == 0
    assert "(0 labelled, 3 unsure)" in " ".join(capsys.readouterr().err.split())
    assert len(written(place / "elsewhere_labelled.csv")) == 3
