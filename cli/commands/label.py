"""`moot label`: label a pile of text with the machines you own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.client import Client, in_path
from cli.pile import Pile, check_place, fingerprint, open_pile, write
from cli.render_label import render_project, render_projects
from cli.target import Target, console, with_target
from protocol.errors import InvalidRequest, NotFound
from protocol.labelling import (
    MAX_ROWS_AT_ONCE,
    MAX_TEXT,
    AnswerRequest,
    DistrustRequest,
    ExamplesRequest,
    GuestsRequest,
    ProjectInfo,
    ProjectRequest,
    Questions,
    ReceiptInfo,
    RowLabel,
    RowLabels,
    RowsRequest,
)

app = typer.Typer(add_completion=False)

VERBS = ("ls", "show", "stats", "resume", "export", "guests", "distrust")
PATIENCE_S = 300.0
"""The first question waits until the learners have looked at the whole pile."""
LOOK_S = 0.5
BYTES_AT_ONCE = 500_000
SHOWN = 8
"""Labels named at once."""
FEWEST_CHARACTERS = 4
"""Of a node's id."""
LABELLED = "labelled"
TOO_FEW = " a label yet, for moot knows too few answers: the same command with a larger --budget asks for them."
CONTINUED = 8
"""Questions fetched at a time when answers come from a column."""


@app.command()
@with_target
def label(
    target: Target,
    what: Annotated[str, typer.Argument(metavar="FILE|ls|show|stats|resume|export|guests|distrust", help="A file, or a verb.")],
    id: Annotated[str, typer.Argument(metavar="[ID]", help="The project, after a verb.")] = "",  # noqa: A002 - the name users see
    node: Annotated[str, typer.Argument(metavar="[NODE]", help="With distrust: whose corrections to take out.")] = "",
    labels: Annotated[str, typer.Option("--labels", help="The labels, separated by commas; without it they are named on the way.")] = "",
    text_column: Annotated[str | None, typer.Option("--text-column", help="The column to label; guessed where it is not given.")] = None,
    examples: Annotated[Path | None, typer.Option("--examples", help="A file with rows labelled already (columns text and label).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the labelled file goes; by default beside the input.")] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=0, max=100_000, help="At most so many questions; 100 for a new project.")
    ] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="The file's encoding where it is not Unicode: cp1252, say.")] = None,
    oracle: Annotated[str | None, typer.Option("--oracle", help="Answer from this column instead of asking.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="With resume and export: where the file is on this machine.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Keep the text on the daemon's machine.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="With distrust: take what the node says from now on.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="With guests: no brain reads rows of the project until `guests` again.")] = False,
) -> int | None:
    """Label every row of a file, asking you about the rows that teach most.

    The same file and labels again go on where they were. `moot label resume ID` asks on, `export ID` writes the file;
    `guests ID --pause` keeps brains from reading its rows; `distrust ID NODE` takes that node's corrections out (`--undo`: it may
    correct again).
    """
    client = target.client()
    if what in VERBS and not Path(what).is_file():
        if what == "distrust":
            _distrust(target, client, id, DistrustRequest(node, undo) if len(node) >= FEWEST_CHARACTERS else None)
            return None
        if budget is not None:
            raise InvalidRequest(
                f"`moot label {what}` takes no --budget: `moot label FILE` with the same labels and a larger one asks on.", param="budget"
            )
        if what in ("resume", "export"):
            return _finish(target, client, what, id, (file, text_column, encoding, out))
        _verb(target, client, what, id, pause)
        return None
    pile = open_pile(Path(what), text_column, encoding)
    place = _place(pile, out)
    if oracle is not None and oracle not in pile.columns:
        raise InvalidRequest(f"{pile.path} has no column '{oracle}': it has {', '.join(pile.columns)}.", param="oracle")
    named = _split(labels)
    rows = count_rows(pile)
    known = _examples(examples, named) if examples is not None else []
    others = f" (--text-column chooses another of {', '.join(pile.columns)})" if len(pile.columns) > 1 else ""
    target.say(
        f"{pile.path}: {rows} rows, {pile.kind} in {pile.encoding.removesuffix('-sig')}, labelling the column '{pile.column}'{others}"
    )
    info = client.post("/v1/labelling", ProjectInfo, _request(pile, named, budget, local), PATIENCE_S)
    target.say(f"project {info.id}" + (", which goes on" if info.rows else ""))
    if info.phase == "filling":
        _send_examples(client, info, known)
        info = _send(client, info, pile, rows)
    _wait(client, info)
    if oracle is not None:
        _answer_from(client, info.id, pile, oracle)
    elif budget != 0:
        from cli.label_screen import interview

        interview(client, info.id)
    return _export(target, client, info.id, pile, place)


def _verb(target: Target, client: Client, verb: str, project: str, pause: bool) -> None:
    if verb == "ls":
        target.show(client.get("/v1/labelling", list[ProjectInfo]), render_projects)
        return
    _check_named(verb, project)
    if verb == "guests":
        target.show(client.post(f"{_path(project)}/guests", ProjectInfo, GuestsRequest(not pause), PATIENCE_S), render_project)
        return
    target.show(client.get(_path(project), ProjectInfo), render_project)


def _finish(
    target: Target, client: Client, verb: str, project: str, files: tuple[Path | None, str | None, str | None, Path | None]
) -> int | None:
    """Ask on, and write the file if it is on this machine: answers are taken wherever somebody sits.

    `files`: where the input is, its column, its encoding, where the output goes.
    """
    _check_named(verb, project)
    file, column, encoding, out = files
    info = client.get(_path(project), ProjectInfo)
    path = file or Path(info.name)
    here = verb == "export" or file is not None or path.is_file()
    if verb == "export" and file is None and not path.is_file():
        raise InvalidRequest(f"The file of project {project}, {path}, is not on this machine: name it with --file.", param="file")
    pile = open_pile(path, column, encoding) if here else None
    place = _place(pile, out) if pile is not None else None
    if verb == "resume":
        from cli.label_screen import interview

        _wait(client, info)
        interview(client, project)
    if pile is None or place is None:
        target.say(f"{path} is not on this machine, so nothing is written: `moot label export {project} --file PATH` writes it.")
        target.show(client.get(_path(project), ProjectInfo), render_project)
        return None
    return _export(target, client, project, pile, place)


def _check_named(verb: str, project: str) -> None:
    if not project:
        raise InvalidRequest(f"`moot label {verb}` needs the id of a project: `moot label ls` lists them.")


def _distrust(target: Target, client: Client, project: str, request: DistrustRequest | None) -> None:
    if not project or request is None:
        raise InvalidRequest("`moot label distrust ID NODE` needs a project and a node: `moot label stats ID` shows who corrected.")
    target.show(client.post(f"{_path(project)}/distrust", ProjectInfo, request, PATIENCE_S), render_project)


def _request(pile: Pile, labels: list[str], budget: int | None, local: bool) -> ProjectRequest:
    return ProjectRequest(fingerprint(pile, labels), str(pile.path.resolve())[-200:], labels, budget, local)


def _split(labels: str) -> list[str]:
    """Raises `InvalidRequest` for an empty one."""
    if not labels:
        return []
    named = [label.strip() for label in labels.split(",")]
    if not all(named):
        raise InvalidRequest("--labels has an empty label: write them as billing,shipping,technical.", param="labels")
    return named


def _examples(path: Path, labels: list[str]) -> list[tuple[str, str]]:
    """Texts and labels, checked before anything is sent. Raises `InvalidRequest`."""
    pile = open_pile(path)
    if "label" not in pile.columns:
        raise InvalidRequest(f"{path} has no column 'label': it has {', '.join(pile.columns)}.", param="examples")
    if pile.column == "label":
        raise InvalidRequest(f"{path} has no column for the text: it has {', '.join(pile.columns)}.", param="examples")
    rows = [(str(record[pile.column])[:MAX_TEXT], str(record["label"] or "").strip()) for record in pile.records()]
    for number, (_, label) in enumerate(rows, 1):
        if not label:
            raise InvalidRequest(f"Example {number} of {path} has no label: name it or leave the row out.", param="examples")
        if labels and label not in labels:
            shown = f"{', '.join(labels[:SHOWN])}{', ...' * (len(labels) > SHOWN)}"
            raise InvalidRequest(
                f"Example {number} of {path} has the label '{label}', which is not among {shown}: correct it or add it to --labels.",
                param="examples",
            )
    return rows


def _send_examples(client: Client, info: ProjectInfo, rows: list[tuple[str, str]]) -> None:
    for start in range(0, 0 if info.examples else len(rows), MAX_ROWS_AT_ONCE):
        texts, labels = zip(*rows[start : start + MAX_ROWS_AT_ONCE], strict=True)
        client.post(f"{_path(info.id)}/examples", ProjectInfo, ExamplesRequest(list(texts), list(labels)))


def _send(client: Client, info: ProjectInfo, pile: Pile, rows: int) -> ProjectInfo:
    """Rows that the daemon does not have yet, as a stream, with a bar on stderr."""
    start, batch, size = info.rows, list[str](), 0
    with _bar() as bar:
        task = bar.add_task("sending", total=rows, completed=start, rate="")
        for number, text in enumerate(pile.texts()):
            if number < info.rows:
                continue
            clipped = text[:MAX_TEXT].encode(errors="replace").decode()
            batch.append(clipped)
            size += len(clipped) * 4
            if len(batch) == MAX_ROWS_AT_ONCE or size > BYTES_AT_ONCE:
                client.post(f"{_path(info.id)}/rows", ProjectInfo, RowsRequest(start, batch))
                start, batch, size = start + len(batch), [], 0
                bar.update(task, completed=start, rate=_rate(bar))
    if batch:
        client.post(f"{_path(info.id)}/rows", ProjectInfo, RowsRequest(start, batch))
    return client.post(f"{_path(info.id)}/complete", ProjectInfo)


def _bar() -> Progress:
    """How far it is, rows a second and when it will be done; gone when it is."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console(stderr=True), transient=True)


def _rate(bar: Progress) -> str:
    speed = bar.tasks[0].speed
    return f"{speed:.0f} rows/s" if speed else ""


def _wait(client: Client, info: ProjectInfo) -> None:
    """Until every row is read, with a bar on stderr."""
    import threading

    pause = threading.Event()
    with _bar() as bar:
        task = bar.add_task("reading", total=info.rows, rate="")
        while info.phase in ("filling", "reading"):
            info = client.get(_path(info.id), ProjectInfo)
            machines = sum(not helper.barred for helper in info.helpers)
            bar.update(task, completed=info.read, rate=f"{_rate(bar)} on {machines} machine{'s' * (machines != 1)}" if machines else "")
            pause.wait(LOOK_S if info.phase == "reading" else 0)


def _answer_from(client: Client, project: str, pile: Pile, oracle: str) -> None:
    """Answer every question from a column, until the budget is spent."""
    while (asked := client.get(f"{_path(project)}/next?count={CONTINUED}", Questions, PATIENCE_S)).questions:
        wanted = {question.row for question in asked.questions}
        gold = {number: str(record[oracle]) for number, record in enumerate(pile.records()) if number in wanted}
        for row in sorted(wanted):
            client.post(f"{_path(project)}/answer", ProjectInfo, AnswerRequest(row, gold[row].strip() or None), PATIENCE_S)


def _place(pile: Pile, out: Path | None) -> Path:
    """Where the output goes. Raises `InvalidRequest` where it cannot."""
    suffix = ".jsonl" if pile.kind == "jsonl" else pile.path.suffix if pile.kind == "csv" else ".csv"
    place = out or pile.path.with_name(f"{pile.path.stem}_labelled{suffix}")
    check_place(pile, place)
    return place


def _export(target: Target, client: Client, project: str, pile: Pile, place: Path) -> int | None:
    info = client.get(_path(project), ProjectInfo)
    if count_rows(pile) != info.rows:
        raise NotFound(f"{pile.path} has not the {info.rows} rows of project {project}: has the file changed?")
    kinds = Counter[str]()
    count = write(pile, place, _counted(_labels(client, project, info.rows), kinds))
    receipt = client.post(f"{_path(project)}/receipt", ReceiptInfo, timeout_s=PATIENCE_S * 2)
    told = ", ".join(f"{kinds[kind]} {kind}" for kind in (LABELLED, *sorted(kinds.keys() - {LABELLED})))
    target.say(f"{count} rows written to {place} ({told}); receipt {receipt.root}")
    if kinds[LABELLED] <= info.corrections and count > info.corrections:
        target.say(("Only rows that were answered have" if kinds[LABELLED] else "No row has") + TOO_FEW)
    target.show(info, render_project)
    return None


def _counted(labels: Iterator[RowLabel], kinds: Counter[str]) -> Iterator[RowLabel]:
    """The same labels; how many rows have one, and why the others have none, is counted on the way."""
    for label in labels:
        kinds[label.abstained or LABELLED] += 1
        yield label


def count_rows(pile: Pile) -> int:
    """How many rows the file has, each looked at. Raises `InvalidRequest` for the first that does not fit."""
    return sum(1 for _ in pile.texts())


def _labels(client: Client, project: str, rows: int) -> Iterator[RowLabel]:
    start = 0
    while start < rows:
        page = client.get(f"{_path(project)}/labels?start={start}", RowLabels, PATIENCE_S)
        yield from page.rows
        start = page.end


def _path(project: str) -> str:
    return f"/v1/labelling/{in_path(project)}"
