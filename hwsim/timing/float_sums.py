"""Cycles that a float adder longer than a clock period adds to a fold.

Such an adder is cut into stages (`hwsim.cost.pipelines`). Where sums stay in their elements, as many as it has stages
take turns in it and are added up at the end of the fold. Where they pass from element to element, each hop takes all
stages, as in systolic arrays of pipelined float units (Filippas et al., arXiv 2304.01668, call it the state of the art
and shorten it by forwarding exponents). Integer sums are shorter than a period, or of a carry-save adder that is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from hwsim.technology import Technology
from hwsim.technology.pipelining import stages_of

if TYPE_CHECKING:
    from hwsim.timing.numbers import Number


@functools.cache
def _paths_ns(technology: str) -> tuple[float, float]:
    """Paths of an fp32 adder, and of a flip-flop; 0 where no source gives one."""
    node = Technology.load(technology)
    return float(node.float_add("fp32").delay_ns or 0.0), float(node.register(1).delay_ns or 0.0)


def adder_stages(technology: str, period_ns: Number) -> Number:
    """Cycles from one float sum to the next that takes it up: stages of the fp32 adder that float MACs end in.

    Examples
    --------
    >>> adder_stages("45nm-horowitz", 4.0), adder_stages("45nm-horowitz", 8.0)
    (2, 1)
    """
    path, register = _paths_ns(technology)
    return stages_of(path, period_ns, register)


def joining_cycles(stages: Number) -> Number:
    """Cycles in which sums that took turns are added up, one after the other."""
    return stages * (stages - 1)
