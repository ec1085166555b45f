"""Step accumulators tile by tile and record what every register goes through."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray

from .accumulator import Accumulator
from .gemm import magnitude
from .lanes import width
from .record_kernels import EVENTS, FIRST, HIGH, LOW, recording_kernel
from .step_kernels import Recipe
from .tiles import DEEPEST_TREE, EXACT_LIMITS, RULES, Plan, Rows, Run
from .walk import Walk


def record(lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator) -> Walk | None:
    """Accumulate as `hwsim.datapath.walk.walk` does; None where no lanes hold every sum of a wide enough register.

    Parameters
    ----------
    lhs : int [b, m, k]
        Not empty.
    rhs : int [b, k, n]
        Not empty.
    start : int [b, m, n]
        Start of the registers, of the outer ones if there are spills.
    accumulator
        Its final shift and width are not applied.
    """
    plan = _choose(accumulator, magnitude(lhs) * magnitude(rhs), magnitude(start), lhs.shape[2])
    return None if plan is None else _Recording(lhs, rhs, start, accumulator, plan).walked()


def _choose(accumulator: Accumulator, largest: int, start: int, k: int) -> Plan | None:
    """Choose lanes for every value, those of registers that are wide enough included."""
    depth, spills = accumulator.dot_depth, accumulator.spill_steps is not None
    tree_range = accumulator.tree_range
    narrow = tree_range is not None and depth > 1 and depth * largest > tree_range[1]
    if narrow and depth > DEEPEST_TREE:
        return None
    adder = (1 << (accumulator.tree_bits or 0)) if narrow else 0
    steps = -(-k // depth)
    # Every sum of addends, of a trapping register too, which goes on beyond its range.
    reach = steps * (max(depth * largest, adder) + 1) + start
    outer = (1 << accumulator.spill_bits) if spills else 0
    # Wrapping takes the distance from the lower end.
    worst = 2 * (reach + (1 << accumulator.bits) + outer)
    lane = next(
        (lane for lane, limit in EXACT_LIMITS.items() if worst <= limit and not (lane == "float32" and spills)), None
    )
    if lane is None:
        return None
    recipe = Recipe(
        lane,
        lane,
        RULES[accumulator.overflow],
        checked=False,
        single=depth == 1,
        tree=depth if narrow else 0,
        tree_rule=RULES[accumulator.tree_overflow],
        dropped=bool(accumulator.dropped_bits),
        spill=RULES[accumulator.spill_overflow] if spills else None,
        recorded=True,
    )
    segment = min(steps, accumulator.spill_steps or steps)
    return Plan(recipe, 1, -(-steps // segment), segment)


class _Recording(Run):
    """One accumulation with records [4, b, m, n] beside its results."""

    def __init__(self, lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator, plan: Plan) -> None:
        super().__init__(lhs, rhs, start, accumulator, plan)
        self.result = np.empty(start.shape, np.int64)
        self.records = np.empty((4, *start.shape), np.int64)

    def walked(self) -> Walk:
        """Run, and return registers and records."""
        self.run()
        planes = self.records
        return Walk(self.result, planes[EVENTS], planes[FIRST], planes[LOW], planes[HIGH])

    def tile(self, job: tuple[int, int, int, Rows]) -> None:
        """Take rows through one tile of columns."""
        b, top, left, rows = job
        m, n = self.start.shape[1:]
        bottom, right = min(top + len(rows.factors), m), min(left + width(), n)
        where = (b, slice(top, bottom), slice(left, right))
        inside = (slice(0, bottom - top), slice(0, right - left))
        columns = np.zeros((self.length, width()), self.lane)
        self.lay_out(self.rhs[b, :, left:right], columns.reshape(self.plan.segments, -1, width()))
        shape = (len(rows.factors), width())
        register = np.zeros(shape, self.lane)
        outer = np.zeros(shape, self.recipe.outer)
        planes = np.empty((4, *shape), self.lane)
        target = register if self.recipe.spill is None else outer
        target[inside] = self.start[where]
        bounds: npt.NDArray[np.float32] = rows.bounds
        plan, depth = self.plan, self.accumulator.dot_depth
        steps = -(-self.lhs.shape[2] // depth)
        counts = [
            len(rows.factors),
            plan.segments,
            plan.groups,
            1,
            depth,
            self.accumulator.dropped_bits,
            self.length,
            0,
        ]
        numbers = np.array([*counts, steps, planes[0].size])
        arrays = (rows.factors, columns, register, outer, planes, bounds, bounds, numbers, self.limits)
        recording_kernel(self.recipe)(*(array.ctypes.data for array in arrays))
        self.result[where] = target[inside]
        self.records[(slice(None), *where)] = planes[(slice(None), *inside)]
