"""Every command line in the documentation exists, with every option it uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import app
from tests.bench.__main__ import BENCHMARKS

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def typed(text: str) -> list[str]:
    """What follows `moot` in shell blocks and inline code."""
    blocks = re.findall(r"^```(?:sh|console)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    found = (re.match(r"(?:\$ )?(?:\.venv/bin/)?moot ([a-z].*)", line.strip()) for line in [*lines, *inline])
    return [match[1].partition("#")[0].partition(" | ")[0] for match in found if match]


def missing(line: str) -> str | None:
    """The first word of a command line that moot does not know."""
    command: Any = typer.main.get_command(app)
    context, words = typer.Context(command), line.split()
    while hasattr(command, "list_commands") and words and not words[0].startswith("-"):
        if words[0] not in command.list_commands(context):
            return words[0]
        command = command.get_command(context, words.pop(0))
    known = {"--help", *(name for parameter in command.params for name in parameter.opts)}
    return next((word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word) and word not in known), None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_documentation_exists(page: Path) -> None:
    assert [(line, word) for line in typed(page.read_text(encoding="utf-8")) if (word := missing(line)) is not None] == []


def test_a_command_that_does_not_exist_would_be_found() -> None:
    page = "```sh\nmoot ask x --loudly\n```\nuse `moot agree` or `moot token mint --ttl 1h`, but `moot runs ls`"
    assert [missing(line) for line in typed(page)] == ["--loudly", "agree", "mint", None]


def test_every_page_of_figures_and_every_benchmark_is_in_their_index() -> None:
    index = (ROOT / "docs" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs" / "benchmarks").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\((\w+\.md)\)", index)) == pages
    assert [name for name in BENCHMARKS if f"`{name}`" not in index] == []
