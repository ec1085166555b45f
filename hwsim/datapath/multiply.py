"""Matrix multiplication with a stated accumulator: exact, or overflowing exactly as hardware does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, IntFormat, Overflow

from . import steps
from .accumulator import Accumulator
from .certified import never_overflows
from .gemm import exact_product, magnitude, runs_on_units
from .operands import Stacks, as_initial, as_integers, check_product_fits, stack
from .walk import raise_first_overflow, walk

_DEFAULT = Accumulator()


def matmul(
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    accumulator: Accumulator = _DEFAULT,
    *,
    initial: npt.ArrayLike | None = None,
    order: npt.ArrayLike | None = None,
    lhs_format: IntFormat | None = None,
    rhs_format: IntFormat | None = None,
) -> IntArray:
    r"""Multiply integer matrices, each output through its own accumulator.

    .. math:: acc_{mn} = initial_{mn} \oplus \bigoplus_k lhs_{mk} \cdot rhs_{kn}

    where :math:`\oplus` is the addition of `accumulator`.

    Parameters
    ----------
    lhs : int [..., m, k]
        Integers of up to 18 bits.
    rhs : int [..., k, n]
        Integers of up to 18 bits. Batch axes broadcast.
    accumulator
        Width, overflow and depth of the accumulation.
    initial : int, broadcast to [..., m, n]
        Start of the registers, such as a bias; 0 if None.
    order : int [k]
        Order in which the reduction is walked, a permutation of 0..k-1, as `reduction_order` makes it of loops;
        ascending if None.
    lhs_format, rhs_format
        Formats that the operands must lie in; by default what their dtype holds.

    Returns
    -------
    acc : int32 or int64 [..., m, n]
        Final registers; int32 if the result has at most 32 bits.

    Raises
    ------
    TypeError
        If an array does not hold integers.
    ValueError
        If shapes do not contract, a value lies outside its format, or one product does not fit an accumulator
        whose overflow is not stated.
    AccumulatorOverflowError
        If a trapping register leaves its range.

    Notes
    -----
    Equations (1) to (8) of ``docs/datapath.md``.

    Examples
    --------
    >>> matmul(np.array([[100, 100, -50]], np.int8), np.array([[100], [100], [100]], np.int8))
    array([[15000]], dtype=int32)
    >>> matmul([[100, 100, -50]], [[100], [100], [100]], Accumulator(14, Overflow.SATURATE))
    array([[3191]], dtype=int32)
    """
    job = _prepare(lhs, rhs, accumulator, initial, order, lhs_format, rhs_format)
    result = _registers(job)
    return _finish(result, accumulator).reshape(job.stacks.shape)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the registers went through, each an int64 array of the outputs' shape.

    Parameters
    ----------
    result : int32 or int64
        What `matmul` returns; with a trapping register, what it would hold if it were wide enough.
    overflows
        Steps in which an adder or a register left its range.
    first_overflow
        First such step, -1 if there is none.
    low, high
        Smallest and largest sum that a wide enough register would have held, its start included. With spills, of
        the inner register.
    """

    result: IntArray
    overflows: IntArray
    first_overflow: IntArray
    low: IntArray
    high: IntArray

    @property
    def overflowed(self) -> npt.NDArray[np.bool_]:
        """Whether an adder or a register left its range."""
        return np.asarray(self.overflows > 0)

    @property
    def peak(self) -> IntArray:
        """Largest magnitude that a wide enough register would have held."""
        return np.maximum(-self.low, self.high)

    @property
    def sufficient_bits(self) -> IntArray:
        """Narrowest two's complement width of the register that never overflows, bits."""
        # A negative value needs the bits of its complement: -128 fits 8 as 127 does.
        reach = np.maximum(np.maximum(~self.low, self.high), 0)
        width = np.ones_like(reach)
        for bit in range(63):
            width += (reach >> bit) > 0
        return width


def measure(
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    accumulator: Accumulator = _DEFAULT,
    *,
    initial: npt.ArrayLike | None = None,
    order: npt.ArrayLike | None = None,
    lhs_format: IntFormat | None = None,
    rhs_format: IntFormat | None = None,
) -> Statistics:
    """Multiply as `matmul` does, step by step, and record overflows and the range of every register.

    Parameters
    ----------
    lhs, rhs, accumulator, initial, order, lhs_format, rhs_format
        As in `matmul`. A trapping register does not raise here.

    Returns
    -------
    statistics : Statistics

    Raises
    ------
    TypeError, ValueError
        As in `matmul`, and if a sum could leave int64.

    Examples
    --------
    >>> s = measure([[100, 100, -50]], [[100], [100], [100]], Accumulator(14, Overflow.SATURATE))
    >>> s.overflows[0, 0], s.first_overflow[0, 0], s.peak[0, 0], s.sufficient_bits[0, 0]
    (np.int64(2), np.int64(0), np.int64(20000), np.int64(16))
    """
    job = _prepare(lhs, rhs, accumulator, initial, order, lhs_format, rhs_format)
    reach = _reach(job) + (magnitude(job.initial) if job.initial is not None else 0)
    if reach >= 1 << 63:
        msg = f"sums must stay below 2**63 to be measured, not reach {reach}"
        raise ValueError(msg)
    operands = (job.stacks.lhs, job.stacks.rhs, job.start(), accumulator)
    records = None
    if all(array.size for array in operands[:3]):
        from .records import record  # noqa: PLC0415 LLVM is loaded when it is needed, not at import

        records = record(*operands)
    if records is None:
        records = walk(*operands)
    shape = job.stacks.shape
    return Statistics(
        _finish(records.register, accumulator).reshape(shape),
        *(array.reshape(shape) for array in (records.overflows, records.first, records.low, records.high)),
    )


@dataclass(frozen=True, slots=True)
class _Job:
    stacks: Stacks
    initial: IntArray | None
    accumulator: Accumulator

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.stacks.lhs.shape[0], self.stacks.lhs.shape[1], self.stacks.rhs.shape[2]

    def start(self) -> IntArray:
        if self.initial is None:
            return np.broadcast_to(np.int64(0), self.grid)
        return self.initial.reshape(self.grid)


def _prepare(
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    accumulator: Accumulator,
    initial: npt.ArrayLike | None,
    order: npt.ArrayLike | None,
    lhs_format: IntFormat | None,
    rhs_format: IntFormat | None,
) -> _Job:
    a, b = as_integers("lhs", lhs, lhs_format), as_integers("rhs", rhs, rhs_format)
    stacks = stack(a, b)
    check_product_fits(a, b, accumulator)
    if order is not None:
        permutation = _permutation(order, stacks.lhs.shape[2])
        stacks = Stacks(stacks.lhs[:, :, permutation], stacks.rhs[:, permutation], stacks.shape)
    return _Job(stacks, as_initial(initial, stacks.shape, accumulator), accumulator)


def _permutation(order: npt.ArrayLike, k: int) -> IntArray:
    array = np.asarray(order)
    if array.dtype.kind not in "iu" or not np.array_equal(np.sort(array, axis=None), np.arange(k)):
        msg = f"order must be a permutation of 0..{k - 1}, not {array.tolist() if array.size < 20 else array.shape}"
        raise ValueError(msg)
    return array.reshape(k)


def _reach(job: _Job) -> int:
    """Bound every sum of products by the magnitudes of the operands, equation (9)."""
    k = int(job.stacks.lhs.shape[2])
    return k * magnitude(job.stacks.lhs) * magnitude(job.stacks.rhs)


def _registers(job: _Job) -> IntArray:
    """Return the final registers before the final shift, [b, m, n]."""
    accumulator = job.accumulator
    lhs, rhs, start = job.stacks.lhs, job.stacks.rhs, job.start()
    if accumulator.overflow is not Overflow.WRAP and accumulator.is_plain and runs_on_units(lhs, rhs):
        from . import amx_saturation  # noqa: PLC0415 loads LLVM

        proven = amx_saturation.registers(lhs, rhs, start, accumulator)
        if proven is not None:
            return proven
    elif never_overflows(lhs, rhs, start, accumulator):
        return _wrapped(job)
    from . import tiles  # noqa: PLC0415 LLVM is loaded when it is needed, not at import

    plan = None
    if lhs.size and rhs.size:
        plan = tiles.choose(accumulator, magnitude(lhs) * magnitude(rhs), magnitude(start), lhs.shape[2])
    if plan is not None:
        register, hit = tiles.accumulate(lhs, rhs, start, accumulator, plan)
    else:
        records = walk(lhs, rhs, start, accumulator)
        register, hit = records.register, records.first >= 0
    if hit is not None:
        raise_first_overflow(lhs, rhs, start, accumulator, hit, job.stacks.shape)
    return register


def _wrapped(job: _Job) -> IntArray:
    accumulator = job.accumulator
    bits = accumulator.bits if accumulator.spill_steps is None else accumulator.spill_bits
    dtype: np.dtype[Any] = np.dtype(np.int32 if bits <= 32 else np.int64)
    total = exact_product(job.stacks.lhs, job.stacks.rhs, dtype)
    if job.initial is not None:
        # Addition in the array's own width keeps the low bits, which is all that a register of `bits` needs.
        total += job.initial.reshape(job.grid).astype(dtype)
    if bits < 8 * dtype.itemsize:
        spare = 8 * dtype.itemsize - bits
        total <<= spare
        total >>= spare
    return total


def _finish(register: IntArray, accumulator: Accumulator) -> IntArray:
    if accumulator.final_bits is not None:
        lo, hi = accumulator.format.lo, accumulator.format.hi
        shifted = steps.rounding_shift(
            register.astype(np.int64), accumulator.final_shift, accumulator.final_rounding, steps.choose_array
        )
        register = steps.fit(shifted, lo, hi, Overflow.SATURATE, steps.choose_array)
    return register.astype(accumulator.dtype, copy=False)
