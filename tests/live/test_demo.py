"""`moot demo` as a newcomer runs it, on tiny agents: every step, to the end."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]


def test_the_demo_runs_to_its_end_and_the_pile_outlives_its_home() -> None:
    command = [sys.executable, "-m", "cli", "demo", "--brain", "tiny"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=380, check=False, stdin=subprocess.DEVNULL)
    assert outcome.returncode == 0, outcome.stdout[-2000:] + outcome.stderr[-2000:]
    assert "All daemons stopped." in outcome.stdout
    right = [int(count) for count in re.findall(r"after +\d+ answers: (\d+) right", outcome.stdout)]
    assert len(right) == 3
    assert right[-1] > right[0]
    assert outcome.stdout.split("What cedar was taught")[1].count("-> ") == 3
