"""How Hypothesis draws: slow machines are no failures, and a run that decides whether a change lands is no lottery."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "hwsim", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("hwsim")
