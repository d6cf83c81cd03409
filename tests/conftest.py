"""What every test shares. Property tests draw the same examples every time and no slow machine fails them; `pytest
--hypothesis-profile=explore` looks for new examples. Numerical libraries get one thread, here and in the daemons that tests start:
their threads spin where cores are few."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")
