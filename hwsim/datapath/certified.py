"""Bounds that prove, without a step, that no register of an accumulation leaves its range.

Three bounds, from cheap to sharp (docs/datapath.md, (9) to (10)): the magnitudes of the operands, the norms of a row
and a column (Cauchy and Schwarz), and the norms of a group of steps around the sum so far, which
`hwsim.datapath.step_kernels` and `hwsim.datapath.amx_saturation` check as they go.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, Overflow

from .accumulator import Accumulator
from .gemm import magnitude

_SINGLE_UNIT = 2.0**-23
_LONGEST_SINGLE_SUM = 1 << 20
_SLACK = 2.0**-20


def never_overflows(lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator) -> bool:
    """Tell whether bounds prove that every register and adder holds the exact sum of its products.

    Parameters
    ----------
    lhs : int [b, m, k]
    rhs : int [b, k, n]
    start : int [b, m, n]
        Start of the registers, of the outer ones if there are spills.
    accumulator
        A register that wraps may leave its range where it is the last one: its low bits stay right.
    """
    if accumulator.dropped_bits:
        return False
    spills, narrow = accumulator.spill_steps is not None, accumulator.tree_range is not None
    if accumulator.overflow is Overflow.WRAP and not spills and not narrow:
        return True
    largest, k, depth = magnitude(lhs) * magnitude(rhs), lhs.shape[2], accumulator.dot_depth
    if (
        accumulator.tree_range is not None
        and depth > 1
        and depth * largest > accumulator.tree_range[1]
        and _largest_sum(lhs, rhs, depth) > accumulator.tree_range[1]
    ):
        return False
    first = magnitude(start)
    if accumulator.spill_steps is None:
        return accumulator.overflow is Overflow.WRAP or _holds(accumulator.range[1], first, lhs, rhs, k, k * largest)
    segment = min(k, accumulator.spill_steps * depth)
    return _holds(accumulator.range[1], 0, lhs, rhs, segment, segment * largest) and (
        accumulator.spill_overflow is Overflow.WRAP
        or _holds(accumulator.spill_range[1], first, lhs, rhs, k, k * largest)
    )


def _holds(hi: int, start: int, lhs: IntArray, rhs: IntArray, length: int, reach: int) -> bool:
    """Tell whether a register holds `start` and every sum of up to `length` neighbouring products."""
    return start + reach <= hi or start + _largest_sum(lhs, rhs, length) <= hi


def _largest_sum(lhs: IntArray, rhs: IntArray, length: int) -> float:
    """Bound the sums of products in blocks of the reduction, and those of parts of a block, by Cauchy and Schwarz."""
    if not lhs.size or not rhs.size:
        return 0.0
    longest = [_squares(x, length).max(axis=2) for x in (np.swapaxes(lhs, 1, 2), rhs)]
    return float(np.sqrt(longest[0] * longest[1]).max())


def _squares(x: IntArray, length: int) -> npt.NDArray[np.float64]:
    """Bound the squared norms of [b, k, i] along blocks of k from above: [b, blocks, i]."""
    whole = x.shape[1] // length * length
    real: np.dtype[Any] = np.dtype(np.float32 if length <= _LONGEST_SINGLE_SUM else np.float64)
    blocks = [x[:, :whole].reshape(len(x), -1, length, x.shape[2])] if whole else []
    if whole < x.shape[1]:
        blocks.append(x[:, np.newaxis, whole:])
    reals: list[npt.NDArray[Any]] = [block.astype(real) for block in blocks]
    sums = np.concatenate([np.einsum("bgki,bgki->bgi", cut, cut) for cut in reals], axis=1)
    # A float32 sum of so many positive terms is off by at most that many half units in the last place.
    return np.asarray(sums.astype(np.float64) * (1 + (length + 16) * _SINGLE_UNIT))


def group_norms(x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Bound the norms of x [groups, k, i] along k from above.

    Returns
    -------
    bounds : float32 [groups, i]
    """
    real = x if x.dtype.kind == "f" else x.astype(np.float32)
    squares = np.einsum("gki,gki->gi", real, real)
    bounds = np.sqrt(squares * (1 + (x.shape[1] + 16) * _SINGLE_UNIT)) * (1 + _SLACK)
    return np.ascontiguousarray(bounds, np.float32)


def kernel_limits(accumulator: Accumulator, steps: int, *, narrow: bool) -> npt.NDArray[np.float64]:
    """Return the ranges of the registers as `hwsim.datapath.step_kernels` takes them.

    Parameters
    ----------
    accumulator
        A register that does not exist gets the range -1..0.
    steps
        Steps of a group.
    narrow
        Whether the adders of the tree are narrow.
    """
    adder = accumulator.tree_range if narrow else None
    outer = None if accumulator.spill_steps is None else accumulator.spill_range
    limits: list[float] = []
    for lo, hi in (bounds or (-1, 0) for bounds in (accumulator.range, adder, outer)):
        limits += [lo, hi, hi - lo + 1, 1 / (hi - lo + 1)]
    cut = 1 / (1 << accumulator.dropped_bits)
    # Rounding down moves each addend by less than one; the rest makes up for rounding in the comparison.
    safe = accumulator.range[1] * (1 - _SLACK) - (steps if accumulator.dropped_bits else 0) - 2
    return np.array([*limits, cut, safe], np.float64)
