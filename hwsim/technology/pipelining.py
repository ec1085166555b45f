"""Stages that a clock cuts a path into."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .cost import Number


def stages_of(path_ns: Number, period_ns: Number, register_ns: float) -> Number:
    """Count the clock cycles of a path, each of which its register takes a part of; at least 1.

    Parameters
    ----------
    path_ns : ns
        Through the logic, without a register.
    period_ns : ns
        Of the clock.
    register_ns : ns
        From a clock edge through a flip-flop. No stage is shorter than that, however fast the clock.

    Examples
    --------
    >>> stages_of(3.9, 4.0, 0.1), stages_of(4.0, 4.0, 0.1), stages_of(9.5, 4.0, 0.1)
    (1, 2, 3)
    """
    usable = _larger(period_ns - register_ns, register_ns)
    # A path as long as the period, but for rounding, fits.
    return _larger(_up(path_ns / usable * (1 - 1e-12)), 1)


def _larger(one: Any, other: Any) -> Any:
    return max(one, other) if np.ndim(one) == 0 else np.maximum(one, other)


def _up(value: Any) -> Any:
    return math.ceil(value) if np.ndim(value) == 0 else np.ceil(value)
