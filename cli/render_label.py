"""Labelling projects as rich tables: all that is known of one, or one line each."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType

from cli.tables import table
from protocol.labelling import CorrectorInfo, HeadInfo, ProjectInfo

SHOWN = 8
"""Machines named at once."""


def render_project(info: ProjectInfo) -> RenderableType:
    """Everything about a project, a line each."""
    rows: list[list[str | Any]] = [
        ["project", info.id],
        ["pile", info.name],
        ["phase", f"{info.phase}: {info.hint}" if info.hint else info.phase],
        ["rows", _read(info)],
        ["home", f"{_home(info)}; rows and corrections are kept by {_count(info.holders, 'machine')}"],
        ["learners", divided(info)],
        ["labels", ", ".join(info.labels)],
        [
            "answers",
            f"{info.corrections} of {info.budget}, {info.skipped} skipped, {info.changed} changed, {info.examples} examples",
        ],
    ]
    if info.expected is not None:
        rows.append(["expected accuracy", f"{info.expected:.1%} (mean confidence over the pile)"])
    if (held := info.held_back) is not None:
        text = f"{held.accuracy:.0%} ({held.low:.0%} to {held.high:.0%}) from {held.corrections} corrections held back"
        rows.append(["held-back accuracy", text])
    rows += [
        ["changed answer", f"row {one.row + 1}: {one.label} (was {one.former}){f', by {one.by}' * bool(one.by)}"]
        for one in info.latest_changes
    ]
    rows.append(["who may correct", "any member of the swarm"])
    rows += [["corrected", f"{one.name or one.node_id}  {_corrected(one)}"] for one in info.correctors]
    rows += [["head", _head(one)] for one in info.agents]
    rows += [["division", line] for line in info.divisions]
    rows += [["guest", f"{guest.name}  weight {guest.weight:.2f}, {guest.reason}"] for guest in info.guests]
    rows += [
        ["machine", f"{helper.node_id}  {_count(helper.rows, 'row')}{'  BARRED: it sent wrong work' * helper.barred}"]
        for helper in info.helpers
    ]
    return table(["", ""], rows)


def _corrected(one: CorrectorInfo) -> str:
    what = "DISTRUSTED: its corrections are taken out" if one.distrusted else _count(one.corrections, "row")
    return f"{what} ({one.node_id[:8]})"


def _head(one: HeadInfo) -> str:
    """Its genome in short, and how fit it is."""
    fit = f", log-loss {one.loss:.3f}, right {one.accuracy:.0%}, on {one.corrections} corrections held back" if one.loss is not None else ""
    born = f", generation {one.generation}, child of {one.parent}, born on {one.bearer}" if one.generation else ""
    what = {"votes": f"weight {one.weight:.2f}", "waits": "no vote: it does not help here", "tried": "on trial", "dead": "dead"}
    return f"{one.id} {one.name}  {what.get(one.standing, one.standing)}{fit}{born}"


def divided(info: ProjectInfo) -> str:
    """Where the project's learners are."""
    if not info.learners:
        return "on no machine yet: they are made when the first question is asked"
    names = ", ".join([*info.learners[:SHOWN], *["..."] * (len(info.learners) > SHOWN)])
    return f"divided onto {_count(len(info.learners), 'machine')} ({names})"


def render_projects(projects: list[ProjectInfo]) -> RenderableType:
    rows = [[info.id, info.name, info.phase, str(info.rows), str(info.corrections)] for info in projects]
    return table(["project", "pile", "phase", "rows", "answers"], rows, right={3, 4}, empty="No projects: `moot label FILE` starts one.")


def _read(info: ProjectInfo) -> str:
    """Which machines read the rows, only its home knows."""
    by = f" by {_count(len(info.helpers), 'machine')}" if info.helpers else ""
    return f"{info.rows}, {info.read} read{by}"


def _home(info: ProjectInfo) -> str:
    return f"{info.home_name} ({info.home})" if info.home_name and info.home_name != info.home else info.home


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
