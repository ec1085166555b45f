"""Accumulate step by step: what every fast path must equal, for one output and for arrays of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, IntFormat, Overflow

from . import steps
from .accumulator import Accumulator, AccumulatorOverflowError

_OVERFLOW_CODES = {Overflow.WRAP: 0, Overflow.SATURATE: 1, Overflow.TRAP: 2}


def overflow_code(overflow: Overflow) -> int:
    """Return the number by which the kernels know an overflow rule."""
    return _OVERFLOW_CODES[overflow]


class Walk(NamedTuple):
    """Registers and records of a step-by-step accumulation, each int64 [b, m, n].

    Attributes
    ----------
    register
        Final register (the outer one if there are spills), before the final shift.
    overflows
        Steps in which an adder or a register left its range.
    first
        First such step, -1 if there is none.
    low, high
        Smallest and largest sum that a wide enough inner register would have held, its start included.
    """

    register: npt.NDArray[np.int64]
    overflows: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]


def walk(lhs: IntArray, rhs: IntArray, initial: IntArray, accumulator: Accumulator) -> Walk:
    """Accumulate every output step by step.

    Parameters
    ----------
    lhs : int [b, m, k]
        Values below 2**20 in magnitude.
    rhs : int [b, k, n]
        Values below 2**20 in magnitude.
    initial : int [b, m, n]
        Start of the registers.
    accumulator
        Its final shift and width are not applied.
    """
    from .kernels import walk_outputs  # noqa: PLC0415 numba is loaded when it is needed, not at import

    shape = initial.shape
    records = Walk(*(np.empty(shape, np.int64) for _ in range(5)))
    walk_outputs(
        np.ascontiguousarray(lhs, np.int32),
        np.ascontiguousarray(np.swapaxes(rhs, 1, 2), np.int32),
        np.ascontiguousarray(initial, np.int64),
        settings(accumulator),
        *records,
    )
    return records


def settings(accumulator: Accumulator) -> npt.NDArray[np.int64]:
    """Return the fields of an accumulator as the kernels read them."""
    tree = accumulator.tree_range or (0, 0)
    return np.array(
        [
            *accumulator.range,
            overflow_code(accumulator.overflow),
            accumulator.dot_depth,
            accumulator.tree_bits is not None,
            *tree,
            overflow_code(accumulator.tree_overflow),
            accumulator.dropped_bits,
            accumulator.spill_steps or 0,
            *accumulator.spill_range,
            overflow_code(accumulator.spill_overflow),
        ],
        np.int64,
    )


def raise_first_overflow(
    lhs: IntArray,
    rhs: IntArray,
    initial: IntArray,
    accumulator: Accumulator,
    marks: npt.NDArray[Any],
    shape: tuple[int, ...],
) -> None:
    """Raise for the first marked output in which a trapping register leaves its range.

    Raises
    ------
    AccumulatorOverflowError
        With output (an index into `shape`), step and value.
    """
    for flat in np.flatnonzero(marks):
        b, m, n = (int(i) for i in np.unravel_index(flat, marks.shape))
        output = tuple(int(i) for i in np.unravel_index(flat, shape))
        trace([int(x) for x in lhs[b, m]], [int(x) for x in rhs[b, :, n]], int(initial[b, m, n]), accumulator, output)


def add_registers(
    registers: IntArray, addends: IntArray, bounds: tuple[int, int], overflow: Overflow, step: int
) -> IntArray:
    """Add to registers of a range, all at once.

    Parameters
    ----------
    registers, addends : int64 [...]
        Below 2**62 in magnitude, or the registers 64 bits wide.
    bounds
        Range of the registers.
    overflow
        What they do with a sum that does not fit.
    step
        Step to name in an error.

    Raises
    ------
    AccumulatorOverflowError
        If a trapping register leaves its range.
    """
    lo, hi = bounds
    total = registers + addends
    # A sum of 64 bits may itself have wrapped: both operands then have the sign that it has not.
    wrapped = ((registers ^ total) & (addends ^ total)) < 0
    outside = wrapped | (total < lo) | (total > hi)
    if not np.any(outside):
        return np.asarray(total)
    if overflow is Overflow.TRAP:
        output = tuple(int(i) for i in np.argwhere(outside)[0])
        value = int(registers[output]) + int(addends[output])
        raise AccumulatorOverflowError(output, step, value, IntFormat(hi.bit_length() + 1).name)
    if overflow is Overflow.SATURATE:
        return np.where(outside, np.where(addends < 0, lo, hi), total)
    return np.asarray(steps.fit(total, np.int64(lo), np.int64(hi), overflow)) if hi < (1 << 63) - 1 else total


def trace(
    lhs: Sequence[int],
    rhs: Sequence[int],
    initial: int,
    accumulator: Accumulator,
    output: tuple[int, ...] = (),
) -> int:
    """Accumulate one output in Python ints and return its register before the final shift.

    Parameters
    ----------
    lhs, rhs : int [k]
        Operands in the order of accumulation.
    initial
        Start of the register.
    accumulator
        Its final shift and width are not applied.
    output
        Index to name in an error.

    Raises
    ------
    AccumulatorOverflowError
        If a trapping adder or register leaves its range.

    Examples
    --------
    >>> trace([100, 100], [100, 100], 0, Accumulator(14, Overflow.SATURATE))
    8191
    """
    products = [a * b for a, b in zip(lhs, rhs, strict=True)]
    depth = accumulator.dot_depth
    inner, outer = (initial, 0) if accumulator.spill_steps is None else (0, initial)
    count = -(-len(products) // depth)
    for step in range(count):
        at = (step, output)
        addend = _tree(products[step * depth : (step + 1) * depth], accumulator, at) >> accumulator.dropped_bits
        inner = _checked(inner + addend, accumulator.range, accumulator.overflow, at)
        spilling = accumulator.spill_steps is not None and (
            (step + 1) % accumulator.spill_steps == 0 or step + 1 == count
        )
        if spilling:
            outer = _checked(outer + inner, accumulator.spill_range, accumulator.spill_overflow, at)
            inner = 0
    return inner if accumulator.spill_steps is None else outer


def _tree(products: Sequence[int], accumulator: Accumulator, at: tuple[int, tuple[int, ...]]) -> int:
    if accumulator.tree_range is None:
        return sum(products)
    level = [*products, *([0] * (accumulator.dot_depth - len(products)))]
    while len(level) > 1:
        pairs = [
            _checked(a + b, accumulator.tree_range, accumulator.tree_overflow, at)
            for a, b in zip(level[::2], level[1::2], strict=False)
        ]
        level = pairs + level[len(level) - len(level) % 2 :]
    return level[0]


def _checked(value: int, bounds: tuple[int, int], overflow: Overflow, at: tuple[int, tuple[int, ...]]) -> int:
    lo, hi = bounds
    if overflow is Overflow.TRAP and not lo <= value <= hi:
        step, output = at
        raise AccumulatorOverflowError(output, step, value, IntFormat(hi.bit_length() + 1).name)
    return int(steps.fit(value, lo, hi, overflow))
