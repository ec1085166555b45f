"""Step accumulators tile by tile: choose the lanes that hold every value exactly, lay operands out, run in threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, Overflow

from . import steps
from .accumulator import Accumulator
from .certified import group_norms, kernel_limits
from .lanes import width
from .processors import usable_processors
from .step_kernels import Recipe, Rule, kernel

EXACT_LIMITS = {"float32": 1 << 24, "float64": 1 << 53}
_SHORT = (1 << 15) - 1
_GROUP = 16
_SHORTEST_SHORT_GROUP = 4
DEEPEST_TREE = 64
_CHUNK_BYTES = 1 << 15
_WORTH_THREADS = 1 << 18
RULES: dict[Overflow, Rule] = {Overflow.WRAP: "wrap", Overflow.SATURATE: "saturate", Overflow.TRAP: "trap"}


class Outcome(NamedTuple):
    """Registers, and where a trapping one left its range (or None if nothing traps)."""

    register: IntArray
    hit: npt.NDArray[Any] | None


class Plan(NamedTuple):
    """How an accumulation runs.

    Attributes
    ----------
    recipe
        Its kernel.
    steps
        Steps in a group, whose sums are bounded together.
    segments, groups
        Segments, and groups in each; without spills there is one segment.
    """

    recipe: Recipe
    steps: int
    segments: int
    groups: int


def choose(accumulator: Accumulator, largest: int, start: int, k: int) -> Plan | None:
    """Choose lanes that hold every value of an accumulation exactly; None if there are none.

    Parameters
    ----------
    accumulator
        What is accumulated.
    largest
        Largest magnitude of a product.
    start
        Largest magnitude that a register starts with.
    k
        Length of the reduction.
    """
    depth = accumulator.dot_depth
    narrow = accumulator.tree_range is not None and depth > 1 and depth * largest > accumulator.tree_range[1]
    if narrow and depth > DEEPEST_TREE:
        return None
    # What a sum that leaves the tree can reach, and what it can reach inside.
    inside = 2 * max(largest, 1 << (accumulator.tree_bits or 0) - 1) if narrow else depth * largest
    reach = 1 << (accumulator.tree_bits or 0) - 1 if narrow else depth * largest
    reach = (reach >> accumulator.dropped_bits) + bool(accumulator.dropped_bits)
    total = -(-k // depth)
    segment = min(total, accumulator.spill_steps or total)
    for lane, register in (("int16", "int16"), ("int16", "int32"), ("float32", "float32"), ("float64", "float64")):
        if lane == "int16":
            fits = largest <= _SHORT and ((accumulator.tree_bits or 99) <= 16 if narrow else depth * largest <= _SHORT)
            group = min(_GROUP, segment, _GROUP if register == lane else _SHORT // max(1, reach))
        else:
            fits = True
            group = max(1, min(_GROUP // depth, segment))
        if fits and _holds(accumulator, register, inside, reach, start, group):
            recipe = Recipe(
                lane,
                register,
                RULES[accumulator.overflow],
                checked=accumulator.overflow is not Overflow.WRAP and register != "int16",
                single=depth == 1,
                tree=depth if narrow else 0,
                tree_rule=RULES[accumulator.tree_overflow],
                dropped=bool(accumulator.dropped_bits),
                spill=RULES[accumulator.spill_overflow] if accumulator.spill_steps is not None else None,
            )
            return Plan(recipe, group, -(-total // segment), -(-segment // group))
    return None


def _holds(accumulator: Accumulator, register: str, inside: int, reach: int, start: int, group: int) -> bool:
    """Tell whether a type of registers, and the outer registers beside it, hold every value."""
    wraps = accumulator.overflow is Overflow.WRAP
    outer = 0 if accumulator.spill_steps is None else accumulator.spill_bits
    if register == "int16":
        return accumulator.bits <= 16 and outer <= 32 and group >= 1
    if register == "int32":
        # A clamp sees a register plus an addend; what wraps needs its low bits only.
        return accumulator.bits <= (32 if wraps else 31) and outer <= 32 and group >= _SHORTEST_SHORT_GROUP
    limit = EXACT_LIMITS[register]
    if register == "float32" and outer > 32:
        return False
    worst = max(1 << (accumulator.bits - 1), start) + (group if wraps else 1) * reach
    if register == "float64" and outer:
        worst = max(worst, (1 << (outer - 1)) + (1 << (accumulator.bits - 1)) + start)
        wraps = wraps or accumulator.spill_overflow is Overflow.WRAP
    # Wrapping also takes the distance from the lower end.
    return max(2 * worst if wraps else worst, 2 * inside) <= limit


def accumulate(lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator, plan: Plan) -> Outcome:
    """Step every accumulator of stacks of matrices.

    Parameters
    ----------
    lhs : int [b, m, k]
    rhs : int [b, k, n]
    start : int [b, m, n]
        Start of the registers, of the outer ones if there are spills.
    accumulator, plan
        As `choose` was given and gave.
    """
    return Run(lhs, rhs, start, accumulator, plan).run()


class Rows(NamedTuple):
    """Rows of the lhs as the kernel reads them, and bounds of their groups [rows, groups]."""

    factors: npt.NDArray[Any]
    bounds: npt.NDArray[np.float32]


class Run:
    """One accumulation: operands as the kernel reads them, and results as it leaves them."""

    def __init__(self, lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator, plan: Plan) -> None:
        self.lhs, self.rhs, self.start = lhs, rhs, start
        self.accumulator, self.plan, self.recipe = accumulator, plan, plan.recipe
        self.lane = np.dtype(plan.recipe.lane)
        self.length = plan.segments * plan.groups * plan.steps * accumulator.dot_depth
        bits = accumulator.bits if accumulator.spill_steps is None else accumulator.spill_bits
        self.result = np.empty(start.shape, np.int32 if bits <= 32 else np.int64)
        rules = {plan.recipe.rule, plan.recipe.spill, plan.recipe.tree_rule if plan.recipe.tree else None}
        self.hit = np.zeros(start.shape, np.uint8) if "trap" in rules else None
        self.limits = kernel_limits(accumulator, plan.steps, narrow=bool(plan.recipe.tree))

    def run(self) -> Outcome:
        """Run over rows and tiles of columns, in threads where that pays."""
        batch, m, n = self.start.shape
        threads = 1 if m * n * self.lhs.shape[2] < _WORTH_THREADS else usable_processors()
        # Fewer tiles than processors: share rows too.
        parts = -(-threads // -(-n // width()))
        tall = -(-m // (parts * self.recipe.rows)) * self.recipe.rows
        with ThreadPoolExecutor(threads) as pool:
            for b in range(batch):
                rows = [(top, self._rows(self.lhs[b, top : top + tall])) for top in range(0, m, tall)]
                jobs = [(b, top, left, part) for left in range(0, n, width()) for top, part in rows]
                list((pool.map if threads > 1 else map)(self.tile, jobs))
        return Outcome(self.result, self.hit)

    def _rows(self, lhs: IntArray) -> Rows:
        m = lhs.shape[0]
        padded = m + -m % self.recipe.rows
        rows = np.zeros((padded, self.length), self.lane)
        self.lay_out(lhs.T, rows.reshape(padded, self.plan.segments, -1).transpose(1, 2, 0))
        # Addends count in units of what is dropped.
        bounds = np.ldexp(np.ascontiguousarray(self._bounds(rows.T).T), -self.accumulator.dropped_bits)
        if self.lane == np.int16:
            low = rows.view(np.uint16).astype(np.uint32)
            rows = low | low << np.uint32(16)
        return Rows(rows, bounds)

    def lay_out(self, x: IntArray, out: npt.NDArray[Any]) -> None:
        """Write x [k, i] into zeros [segment, k, i], which hold whole groups."""
        length = min(len(x), (self.accumulator.spill_steps or len(x)) * self.accumulator.dot_depth)
        whole, count = len(x) // length, x.shape[1]
        out[:whole, :length, :count] = x[: whole * length].reshape(whole, length, count)
        out[whole:, : len(x) - whole * length, :count] = x[whole * length :]

    def _bounds(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Bound the norms of the groups of x [k, i]; nothing where no register is certified."""
        if not self.recipe.checked:
            return np.zeros((1, 1), np.float32)
        return group_norms(x.reshape(-1, self.plan.steps * self.accumulator.dot_depth, x.shape[1]))

    def tile(self, job: tuple[int, int, int, Rows]) -> None:
        """Take rows through one tile of columns, a chunk of the reduction at a time."""
        b, top, left, rows = job
        m, n = self.start.shape[1:]
        bottom, right = min(top + len(rows.factors), m), min(left + width(), n)
        where = (b, slice(top, bottom), slice(left, right))
        inside = (slice(0, bottom - top), slice(0, right - left))
        columns = np.zeros((self.length, width()), self.lane)
        self.lay_out(self.rhs[b, :, left:right], columns.reshape(self.plan.segments, -1, width()))
        bounds = self._bounds(columns)
        shape = (len(rows.factors), width())
        register, outer = np.zeros(shape, self.recipe.register), np.zeros(shape, self.recipe.outer)
        marks = np.zeros(shape, np.uint8)
        target = register if self.recipe.spill is None else outer
        target[inside] = self.start[where]
        self._step(rows, columns, (register, outer, marks), bounds)
        self.result[where] = self._fitted(target[inside])
        if self.hit is not None:
            self.hit[where] = marks[inside]

    def _chunks(self) -> Iterator[tuple[int, int, int]]:
        """Yield first group, segments and groups of chunks whose columns stay in the nearest cache."""
        plan = self.plan
        group_bytes = plan.steps * self.accumulator.dot_depth * width() * self.lane.itemsize
        fitting = max(1, _CHUNK_BYTES // group_bytes)
        if self.recipe.spill is None:
            for first in range(0, plan.groups, fitting):
                yield first, 1, min(fitting, plan.groups - first)
            return
        some = max(1, fitting // plan.groups)
        for first in range(0, plan.segments, some):
            yield first * plan.groups, min(some, plan.segments - first), plan.groups

    def _step(
        self,
        rows: Rows,
        columns: npt.NDArray[Any],
        registers: tuple[npt.NDArray[Any], ...],
        bounds: npt.NDArray[np.float32],
    ) -> None:
        """Take the steps of the whole reduction."""
        depth, dropped, checked = self.accumulator.dot_depth, self.accumulator.dropped_bits, self.recipe.checked
        stride = rows.bounds.shape[1] if checked else 0
        blocks = len(rows.factors) // self.recipe.rows
        length = self.plan.steps * depth
        # The arrays outlive the calls; a chunk begins further on in those that have its groups.
        lhs, rhs, lower, right = (x.ctypes.data for x in (rows.factors, columns, rows.bounds, bounds))
        run = kernel(self.recipe)
        held, limits = [x.ctypes.data for x in registers], self.limits.ctypes.data
        for first, segments, groups in self._chunks():
            counts = np.array([blocks, segments, groups, self.plan.steps, depth, dropped, self.length, stride])
            run(
                lhs + first * length * rows.factors.itemsize,
                rhs + first * length * width() * columns.itemsize,
                *held,
                lower + (first * bounds.itemsize if checked else 0),
                right + (first * width() * bounds.itemsize if checked else 0),
                counts.ctypes.data,
                limits,
            )

    def _fitted(self, register: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Bring registers that kept more than their width into their range."""
        accumulator = self.accumulator
        rule, bounds = accumulator.overflow, accumulator.range
        if self.recipe.spill is not None:
            rule, bounds = accumulator.spill_overflow, accumulator.spill_range
        if rule is Overflow.WRAP and register.dtype.kind == "i":
            return np.asarray(steps.fit(register.astype(np.int64), *bounds, rule))
        return register
