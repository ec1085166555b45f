"""The array register by register, cycle by cycle: the referee of the closed form on small shapes.

Nothing here knows how long a fold takes. Operands are fed at the edges, every element passes them on, multiplies
and adds, results leave, and the cycles are counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwsim.datapath import Accumulator
from quant.formats import Overflow

if TYPE_CHECKING:
    from hwsim.accelerator import Array

Integers = npt.NDArray[np.int64]

# About five minutes on one core; beyond, the closed form is the tool.
MOST_ELEMENT_CYCLES = 1 << 35
MOST_CYCLES = 1 << 27  # one counter each


@dataclass(frozen=True)
class ArrayRun:
    """What happened in the array.

    Parameters
    ----------
    out : int64 [m, n]
        Sums as they left the array.
    leave_cycles : int64 [m, n]
        Cycle in which each sum left, counted from 0.
    busy : int64 [total_cycles]
        Elements that multiplied operands of the matrices, not padding, in each cycle.
    lhs_toggles, rhs_toggles, sum_toggles : bits
        Registers that changed: both operands' in their formats, sums and results in the accumulator's.
    results_per_port
        Most results that left one column in one cycle.
    elements
        Processing elements of the array.
    """

    out: Integers
    leave_cycles: Integers
    busy: Integers
    lhs_toggles: int
    rhs_toggles: int
    sum_toggles: int
    results_per_port: int
    elements: int

    @property
    def total_cycles(self) -> int:
        """Cycles until the last sum has left."""
        return len(self.busy)

    @property
    def utilization(self) -> float:
        """Share of elements and cycles that multiplied."""
        return float(self.busy.sum()) / (self.elements * self.total_cycles)


def run_array(
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    array: Array,
    accumulator: Accumulator | None = None,
    *,
    lhs_bits: int = 8,
    rhs_bits: int = 8,
    arrays: int = 1,
) -> ArrayRun:
    """Multiply integer matrices on a systolic array, one clock cycle after the other.

    Parameters
    ----------
    lhs : int [m, k]
        Left operand; it must fit `lhs_bits`, signed or not.
    rhs : int [k, n]
        Right operand.
    array
        Size, dataflow and conventions of the array.
    accumulator
        Width of the sums and what happens beyond; 32 bits that wrap if None. Its depth is the array's.
    lhs_bits, rhs_bits : bits, 1..18
        Width of the operand registers, for the count of toggles.
    arrays
        Equal arrays side by side. Those that hold sums share the tiles of the result; those that hold an operand share
        its columns, or the rows that stream past it, whichever is done sooner. Counts are of all of them.

    Raises
    ------
    ValueError
        If shapes do not contract, a value does not fit its register, the accumulator is more than a register that
        wraps or saturates, there is no array, or the run would take too long.

    Notes
    -----
    Idle inputs are 0. Registers hold 0 before the first cycle.

    Examples
    --------
    >>> import hwsim
    >>> array = hwsim.Accelerator.load("edge-16x16").array.replace(rows=2, columns=2)
    >>> run = run_array([[1, 2, 3], [4, 5, 6]], [[1, 0], [0, 1], [1, 1]], array)
    >>> run.out.tolist(), run.leave_cycles.tolist(), run.busy.tolist()
    ([[4, 5], [10, 11]], [[2, 3], [3, 4]], [1, 3, 4, 3, 1])
    """
    a, b = _operand("lhs", lhs, lhs_bits), _operand("rhs", rhs, rhs_bits)
    if a.shape[1] != b.shape[0]:
        msg = f"lhs and rhs must contract, not {list(a.shape)} by {list(b.shape)}"
        raise ValueError(msg)
    if arrays < 1:
        msg = f"arrays must be 1 or more, not {arrays}"
        raise ValueError(msg)
    register = _register(accumulator, array)
    if array.dataflow == "input_stationary":
        # The transposed product with weights in motion and activations at rest.
        run = _shared(
            np.ascontiguousarray(b.T), np.ascontiguousarray(a.T), array, register, (rhs_bits, lhs_bits), arrays
        )
        return ArrayRun(
            np.ascontiguousarray(run.out.T),
            np.ascontiguousarray(run.leave_cycles.T),
            run.busy,
            lhs_toggles=run.rhs_toggles,
            rhs_toggles=run.lhs_toggles,
            sum_toggles=run.sum_toggles,
            results_per_port=run.results_per_port,
            elements=run.elements,
        )
    return _shared(a, b, array, register, (lhs_bits, rhs_bits), arrays)


def _shared(
    lhs: Integers, rhs: Integers, array: Array, register: Accumulator, bits: tuple[int, int], arrays: int
) -> ArrayRun:
    """Deal the folds of a product out to several arrays."""
    if array.dataflow == "output_stationary":
        tiles = [
            (top, left) for top in range(0, len(lhs), array.rows) for left in range(0, rhs.shape[1], array.columns)
        ]
        each = math.ceil(len(tiles) / arrays)
        whole = slice(0, len(lhs)), slice(0, rhs.shape[1])
        shares = [tiles[start : start + each] for start in range(0, len(tiles), each)]
        runs = [_run(lhs, rhs, array, register, bits, share) for share in shares]
        return _side_by_side(runs, [whole] * len(runs), arrays)
    m, n = len(lhs), rhs.shape[1]
    wide = math.ceil(math.ceil(n / array.columns) / arrays) * array.columns
    strips = [(slice(0, m), slice(left, min(left + wide, n))) for left in range(0, n, wide)]
    high = math.ceil(m / arrays)
    chunks = [(slice(top, min(top + high, m)), slice(0, n)) for top in range(0, m, high)]
    found = []
    for parts in (strips,) if arrays == 1 else (strips, chunks):
        runs = [_run(lhs[rows], np.ascontiguousarray(rhs[:, cols]), array, register, bits) for rows, cols in parts]
        found.append(_side_by_side(runs, parts, arrays))
    return min(found, key=lambda run: run.total_cycles)


def _side_by_side(runs: Sequence[ArrayRun], parts: Sequence[tuple[slice, slice]], arrays: int) -> ArrayRun:
    """Join runs of several arrays that start together; sums that a run does not make have left it never."""
    shape = max(rows.stop for rows, _ in parts), max(columns.stop for _, columns in parts)
    out, leave = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    busy = np.zeros(max(run.total_cycles for run in runs), np.int64)
    for run, part in zip(runs, parts, strict=True):
        made = run.leave_cycles >= 0
        out[part][made], leave[part][made] = run.out[made], run.leave_cycles[made]
        busy[: run.total_cycles] += run.busy
    return ArrayRun(
        out,
        leave,
        busy,
        lhs_toggles=sum(run.lhs_toggles for run in runs),
        rhs_toggles=sum(run.rhs_toggles for run in runs),
        sum_toggles=sum(run.sum_toggles for run in runs),
        results_per_port=max(run.results_per_port for run in runs),
        elements=runs[0].elements * arrays,
    )


def _run(
    lhs: Integers,
    rhs: Integers,
    array: Array,
    register: Accumulator,
    bits: tuple[int, int],
    tiles: Sequence[tuple[int, int]] = (),
) -> ArrayRun:
    """Run one array, on some tiles of the result if it holds sums."""
    rows, columns, depth = array.rows, array.columns, array.dot_depth
    (m, k), n = lhs.shape, rhs.shape[1]
    steps = math.ceil(k / depth)
    stationary = array.dataflow == "output_stationary"
    # Padding: whole folds of zeros, as the array sees them.
    tall, deep = (_up(m, rows), steps) if stationary else (m, _up(steps, rows))
    wide = _up(n, columns)
    a, b = np.zeros((tall, deep * depth), np.int64), np.zeros((deep * depth, wide), np.int64)
    a[:m, :k], b[:k, :n] = lhs, rhs
    folds = len(tiles) if stationary else deep // rows * (wide // columns)
    # Room for the counters of busy elements: more than any fold takes.
    longest = folds * ((steps if stationary else m) + 4 * rows + 2 * columns)
    if longest * rows * columns > MOST_ELEMENT_CYCLES or longest > MOST_CYCLES:
        msg = (
            f"register-level run must take at most {MOST_CYCLES} cycles and {MOST_ELEMENT_CYCLES} cycles of elements, "
            f"not about {longest} cycles of {rows * columns} elements"
        )
        raise ValueError(msg)
    out, leave = np.zeros((tall, wide), np.int64), np.full((tall, wide), -1)
    busy, counters = np.zeros(longest, np.int32), np.zeros(6, np.int64)
    low, high = register.range
    mask = -1 if register.bits == 64 else (1 << register.bits) - 1
    limits = np.array(
        [low, high, register.overflow is Overflow.SATURATE, mask, (1 << bits[0]) - 1, (1 << bits[1]) - 1], np.int64
    )
    fed = a.reshape(tall, deep, depth).astype(np.int32)
    held = np.ascontiguousarray(b.reshape(deep, depth, wide).swapaxes(1, 2)).astype(np.int32)
    sizes = np.array([rows, columns, m if stationary else steps, n], np.int64)
    first_way = array.drain == "shift" if stationary else array.double_buffered
    ways = np.array([first_way, array.overlap_folds, array.partial_tiles == "part"], np.int64)
    # numba is loaded when it is needed
    if stationary:
        from .summing_kernels import output_stationary  # noqa: PLC0415

        corners = np.array(tiles, np.int64)
        output_stationary(fed, held, corners, sizes, ways, limits, out, leave, busy, counters)
    else:
        from .holding_kernels import operand_stationary  # noqa: PLC0415

        operand_stationary(fed, held, sizes, ways, limits, out, leave, busy, counters)
    lhs_toggles, rhs_toggles, sum_toggles, cycles, port, clashes = counters.tolist()
    if clashes:
        msg = f"results must not meet in one register, not {clashes} times"
        raise ValueError(msg)
    return ArrayRun(
        out[:m, :n].copy(),
        leave[:m, :n].copy(),
        busy[:cycles].astype(np.int64),
        lhs_toggles=lhs_toggles,
        rhs_toggles=rhs_toggles,
        sum_toggles=sum_toggles,
        results_per_port=port,
        elements=rows * columns,
    )


def _up(size: int, step: int) -> int:
    return math.ceil(size / step) * step


def _operand(name: str, values: npt.ArrayLike, bits: int) -> Integers:
    if not 1 <= bits <= 18:
        msg = f"{name}_bits must be in 1..18, not {bits}"
        raise ValueError(msg)
    given = np.asarray(values)
    if given.dtype.kind not in "iu":
        msg = f"{name} must hold integers, not {given.dtype}"
        raise TypeError(msg)
    if given.ndim != 2 or not given.size:
        msg = f"{name} must be a matrix that is not empty, not of shape {list(given.shape)}"
        raise ValueError(msg)
    low, high = int(given.min()), int(given.max())
    if not (low >= 0 and high < 1 << bits) and not (-(1 << bits - 1) <= low and high < 1 << bits - 1):
        msg = f"{name} must fit {bits} bits, signed or unsigned, not reach from {low} to {high}"
        raise ValueError(msg)
    return given.astype(np.int64)


def _register(accumulator: Accumulator | None, array: Array) -> Accumulator:
    """Check that the accumulator is one register, which is what an element holds."""
    if accumulator is None:
        return Accumulator(32, Overflow.WRAP, dot_depth=array.dot_depth)
    if accumulator.overflow is Overflow.TRAP:
        msg = "accumulator.overflow must be wrap or saturate, not trap"
        raise ValueError(msg)
    plain = Accumulator(accumulator.bits, accumulator.overflow, dot_depth=array.dot_depth)
    if accumulator != plain:
        msg = f"accumulator must be one register behind {array.dot_depth} products, not {accumulator}"
        raise ValueError(msg)
    return accumulator
